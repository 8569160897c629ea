"""A person's strokes: never overwritten unasked, never undone into something else; and masks made anew without the network."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt

from napari_lungseg.volume import Volume

CT, LUNGS = chest()
MIDDLE = 4
#: Outside of the lungs, in the middle slice: where a person adds lung.
ADDED = (MIDDLE, 60, 48)
#: Inside the right lung: where a person takes lung away.
TAKEN = (MIDDLE, 34, 30)


def paint(lungs) -> None:
    lungs.brush_size = 3
    lungs.paint(ADDED, 2)
    lungs.paint(TAKEN, 0)


def set_items(lungs) -> None:
    lungs.data_setitem(tuple(np.array([place]) for place in ADDED), 2)
    lungs.data_setitem(tuple(np.array([place]) for place in TAKEN), 0)


def from_the_console(lungs) -> None:
    lungs.data[ADDED] = 2
    lungs.data[TAKEN] = 0
    lungs.refresh()


def new_array(lungs) -> None:
    data = lungs.data.copy()
    data[ADDED], data[TAKEN] = 2, 0
    lungs.data = data


TOOLS = [paint, set_items, from_the_console, new_array]


def grade(desk) -> None:
    """Give the rims of the right lung, on one slice, the probabilities between, which the phantom's clear ones lack."""
    desk.probability.data[MIDDLE, 28:40, 40:50] = 70
    desk.probability.data[MIDDLE, 40:48, 40:50] = 40
    desk.set_threshold(51)
    assert desk.lungs.data[MIDDLE, 30, 45] != 0
    assert desk.lungs.data[MIDDLE, 45, 45] == 0


@pytest.fixture
def segmented(desk):
    """The phantom, segmented, on its middle slice."""
    desk.viewer.dims.set_current_step(0, MIDDLE)
    assert desk.segment() == ""
    assert (desk.lungs.data[ADDED], desk.lungs.data[TAKEN]) == (0, 1)
    return desk


def test_the_threshold_makes_the_mask_anew_without_the_network(segmented, phantom_model, monkeypatch, tmp_path):
    library = shutil.copytree(phantom_model, tmp_path / "phantom").parent
    monkeypatch.setenv("NAPARI_LUNGSEG_MODELS", str(library))
    shutil.rmtree(library / "phantom")
    segmented.controls.steps["keep_lungs"].value = False
    segmented.switch("fill_holes", False)
    # Something between, which the phantom's clear probabilities lack.
    segmented.probability.data[MIDDLE, 2:6, 2:6] = 70
    for percent, lung in ((60, True), (80, False), (40, True)):
        segmented.set_threshold(percent)
        np.testing.assert_array_equal(segmented.lungs.data > 0, segmented.probability.data >= percent)
        assert segmented.lungs.data[MIDDLE, 3, 3].astype(bool) == lung


def test_the_displayed_slice_follows_the_slider_at_once(segmented):
    segmented.probability.data[MIDDLE, 30:40, 45:50] = 40
    segmented.controls.threshold.value = 30
    assert segmented.lungs.data[MIDDLE, 35, 47] != 0  # no waiting
    segmented.controls.threshold.value = 45
    assert segmented.lungs.data[MIDDLE, 35, 47] == 0
    assert set(np.unique(segmented.lungs.data[MIDDLE])) == {0, 1, 2}  # sides stay


def test_each_step_of_the_post_processing_can_be_switched(segmented):
    segmented.switch("split_sides", False)
    assert set(np.unique(segmented.lungs.data)) == {0, 1}
    segmented.switch("split_sides", True)
    assert set(np.unique(segmented.lungs.data)) == {0, 1, 2}
    # A hole in a lung and an island far from it.
    segmented.probability.data[MIDDLE, 33:35, 29:31] = 0
    segmented.probability.data[MIDDLE, 2, 2] = 100
    segmented.switch("fill_holes", False)
    assert segmented.lungs.data[MIDDLE, 34, 30] == 0
    segmented.switch("fill_holes", True)
    assert segmented.lungs.data[MIDDLE, 34, 30] == 1
    assert segmented.lungs.data[MIDDLE, 2, 2] == 0
    segmented.switch("keep_lungs", False)
    assert segmented.lungs.data[MIDDLE, 2, 2] != 0
    assert not segmented.controls.steps["smallest_ml"].enabled


@pytest.mark.parametrize("tool", TOOLS)
def test_strokes_survive_every_change_of_the_threshold(segmented, tool):
    tool(segmented.lungs)
    theirs = segmented.lungs.data.copy()
    # 99 % all but empties the mask.
    for percent in (30, 99, 50):
        segmented.set_threshold(percent)
        assert segmented.lungs.data[ADDED] == 2
        assert segmented.lungs.data[TAKEN] == 0
    np.testing.assert_array_equal(segmented.lungs.data, theirs)


@pytest.mark.parametrize("tool", TOOLS)
def test_segmenting_again_leaves_the_changes_as_they_are(segmented, tool):
    tool(segmented.lungs)
    theirs = segmented.lungs.data.copy()
    assert segmented.segment() == ""
    np.testing.assert_array_equal(segmented.lungs.data, theirs)
    # They are still known to be the person's.
    segmented.set_threshold(99)
    assert (segmented.lungs.data[ADDED], segmented.lungs.data[TAKEN]) == (2, 0)


def test_strokes_made_while_it_runs_stay(open_desk):
    desk = open_desk(Volume(np.resize(CT.array, (300, *CT.shape[1:])), CT.affine, "HU"))
    desk.viewer.dims.set_current_step(0, MIDDLE)
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=60_000):
        desk.press()
        desk.wait(lambda: "ct lungs" in desk.viewer.layers and desk.lungs.data[TAKEN] == 1)
        paint(desk.lungs)
        desk.lungs.paint((250, *ADDED[1:]), 2)
        assert desk.controls.run.text == "Cancel"
    assert (desk.lungs.data[ADDED], desk.lungs.data[TAKEN], desk.lungs.data[250, *ADDED[1:]]) == (2, 0, 2)


def test_undo_right_after_the_run_changes_nothing(segmented):
    mask = segmented.lungs.data.copy()
    for _ in range(3):
        segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    segmented.lungs.redo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)


def test_undo_takes_back_strokes_and_thresholds_in_their_order(segmented):
    grade(segmented)
    states = [segmented.lungs.data.copy()]
    for act in (
        lambda: segmented.lungs.paint(ADDED, 2),
        lambda: segmented.set_threshold(80),
        lambda: segmented.lungs.paint(TAKEN, 0),
        lambda: segmented.set_threshold(30),
    ):
        act()
        states.append(segmented.lungs.data.copy())
        assert (states[-1] != states[-2]).any()
    for before in states[-2::-1]:
        segmented.lungs.undo()
        np.testing.assert_array_equal(segmented.lungs.data, before)
    assert segmented.controls.threshold.value == 51
    for after in (*states[1:], states[-1]):
        segmented.lungs.redo()
        np.testing.assert_array_equal(segmented.lungs.data, after)
    assert segmented.controls.threshold.value == 30


def test_undo_brings_back_threshold_and_post_processing_in_the_module(segmented):
    grade(segmented)
    segmented.probability.data[MIDDLE, 2, 2] = 100
    segmented.switch("keep_lungs", False)
    segmented.set_threshold(80)
    segmented.lungs.undo()
    assert segmented.controls.threshold.value == 51
    assert not segmented.controls.steps["keep_lungs"].value
    segmented.lungs.undo()
    assert segmented.controls.steps["keep_lungs"].value
    segmented.lungs.redo()
    segmented.lungs.redo()
    assert segmented.controls.threshold.value == 80


def test_undo_while_the_slider_is_on_its_way_takes_it_back(segmented):
    mask = segmented.lungs.data.copy()
    segmented.probability.data[MIDDLE, 30:40, 45:50] = 40
    segmented.controls.threshold.value = 30
    assert (segmented.lungs.data != mask).any()
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    assert segmented.controls.threshold.value == 50
    segmented.lungs.redo()
    segmented.qtbot.wait(600)  # nothing comes after
    np.testing.assert_array_equal(segmented.lungs.data, mask)


def test_a_second_run_can_be_undone_with_its_probability(segmented, desk):
    lungs, percent = segmented.lungs.data.copy(), segmented.probability.data.copy()
    segmented.lungs.paint(ADDED, 2)
    segmented.image.data = np.full_like(segmented.image.data, 40)  # no lung any more
    assert segmented.segment() == ""
    assert segmented.lungs.data[ADDED] == 2
    assert np.count_nonzero(segmented.lungs.data) < 100
    assert segmented.probability.data.max() < 50
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.probability.data, percent)
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, lungs)


def test_a_stroke_undone_after_the_threshold_was_moved_and_moved_back_follows_the_model(segmented):
    segmented.lungs.paint(TAKEN, 0)
    segmented.set_threshold(99)
    segmented.lungs.undo()
    segmented.lungs.undo()
    assert segmented.lungs.data[TAKEN] == 1
    segmented.probability.data[TAKEN] = 10
    segmented.switch("fill_holes", False)
    segmented.set_threshold(60)
    assert segmented.lungs.data[TAKEN] == 0


@pytest.mark.parametrize("tool", TOOLS)
def test_every_edit_can_be_undone_whichever_tool_made_it(segmented, tool):
    mask = segmented.lungs.data.copy()
    tool(segmented.lungs)
    theirs = segmented.lungs.data.copy()
    assert (theirs != mask).any()
    for _ in range(3):
        segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    for _ in range(3):
        segmented.lungs.redo()
    np.testing.assert_array_equal(segmented.lungs.data, theirs)


def test_ctrl_z_and_ctrl_shift_z_in_the_window_reach_it(segmented):
    grade(segmented)
    mask = segmented.lungs.data.copy()
    segmented.set_threshold(80)
    segmented.lungs.paint(ADDED, 2)
    segmented.viewer.window._qt_viewer.canvas.native.setFocus()
    native = segmented.viewer.window._qt_viewer.canvas.native
    for key, modifier in ((Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier),) * 2:
        segmented.qtbot.keyClick(native, key, modifier)
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    assert segmented.controls.threshold.value == 51
    segmented.qtbot.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert segmented.controls.threshold.value == 80


def test_the_probability_cannot_be_painted(segmented):
    assert not segmented.probability.editable
    segmented.viewer.layers.selection.active = segmented.probability
    assert segmented.probability.mode == "pan_zoom"

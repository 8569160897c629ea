"""A person's strokes: never overwritten unasked, never undone into something else; and masks made anew without the network."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from phantom import chest
from qtpy.QtWidgets import QMessageBox, QPushButton

from napari_lungseg.volume import Volume
from napari_lungseg.widgets.segment import COPY, KEEP

CT, LUNGS = chest()
MIDDLE = 4
#: Outside of the lungs, in the middle slice: where a person adds lung.
ADDED = (MIDDLE, 60, 48)
#: Inside the right lung: where a person takes lung away.
TAKEN = (MIDDLE, 34, 30)
CANCEL = "Cancel"


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


@pytest.fixture
def answer(monkeypatch):
    """The person's answer to the question; gives the list of questions asked."""

    def give(text: str) -> list[str]:
        asked: list[str] = []

        def click(box: QMessageBox) -> int:
            asked.append(box.text())
            buttons = [button for button in box.findChildren(QPushButton) if text in button.text().replace("&", "")]
            assert len(buttons) == 1
            buttons[0].click()
            return 0

        monkeypatch.setattr(QMessageBox, "exec", click)
        return asked

    return give


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


def test_segmenting_again_does_not_ask_where_nothing_was_changed(segmented, answer):
    asked = answer(CANCEL)
    before = segmented.lungs.data.copy()
    segmented.set_threshold(60)
    segmented.set_threshold(50)
    assert segmented.segment() == ""
    assert not asked
    np.testing.assert_array_equal(segmented.lungs.data, before)


@pytest.mark.parametrize("tool", [paint, new_array])
def test_segmenting_again_can_keep_the_changes(segmented, answer, tool):
    asked = answer(KEEP)
    tool(segmented.lungs)
    theirs = segmented.lungs.data.copy()
    assert segmented.segment() == ""
    assert len(asked) == 1
    assert "ct lungs" in asked[0]
    np.testing.assert_array_equal(segmented.lungs.data, theirs)
    # They are still known to be the person's.
    segmented.set_threshold(99)
    assert segmented.lungs.data[ADDED] == 2


def test_segmenting_again_can_put_the_changes_aside(segmented, answer):
    mask = segmented.lungs.data.copy()
    paint(segmented.lungs)
    theirs = segmented.lungs.data.copy()
    answer(COPY)
    assert segmented.segment() == ""
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    copies = [layer for layer in segmented.viewer.layers if "my changes" in layer.name]
    assert len(copies) == 1
    np.testing.assert_array_equal(copies[0].data, theirs)
    np.testing.assert_allclose(copies[0].extent.world, segmented.lungs.extent.world)


def test_segmenting_again_can_be_called_off(segmented, answer):
    paint(segmented.lungs)
    theirs, layers = segmented.lungs.data.copy(), list(segmented.viewer.layers)
    asked = answer(CANCEL)
    segmented.press()
    segmented.wait(lambda: bool(asked))
    segmented.qtbot.wait(300)
    assert segmented.controls.run.text == "Segment"
    np.testing.assert_array_equal(segmented.lungs.data, theirs)
    assert list(segmented.viewer.layers) == layers


def test_an_image_removed_before_the_question_is_no_harm(segmented, answer, messages):
    paint(segmented.lungs)
    asked = answer(COPY)
    segmented.press()
    del segmented.viewer.layers["ct"]
    segmented.qtbot.wait(500)
    assert not asked
    assert not messages
    assert not segmented.controls.run.enabled


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


def test_undo_takes_back_a_stroke_and_nothing_else(segmented):
    mask = segmented.lungs.data.copy()
    segmented.set_threshold(60)
    segmented.set_threshold(50)
    paint(segmented.lungs)
    painted = segmented.lungs.data.copy()
    assert (painted != mask).any()
    segmented.lungs.undo()
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, mask)
    segmented.lungs.redo()
    segmented.lungs.redo()
    np.testing.assert_array_equal(segmented.lungs.data, painted)


def test_undo_after_the_mask_was_made_anew_brings_nothing_old_back(segmented):
    paint(segmented.lungs)
    segmented.set_threshold(99)
    after = segmented.lungs.data.copy()
    segmented.lungs.undo()
    np.testing.assert_array_equal(segmented.lungs.data, after)


def test_the_probability_cannot_be_painted(segmented):
    assert not segmented.probability.editable
    segmented.viewer.layers.selection.active = segmented.probability
    assert segmented.probability.mode == "pan_zoom"

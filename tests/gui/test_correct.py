"""The Correct module: mask and label follow the layer, the brush is round in millimetres, and what was changed is shown."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea
from superqt import QCollapsible
from waiting import settle, turn

from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.correct.controls import NEW
from napari_lungseg.widgets.correct.widget import CorrectWidget

CT, LUNGS = chest()
MIDDLE = 4
#: Right lung 1, left lung 2, as the phantom's columns run from right to left.
MASK = np.where(LUNGS, np.where(np.arange(LUNGS.shape[2]) < 48, 1, 2), 0).astype(np.uint8)
#: Between the lungs, and inside the right one, on the middle slice.
BETWEEN, RIGHT = (MIDDLE, 60, 48), (MIDDLE, 34, 30)


@pytest.fixture
def bench(open_bench):
    bench = open_bench(CT, MASK.copy())
    bench.viewer.dims.set_current_step(0, MIDDLE)
    return bench


def paint(lungs, place, label, size=3):
    lungs.brush_size = size
    lungs.paint(place, label)


def extent_mm(changed: np.ndarray, spacing) -> list[float]:
    """How far changed voxels reach along each axis."""
    return [(np.ptp(places) + 1) * step for places, step in zip(np.nonzero(changed), spacing)]


def test_it_is_a_module_of_the_dock_and_a_widget_of_its_own(desk):
    assert isinstance(desk.correct, CorrectWidget)
    _, widget = desk.viewer.window.add_plugin_dock_widget("napari-lungseg", "Correct")
    assert isinstance(widget, CorrectWidget)
    assert widget is not desk.correct


def test_all_of_it_can_be_seen_in_a_narrow_dock(open_bench):
    bench = open_bench(CT, MASK.copy(), show=True)
    bench.viewer.window.resize(1366, 768)
    bench.lungs.name = "a mask whose name is much longer than any box can show " * 3
    bench.controls.tools.tell("/a/path/without/any/space" * 10)
    for fold in bench.controls.findChildren(QCollapsible):
        fold.expand(animate=False)
    area = bench.controls.findChild(QScrollArea)
    for name in TOOLS:
        bench.choose(name)
        turn(bench.qtbot)
        assert bench.widget.minimumSizeHint().width() <= 380
        # With a scroll bar, too, which is not there where the window is high enough.
        bar = area.verticalScrollBar()
        room = area.viewport().width() - (0 if bar.isVisible() else bar.sizeHint().width())
        assert area.widget().minimumSizeHint().width() <= room


def test_without_a_mask_it_says_what_to_do(desk):
    controls = desk.correct.controls
    assert "Segment an image first" in controls.tools.status.text()
    for control in (controls.tools.apply, controls.give_back, controls.undo, controls.redo, controls.show_changes):
        assert not control.enabled


def test_the_mask_of_a_segmentation_is_taken_up_and_the_probability_is_not(desk):
    controls = desk.correct.controls
    assert desk.segment() == ""
    assert controls.mask.value == desk.lungs
    assert controls.mask.choices == (desk.lungs,)


def test_the_mask_follows_the_selected_layer(bench):
    other = bench.viewer.add_labels(np.zeros_like(MASK), name="other", **{"scale": bench.lungs.scale})
    assert bench.controls.mask.value == other
    bench.viewer.layers.selection.active = bench.viewer.layers["ct"]
    assert bench.controls.mask.value == other
    bench.viewer.layers.selection.active = bench.lungs
    assert bench.controls.mask.value == bench.lungs
    bench.viewer.layers.remove(bench.lungs)
    assert bench.controls.mask.value == other


def test_label_and_layer_choose_the_same(bench):
    bench.controls.label.value = 2
    assert bench.lungs.selected_label == 2
    bench.lungs.selected_label = 1
    assert bench.controls.label.value == 1
    bench.lungs.selected_label = 7
    assert bench.controls.label.value == 7


def test_all_labels_are_offered_and_a_new_one_is_the_next_that_is_free(open_bench):
    labels = MASK.copy()
    labels[0, 3, 3] = 5  # not on the slice that is shown
    bench = open_bench(CT, labels)
    bench.viewer.dims.set_current_step(0, MIDDLE)
    bench.qtbot.waitUntil(lambda: bench.controls.label.choices == (1, 2, 5, NEW))
    bench.controls.label.value = NEW
    assert bench.controls.label.value == bench.lungs.selected_label == 3


def test_buttons_and_layer_have_the_same_mode(bench):
    for mode, button in bench.controls.modes.items():
        bench.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert bench.lungs.mode == mode
        assert [name for name, each in bench.controls.modes.items() if each.isChecked()] == [mode]
    bench.lungs.mode = "pick"
    assert not any(button.isChecked() for button in bench.controls.modes.values())
    bench.lungs.mode = "erase"
    assert bench.controls.modes["erase"].isChecked()


@pytest.mark.parametrize("sphere", [False, True])
def test_the_brush_is_round_in_millimetres_in_every_view(open_bench, sphere):
    spacing, shape = (2.5, 0.7, 0.5), (30, 60, 80)
    bench = open_bench(Volume(np.zeros(shape, np.int16), scaling(spacing), "HU"), np.zeros(shape, np.uint8))
    bench.controls.sphere.value = sphere
    bench.controls.diameter.value = 15.0
    for label, order in enumerate(((0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)), start=1):
        bench.viewer.dims.order = order
        bench.lungs.paint((15, 30, 40), label)
        size = extent_mm(bench.lungs.data == label, spacing)
        for axis in range(3):
            if not sphere and axis == order[0]:
                assert size[axis] == pytest.approx(spacing[axis])
            else:
                # Up to the size of the voxels, and of the pixels in which napari counts.
                assert abs(size[axis] - 15.0) <= spacing[axis] + 0.7
        bench.lungs.undo()


def test_the_diameter_follows_a_brush_that_was_set_elsewhere(bench):
    bench.lungs.brush_size = 5
    assert bench.controls.diameter.value == 20.0  # pixels of 4 mm
    bench.lungs.n_edit_dimensions = 3
    assert bench.controls.sphere.value
    assert bench.controls.diameter.value == 20.0


def test_a_polygon_needs_a_flat_brush(bench):
    bench.controls.sphere.value = True
    bench.qtbot.mouseClick(bench.controls.modes["polygon"], Qt.MouseButton.LeftButton)
    assert not bench.controls.sphere.value
    assert bench.lungs.mode == "polygon"


def test_undo_and_redo_are_offered_with_what_they_do(bench):
    assert not bench.controls.undo.enabled
    paint(bench.lungs, RIGHT, 0)
    bench.qtbot.waitUntil(lambda: bench.controls.undo.enabled)
    assert bench.controls.undo.tooltip == "Undo: paint"
    bench.qtbot.mouseClick(bench.controls.undo.native, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(bench.lungs.data, MASK)
    bench.qtbot.waitUntil(lambda: bench.controls.redo.enabled)
    assert not bench.controls.undo.enabled
    bench.qtbot.mouseClick(bench.controls.redo.native, Qt.MouseButton.LeftButton)
    assert bench.lungs.data[RIGHT] == 0


# ---- what I changed


def changes(bench):
    return bench.viewer.layers["ct changes"].data


def test_the_overlay_tells_added_from_removed_and_relabelled(bench):
    paint(bench.lungs, BETWEEN, 2)
    bench.controls.show_changes.value = True
    paint(bench.lungs, RIGHT, 0)
    paint(bench.lungs, (0, *RIGHT[1:]), 2)
    assert (changes(bench)[BETWEEN], changes(bench)[RIGHT], changes(bench)[0, 34, 30]) == (1, 2, 3)
    bench.lungs.undo()
    bench.lungs.undo()
    assert (changes(bench)[BETWEEN], changes(bench)[RIGHT], changes(bench)[0, 34, 30]) == (1, 0, 0)


def test_what_was_changed_on_other_slices_before_is_shown_too(bench):
    paint(bench.lungs, (0, *RIGHT[1:]), 0)
    bench.controls.show_changes.value = True
    bench.qtbot.waitUntil(lambda: changes(bench)[0, 34, 30] == 2)


def test_the_overlay_is_no_mask_and_leaves_the_brush_in_hand(bench):
    bench.qtbot.mouseClick(bench.controls.modes["paint"], Qt.MouseButton.LeftButton)
    bench.controls.show_changes.value = True
    overlay = bench.viewer.layers["ct changes"]
    assert bench.viewer.layers.selection.active == bench.lungs
    assert bench.lungs.mode == "paint"
    assert not overlay.editable
    bench.viewer.layers.selection.active = overlay
    assert bench.controls.mask.choices == (bench.lungs,)


def test_the_overlay_goes_by_the_box_and_by_hand(bench):
    bench.controls.show_changes.value = True
    bench.controls.show_changes.value = False
    assert "ct changes" not in bench.viewer.layers
    bench.controls.show_changes.value = True
    bench.viewer.layers.remove("ct changes")
    assert not bench.controls.show_changes.value
    paint(bench.lungs, RIGHT, 0)  # nobody is there any more to hear of it


def test_the_overlay_follows_the_threshold(desk):
    desk.viewer.dims.set_current_step(0, MIDDLE)
    assert desk.segment() == ""
    desk.correct.controls.show_changes.value = True
    paint(desk.lungs, RIGHT, 0)
    assert desk.viewer.layers["ct changes"].data[RIGHT] == 2
    desk.probability.data[RIGHT] = 10
    desk.switch("fill_holes", False)
    desk.set_threshold(60)
    assert desk.viewer.layers["ct changes"].data[RIGHT] == 0  # the model agrees by now


def test_numbers_say_how_much_was_changed_on_the_slice(bench):
    paint(bench.lungs, BETWEEN, 2, size=1)
    paint(bench.lungs, RIGHT, 0)
    removed = np.count_nonzero(MASK) + 1 - np.count_nonzero(bench.lungs.data)
    voxel = 6 * 4 * 4 / 1000
    text = f"This slice: added {voxel:.2f} mL, removed {removed * voxel:.2f} mL."
    bench.qtbot.waitUntil(lambda: bench.controls.numbers.text() == text)
    bench.viewer.dims.set_current_step(0, 0)
    bench.qtbot.waitUntil(lambda: bench.controls.numbers.text() == "This slice: as the model left it.")


def test_a_slice_is_given_back_to_the_model_and_that_can_be_undone(bench):
    assert not bench.controls.give_back.enabled
    paint(bench.lungs, RIGHT, 0)
    paint(bench.lungs, (0, *RIGHT[1:]), 0)
    theirs = bench.lungs.data.copy()
    bench.qtbot.waitUntil(lambda: bench.controls.give_back.enabled)
    bench.qtbot.mouseClick(bench.controls.give_back.native, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(bench.lungs.data[MIDDLE], MASK[MIDDLE])
    np.testing.assert_array_equal(bench.lungs.data[0], theirs[0])
    bench.qtbot.waitUntil(lambda: not bench.controls.give_back.enabled)
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, theirs)


def test_a_coronal_slice_is_given_back_by_itself(bench):
    bench.viewer.dims.order = (1, 0, 2)
    bench.viewer.dims.set_current_step(1, 34)
    paint(bench.lungs, (MIDDLE, 34, 30), 0)
    bench.viewer.dims.set_current_step(1, 20)
    paint(bench.lungs, (MIDDLE, 20, 30), 0)
    bench.qtbot.waitUntil(lambda: bench.controls.give_back.enabled)
    bench.qtbot.mouseClick(bench.controls.give_back.native, Qt.MouseButton.LeftButton)
    assert bench.lungs.data[MIDDLE, 20, 30] == MASK[MIDDLE, 20, 30]
    assert bench.lungs.data[MIDDLE, 34, 30] == 0


def test_labels_outside_of_memory_are_refused_with_a_sentence(bench):
    dask = pytest.importorskip("dask.array")
    bench.viewer.add_labels(dask.zeros((2, 4, 4), dtype=np.uint8), name="lazy")
    assert "'lazy' lie outside of memory" in bench.status
    assert not bench.controls.tools.apply.enabled


def test_a_closed_module_leaves_the_viewer_in_order(bench, messages):
    bench.controls.show_changes.value = True
    bench.controls.inside.value = 1
    bench.viewer.window.remove_dock_widget(bench.widget)
    with bench.qtbot.waitSignal(bench.widget.destroyed):
        bench.widget.deleteLater()
    assert "ct changes" not in bench.viewer.layers
    paint(bench.lungs, BETWEEN, 2)  # nothing limits it any more
    assert bench.lungs.data[BETWEEN] == 2
    bench.viewer.dims.set_current_step(0, 0)
    bench.viewer.layers.remove("ct")
    settle(bench.qtbot)
    assert not messages

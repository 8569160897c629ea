"""Every tool of the Correct module through its button: what it changes, that one undo takes it back, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt, QTimer
from waiting import SOON, settle

from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.correct.tool_form import HEADING
from napari_lungseg.widgets.lookup import result_holding

CT, LUNGS = chest()
MIDDLE = 4
#: Right lung 1, left lung 2, as the phantom's columns run from right to left.
MASK = np.where(LUNGS, np.where(np.arange(LUNGS.shape[2]) < 48, 1, 2), 0).astype(np.uint8)
#: Inside the right lung on the middle slice, and in an island of the same label far from it.
INSIDE, ISLAND = (MIDDLE, 34, 30), (MIDDLE, 3, 3)
LONG = Volume(np.resize(CT.array, (150, *CT.shape[1:])), CT.affine, "HU")
LONG_MASK = np.resize(MASK, LONG.shape)


def with_island() -> np.ndarray:
    labels = MASK.copy()
    labels[MIDDLE - 1 : MIDDLE + 2, 2:5, 2:5] = 1
    return labels


def with_hole() -> np.ndarray:
    labels = MASK.copy()
    labels[INSIDE] = 0
    return labels


def with_gap() -> np.ndarray:
    labels = MASK.copy()
    labels[2:7] = 0
    return labels


def seeds() -> np.ndarray:
    labels = np.zeros_like(MASK)
    labels[MIDDLE - 1 : MIDDLE + 2, 30:40, 28:34] = 1
    labels[MIDDLE - 1 : MIDDLE + 2, 30:40, 64:67] = 2
    labels[MIDDLE - 1 : MIDDLE + 2, 34:44, 47:50] = 3
    return labels


@pytest.fixture
def bench(open_bench):
    def call(labels=None):
        bench = open_bench(CT, (MASK if labels is None else labels).copy())
        bench.viewer.dims.set_current_step(0, MIDDLE)
        return bench

    return call


#: Tool, its parameters, the mask to begin with, and whether the result is right in a part of the volume.
CASES = [
    ("fill_between", {}, with_gap, lambda now, before: (now[2:7] == 1).any(axis=(1, 2)).all() and (now[INSIDE] == 1)),
    ("fill_between_by_image", {}, with_gap, lambda now, before: ((now[2:7] == 1) == (MASK[2:7] == 1)).mean() > 0.99),
    ("copy_previous", {}, MASK.copy, lambda now, before: np.array_equal(now[MIDDLE] == 1, MASK[MIDDLE - 1] == 1)),
    ("copy_next", {"all_labels": True}, MASK.copy, lambda now, before: np.array_equal(now[MIDDLE], MASK[MIDDLE + 1])),
    ("keep_largest", {"count": 1}, with_island, lambda now, before: now[ISLAND] == 0 and now[INSIDE] == 1),
    ("remove_small", {"smallest_ml": 5.0}, with_island, lambda now, before: now[ISLAND] == 0 and now[INSIDE] == 1),
    ("split_islands", {}, with_island, lambda now, before: now[ISLAND] == 3 and now[INSIDE] == 1),
    ("fill_holes", {}, with_hole, lambda now, before: now[INSIDE] == 1),
    ("smooth", {"method": "opening", "mm": 8.0}, with_island, lambda now, before: now[ISLAND] == 0 and now[INSIDE] == 1),
    ("smooth_joint", {"mm": 8.0}, with_island, lambda now, before: now[ISLAND] == 0 and now[INSIDE] == 1),
    ("grow", {"mm": 4.0}, MASK.copy, lambda now, before: (now == 1).sum() > (before == 1).sum() and ((now == 2) == (before == 2)).all()),
    ("shrink", {"mm": 4.0}, MASK.copy, lambda now, before: (now == 1).sum() < (before == 1).sum() and now[INSIDE] == 1),
    ("grow_from_seeds", {"around": 3}, seeds, lambda now, before: (now == MASK)[MIDDLE, 30:44, 28:67].mean() > 0.97),
    ("split_left_right", {}, lambda: LUNGS.astype(np.uint8), lambda now, before: np.array_equal(now, MASK)),
]


@pytest.mark.parametrize(("tool", "values", "begin", "right"), CASES, ids=[case[0] for case in CASES])
def test_each_tool_changes_what_it_should_and_one_undo_takes_it_back(bench, tool, values, begin, right):
    before = begin()
    bench = bench(before)
    for scope in TOOLS[tool].scopes:
        assert bench.apply(tool, scope, **values) == ""
        now = bench.lungs.data.copy()
        assert right(now, before)
        if scope == "slice":
            elsewhere = np.arange(len(now)) != MIDDLE
            np.testing.assert_array_equal(now[elsewhere], before[elsewhere])
        assert "voxels changed" in bench.status
        bench.lungs.undo()
        np.testing.assert_array_equal(bench.lungs.data, before)
        bench.lungs.redo()
        np.testing.assert_array_equal(bench.lungs.data, now)
        bench.lungs.undo()


def test_every_tool_can_be_chosen_and_the_headings_cannot(bench):
    form = bench().controls.tools
    assert [choice for choice in form.tool.choices if not choice.startswith(HEADING)] == list(TOOLS)
    items = form.tool.native.model()
    for row, choice in enumerate(form.tool.choices):
        assert items.item(row).isEnabled() != choice.startswith(HEADING)


def test_tools_work_on_the_label_that_is_chosen(bench):
    bench = bench()
    bench.controls.label.value = 2
    bench.apply("shrink", "volume", mm=4.0)
    np.testing.assert_array_equal(bench.lungs.data == 1, MASK == 1)
    assert 0 < np.count_nonzero(bench.lungs.data == 2) < (MASK == 2).sum()


def test_a_new_label_of_a_tool_can_be_chosen_afterwards(bench):
    bench = bench(with_island())
    bench.apply("split_islands", "volume")
    bench.viewer.dims.set_current_step(0, 0)
    bench.qtbot.waitUntil(lambda: 3 in bench.controls.label.choices)


# ---- a click tells which island


def test_a_click_tells_which_island(open_bench):
    bench = open_bench(CT, with_island(), show=True)
    bench.viewer.dims.set_current_step(0, MIDDLE)
    bench.controls.label.value = 2
    bench.lungs.mode = "paint"
    for tool, island, inside in (("keep_island", 1, 0), ("remove_island", 0, 1), ("relabel_island", 2, 1)):
        for scope, reached in (("slice", False), ("volume", True)):
            bench.choose(tool, scope)
            bench.press()
            assert "Click" in bench.status
            assert bench.controls.tools.apply.text == "Cancel"
            with bench.qtbot.waitSignal(bench.widget.idle):
                bench.drag(ISLAND)
            assert (bench.lungs.data[ISLAND], bench.lungs.data[INSIDE]) == (island, inside)
            other = (bench.lungs.data[MIDDLE + 1, 3, 3], bench.lungs.data[MIDDLE + 1, 34, 30])
            assert other == ((island, inside) if reached else (1, 1))
            # The brush is in hand again, and one undo takes back all.
            assert bench.lungs.mode == "paint"
            assert bench.controls.tools.apply.text == "Apply"
            bench.lungs.undo()
            np.testing.assert_array_equal(bench.lungs.data, with_island())


def test_a_click_beside_the_labels_is_refused(open_bench, messages):
    bench = open_bench(CT, with_island(), show=True)
    bench.viewer.dims.set_current_step(0, MIDDLE)
    bench.choose("remove_island")
    bench.press()
    with bench.qtbot.waitSignal(bench.widget.idle):
        bench.drag((MIDDLE, 60, 48))
    assert "no label under the cursor" in bench.status
    assert messages == [bench.status]
    np.testing.assert_array_equal(bench.lungs.data, with_island())


def test_moving_the_image_is_no_click(open_bench):
    bench = open_bench(CT, with_island(), show=True)
    bench.choose("remove_island")
    bench.press()
    bench.drag(INSIDE, (MIDDLE, 44, 40), (MIDDLE, 54, 50))
    np.testing.assert_array_equal(bench.lungs.data, with_island())
    assert bench.controls.tools.apply.text == "Cancel"


def test_escape_the_button_another_tool_and_another_mode_end_the_waiting(open_bench):
    bench = open_bench(CT, with_island(), show=True)
    bench.viewer.dims.set_current_step(0, MIDDLE)
    canvas = bench.viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    for end in (
        lambda: bench.qtbot.keyClick(canvas, Qt.Key.Key_Escape),
        bench.press,
        lambda: bench.choose("fill_holes"),
        lambda: setattr(bench.lungs, "mode", "pick"),
    ):
        bench.lungs.mode = "pan_zoom"
        bench.choose("remove_island")
        bench.press()
        assert bench.controls.tools.apply.text == "Cancel"
        end()
        assert bench.controls.tools.apply.text == "Apply"
        assert not bench.status
        bench.lungs.mode = "pan_zoom"
        bench.drag(ISLAND)
    np.testing.assert_array_equal(bench.lungs.data, with_island())


# ---- other layers


def test_labels_of_two_layers_are_combined(bench):
    labels, second = np.zeros_like(MASK), np.zeros_like(MASK)
    labels[MIDDLE, 10:20, 10:12] = 1
    second[MIDDLE, 10:20, 11:13] = 1
    bench = bench(labels)
    other = bench.viewer.add_labels(second, name="other", scale=bench.lungs.scale, translate=bench.lungs.translate, units=bench.lungs.units)
    bench.viewer.layers.selection.active = bench.lungs
    bench.choose("combine")
    assert bench.controls.tools.parameters()["other"].choices == (other,)
    for how, count in (("union", 30), ("intersection", 10), ("difference", 10), ("xor", 20)):
        for scope in ("slice", "volume"):
            assert bench.apply("combine", scope, how=how) == ""
            assert np.count_nonzero(bench.lungs.data) == count
            bench.lungs.undo()
            np.testing.assert_array_equal(bench.lungs.data, labels)


@pytest.mark.parametrize("moved", [{"translate": (0.0, 0.0, 4.0)}, {"scale": (5.0, 4.0, 4.0)}, {}])
def test_layers_on_other_voxels_are_not_combined(bench, messages, moved):
    bench = bench()
    geometry = {"scale": bench.lungs.scale, "translate": bench.lungs.translate, "units": bench.lungs.units} | moved
    other = bench.viewer.add_labels(MASK if moved else MASK[1:], name="elsewhere", **geometry)
    bench.viewer.layers.selection.active = bench.lungs
    assert "'elsewhere' does not lie on the same voxels" in bench.apply("combine", "volume", other=other)
    assert len(messages) == 1
    np.testing.assert_array_equal(bench.lungs.data, MASK)


@pytest.mark.parametrize("scope", ["slice", "volume"])
def test_labels_are_cropped_to_a_drawn_rectangle(bench, scope):
    bench = bench()
    corners = [bench.lungs.data_to_world((MIDDLE, *corner)) for corner in ((19.6, 9.6), (19.6, 30.4), (40.4, 30.4), (40.4, 9.6))]
    shapes = bench.viewer.add_shapes([np.array(corners)], shape_type="rectangle", name="box", units=bench.lungs.units)
    bench.viewer.layers.selection.active = bench.lungs
    assert bench.apply("crop", scope, shapes=shapes) == ""
    expected = MASK.copy()
    part = expected[MIDDLE] if scope == "slice" else expected
    kept = part[..., 20:41, 10:31].copy()
    part[...] = 0
    part[..., 20:41, 10:31] = kept
    np.testing.assert_array_equal(bench.lungs.data, expected)


# ---- views, time, two dimensions


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_a_slice_is_the_one_that_is_shown_however_it_is_cut(bench, order):
    bench = bench()
    axis, index = order[0], (MIDDLE, 34, 30)[order[0]]
    bench.viewer.dims.order = order
    bench.viewer.dims.set_current_step(axis, index)
    assert bench.apply("shrink", "slice", mm=6.0) == ""
    changed = bench.lungs.data != MASK
    assert changed.any()
    assert set(np.nonzero(changed)[axis]) == {index}
    # Copying counts slices the same way.
    bench.viewer.dims.set_current_step(axis, index + 1)
    assert bench.apply("copy_previous") == ""
    np.testing.assert_array_equal(bench.lungs.data.take(index + 1, axis) == 1, bench.lungs.data.take(index, axis) == 1)


def test_between_slices_means_those_that_are_shown(bench):
    labels = MASK.copy()
    labels[:, 30:35] = 0
    bench = bench(labels)
    bench.viewer.dims.order = (1, 0, 2)
    assert bench.apply("fill_between") == ""
    assert (bench.lungs.data[INSIDE[0], 30:35, 30] == 1).all()


def test_a_time_series_is_corrected_at_the_time_that_is_shown(open_bench):
    labels = np.stack([MASK, MASK])
    bench = open_bench(CT, MASK.copy())
    bench.viewer.layers.clear()
    bench.viewer.add_image(np.stack([CT.array] * 2), name="movie", scale=(1, 6, 4, 4))
    lungs = bench.viewer.add_labels(labels.copy(), name="lungs", scale=(1, 6, 4, 4))
    bench.viewer.dims.set_current_step(0, 1)
    bench.viewer.dims.set_current_step(1, MIDDLE)
    for scope in ("slice", "volume"):
        assert bench.apply("shrink", scope, mm=6.0) == ""
        changed = lungs.data != labels
        assert set(np.nonzero(changed)[0]) == {1}
        assert (set(np.nonzero(changed)[1]) == {MIDDLE}) == (scope == "slice")
        lungs.undo()
        np.testing.assert_array_equal(lungs.data, labels)


def test_a_picture_is_corrected_too_but_has_nothing_between_slices(open_bench):
    bench = open_bench(Volume(CT.array[MIDDLE], CT.affine, "HU"), MASK[MIDDLE].copy())
    for scope in ("slice", "volume"):
        assert bench.apply("shrink", scope, mm=6.0) == ""
        assert np.count_nonzero(bench.lungs.data) < np.count_nonzero(MASK[MIDDLE])
        bench.lungs.undo()
    assert "single" in bench.apply("fill_between")
    assert "single" in bench.apply("copy_previous")
    np.testing.assert_array_equal(bench.lungs.data, MASK[MIDDLE])


# ---- refusals


@pytest.mark.parametrize(
    ("tool", "values", "sentence"),
    [
        ("fill_between", {}, "nothing to fill between"),
        ("combine", {}, "no other label layer"),
        ("crop", {}, "no rectangle"),
        ("grow", {"mm": 0.5}, "do not reach the next voxel"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(bench, messages, tool, values, sentence):
    bench = bench()
    assert sentence in bench.apply(tool, **values)
    assert sentence in bench.status
    assert messages == [bench.status]
    np.testing.assert_array_equal(bench.lungs.data, MASK)
    assert bench.widget._result.corrections.steps == 0


def test_an_empty_label_is_refused(bench):
    bench = bench()
    bench.lungs.selected_label = 9
    assert "Label 9 is empty" in bench.apply("fill_holes", "volume")


def test_the_background_is_no_label_to_work_on(bench):
    bench = bench()
    bench.lungs.selected_label = 0
    assert "background" in bench.apply("grow", "volume", mm=6.0)


def test_there_is_no_slice_before_the_first(bench):
    bench = bench()
    bench.viewer.dims.set_current_step(0, 0)
    assert "before the first" in bench.apply("copy_previous")


def test_in_3d_it_is_not_clear_which_slice_is_meant(bench):
    bench = bench()
    bench.viewer.dims.ndisplay = 3
    assert "3-D" in bench.apply("fill_holes", "slice")
    assert "3-D" in bench.apply("remove_island", "volume")
    assert bench.apply("shrink", "volume", mm=6.0) == ""


def test_seeds_without_an_image_are_refused(bench):
    bench = bench(seeds())
    bench.viewer.layers.remove("ct")
    alone = bench.viewer.add_labels(seeds(), name="alone")
    assert bench.controls.mask.value == alone
    assert "No image lies on" in bench.apply("grow_from_seeds", "volume")


# ---- in the background


def test_a_tool_on_a_volume_can_be_cancelled(open_bench):
    bench = open_bench(LONG, LONG_MASK.copy())
    bench.choose("smooth", "volume", method="median", mm=20.0)
    with bench.qtbot.waitSignal(bench.widget.idle) as end:
        bench.press()
        assert bench.controls.tools.apply.text == "Cancel"
        assert not bench.controls.tools.tool.enabled
        bench.press()
    assert end.args[0] == bench.status == "Cancelled."
    assert bench.controls.tools.apply.text == "Apply"
    settle(bench.qtbot)
    np.testing.assert_array_equal(bench.lungs.data, LONG_MASK)


def test_strokes_made_while_a_tool_works_stay(open_bench):
    bench = open_bench(LONG, LONG_MASK.copy())
    place = (100, 34, 30)
    bench.choose("shrink", "volume", mm=6.0)
    with bench.qtbot.waitSignal(bench.widget.idle, timeout=SOON):
        bench.press()
        bench.lungs.brush_size = 60
        bench.lungs.paint(place, 2)
    under = bench.lungs.data[100, 20:48, 20:40]
    assert (under == 2).all()
    assert np.count_nonzero(bench.lungs.data[99] == 1) < np.count_nonzero(LONG_MASK[99] == 1)


def test_a_mask_that_is_removed_ends_its_tool_quietly(open_bench, messages):
    bench = open_bench(LONG, LONG_MASK.copy())
    bench.choose("smooth", "volume", method="median", mm=12.0)
    bench.press()
    with bench.qtbot.waitSignal(bench.widget.idle):
        bench.viewer.layers.remove(bench.lungs)
    settle(bench.qtbot)
    assert not messages
    assert bench.controls.tools.apply.text == "Apply"


def test_a_tool_undone_while_it_is_written_is_over(open_bench):
    bench = open_bench(LONG, LONG_MASK.copy())
    undone = []

    def undo_soon(*_):
        if not undone:
            undone.append(True)
            QTimer.singleShot(0, bench.lungs.undo)

    bench.widget._result.changed.connect(undo_soon)
    bench.apply("shrink", "volume", mm=6.0)
    bench.qtbot.waitUntil(lambda: bench.status == "Undone: Shrink.")
    assert bench.controls.tools.apply.text == "Apply"
    settle(bench.qtbot)  # nothing comes after
    np.testing.assert_array_equal(bench.lungs.data, LONG_MASK)


def test_a_tool_whose_writing_fails_is_told_as_failed_and_undone(bench, messages):
    bench = bench(with_island())
    before = bench.lungs.data.copy()
    written = []

    def fail(box, cause):
        written.append(box)
        if len(written) == 2:
            raise OSError("the disk is gone")

    result = result_holding(bench.viewer, bench.lungs)
    result.changed.connect(fail)
    assert "failed" in bench.apply("shrink", "volume", mm=4.0)
    assert "changed" not in bench.status
    assert any("failed" in message and "Undo" in message for message in messages)
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, before)

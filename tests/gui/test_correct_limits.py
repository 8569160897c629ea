"""The editable range: while it is on, neither brush nor tool changes a voxel outside of it."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import QPoint, Qt

from napari_lungseg.volume import Volume
from napari_lungseg.widgets.correct.controls import AS_SHOWN, OWN

CT, LUNGS = chest()
MIDDLE = 4
MASK = np.where(LUNGS, np.where(np.arange(LUNGS.shape[2]) < 48, 1, 2), 0).astype(np.uint8)
EMPTY = np.zeros_like(MASK)
#: What has the intensity of lung; the air around the body is below.
IN_RANGE = (CT.array >= -950) & (CT.array <= -300)
#: A way over the right lung and the tissue beside it.
WAY = ((MIDDLE, 34, 20), (MIDDLE, 34, 30), (MIDDLE, 34, 40), (MIDDLE, 34, 50))


@pytest.fixture
def bench(open_bench):
    def call(labels, **viewer_settings):
        bench = open_bench(CT, labels.copy(), **viewer_settings)
        bench.viewer.dims.set_current_step(0, MIDDLE)
        bench.lungs.selected_label = 1
        return bench

    return call


def limit(bench, low=-950.0, high=-300.0):
    bench.controls.low.value, bench.controls.high.value = low, high
    bench.controls.limited.value = True


def stroke(bench):
    bench.lungs.mode = "paint"
    bench.controls.diameter.value = 60.0
    bench.drag(*WAY)


def test_a_stroke_of_the_mouse_changes_only_what_is_in_range(bench):
    bench = bench(EMPTY, show=True)
    stroke(bench)
    everywhere = bench.lungs.data.copy()
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, EMPTY)
    limit(bench)
    stroke(bench)
    assert np.count_nonzero(everywhere[~IN_RANGE]) > 20
    np.testing.assert_array_equal(bench.lungs.data, np.where(IN_RANGE, everywhere, 0))
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, EMPTY)


@pytest.mark.parametrize("limited_first", [True, False])
def test_what_is_out_of_range_is_never_seen_while_the_mouse_is_dragged(bench, limited_first):
    bench = bench(EMPTY, show=True)
    if limited_first:
        limit(bench)
    bench.lungs.mode = "paint"
    limit(bench)
    bench.controls.diameter.value = 60.0
    canvas = bench.viewer.window._qt_viewer.canvas.native
    bench.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=bench.spot(WAY[0]))
    for place in WAY[1:]:
        bench.qtbot.mouseMove(canvas, bench.spot(place))
        assert bench.lungs.data.any()
        assert not bench.lungs.data[~IN_RANGE].any()
    bench.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=bench.spot(WAY[-1]))
    assert not bench.lungs.data[~IN_RANGE].any()


def test_a_sphere_stays_in_range_on_the_other_slices_too(bench):
    bench = bench(EMPTY, show=True)
    bench.controls.sphere.value = True
    limit(bench)
    stroke(bench)
    assert bench.lungs.data[MIDDLE + 2].any()
    assert not bench.lungs.data[~IN_RANGE].any()


@pytest.mark.parametrize("mode", ["erase", "fill"])
def test_erasing_and_filling_stay_in_range(bench, mode):
    bench = bench(MASK, show=True)
    limit(bench, high=-850.0)  # half of the lung, which is noisy
    allowed = (CT.array >= -950) & (CT.array <= -850)
    bench.lungs.selected_label = 5
    bench.lungs.mode = mode
    bench.controls.diameter.value = 60.0
    bench.drag(WAY[1], WAY[2])
    changed = bench.lungs.data != MASK
    assert changed.any()
    assert not changed[~allowed].any()


def test_a_polygon_stays_in_range(bench):
    bench = bench(EMPTY, show=True)
    limit(bench)
    bench.lungs.mode = "polygon"
    canvas = bench.viewer.window._qt_viewer.canvas.native
    corners = [bench.spot((MIDDLE, *corner)) for corner in ((10, 10), (10, 60), (60, 60), (60, 10))]
    for corner in corners:
        bench.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=corner)
        bench.qtbot.mouseMove(canvas, corner + QPoint(1, 1))
    bench.qtbot.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=corners[-1])
    assert np.count_nonzero(bench.lungs.data) > 200
    assert not bench.lungs.data[~IN_RANGE].any()
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, EMPTY)


@pytest.mark.parametrize("inside", [0, 1, 2])
def test_painting_inside_a_label_leaves_all_others(bench, inside):
    bench = bench(MASK)
    bench.controls.inside.value = inside
    bench.lungs.brush_size = 90
    bench.lungs.paint((MIDDLE, 34, 48), 7)
    changed = bench.lungs.data != MASK
    assert changed.any()
    assert (MASK[changed] == inside).all()
    # Nor does another stroke, though the label is another one by now.
    bench.lungs.paint((MIDDLE, 34, 48), 8)
    np.testing.assert_array_equal(bench.lungs.data != MASK, changed)


@pytest.mark.parametrize("scope", ["slice", "volume"])
def test_tools_stay_in_range_and_inside_the_label(bench, scope):
    bench = bench(MASK)
    limit(bench, 0.0, 100.0)
    bench.controls.inside.value = 0
    bench.apply("grow", scope, mm=12.0)
    changed = bench.lungs.data != MASK
    assert changed.any()
    assert ((CT.array >= 0) & (CT.array <= 100) & (MASK == 0))[changed].all()
    bench.lungs.undo()
    limit(bench, 2000.0, 3000.0)
    bench.apply("grow", scope, mm=12.0)
    assert bench.status == "Grow: nothing to change."
    np.testing.assert_array_equal(bench.lungs.data, MASK)


def test_undo_and_edits_from_elsewhere_are_not_limited(bench):
    bench = bench(MASK)
    bench.lungs.data[MIDDLE, 5, 5] = 3  # from the console
    bench.lungs.brush_size = 5
    bench.lungs.paint((MIDDLE, 60, 48), 2)
    limit(bench)
    bench.lungs.undo()
    bench.lungs.undo()
    np.testing.assert_array_equal(bench.lungs.data, MASK)
    bench.lungs.data[MIDDLE, 5, 5] = 3
    bench.widget._result.sync()
    assert bench.lungs.data[MIDDLE, 5, 5] == 3


def test_the_limit_ends_with_the_box_and_with_the_mask(bench):
    bench = bench(EMPTY)
    limit(bench)
    bench.controls.limited.value = False
    bench.lungs.brush_size = 5
    bench.lungs.paint((MIDDLE, 60, 48), 2)
    assert bench.lungs.data[MIDDLE, 60, 48] == 2
    limit(bench)
    first = bench.lungs
    second = bench.viewer.add_labels(EMPTY.copy(), name="second", scale=first.scale, translate=first.translate)
    assert bench.controls.mask.value == second
    first.paint((MIDDLE, 62, 48), 3)
    assert first.data[MIDDLE, 62, 48] == 3


def test_presets_set_and_switch_on_the_range(bench):
    bench = bench(EMPTY)
    controls = bench.controls
    controls.preset.value = "soft tissue"
    assert (controls.low.value, controls.high.value, controls.limited.value) == (-200.0, 200.0, True)
    bench.lungs.brush_size = 5
    bench.lungs.paint((MIDDLE, 34, 30), 2)  # lung
    assert not bench.lungs.data.any()
    controls.low.value = -900.0
    assert controls.preset.value == OWN
    bench.lungs.paint((MIDDLE, 34, 30), 2)
    assert bench.lungs.data.any()


def test_a_range_without_any_intensity_is_said_and_the_one_before_holds_on(bench):
    bench = bench(EMPTY)
    limit(bench, 0.0, 100.0)
    bench.controls.high.value = -50.0
    assert "No intensity lies between" in bench.status
    bench.lungs.brush_size = 5
    bench.lungs.paint((MIDDLE, 34, 30), 2)  # lung
    assert not bench.lungs.data.any()


def test_an_image_without_hu_offers_its_own_range(open_bench):
    bench = open_bench(Volume((CT.array / 1000.0 + 1.0).astype(np.float32), CT.affine, "arbitrary"), EMPTY.copy())
    assert bench.controls.preset.choices == (AS_SHOWN, OWN)
    low, high = bench.viewer.layers["ct"].contrast_limits
    assert (bench.controls.low.value, bench.controls.high.value) == pytest.approx((low, high), abs=1e-3)


def test_labels_without_an_image_have_no_range_of_intensities(bench):
    bench = bench(EMPTY)
    bench.viewer.add_labels(np.zeros((2, 4, 4), np.uint8), name="alone")
    assert not bench.controls.limited.enabled
    bench.controls.inside.value = 0
    bench.viewer.layers["alone"].paint((0, 1, 1), 1)
    assert bench.viewer.layers["alone"].data.any()

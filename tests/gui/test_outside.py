"""Where another image reaches farther than a mask, nothing of the mask can be changed or accepted unseen."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel
from waiting import settle, turn

from napari_lungseg.widgets.views.viewing import View

CT, LUNGS = chest()
#: Slices of the larger image before the first of the mask, and behind its last.
BEYOND = 4
MESSAGE = "The place that is shown lies outside '{}'; move to one of its slices."
#: Two places in the midst of the image, in voxels.
WAY = (30, 30), (40, 60)


def add_larger(viewer, image) -> None:
    """An image that begins before and ends behind another."""
    count = len(image.data) + 2 * BEYOND
    first = image.data_to_world((-BEYOND, 0, 0))
    viewer.add_image(
        np.zeros((count, *image.data.shape[1:]), np.int16), name="larger", scale=image.scale, translate=first, units=image.units
    )


@pytest.fixture(params=[-3, len(CT.array) + 2])
def outside(request):
    """A slice that the mask has not."""
    return request.param


def go(viewer, layer, index: int) -> None:
    viewer.dims.set_point(0, layer.data_to_world((index, 0, 0))[0])


@pytest.fixture
def bench(open_bench, outside):
    bench = open_bench(CT, LUNGS.astype(np.uint8), show=True)
    add_larger(bench.viewer, bench.viewer.layers["ct"])
    bench.viewer.layers.selection.active = bench.lungs
    bench.lungs.brush_size, bench.lungs.selected_label = 9, 2
    go(bench.viewer, bench.lungs, outside)
    return bench


@pytest.mark.parametrize("mode", ["paint", "erase", "fill"])
def test_a_stroke_changes_nothing_and_says_so_once(bench, outside, messages, mode):
    before = bench.lungs.data.copy()
    bench.lungs.mode = mode
    bench.drag(*((outside, *place) for place in WAY))
    np.testing.assert_array_equal(bench.lungs.data, before)
    assert messages == [MESSAGE.format("lungs")]
    go(bench.viewer, bench.lungs, 4)
    bench.drag(*((4, *place) for place in WAY))
    changed = np.nonzero(bench.lungs.data != before)
    assert set(changed[0]) == {4}


def test_a_polygon_changes_nothing(bench, outside, messages):
    before = bench.lungs.data.copy()
    bench.lungs.mode = "polygon"
    corners = [(outside, 20, 20), (outside, 20, 60), (outside, 50, 40)]
    for corner in corners:
        bench.drag(corner)
    polygon = bench.lungs._overlays["polygon"]
    assert len(polygon.points) >= len(corners)
    polygon.add_polygon_to_labels(bench.lungs)
    np.testing.assert_array_equal(bench.lungs.data, before)
    assert messages == [MESSAGE.format("lungs")]


def test_a_stroke_for_a_region_proposes_nothing(bench, outside):
    bench.qtbot.mouseClick(bench.controls.region, Qt.MouseButton.LeftButton)
    turn(bench.qtbot)
    layers = list(bench.viewer.layers)
    bench.drag(*((outside, *place) for place in WAY))
    settle(bench.qtbot)
    assert MESSAGE.format("lungs") in [label.text() for label in bench.controls.strokes.findChildren(QLabel)]
    assert list(bench.viewer.layers) == layers


def test_a_stroke_on_the_copy_in_another_view_changes_nothing(room, messages):
    mask = room.add(CT, CT.with_array(np.zeros(CT.shape, np.uint8)))
    add_larger(room.viewer, room.viewer.layers["ct"])
    room.correct(mask)
    room.press(View.FOUR_UP)
    copy = room.four_up.coronal.layers["lungs"]
    copy.mode = "paint"
    # As napari does with the mouse.
    copy._draw(1, (4, -3, 30), (4, -3, 30))
    assert not mask.data.any()
    assert messages == [MESSAGE.format("lungs")]


@pytest.mark.parametrize(("tool", "scope"), [("smooth", "slice"), ("copy_previous", None), ("copy_next", None)])
def test_a_tool_for_what_is_shown_changes_nothing(bench, tool, scope):
    before = bench.lungs.data.copy()
    assert bench.apply(tool, scope) == MESSAGE.format("lungs")
    np.testing.assert_array_equal(bench.lungs.data, before)


def test_no_slice_is_accepted(desk, outside):
    assert desk.segment() == ""
    review = desk.dock.open("Review")
    desk.wait(lambda: review.reviewing is not None)
    lungs = desk.lungs
    add_larger(desk.viewer, desk.image)
    desk.viewer.layers.selection.active = lungs
    go(desk.viewer, lungs, outside)
    assert review.progress.text() == MESSAGE.format("ct")
    for button in (review.accept, review.flag, review.reject):
        desk.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    # Keys come without buttons.
    review.accept_slice()
    review.flag_slice()
    review.reject_slice()
    assert not review.reviewing.states or set(review.reviewing.states.values()).isdisjoint({"reviewed", "flagged", "rejected"})
    go(desk.viewer, lungs, 2)
    desk.qtbot.mouseClick(review.accept, Qt.MouseButton.LeftButton)
    assert review.reviewing.state(2) == "reviewed"

"""A time series: one document for each time point, each with its own threshold, and one undo through all of them."""

from __future__ import annotations

import numpy as np
from phantom import chest

from napari_lungseg.widgets.lookup import result_of

CT = chest(slices=4, rows=36, columns=48)[0]


def test_each_time_point_has_its_own_threshold_and_undo_goes_through_all(open_desk):
    desk = open_desk()
    image = desk.viewer.add_image(np.stack([CT.array, CT.array]), name="ct", scale=(1, 6, 4, 4), units=("s", "mm", "mm", "mm"))
    desk.viewer.layers.selection.active = image
    for time in (0, 1):
        desk.viewer.dims.set_current_step(0, time)
        assert desk.segment() == ""
    desk.probability.data[1, :, 2:6, 2:6] = 70
    desk.switch("keep_lungs", False)
    first, second = desk.lungs.data.copy()
    desk.set_threshold(90)
    np.testing.assert_array_equal(desk.lungs.data[0], first)
    assert (desk.lungs.data[1] != second).any()
    documents = result_of(image).documents
    assert [documents[time,].source.settings["threshold"] for time in (0, 1)] == [0.5, 0.9]
    desk.viewer.dims.set_current_step(0, 0)
    assert desk.controls.threshold.value == 50
    desk.lungs.undo()
    np.testing.assert_array_equal(desk.lungs.data[1], second)
    desk.viewer.dims.set_current_step(0, 1)
    assert desk.controls.threshold.value == 50


def test_labels_replaced_at_several_time_points_are_one_step(open_desk):
    desk = open_desk()
    desk.viewer.add_image(np.stack([CT.array, CT.array]), name="ct", scale=(1, 6, 4, 4), units=("s", "mm", "mm", "mm"))
    lungs = desk.viewer.add_labels(np.zeros((2, *CT.shape), np.uint8), name="mask")
    desk.viewer.layers.selection.active = lungs
    assert desk.correct.controls.mask.value == lungs
    lungs.data = np.ones_like(lungs.data)
    lungs.undo()
    assert not lungs.data.any()


def test_nothing_of_ours_in_the_metadata_of_layers_is_more_than_a_value(desk):
    assert desk.segment() == ""
    for layer in desk.viewer.layers:
        for value in layer.metadata.values():
            assert isinstance(value, str | bool | float | list | dict | None)


def test_where_the_canvas_shows_time_no_plane_is_named(open_desk, messages):
    desk = open_desk()
    place = {"scale": (1, 6, 4, 4), "units": ("s", "mm", "mm", "mm")}
    desk.viewer.add_image(np.stack([CT.array, CT.array]), name="ct", **place)
    lungs = desk.viewer.add_labels(np.zeros((2, *CT.shape), np.uint8), name="mask", **place)
    desk.viewer.layers.selection.active = lungs
    row = desk.dock.views
    for order in ((1, 2, 3, 0), (3, 0, 1, 2), (1, 0, 2, 3)):
        desk.viewer.dims.order = order
        assert sum(button.isChecked() for button in row.buttons.values()) == (0 not in order[-2:])
    assert messages == []

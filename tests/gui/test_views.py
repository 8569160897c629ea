"""Planes that are upright, letters that are true, and surfaces in 3-D."""

from __future__ import annotations

import numpy as np
import pytest
from geometry import grids
from napari.layers import Surface
from qtpy.QtCore import Qt
from viewing_room import CT, LETTERS, LUNGS, PLANES, SIDES, bright, edges, letters
from waiting import SOON

from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.views.viewing import NO_MASK, View

# ---- planes


@pytest.mark.parametrize("number", [0, 5, 23, 41, 48, 70, 90])
def test_what_is_seen_is_where_the_letters_say(room, number):
    """A corner of the patient, to the right, front and head, is drawn near those letters, however the file is turned."""
    affine = list(grids())[number]
    shape = np.array((24, 40, 32))
    affine[:3, :3] *= 8
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    lps = indices @ affine[:3, :3].T
    towards = (lps - lps.mean(axis=(0, 1, 2))) / np.ptp(lps.reshape(-1, 3), axis=0)
    mask = (towards[..., 0] < -0.1) & (towards[..., 1] < -0.1) & (towards[..., 2] > 0.1)
    image = room.add(Volume(np.full(shape, 100, np.int16), affine))
    image.contrast_limits = (0, 1000)
    data, keywords = volume_to_layer(Volume(mask.astype(np.uint8), affine))
    labels = room.viewer.add_labels(data, name="corner", **keywords)
    labels.colormap = {1: "red", None: "red"}
    labels.opacity = 1.0
    middle = labels.data_to_world(np.argwhere(labels.data).mean(axis=0))
    room.viewer.dims.point = middle
    for view in PLANES:
        room.press(view)
        assert "".join(letter[0] for letter in edges(room.viewer)) == LETTERS[view]
        row, column = bright(room.canvas)
        assert row < -5
        assert column < -5
        assert room.pressed() == [view]


def test_naparis_own_buttons_keep_the_patient_upright(room):
    room.add(CT)
    seen = {(1, 2): "RLAP", (2, 0): "ISRL", (0, 1): "APSI"}
    for _ in PLANES:
        room.viewer.dims.roll()
        assert letters(room.viewer) == seen[room.viewer.dims.displayed]
    room.press(View.CORONAL)
    room.viewer.dims.order = (0, 1, 2)
    assert letters(room.viewer) == "RLAP"
    assert room.pressed() == [View.AXIAL]
    room.viewer.dims.transpose()
    assert letters(room.viewer) == "APRL"


def test_only_files_that_tell_how_the_patient_lies_have_letters(room, tmp_path):
    for ending, told in ((".tif", None), (".nii.gz", "RLAP")):
        write(CT, tmp_path / f"ct{ending}")
        room.add(read(tmp_path / f"ct{ending}"))
        assert letters(room.viewer) == told
        room.viewer.layers.clear()
    room.viewer.add_image(np.zeros((4, 5, 6)))
    assert letters(room.viewer) is None


def test_a_picture_has_one_view_only(room):
    room.viewer.add_image(np.zeros((8, 9)))
    enabled = [view for view, button in room.dock.views.buttons.items() if button.isEnabled()]
    assert enabled == [View.AXIAL]
    room.add(CT)
    assert all(button.isEnabled() for button in room.dock.views.buttons.values())


# ---- surfaces


def test_surfaces_are_seen_from_the_front_and_the_slices_come_back_as_they_were(room):
    mask = room.add(CT, CT.with_array(SIDES))
    mask.visible = True
    room.viewer.layers["ct"].visible = False
    room.viewer.dims.set_current_step(0, 3)
    before = room.viewer.dims.point, room.viewer.dims.range
    room.press(View.SURFACES)
    assert [layer.visible for layer in room.viewer.layers] == [False, False, True, True]
    assert letters(room.viewer) == "RLSI"
    room.press(View.CORONAL)
    assert [(layer.name, layer.visible) for layer in room.viewer.layers] == [("ct", False), ("lungs", True)]
    np.testing.assert_allclose(room.viewer.dims.point, before[0])
    np.testing.assert_allclose(room.viewer.dims.range, before[1])


def test_the_letters_turn_with_the_camera_as_the_picture_does(room):
    """The front of the lungs is red, the back blue."""
    parts = np.where(np.arange(LUNGS.shape[1])[:, None] < LUNGS.shape[1] // 2, 1, 2).astype(np.uint8) * LUNGS
    mask = room.add(None, CT.with_array(parts))
    mask.colormap = {1: "red", 2: "blue", None: "white"}
    room.press(View.SURFACES)
    camera = room.viewer.scene.camera
    camera.set_view_direction((0.0, 0.0, -1.0), (1.0, 0.0, 0.0))  # from the patient's left
    room.qtbot.waitUntil(lambda: letters(room.viewer) == "APSI" and bright(room.canvas)[1] < -10, timeout=SOON)
    camera.set_view_direction((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    room.qtbot.waitUntil(lambda: letters(room.viewer) == "PASI" and bright(room.canvas)[1] > 10, timeout=SOON)


def test_without_a_mask_there_is_nothing_to_show_in_3d(room, messages):
    room.add(CT)
    room.qtbot.mouseClick(room.dock.views.buttons[View.SURFACES], Qt.MouseButton.LeftButton)
    assert messages == [NO_MASK]
    assert room.pressed() == [View.AXIAL]


def test_surfaces_are_made_anew_only_when_the_mask_has_changed(room):
    mask = room.add(CT, CT.with_array(SIDES))
    room.press(View.SURFACES)
    first = {layer.name: layer.data for layer in room.viewer.layers if isinstance(layer, Surface)}
    room.press(View.AXIAL)
    room.press(View.SURFACES)
    again = {layer.name: layer.data for layer in room.viewer.layers if isinstance(layer, Surface)}
    assert all(again[name][0] is first[name][0] for name in first)
    room.press(View.AXIAL)
    mask.brush_size = 9
    mask.paint((4, 36, 48), 1)
    room.press(View.SURFACES)
    changed = next(layer for layer in room.viewer.layers if layer.name == "lungs surface label 1")
    assert len(changed.data[0]) != len(first["lungs surface label 1"][0])

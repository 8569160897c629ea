"""Four views at once that go together and can all be painted."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from napari.layers import Surface
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication
from viewing_room import CT, LETTERS, SIDES, Room, arrive, bright, coloured, drag, letters, picture, spot
from waiting import SOON, turn

from napari_lungseg.widgets.lookup import result_holding
from napari_lungseg.widgets.views.crosshair import Crosshair
from napari_lungseg.widgets.views.viewing import CHANGED, View


def test_four_views_show_the_same_patient_from_three_sides_and_in_3d(four):
    assert four.pressed() == [View.FOUR_UP]
    for view, (model, canvas) in four.views().items():
        assert letters(model) == LETTERS[view]
        assert canvas.isVisible()
        assert [layer.name for layer in model.layers] == ["ct", "lungs"]
        for layer in model.layers:
            assert np.shares_memory(layer.data, four.viewer.layers[layer.name].data)
        seen = picture(canvas)
        assert seen.std() > 10
    assert letters(four.four_up.solid) == "RLSI"
    assert [type(layer) for layer in four.four_up.solid.layers] == [Surface, Surface]
    right, left = (np.argwhere(coloured(picture(four.four_up._views[2]), four.mask.get_color(label))) for label in (1, 2))
    assert right[:, 1].mean() < left[:, 1].mean()


def test_all_go_where_one_goes_and_with_shift_where_the_mouse_leads(four):
    views = four.views()
    views[View.CORONAL][0].dims.set_current_step(1, 20)
    views[View.SAGITTAL][0].dims.set_current_step(2, 33)
    four.viewer.dims.set_current_step(0, 6)
    for model, _ in views.values():
        np.testing.assert_allclose(model.dims.point, four.mask.data_to_world((6, 20, 33)), atol=1e-6)
    model, canvas = four.views()[View.CORONAL]
    aim = four.mask.data_to_world((6, model.dims.current_step[1], 70))
    for modifier, moved in ((Qt.KeyboardModifier.NoModifier, False), (Qt.KeyboardModifier.ShiftModifier, True)):
        native = canvas.canvas.native

        def move(near: QPoint, modifier=modifier, native=native) -> None:
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(near),
                QPointF(native.mapToGlobal(near)),
                Qt.MouseButton.NoButton,
                Qt.MouseButton.NoButton,
                modifier,
            )
            QApplication.sendEvent(native, event)

        for world in (np.add(aim, (12.0, 0.0, 40.0)), aim):
            arrive(four, model, world, partial(move, spot(model, canvas, world)))
        assert np.allclose(four.viewer.dims.point, aim, atol=2.5) == moved
    np.testing.assert_allclose(four.four_up.sagittal.dims.point, four.viewer.dims.point)


def test_the_crosshair_meets_where_the_voxel_is_drawn(four):
    voxel = (6, 20, 33)
    four.mask.data = np.zeros_like(SIDES)
    four.mask.data[voxel] = 1
    four.mask.colormap = {1: "red", None: "red"}
    four.mask.opacity = 1.0
    four.mask.refresh()
    four.viewer.dims.point = four.mask.data_to_world(voxel)
    turn(four.qtbot)
    for model, canvas in four.views().values():
        model.scene.camera.zoom *= 2.3
        model.scene.camera.center = np.add(model.scene.camera.center, (0.0, 11.0, -7.0))
        turn(four.qtbot)
        lines = canvas.canvas.native.findChild(Crosshair)
        row, column = bright(canvas)
        x, y = lines.centre()
        np.testing.assert_allclose((x - lines.width() / 2, y - lines.height() / 2), (column, row), atol=1.5)


def test_a_stroke_in_any_view_is_one_of_the_masks_own(four):
    """It is seen everywhere, saved, and undone as any other, from any view."""
    four.correct(four.mask)
    four.viewer.dims.point = four.mask.data_to_world((4, 36, 48))
    four.mask.mode, four.mask.selected_label, four.mask.brush_size = "paint", 2, 1
    model, canvas = four.views()[View.CORONAL]
    copy = model.layers["lungs"]
    assert (copy.mode, copy.selected_label, copy.brush_size) == ("paint", 2, 1)
    result = result_holding(four.viewer, four.mask)
    told = []
    result.changed.connect(lambda box, cause: told.append(cause))
    drag(four, View.CORONAL, (2, 36, 47), (6, 36, 47))
    np.testing.assert_array_equal(four.mask.data[2:7, 36, 47], 2)
    assert (four.mask.data != SIDES).sum() == 5
    assert set(told) == {"paint"}
    assert result.corrections.is_touched(tuple(slice(0, size) for size in SIDES.shape))
    index = four.mask.world_to_data(four.viewer.dims.point)
    assert four.views()[View.SAGITTAL][0].layers["lungs"].data[4, 36, 47] == 2
    assert np.rint(index[0]) == 4
    session = four.dock.workspace.session
    four.qtbot.waitUntil(lambda: "Saved" in session.status.text, timeout=SOON)
    four.qtbot.keyClick(canvas.canvas.native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(four.mask.data, SIDES)
    four.mask.redo()
    assert (four.mask.data != SIDES).sum() == 5


@pytest.mark.parametrize("tool", ["stroke", "polygon"])
def test_what_is_painted_in_a_view_is_taken_up_before_anything_else_happens(four, tool):
    """Otherwise the autosave, which looks for changes that nobody told of, may come first."""
    four.correct(four.mask)
    four.mask.selected_label = 2
    copy, result, told = four.four_up.coronal.layers["lungs"], result_holding(four.viewer, four.mask), []
    result.changed.connect(lambda box, cause: told.append(cause))
    for row in (10, 20):
        if tool == "stroke":
            copy.brush_size = 1
            with copy.block_history():
                for index in (2, 3, 4):
                    copy.paint((index, row, 30), 2)
        else:
            copy.paint_polygon([[2, row, 30], [4, row, 30], [4, row, 36]], 2)
    assert set(told) == {"paint"}
    assert not result.document(()).has_unseen()
    painted = four.mask.data.copy()
    assert (painted[2:5, 20, 30] == 2).all()
    four.mask.undo()
    assert (four.mask.data[:, 20] == SIDES[:, 20]).all()
    np.testing.assert_array_equal(four.mask.data[:, 10], painted[:, 10])
    four.mask.undo()
    np.testing.assert_array_equal(four.mask.data, SIDES)


def test_what_changes_in_the_window_is_seen_in_the_other_views(four):
    model, canvas = four.views()[View.SAGITTAL]
    four.viewer.dims.point = four.mask.data_to_world((4, 36, 48))
    four.mask.colormap = {1: "red", None: "red"}
    four.mask.opacity = 1.0
    four.mask.data[:] = 0
    four.mask.refresh()
    four.qtbot.waitUntil(lambda: np.isnan(bright(canvas)).all(), timeout=SOON)
    four.mask.brush_size = 15
    four.mask.paint((4, 36, 48), 1)
    four.qtbot.waitUntil(lambda: not np.isnan(bright(canvas)).any(), timeout=SOON)
    four.mask.visible = False
    four.qtbot.waitUntil(lambda: np.isnan(bright(canvas)).all(), timeout=SOON)
    four.viewer.layers["ct"].contrast_limits = (-300, 300)
    assert tuple(model.layers["ct"].contrast_limits) == (-300, 300)


def test_a_mask_that_nothing_could_undo_is_not_painted_in_the_other_views(make_napari_viewer_proxy, qtbot):
    """Until a module has taken it up, a labels layer's history is napari's own."""
    room = Room(make_napari_viewer_proxy(show=True), qtbot)
    room.mask = room.add(CT, CT.with_array(SIDES))
    room.press(View.FOUR_UP)
    if result_holding(room.viewer, room.mask) is None:
        room.mask.mode = "paint"
        drag(room, View.CORONAL, (2, 36, 47), (6, 36, 47), pans=True)
        np.testing.assert_array_equal(room.mask.data, SIDES)
        room.correct(room.mask)
    room.mask.mode = "paint"
    assert room.four_up.coronal.layers["lungs"].mode == "paint"


def test_layers_come_and_go_in_all_views(four):
    other = four.viewer.add_image(CT.array, scale=four.mask.scale, translate=four.mask.translate, name="other")
    four.viewer.layers.move(2, 0)
    four.viewer.layers.selection.active = other
    for model in (four.four_up.coronal, four.four_up.sagittal):
        assert [layer.name for layer in model.layers] == ["other", "ct", "lungs"]
        assert model.layers.selection.active.name == "other"
    four.viewer.layers.remove(four.mask)
    for model in (four.four_up.coronal, four.four_up.sagittal):
        assert [layer.name for layer in model.layers] == ["other", "ct"]
    four.press(View.AXIAL)
    four.viewer.layers.clear()
    assert not four.four_up.coronal.layers


def test_changed_surfaces_are_offered_anew_also_where_they_change_while_they_are_made(four):
    update, told = four.four_up.update, four.four_up.told
    before = four.four_up.solid.layers[0].data[0]
    assert update.isHidden()
    four.mask.brush_size = 9
    four.mask.paint((4, 36, 48), 1)
    assert told.text() == CHANGED
    assert not update.isHidden()
    with four.qtbot.waitSignal(four.viewing.solid.made, timeout=SOON):
        four.qtbot.mouseClick(update, Qt.MouseButton.LeftButton)
    assert update.isHidden()
    assert four.four_up.solid.layers[0].data[0] is not before
    # A stroke while they are made is not passed over.
    four.mask.paint((4, 50, 48), 1)
    with four.qtbot.waitSignal(four.viewing.solid.made, timeout=SOON):
        four.qtbot.mouseClick(update, Qt.MouseButton.LeftButton)
        four.mask.paint((4, 20, 48), 1)
    assert told.text() == CHANGED
    assert not update.isHidden()


def test_a_mask_that_is_begun_has_no_surface_yet_and_no_error(room, messages):
    mask = room.add(CT, CT.with_array(np.zeros_like(SIDES)))
    room.correct(mask)
    room.press(View.FOUR_UP)
    told, show = room.four_up.told, room.four_up.update
    room.qtbot.waitUntil(lambda: "no surface" in told.text(), timeout=SOON)
    assert messages == []
    mask.brush_size = 20
    for index in range(2, 6):
        mask.paint((index, 30, 30), 1)
    with room.qtbot.waitSignal(room.viewing.solid.made, timeout=SOON):
        room.qtbot.mouseClick(show, Qt.MouseButton.LeftButton)
    assert [type(layer) for layer in room.four_up.solid.layers] == [Surface]
    assert (told.text(), messages) == ("", [])

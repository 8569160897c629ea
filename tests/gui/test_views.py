"""The views: upright planes with true letters, surfaces in 3-D, and four at once that go together and can all be painted."""

from __future__ import annotations

import numpy as np
import pytest
from geometry import grids
from napari.layers import Surface
from napari.qt import QtViewer
from phantom import chest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMainWindow

from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.lookup import result_holding
from napari_lungseg.widgets.views.crosshair import Crosshair
from napari_lungseg.widgets.views.viewing import CHANGED, NO_MASK, View, Viewing, viewing_of

SOON = 30_000
CT, LUNGS = chest()
SIDES = np.where(np.arange(LUNGS.shape[2]) < LUNGS.shape[2] // 2, 1, 2).astype(np.uint8) * LUNGS
PLANES = (View.AXIAL, View.CORONAL, View.SAGITTAL)
#: Letters at the left, right, top and bottom edge.
LETTERS = {View.AXIAL: "RLAP", View.CORONAL: "RLSI", View.SAGITTAL: "APSI"}


class Room:
    """A window with the dock, opened through the manifest, and what a person does with its views."""

    def __init__(self, viewer, qtbot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        qtbot.wait(50)

    # Not kept, as napari looks whether anybody keeps them.
    @property
    def window(self) -> QMainWindow:
        return self.viewer.window._qt_window

    @property
    def canvas(self) -> QtViewer:
        return self.viewer.window._qt_viewer

    @property
    def viewing(self) -> Viewing:
        return viewing_of(self.viewer, self.dock)

    @property
    def four_up(self):
        return self.viewing.four_up

    def add(self, image: Volume | None, labels: Volume | None = None):
        for volume, add, name in ((image, self.viewer.add_image, "ct"), (labels, self.viewer.add_labels, "lungs")):
            if volume is not None:
                data, keywords = volume_to_layer(volume)
                layer = add(np.array(data), name=name, **keywords)
        return layer

    def press(self, view: View) -> None:
        """Press a view's button and wait until it is shown."""
        self.qtbot.mouseClick(self.dock.views.buttons[view], Qt.MouseButton.LeftButton)
        self.qtbot.waitUntil(lambda: self.viewing.view is view and not self.viewing.text, timeout=SOON)
        self.qtbot.wait(50)

    def pressed(self) -> list[View]:
        return [view for view, button in self.dock.views.buttons.items() if button.isChecked()]

    def views(self) -> dict[View, tuple]:
        """The viewer model and the canvas of each plane of the four views."""
        coronal, sagittal, _ = self.four_up._views
        return {
            View.AXIAL: (self.viewer, self.canvas),
            View.CORONAL: (self.four_up.coronal, coronal),
            View.SAGITTAL: (self.four_up.sagittal, sagittal),
        }

    def correct(self, mask) -> None:
        """Take up a mask to correct it."""
        self.dock.open("Correct")
        self.viewer.layers.selection.active = mask
        self.qtbot.waitUntil(lambda: result_holding(self.viewer, mask) is not None, timeout=SOON)


def letters(model) -> str | None:
    overlays = [model.canvas.overlays[f"lungseg_{edge}"] for edge in ("left", "right", "top", "bottom")]
    return "".join(overlay.text for overlay in overlays) if all(overlay.visible for overlay in overlays) else None


def picture(view: QtViewer) -> np.ndarray:
    return view.screenshot(flash=False)[..., :3].astype(float)


def bright(view: QtViewer) -> np.ndarray:
    """Centre (row, column) of what is red in a picture, from its middle, in pixels; letters and tissue are grey."""
    seen = picture(view)
    red = np.argwhere(seen[..., 0] - seen[..., 2] > 60)
    return red.mean(axis=0) - np.array(seen.shape[:2]) / 2


def spot(model, view: QtViewer, world, ups: int = -1) -> QPoint:
    """Where a point of the world is on a canvas; ``ups`` is -1 where the world's axis runs up."""
    camera, displayed = model.scene.camera, list(model.dims.displayed)
    y, x = (np.array(world)[displayed] - np.array(camera.center[-2:])) * camera.zoom
    native = view.canvas.native
    return QPoint(round(native.width() / 2 + x), round(native.height() / 2 + ups * y))


@pytest.fixture
def room(make_napari_viewer_proxy, qtbot):
    yield Room(make_napari_viewer_proxy(show=True), qtbot)
    QThreadPool.globalInstance().waitForDone(SOON)


@pytest.fixture
def four(room):
    """The phantom and its mask in four views."""
    room.mask = room.add(CT, CT.with_array(SIDES))
    room.press(View.FOUR_UP)
    return room


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
        assert "".join(letter[0] for letter in _edges(room.viewer)) == LETTERS[view]
        row, column = bright(room.canvas)
        assert row < -5
        assert column < -5
        assert room.pressed() == [view]


def _edges(model) -> list[str]:
    return [model.canvas.overlays[f"lungseg_{edge}"].text for edge in ("left", "right", "top", "bottom")]


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
    room.qtbot.wait(50)
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
    room.qtbot.wait(200)
    assert letters(room.viewer) == "APSI"
    assert bright(room.canvas)[1] < -10
    camera.set_view_direction((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    room.qtbot.wait(200)
    assert letters(room.viewer) == "PASI"
    assert bright(room.canvas)[1] > 10


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
    changed = next(layer for layer in room.viewer.layers if layer.name == "lungs surface right")
    assert len(changed.data[0]) != len(first["lungs surface right"][0])


# ---- four views


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
    right, left = (np.argwhere(_coloured(picture(four.four_up._views[2]), four.mask.get_color(label))) for label in (1, 2))
    assert right[:, 1].mean() < left[:, 1].mean()


def _coloured(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    shade = seen / np.maximum(seen.max(axis=-1, keepdims=True), 1)
    return (np.abs(shade - colour[:3] / colour[:3].max()).max(axis=-1) < 0.05) & (seen.max(axis=-1) > 40)


def test_all_go_where_one_goes(four):
    views = four.views()
    views[View.CORONAL][0].dims.set_current_step(1, 20)
    views[View.SAGITTAL][0].dims.set_current_step(2, 33)
    four.viewer.dims.set_current_step(0, 6)
    for model, _ in views.values():
        np.testing.assert_allclose(model.dims.point, four.mask.data_to_world((6, 20, 33)), atol=1e-6)


def test_the_crosshair_meets_where_the_voxel_is_drawn(four):
    voxel = (6, 20, 33)
    four.mask.data = np.zeros_like(SIDES)
    four.mask.data[voxel] = 1
    four.mask.colormap = {1: "red", None: "red"}
    four.mask.opacity = 1.0
    four.mask.refresh()
    four.viewer.dims.point = four.mask.data_to_world(voxel)
    four.qtbot.wait(200)
    for model, canvas in four.views().values():
        model.scene.camera.zoom *= 2.3
        model.scene.camera.center = np.add(model.scene.camera.center, (0.0, 11.0, -7.0))
        four.qtbot.wait(100)
        lines = canvas.canvas.native.findChild(Crosshair)
        row, column = bright(canvas)
        x, y = lines.centre()
        np.testing.assert_allclose((x - lines.width() / 2, y - lines.height() / 2), (column, row), atol=1.5)


def test_with_shift_the_mouse_leads_all_views(four):
    model, canvas = four.views()[View.CORONAL]
    aim = four.mask.data_to_world((6, model.dims.current_step[1], 70))
    place = spot(model, canvas, aim)
    for modifier, moved in ((Qt.KeyboardModifier.NoModifier, False), (Qt.KeyboardModifier.ShiftModifier, True)):
        native = canvas.canvas.native
        for near in (place + QPoint(3, 3), place):
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(near),
                QPointF(native.mapToGlobal(near)),
                Qt.MouseButton.NoButton,
                Qt.MouseButton.NoButton,
                modifier,
            )
            QApplication.sendEvent(native, event)
            four.qtbot.wait(50)
        assert np.allclose(four.viewer.dims.point, aim, atol=2.5) == moved
    np.testing.assert_allclose(four.four_up.sagittal.dims.point, four.viewer.dims.point)


def drag(room, view: View, *voxels) -> None:
    """Press the mouse on the first voxel of a view, move it to the others, and let it go."""
    model, canvas = room.views()[view]
    native = canvas.canvas.native
    places = [spot(model, canvas, room.mask.data_to_world(voxel)) for voxel in voxels]
    room.qtbot.mouseMove(native, places[0])
    room.qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places[1:]:
        room.qtbot.mouseMove(native, place)
        room.qtbot.wait(50)
    room.qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=places[-1])
    room.qtbot.wait(100)


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


def test_what_changes_in_the_window_is_seen_in_the_other_views(four):
    model, canvas = four.views()[View.SAGITTAL]
    four.viewer.dims.point = four.mask.data_to_world((4, 36, 48))
    four.mask.colormap = {1: "red", None: "red"}
    four.mask.opacity = 1.0
    four.mask.data[:] = 0
    four.mask.refresh()
    four.qtbot.wait(200)
    assert np.isnan(bright(canvas)).all()
    four.mask.brush_size = 15
    four.mask.paint((4, 36, 48), 1)
    four.qtbot.wait(200)
    assert not np.isnan(bright(canvas)).any()
    four.mask.visible = False
    four.qtbot.wait(200)
    assert np.isnan(bright(canvas)).all()
    four.viewer.layers["ct"].contrast_limits = (-300, 300)
    assert tuple(model.layers["ct"].contrast_limits) == (-300, 300)


def test_a_mask_that_nothing_could_undo_is_not_painted_in_the_other_views(make_napari_viewer_proxy, qtbot):
    """Until a module has taken it up, a labels layer's history is napari's own."""
    room = Room(make_napari_viewer_proxy(show=True), qtbot)
    room.mask = room.add(CT, CT.with_array(SIDES))
    room.press(View.FOUR_UP)
    if result_holding(room.viewer, room.mask) is None:
        room.mask.mode = "paint"
        drag(room, View.CORONAL, (2, 36, 47), (6, 36, 47))
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


def test_changed_surfaces_are_offered_anew(four):
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


def test_a_stroke_while_the_surfaces_are_made_is_not_passed_over(four):
    four.mask.brush_size = 9
    four.mask.paint((4, 36, 48), 1)
    with four.qtbot.waitSignal(four.viewing.solid.made, timeout=SOON):
        four.qtbot.mouseClick(four.four_up.update, Qt.MouseButton.LeftButton)
        four.mask.paint((4, 20, 48), 1)
    assert four.four_up.told.text() == CHANGED
    assert not four.four_up.update.isHidden()


def test_one_view_after_four_is_as_before_and_four_come_back(four):
    wide = four.canvas.canvas.native.width()
    four.press(View.CORONAL)
    assert four.canvas.canvas.native.width() > 1.5 * wide
    assert not any(view.isVisible() for view in four.four_up._views)
    assert not any(lines.isVisible() for lines in four.window.findChildren(Crosshair))
    # What changes meanwhile is seen when they are back.
    four.mask.data[:] = 1
    four.mask.refresh()
    four.viewer.dims.set_current_step(0, 7)
    four.press(View.FOUR_UP)
    assert letters(four.viewer) == "RLAP"
    assert four.four_up.coronal.dims.current_step[0] == 7
    seen = picture(four.four_up._views[0])
    assert _coloured(seen, four.mask.get_color(1)).mean() < 1  # drawn without complaint
    four.press(View.SURFACES)
    assert four.viewer.dims.ndisplay == 3
    assert not four.four_up.solid.layers


def test_of_a_series_the_displayed_time_is_shown(room):
    data = np.stack([CT.array, CT.array + 500])
    spacing = (1.0, *CT.spacing)
    layer = room.viewer.add_image(data, name="series", scale=spacing)
    room.press(View.FOUR_UP)
    room.viewer.dims.set_current_step(0, 1)
    for model, _ in room.views().values():
        assert model.dims.current_step[0] == 1
        assert model.dims.displayed[-1] > 0
    assert four_orders(room) == [(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)]
    assert layer in room.viewer.layers


def four_orders(room) -> list[tuple[int, ...]]:
    return [model.dims.order for model, _ in room.views().values()]


def test_choosing_another_view_while_the_four_are_opened_leaves_it_shown(room):
    room.add(CT, CT.with_array(SIDES))
    room.qtbot.mouseClick(room.dock.views.buttons[View.FOUR_UP], Qt.MouseButton.LeftButton)
    room.qtbot.mouseClick(room.dock.views.buttons[View.CORONAL], Qt.MouseButton.LeftButton)
    room.qtbot.waitUntil(lambda: room.four_up is not None, timeout=SOON)
    room.qtbot.wait(100)
    assert room.viewing.view is View.CORONAL
    assert room.pressed() == [View.CORONAL]


def test_the_window_closes_with_all_views_open(four):
    four.viewer.close()


def test_the_window_closes_while_the_views_are_opened(room):
    room.add(CT, CT.with_array(SIDES))
    room.qtbot.mouseClick(room.dock.views.buttons[View.FOUR_UP], Qt.MouseButton.LeftButton)
    room.viewer.close()


def test_who_objects_to_closing_keeps_all_views(four, monkeypatch):
    """Somebody was asked, as some work is not on disk."""
    session = four.dock.workspace.session
    with monkeypatch.context() as patch:
        patch.setattr(type(session._autosave), "flush", lambda *_: False)
        patch.setattr(type(session), "_ask", lambda _: False)
        assert not four.window.close()
    assert four.pressed() == [View.FOUR_UP]
    assert all(view.isVisible() for view in four.four_up._views)
    assert letters(four.viewer) == "RLAP"


def test_a_window_that_was_hidden_opens_the_views_again(four):
    four.window.hide()
    four.window.show()
    four.press(View.FOUR_UP)
    assert [layer.name for layer in four.four_up.coronal.layers] == ["ct", "lungs"]
    four.press(View.SAGITTAL)
    assert letters(four.viewer) == "APSI"

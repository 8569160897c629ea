"""A window whose views are looked at and worked in, as a person does."""

from __future__ import annotations

import numpy as np
import pytest
from napari.qt import QtViewer
from phantom import chest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QMainWindow
from waiting import SOON, turn

from napari_lungseg.volume import Volume
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.lookup import result_holding
from napari_lungseg.widgets.views.viewing import View, Viewing, viewing_of

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
        turn(qtbot)

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
        turn(self.qtbot)

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


def edges(model) -> list[str]:
    return [model.canvas.overlays[f"lungseg_{edge}"].text for edge in ("left", "right", "top", "bottom")]


def coloured(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    shade = seen / np.maximum(seen.max(axis=-1, keepdims=True), 1)
    return (np.abs(shade - colour[:3] / colour[:3].max()).max(axis=-1) < 0.05) & (seen.max(axis=-1) > 40)


def arrive(room, model, world, move) -> None:
    """Move the mouse until a canvas has it at a point of the world: moves that follow each other closely are dropped by vispy."""
    displayed = list(model.dims.displayed)

    def arrived() -> bool:
        move()
        return np.allclose(np.array(model.cursor.position)[displayed], np.array(world)[displayed], atol=2.5)

    room.qtbot.waitUntil(arrived, timeout=SOON)


def drag(room, view: View, *voxels, pans: bool = False) -> None:
    """Press the mouse on the first voxel of a view, move it to the others, and let it go.

    Where the picture is moved by it, ``pans``, the mouse stays on its first voxel.
    """
    model, canvas = room.views()[view]
    native = canvas.canvas.native
    worlds = [room.mask.data_to_world(voxel) for voxel in voxels]
    places = [spot(model, canvas, world) for world in worlds]
    room.qtbot.mouseMove(native, places[0])
    # Qt's test functions press a button on a widget without the application knowing that it is held.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.LeftButton)
        room.qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=places[0])
        for place, world in zip(places[1:], worlds[1:], strict=True):
            if pans:
                room.qtbot.mouseMove(native, place)
                turn(room.qtbot)
            else:
                arrive(room, model, world, lambda place=place: room.qtbot.mouseMove(native, place))
        room.qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=places[-1])
    turn(room.qtbot)

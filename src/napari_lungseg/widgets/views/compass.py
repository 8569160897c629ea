"""A canvas that is kept upright, with letters at its edges that say where the patient's right, left, front, back, head and feet are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Labels

from napari_lungseg.widgets.layers import LPS_FROM_WORLD, ORIENTED
from napari_lungseg.widgets.views.anatomy import UPRIGHT, Directions, deep, letters, on_canvas, shown_axes, upright

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import ViewerModel

_EDGES = {"left": "middle_left", "right": "middle_right", "top": "top_center", "bottom": "bottom_center"}
_FONT_PT = 14


def directions_in(viewer: napari.viewer.Viewer) -> Directions | None:
    """How the patient lies in the world of a viewer: by the image that is on top; None where that is not known."""
    layers = [layer for layer in viewer.layers if isinstance(layer, Image | Labels) and layer.metadata.get(ORIENTED)]
    if not layers:
        return None
    active = viewer.layers.selection.active
    layer = active if active in layers else layers[-1]
    directions = np.array(layer.metadata.get(LPS_FROM_WORLD, np.eye(4)))[:3, :3][:, ::-1]
    return directions / np.linalg.norm(directions, axis=0)


def known_directions_in(viewer: napari.viewer.Viewer) -> Directions:
    """As :func:`directions_in`; upright where nothing is known."""
    directions = directions_in(viewer)
    return UPRIGHT if directions is None else directions


class Compass:
    """Keeps one canvas upright and its letters true, whoever turns it.

    Parameters
    ----------
    model : ViewerModel
        Whose canvas.
    directions : callable
        Gives how the patient lies in the world, or None where that is not known: then nothing is turned and no letter is shown.
    """

    def __init__(self, model: ViewerModel, directions: Callable[[], Directions | None]) -> None:
        self._model, self._directions = model, directions
        self._overlays = {edge: TextOverlay(position=position, font_size=_FONT_PT, visible=False) for edge, position in _EDGES.items()}
        for edge, overlay in self._overlays.items():
            model.canvas.overlays[f"lungseg_{edge}"] = overlay
        for event, callback in self._events():
            event.connect(callback)
        self.turn()

    def close(self) -> None:
        """Take the letters away."""
        for event, callback in self._events():
            event.disconnect(callback)
        for edge in self._overlays:
            del self._model.canvas.overlays[f"lungseg_{edge}"]

    def turn(self, _: Any = None) -> None:
        """Turn the canvas upright."""
        directions, camera, dims = self._directions(), self._model.scene.camera, self._model.dims
        axes = shown_axes(dims.order, dims.ndisplay)
        if directions is not None and axes is not None:
            depth, vertical, horizontal = (str(word) for word in camera.orientation)
            now = depth, vertical, horizontal
            # In 3-D the person turns the camera.
            wanted = upright(axes, directions) if dims.ndisplay == 2 else deep(axes, directions, now)
            if wanted != now:
                camera.orientation = wanted
        self.name()

    def name(self, _: Any = None) -> None:
        """Show the letters of how the canvas is turned."""
        directions, dims = self._directions(), self._model.dims
        axes = shown_axes(dims.order, dims.ndisplay)
        if directions is not None and axes is not None:
            right, up = on_canvas(self._model.scene.camera, axes[-dims.ndisplay :])
            for edge, direction in (("left", -right), ("right", right), ("top", up), ("bottom", -up)):
                self._overlays[edge].text = letters(direction, directions)
        for overlay in self._overlays.values():
            overlay.visible = directions is not None and axes is not None

    def _events(self) -> list[tuple[Any, Callable[..., None]]]:
        model = self._model
        return [
            *((getattr(model.dims.events, name), self.turn) for name in ("order", "ndisplay", "ndim")),
            *((getattr(model.scene.camera.events, name), self.name) for name in ("angles", "orientation")),
            *((getattr(model.layers.events, name), self.turn) for name in ("inserted", "removed")),
            (model.layers.selection.events.active, self.turn),
        ]

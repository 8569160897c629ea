"""A click on the canvas that tells a tool which voxel is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels

if TYPE_CHECKING:
    import napari.viewer

#: Pixels of the screen by which the mouse may move during a click; further, it moves the image.
JITTER = 4

#: Who waits for a click on a layer; two modules that work on one mask would both take it, and only one hear of Escape.
_waiting: WeakKeyDictionary[Labels, Picker] = WeakKeyDictionary()


class Picker:
    """Waits for a click on a layer's slice; meanwhile the brush is put down. One that waited for a click on that layer before ends.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose canvas is clicked.
    layer : Labels
        In which the voxel lies.
    picked : callable
        Called with the voxel's index, or with None when it is not wanted any more: Escape, or another mode was chosen.
    """

    def __init__(self, viewer: napari.viewer.Viewer, layer: Labels, picked: Callable[[tuple[int, ...] | None], None]) -> None:
        if (other := _waiting.get(layer)) is not None:
            other._end(None)
        self._viewer, self._layer, self._picked = viewer, layer, picked
        _waiting[layer] = self
        self._mode = layer.mode
        viewer.layers.selection.active = layer
        layer.mode = "pan_zoom"
        layer.cursor = "cross"
        layer.events.mode.connect(self._give_up)
        layer.bind_key("Escape", lambda _: self._end(None), overwrite=True)
        viewer.mouse_drag_callbacks.append(self._click)

    def close(self) -> None:
        """Wait no longer, and take the brush up again."""
        del _waiting[self._layer]
        self._layer.events.mode.disconnect(self._give_up)
        self._layer.bind_key("Escape", None)
        self._viewer.mouse_drag_callbacks.remove(self._click)
        if self._layer.mode == "pan_zoom":
            self._layer.cursor = "standard"
            self._layer.mode = self._mode

    def _give_up(self) -> None:
        self._end(None)

    def _end(self, voxel: tuple[int, ...] | None) -> None:
        self.close()
        self._picked(voxel)

    def _click(self, _: Any, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        place, position = np.array(event.pos), event.position
        yield
        while event.type == "mouse_move":
            if np.abs(np.array(event.pos) - place).max() > JITTER:
                return
            yield
        voxel = np.rint(np.asarray(self._layer.world_to_data(position))).astype(int)
        self._end(tuple(int(index) for index in voxel))

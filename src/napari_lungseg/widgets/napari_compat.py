"""All that leans on what napari does not promise, in one place; tests/gui/test_napari_compat.py has a test for each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.qt import QtViewer
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_lungseg.volume import Box


def unwrapped(thing: Any) -> Any:
    """A viewer or layer itself, which can be a key: plugins get a proxy of it, and each its own."""
    return getattr(thing, "__wrapped__", thing)


def import_pandas() -> None:
    """Import what napari takes for the names of labels, which would halt the window for up to a second; to be called in a thread."""
    import_module("pandas")


def canvas_of(window: QMainWindow) -> QtViewer:
    """The canvas of a window, to which other views can be added: napari gives no public way to it."""
    return window.centralWidget().findChild(QtViewer)


def put_beside_canvas(window: QMainWindow, widget: QWidget) -> None:
    """Add a widget at the right of a window's canvas, as wide as it."""
    layout = window.centralWidget().layout()
    layout.addWidget(widget)
    for index in (layout.indexOf(canvas_of(window)), layout.count() - 1):
        layout.setStretch(index, 1)


def settle_canvas(window: QMainWindow) -> None:
    """Give a window's canvas at once the room that is left to it by what is beside it."""
    window.centralWidget().layout().activate()


def replace_undo(lungs: Labels, undo: Callable[[], object], redo: Callable[[], object]) -> None:
    """Let Ctrl+Z and Ctrl+Shift+Z on a layer, which call its methods, call these.

    napari's own history knows nothing of masks made anew and would write back voxels that are no longer true.
    """
    lungs.undo, lungs.redo = undo, redo


class Strokes:
    """Tells of what is painted on a layer, once it is written.

    napari tells of a stroke by ``events.paint`` after it was written, but of polygons, and of calls of its functions, before; then
    ``events.labels_update`` follows the writing.

    Parameters
    ----------
    lungs : Labels
        The layer.
    take_up : callable
        Given the box that was reached, or None where that is not known; tells whether anything was found there.
    outside : callable
        Called in place of painting where the layer has no slice, as where another image reaches farther: napari would paint on the last
        slice for -1, on the one before for -2, and raise beyond the other end (napari#7325).
    """

    def __init__(self, lungs: Labels, take_up: Callable[[Box | None], bool], outside: Callable[[], None]) -> None:
        self._lungs, self._take_up, self._outside = lungs, take_up, outside
        self._announced: tuple[Box | None] | None = None
        lungs._draw, lungs.paint_polygon = self._draw, self._paint_polygon
        lungs.events.paint.connect(self._painted)
        lungs.events.labels_update.connect(self._written)

    def close(self) -> None:
        """Tell of nothing any more."""
        self._lungs.events.paint.disconnect(self._painted)
        self._lungs.events.labels_update.disconnect(self._written)
        del self._lungs._draw, self._lungs.paint_polygon

    def _draw(self, label: int, before: Any, place: Any) -> None:
        if place is None or self._is_inside(place):
            Labels._draw(self._lungs, label, before, place)
        elif np.array_equal(before, place):
            # The first of a stroke.
            self._outside()

    def _paint_polygon(self, points: Any, label: int) -> None:
        if self._is_inside(points[0]):
            Labels.paint_polygon(self._lungs, points, label)
        else:
            self._outside()

    def _is_inside(self, place: Any) -> bool:
        shape = self._lungs.data.shape
        return all(0 <= round(place[axis]) < shape[axis] for axis in self._lungs._slice_input.not_displayed)

    def _painted(self, event: Any) -> None:
        box = box_of_atoms(event.value, self._lungs.data.shape)
        self._announced = None if self._take_up(box) else (box,)

    def _written(self, _: Any = None) -> None:
        if self._announced is not None:
            (box,), self._announced = self._announced, None
            self._take_up(box)


def box_of_atoms(atoms: Any, shape: tuple[int, ...]) -> Box | None:
    """The box that a stroke reached; None where napari does not tell in a way that is known.

    Each of the atoms of ``events.paint`` begins with the place: a slice or an array of indices for every axis.
    """
    box: list[slice] = []
    try:
        for axis, size in enumerate(shape):
            places = [atom[0][axis] for atom in atoms]
            spans = [part.indices(size)[:2] if isinstance(part, slice) else (int(np.min(part)), int(np.max(part)) + 1) for part in places]
            box.append(slice(min(start for start, _ in spans), max(stop for _, stop in spans)))
    except (TypeError, IndexError, ValueError):
        return None
    return tuple(box)

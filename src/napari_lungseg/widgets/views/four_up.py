"""Four views at once: the window's own canvas, and beside it the other two planes and the surfaces, with one crosshair in all.

The window's own canvas stays where it is in the window: a canvas that gets another parent loses its state of OpenGL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QMainWindow, QPushButton, QSplitter, QVBoxLayout, QWidget

from napari_lungseg.widgets.napari_compat import canvas_of, put_beside_canvas, settle_canvas
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.widgets.views.anatomy import world_axes
from napari_lungseg.widgets.views.compass import Compass, directions_in, known_directions_in
from napari_lungseg.widgets.views.crosshair import Crosshair
from napari_lungseg.widgets.views.mirror import Mirror

if TYPE_CHECKING:
    import napari.viewer


class FourUp(QObject):
    """The three views that are added to a window, and what ties them to its own.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's own.
    window : QMainWindow
        The window.
    """

    #: The person wants the surfaces made anew.
    wanted = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, window: QMainWindow) -> None:
        super().__init__()
        self._viewer, self._window = viewer, window
        self._own: QtViewer = canvas_of(window)
        self.coronal, self.sagittal, self.solid = (ViewerModel(title=name) for name in ("coronal", "sagittal", "3-D"))
        self._planes = {"coronal": self.coronal, "sagittal": self.sagittal}
        self._mirrors = [Mirror(viewer, model) for model in self._planes.values()]
        self._compasses = [Compass(model, partial(directions_in, viewer)) for model in (*self._planes.values(), self.solid)]
        self._views: list[QtViewer] = []
        self._added: list[QWidget] = []
        self._lines: list[Crosshair] = []
        self._connections: list[tuple[Any, Callable[..., None]]] = []
        self.shown = False
        self.told = plain_label()
        self.update = QPushButton()
        self.update.clicked.connect(self.wanted)

    def build(self) -> Iterator[None]:
        """Make the views and show them, one after the other, as each takes its time to be made and to be drawn first."""
        for model in (self.coronal, self.sagittal, self.solid):
            self._views.append(_view(model))
            yield
        for mirror in self._mirrors:
            mirror.start()
            yield
        self._place()
        self._arrange()
        for part in self._added:
            part.show()
            yield
        canvases = zip((self._own, *self._views), (self._viewer, *self._planes.values()))
        self._lines = [Crosshair(view.canvas.native, model, partial(known_directions_in, self._viewer)) for view, model in canvases]

    def show(self) -> None:
        """Show the three views beside the window's own."""
        if self.shown:
            return
        self.shown = True
        for mirror in self._mirrors:
            mirror.look(True)
        self._arrange()
        self._connect(self._viewer.layers.events.inserted, self._arrange)
        for model in (self._viewer, *self._planes.values()):
            self._connect(model.dims.events.point, partial(self._follow_point, model))
            model.mouse_move_callbacks.append(self._point)
        self._set_visible(True)
        for splitter in (self._own, self._right):
            splitter.setSizes([self._own.height() // 2] * 2)
        self._fit()

    def hide(self) -> None:
        """Leave the window with its own canvas alone."""
        self._set_visible(False)
        if not self.shown:
            return
        self.shown = False
        for event, callback in self._connections:
            event.disconnect(callback)
        self._connections = []
        for model in (self._viewer, *self._planes.values()):
            model.mouse_move_callbacks.remove(self._point)
        for mirror in self._mirrors:
            mirror.look(False)
        self._fit()

    def close(self) -> None:
        """Let go of everything, for good."""
        self.hide()
        for part in (*self._mirrors, *self._compasses, *self._lines, *self._views):
            part.close()
        for part in self._added:
            part.deleteLater()

    def tell(self, text: str, offer: str = "") -> None:
        """Say something about the surfaces, and offer to make them."""
        self.told.setText(text)
        self.told.setVisible(bool(text))
        self.update.setText(offer)
        self.update.setVisible(bool(offer))

    def _set_visible(self, visible: bool) -> None:
        for part in (*self._added, *self._lines):
            part.setVisible(visible)

    # ---- where they are

    def _place(self) -> None:
        coronal, sagittal, solid = self._views
        below = QHBoxLayout()
        below.setContentsMargins(6, 0, 6, 2)
        below.addWidget(self.told, stretch=1)
        below.addWidget(self.update)
        above = QWidget()
        layout = QVBoxLayout(above)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(solid, stretch=1)
        layout.addLayout(below)
        self._right = QSplitter(Qt.Orientation.Vertical)
        self._right.addWidget(above)
        self._right.addWidget(sagittal)
        self._added = [coronal, self._right, above, sagittal]
        for part in self._added:
            part.hide()
        self._own.addWidget(coronal)
        put_beside_canvas(self._window, self._right)
        self._own.splitterMoved.connect(lambda: self._right.setSizes(self._own.sizes()))
        self._right.splitterMoved.connect(lambda: self._own.setSizes(self._right.sizes()))
        self.tell("")

    def _fit(self) -> None:
        """Fit each image into the room that it has now."""
        settle_canvas(self._window)
        for model in (self._viewer, *self._planes.values()):
            model.fit_to_view()

    def _arrange(self, _: Any = None) -> None:
        """Turn each view to its plane."""
        directions = known_directions_in(self._viewer)
        for plane, model in self._planes.items():
            ndim = model.dims.ndim
            order = (*range(ndim - 3), *(axis + ndim - 3 for axis in world_axes(plane, directions)))
            if ndim > 2 and model.dims.order != order:
                model.dims.order = order  # which fits the view too
        self.solid.dims.ndisplay = 3
        self._follow_point(self._viewer)

    # ---- one point in all

    def _connect(self, event: Any, callback: Callable[..., None]) -> None:
        event.connect(callback)
        self._connections.append((event, callback))

    def _follow_point(self, source: Any, _: Any = None) -> None:
        """Go where one of the views has gone."""
        for model in (self._viewer, *self._planes.values()):
            axes = min(source.dims.ndim, model.dims.ndim)
            point, there = source.dims.point[-axes:], model.dims.point[-axes:]
            if axes > 2 and not np.allclose(point, there, rtol=0.0, atol=1e-6):
                model.dims.point = (*model.dims.point[:-axes], *point)

    def _point(self, _: Any, event: Any) -> None:
        """With Shift held, all views follow the mouse."""
        if "Shift" in event.modifiers:
            self._viewer.dims.point = tuple(event.position[-self._viewer.dims.ndim :])


def _view(model: ViewerModel) -> QtViewer:
    view = QtViewer(model)
    # Files that are dropped belong into the window's own viewer.
    view.setAcceptDrops(False)
    view.setMinimumSize(1, 1)
    return view

"""The crosshair: two thin lines over a canvas, where the other planes cut its slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QCloseEvent, QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from napari_lungseg.widgets.views.anatomy import PLANE_COLOURS, Directions, plane_through, shown_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel

_OPACITY = 170
#: Pixels at the rim that are left to the letters.
_MARGIN = 40


class Crosshair(QWidget):
    """Drawn by Qt over a canvas, as napari has no public overlay of lines; the mouse goes through it.

    Each line has the colour of the plane that it stands for, and the canvas a rim in the colour of its own.

    Parameters
    ----------
    canvas : QWidget
        The canvas.
    model : ViewerModel
        What it shows.
    directions : callable
        Gives how the patient lies in the world.
    """

    def __init__(self, canvas: QWidget, model: ViewerModel, directions: Callable[[], Directions]) -> None:
        super().__init__(canvas)
        self._model, self._directions = model, directions
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setGeometry(canvas.rect())
        canvas.installEventFilter(self)
        camera, dims = model.scene.camera.events, model.dims.events
        self._events = (camera.center, camera.zoom, camera.orientation, dims.point, dims.order, dims.ndisplay)
        for event in self._events:
            event.connect(self._moved)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Hear of nothing any more."""
        for heard in self._events:
            heard.disconnect(self._moved)
        super().closeEvent(event)

    def _moved(self, _: Any = None) -> None:
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stay as large as the canvas."""
        if event.type() == QEvent.Type.Resize:
            self.setGeometry(watched.rect())
        return bool(super().eventFilter(watched, event))

    def centre(self) -> tuple[float, float]:
        """Where the lines meet, in pixels from the left and from the top."""
        camera, dims = self._model.scene.camera, self._model.dims
        _, vertical, horizontal = (str(word) for word in camera.orientation)
        down = (dims.point[dims.order[-2]] - camera.center[-2]) * camera.zoom * (1 if vertical == "down" else -1)
        across = (dims.point[dims.order[-1]] - camera.center[-1]) * camera.zoom * (1 if horizontal == "right" else -1)
        return self.width() / 2 + across, self.height() / 2 + down

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines."""
        dims = self._model.dims
        if dims.ndisplay != 2 or dims.ndim < 3:
            return
        axes, directions = shown_axes(dims.order, dims.ndisplay), self._directions()
        if axes is None:
            return
        through, down, across = (_colour(axis, directions) for axis in axes)
        x, y = (round(place) for place in self.centre())
        painter = QPainter(self)
        for colour, ends in ((across, (x, _MARGIN, x, self.height() - _MARGIN)), (down, (_MARGIN, y, self.width() - _MARGIN, y))):
            painter.setPen(QPen(colour, 1))
            painter.drawLine(*ends)
        painter.setPen(QPen(through, 2))
        painter.drawRect(self.rect().adjusted(1, 1, -1, -1))


def _colour(axis: int, directions: Directions) -> QColor:
    colour = QColor(PLANE_COLOURS[plane_through(axis, directions)])
    colour.setAlpha(_OPACITY)
    return colour

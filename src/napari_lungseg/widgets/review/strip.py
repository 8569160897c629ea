"""A strip that shows every slice of a volume: how much doubt there is in it, and how far the person has come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_lungseg.translation import mark

HEIGHT = 64
#: Colour of each state; those of a slice that nobody has looked at are quiet.
COLOURS = {
    mark("unseen"): "#7d8590",
    mark("corrected"): "#2f8dff",
    mark("flagged"): "#c8601f",
    mark("reviewed"): "#3ddc97",
    mark("rejected"): "#8e44ad",
}
#: Height of the mark of a slice that is to be read blind.
MARK = 4.0
#: Even a slice without doubt can be seen and hit.
LOWEST = 0.12


class Strip(QWidget):
    """A column for every slice, from the first on the left; its height is the score, its colour the state.

    Parameters
    ----------
    describe : callable
        Gives the tooltip of a slice.
    """

    #: A slice was clicked.
    clicked = Signal(int)

    def __init__(self, describe: Callable[[int], str]) -> None:
        super().__init__()
        self._describe = describe
        self._scores: npt.NDArray[np.float64] = np.zeros(0)
        self._states: Mapping[int, str] = {}
        self._here = -1
        self._marked: Collection[int] = frozenset()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_slices(
        self, scores: npt.NDArray[np.float64], states: Mapping[int, str], here: int, marked: Collection[int] = frozenset()
    ) -> None:
        """Show these scores and states, and mark the slice that is displayed, and others at the top."""
        self._scores, self._states, self._here, self._marked = scores, states, here, marked
        self.update()

    def index_at(self, x: float) -> int | None:
        """The slice at a place of the strip; None where there are none."""
        if not len(self._scores):
            return None
        return int(np.clip(x / max(1, self.width()) * len(self._scores), 0, len(self._scores) - 1))

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802
        """Draw."""
        painter = QPainter(self)
        count = len(self._scores)
        if not count:
            return
        width, height = self.width() / count, float(self.height() - 6)
        # The few worst slices would flatten all others.
        heights = LOWEST + (1 - LOWEST) * np.sqrt(self._scores / max(float(self._scores.max()), 1e-9))
        for index, part in enumerate(heights):
            colour = QColor(COLOURS[self._states.get(index, "unseen")])
            gap = 1.0 if width >= 4 else 0.0
            painter.fillRect(QRectF(index * width, height * (1 - part), width - gap, height * part), colour)
        for index in self._marked:
            painter.fillRect(QRectF(index * width, 0, max(width - 1, 2), MARK), self.palette().windowText())
        painter.setPen(QPen(self.palette().windowText().color(), 2))
        middle = (self._here + 0.5) * width
        painter.drawLine(int(middle), 0, int(middle), self.height())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Tell which slice was clicked."""
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Follow the pressed mouse, or tell about the slice under it."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event)

    def event(self, event: QEvent) -> bool:
        """Show the tooltip of the slice under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            index = self.index_at(event.pos().x())
            QToolTip.showText(event.globalPos(), "" if index is None else self._describe(index), self)
            return True
        return bool(super().event(event))

    def _go(self, event: QMouseEvent) -> None:
        index = self.index_at(event.position().x())
        if index is not None:
            self.clicked.emit(index)

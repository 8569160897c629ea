"""Dice of each slice as a curve; a click goes to the slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph
from qtpy.QtCore import Qt, Signal

from napari_lungseg.widgets.language import tr

HEIGHT = 150
CURVE, HERE = "#3ddc97", "#f0883e"
#: Readable on napari's dark and light themes.
AXES = "#8b949e"


class SlicePlot(pyqtgraph.PlotWidget):
    """A curve over the slices, from the first on the left, and a line at the slice that is displayed."""

    #: A slice was clicked.
    clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__(background=None)
        self.values: npt.NDArray[np.float64] = np.zeros(0)
        self.setFixedHeight(HEIGHT)
        # Else its own preferred width is wider than the dock.
        self.setMinimumWidth(1)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.showGrid(y=True, alpha=0.25)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(AXES)
            axis.setTextPen(AXES)
        self.setLabel("bottom", tr("Slice"), color=AXES)
        self._curve = self.plot(
            pen=pyqtgraph.mkPen(CURVE, width=2), symbol="o", symbolSize=3, symbolBrush=CURVE, symbolPen=None, connect="finite"
        )
        self.marker = pyqtgraph.InfiniteLine(pen=pyqtgraph.mkPen(HERE, width=2))
        self.addItem(self.marker)
        self.scene().sigMouseClicked.connect(self._click)

    def show_slices(self, label: str, values: npt.NDArray[np.float64]) -> None:
        """Show the Dice of each slice; NaN leaves a gap."""
        self.values = values
        self._curve.setData(np.arange(len(values)), values)
        self.setLabel("left", tr("Dice, {label}", label=tr(label)), color=AXES)
        self.setXRange(-0.5, len(values) - 0.5, padding=0.02)
        low = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
        # A little room above and below, and never so little that noise looks like a fault.
        self.setYRange(min(low - 0.02, 0.9), 1.01, padding=0)

    def show_here(self, index: int) -> None:
        """Mark the slice that is displayed."""
        self.marker.setValue(index)

    def _click(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton and len(self.values):
            place = self.getPlotItem().vb.mapSceneToView(event.scenePos()).x()
            self.clicked.emit(int(np.clip(round(place), 0, len(self.values) - 1)))

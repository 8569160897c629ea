"""Curves of the regions: area along the body, and densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_lungseg.measurement import Measurements, Region
from napari_lungseg.widgets.forms import NO_CURVES, wrapped
from napari_lungseg.widgets.language import tr

#: Curves by name: colour, places, values.
Curves = Mapping[str, tuple[Any, npt.NDArray[Any], npt.NDArray[Any]]]
_HEIGHT = 170


class Plot(QWidget):
    """A frame with curves; with a hint instead where pyqtgraph is not installed.

    Parameters
    ----------
    x_title, y_title : str
        What the axes are, with units.
    """

    def __init__(self, x_title: str, y_title: str) -> None:
        super().__init__()
        self.plot: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        try:
            import pyqtgraph
        except ImportError:
            layout.addWidget(wrapped(tr(NO_CURVES)))
            return
        # A click and the wheel belong to the dock, which is scrolled.
        self.plot = pyqtgraph.PlotWidget(enableMenu=False, background=None)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.hideButtons()
        self.plot.setFixedHeight(_HEIGHT)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot.setLabel("bottom", x_title)
        self.plot.setLabel("left", y_title)
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        self.plot.addLegend(offset=(-4, 4))
        layout.addWidget(self.plot)

    def show_curves(self, curves: Curves) -> None:
        """Show these in place of others."""
        if self.plot is None:
            return
        self.plot.clear()
        for name, (colour, places, values) in curves.items():
            self.plot.plot(places, values, name=tr(name), pen={"color": colour, "width": 2})


def area_curves(measured: Measurements, colours: Mapping[int, Any]) -> Curves:
    """Area of each label in the slices; none where no spacing is known."""
    curves = {}
    for region, colour in _single(measured, colours):
        if region.profile.height_mm is not None and region.profile.area_cm2 is not None:
            curves[region.name] = (colour, region.profile.height_mm, region.profile.area_cm2)
    return curves


def density_curves(measured: Measurements, colours: Mapping[int, Any]) -> Curves:
    """Densities of each label, in percent of its voxels; none without HU."""
    curves = {}
    for region, colour in _single(measured, colours):
        if region.density is not None:
            histogram = region.density.histogram
            curves[region.name] = (colour, histogram.middles_hu, 100.0 * histogram.voxels / region.voxels)
    return curves


def _single(measured: Measurements, colours: Mapping[int, Any]) -> list[tuple[Region, Any]]:
    return [(region, colours[region.label]) for region in measured.regions if region.label is not None]

"""What there is to measure of a mask: size, shape, place and densities of its regions."""

from napari_lungseg.measurement.regions import measure
from napari_lungseg.measurement.report import write_report
from napari_lungseg.measurement.summary import HINTS, Summary, as_rows, summary
from napari_lungseg.measurement.values import Density, Histogram, Measurements, OrientedBox, Profile, Region

__all__ = [
    "HINTS",
    "Density",
    "Histogram",
    "Measurements",
    "OrientedBox",
    "Profile",
    "Region",
    "Summary",
    "as_rows",
    "measure",
    "summary",
    "write_report",
]

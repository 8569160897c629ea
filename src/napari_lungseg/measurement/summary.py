"""Measurements as rows and as a table for people; the terminal, the window and the report show the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from napari_lungseg.measurement.density import PERCENTILES, RANGES_HU
from napari_lungseg.measurement.values import Density, Measurements, Region
from napari_lungseg.tables import Row
from napari_lungseg.translation import mark, say, say_all

NONE = "-"
_DENSITY_COLUMNS = (
    *("mean_hu", "sd_hu"),
    *(f"p{percentile}_hu" for percentile in PERCENTILES),
    *("perc15_hu", "laa950_percent", "mass_g"),
    *(f"{name}_percent" for name in RANGES_HU),
)

#: Titles of the ranges of density.
_RANGES = {
    "emphysema": mark("Emphysema (%)"),
    "inflated": mark("Inflated (%)"),
    "infiltrated": mark("Infiltrated (%)"),
    "collapsed": mark("Collapsed (%)"),
    "vessels": mark("Vessels (%)"),
}


@dataclass(frozen=True)
class Summary:
    """A table of one line for each measure.

    Attributes
    ----------
    columns : tuple of str
        Names of the regions.
    lines : tuple of (str, tuple of str)
        Each measure with its unit, and its text for each region.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def summary(measured: Measurements) -> Summary:
    """What a person wants to see; lines that hold nothing are left out."""
    regions = measured.regions
    lines = [(title, tuple(tell(region) for region in regions)) for title, tell in _lines()]
    if measured.left_right_ratio is not None:
        ratio = f"{measured.left_right_ratio:.3f}"
        lines.insert(2, (mark("Left / right"), tuple(ratio if region.label is None else "" for region in regions)))
    return Summary(tuple(region.name for region in regions), tuple(line for line in lines if set(line[1]) - {NONE}))


def as_rows(measured: Measurements, case: str) -> list[Row]:
    """A row for each region with all of its numbers, for :func:`napari_lungseg.tables.as_csv`; None where one was not measured."""
    return [{"case": case} | _row(region, measured.left_right_ratio) for region in measured.regions]


def _lines() -> list[tuple[str, Callable[[Region], str]]]:
    def of(tell: Callable[[Density], str]) -> Callable[[Region], str]:
        return lambda region: NONE if region.density is None else tell(region.density)

    return [
        (mark("Volume (mL)"), lambda r: _number(r.volume_ml, 1)),
        (mark("Voxels"), lambda r: str(r.voxels)),
        (mark("Mass (g)"), of(lambda d: _number(d.mass_g, 1))),
        (mark("Surface (cm²)"), lambda r: _number(r.surface_cm2, 1)),
        (mark("Largest area (cm²)"), lambda r: _number(_largest_area_cm2(r), 1)),
        (mark("Feret (mm)"), lambda r: _number(r.feret_mm, 1)),
        (mark("Mean (HU)"), of(lambda d: _number(d.mean_hu, 1))),
        (mark("SD (HU)"), of(lambda d: _number(d.sd_hu, 1))),
        (mark("Median (HU)"), of(lambda d: _number(d.percentiles_hu[50], 1))),
        (mark("Perc15 (HU)"), of(lambda d: _number(d.perc15_hu, 1))),
        (mark("LAA-950 (%)"), of(lambda d: _number(d.laa950_percent, 2))),
        *((_RANGES[name], of(partial(_range, name))) for name in RANGES_HU),
        *((say("Box edge {edge} (mm)", edge=edge + 1), partial(_edge, edge)) for edge in range(3)),
        *((say("Centre {axis} (mm)", axis=letter), partial(_centre, axis)) for axis, letter in enumerate("xyz")),
        (mark("Cut off at"), lambda r: say_all(map(say, r.cut_off)) or NONE),
    ]


def _largest_area_cm2(region: Region) -> float | None:
    return None if region.profile.area_cm2 is None else float(region.profile.area_cm2.max())


def _edge(edge: int, region: Region) -> str:
    return NONE if region.oriented_box is None else _number(region.oriented_box.size_mm[edge], 1)


def _centre(axis: int, region: Region) -> str:
    return NONE if region.centroid_mm is None else _number(region.centroid_mm[axis], 1)


def _range(name: str, density: Density) -> str:
    return _number(density.ranges_percent[name], 1)


def _told(low: float, high: float) -> str:
    if not math.isfinite(low):
        return say("Part of the voxels below {high:.0f} HU", high=high)
    if not math.isfinite(high):
        return say("Part of the voxels from {low:.0f} HU on", low=low)
    return say("Part of the voxels from {low:.0f} HU to {high:.0f} HU", low=low, high=high)


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _row(region: Region, ratio: float | None) -> Row:
    density, box = region.density, region.oriented_box
    low, high = region.box_mm or (None, None)
    row: Row = {"label": region.label, "region": region.name, "name": region.name, "voxels": region.voxels, "volume_ml": region.volume_ml}
    row |= {"surface_cm2": region.surface_cm2, "largest_area_cm2": _largest_area_cm2(region), "feret_mm": region.feret_mm}
    row |= _named("centroid_{}_mm", "xyz", region.centroid_mm)
    row |= _named("centroid_index_{}", "zyx"[-len(region.centroid_index) :], region.centroid_index)
    for axis, (start, stop) in zip("zyx"[-len(region.box_index) :], region.box_index):
        row |= {f"box_start_{axis}": start, f"box_stop_{axis}": stop}
    row |= _named("box_low_{}_mm", "xyz", low) | _named("box_high_{}_mm", "xyz", high)
    row |= _named("oriented_box_{}_mm", "abc", None if box is None else box.size_mm)
    row |= _named("oriented_box_centre_{}_mm", "xyz", None if box is None else box.centre_mm)
    for edge, letter in enumerate("abc"):
        row |= _named(f"oriented_box_axis_{letter}_{{}}", "xyz", None if box is None else box.axes[edge])
    row |= {"left_right_ratio": ratio if region.label is None else None, "cut_off": "; ".join(region.cut_off)}
    if density is None:
        return row | dict.fromkeys(_DENSITY_COLUMNS)
    percentiles, ranges = density.percentiles_hu.values(), density.ranges_percent.values()
    numbers = (density.mean_hu, density.sd_hu, *percentiles, density.perc15_hu, density.laa950_percent, density.mass_g, *ranges)
    return row | dict(zip(_DENSITY_COLUMNS, numbers))


def _named(name: str, letters: str, values: Iterable[float] | None) -> Row:
    return dict(zip((name.format(letter) for letter in letters), (None,) * len(letters) if values is None else values))


#: What a line of the table is, where its title says too little.
HINTS = {
    "Surface (cm²)": mark("Area of the smooth surface, cuts at the border of the image included"),
    "Largest area (cm²)": mark("In one slice along the body axis"),
    "Feret (mm)": mark("Largest distance between two points of the border"),
    "Perc15 (HU)": mark("15 % of the voxels are below"),
    "LAA-950 (%)": mark("Part of the voxels below -950 HU"),
    "Mass (g)": mark("At (HU + 1000) / 1000 g/mL"),
    **{_RANGES[name]: _told(*span) for name, span in RANGES_HU.items()},
    **{f"Box edge {edge} (mm)": mark("Of the smallest box around it, in any direction") for edge in (1, 2, 3)},
    "Centre x (mm)": mark("To the patient's left"),
    "Centre y (mm)": mark("To the back"),
    "Centre z (mm)": mark("To the head"),
}

"""One page about a case, in HTML that needs nothing else: table, pictures, curves."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

import numpy as np

from napari_lungseg import __version__
from napari_lungseg.files import given_path, write_whole
from napari_lungseg.grid import on_same_grid, upright, with_geometry
from napari_lungseg.measurement.report_pictures import chart_svg, slice_png, window_of
from napari_lungseg.measurement.summary import HINTS, summary
from napari_lungseg.measurement.values import Measurements, Region
from napari_lungseg.mesh import COLOURS, OTHER_COLOUR
from napari_lungseg.translation import mark
from napari_lungseg.volume import Array, Volume

#: What the three pictures show, by the axis that they are cut across, and which of their axes must be turned over: the head
#: is up, the front is up in an axial slice, and the patient's right is on the left of the page.
_VIEWS = {"axial": (0, ()), "coronal": (1, (0,)), "sagittal": (2, (0,))}
_STYLE = """
body { font: 14px/1.4 sans-serif; max-width: 1100px; margin: 24px auto; padding: 0 16px; color: #222; }
h1 { font-size: 22px; margin: 0 0 2px; } .note { color: #666; margin: 2px 0 12px; }
table { border-collapse: collapse; margin: 12px 0; } th, td { padding: 3px 14px 3px 0; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child, td:last-child { text-align: left; } td:last-child { color: #666; }
.row { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start; } figure { margin: 0; background: #000; }
figcaption { background: #fff; color: #666; } img { display: block; max-width: 340px; } svg { width: 520px; max-width: 100%; }
svg text { font: 11px sans-serif; fill: #444; } svg .grid { stroke: #e4e4e4; }
@media print { body { margin: 0; font-size: 11px; } img { max-width: 220px; } svg { width: 340px; } }
"""


def write_report(path: str | Path, case: str, measured: Measurements, labels: Volume, image: Volume | None = None) -> Path:
    """Write a page about one case.

    Parameters
    ----------
    path : path
        An HTML file, in an existing folder.
    case : str
        Its name, for the heading.
    measured : Measurements
        Of ``labels`` and ``image``.
    labels, image : Volume
        For the pictures: the three planes through the middle of the mask.

    Returns
    -------
    path : Path
        What was written.

    Raises
    ------
    InputError
        When labels and image do not lie on the same grid, or the file cannot be written.
    """
    path = given_path(path)
    write_whole(path, _page(case, measured, labels, image))
    return path


def _page(case: str, measured: Measurements, labels: Volume, image: Volume | None) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in measured.notes)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(case)}</title><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(case)}</h1><p class="note">napari-lungseg {escape(__version__)}. For research, not for diagnosis.</p>'
        f'<div class="row">{_pictures(measured, labels, image)}</div>{_table(measured)}{notes}'
        f'<div class="row">{_charts(measured)}</div>'
        '<p class="note">Positions are LPS. The ranges of density are those of 3D Slicer\'s Lung CT Analyzer.</p></body></html>\n'
    )


def _table(measured: Measurements) -> str:
    made = summary(measured)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *made.columns))
    body = "".join(
        f"<tr><td>{escape(title)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{escape(HINTS.get(title, ''))}</td></tr>"
        for title, cells in made.lines
    )
    return f"<table><tr>{head}<th></th></tr>{body}</table>"


def _pictures(measured: Measurements, labels: Volume, image: Volume | None) -> str:
    shown: Array | None = None
    if image is None:
        turned = upright(with_geometry(labels, image))
    else:
        turned, of_image = on_same_grid(labels, image, (mark("labels"), mark("image")), mark("give the image that the mask was made on."))
        shown = np.asarray(of_image.array)
    mask = np.asarray(turned.array)
    window = (0.0, 1.0) if shown is None or image is None else window_of(shown, image.unit)
    figures = []
    for name, (axis, over) in _VIEWS.items():
        if mask.shape[axis] > 1 and 1 in mask.shape:
            continue  # a single slice is shown as it was cut
        here = (slice(None),) * axis + (int(np.argmax(np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis)))),)
        rest = tuple(step for other, step in enumerate(turned.spacing) if other != axis)
        plane = None if shown is None else np.flip(shown[here], over)
        png = slice_png(plane, np.flip(mask[here], over), (rest[0], rest[1]), window)
        code = base64.b64encode(png).decode()
        figures.append(f'<figure><img alt="{name}" src="data:image/png;base64,{code}"><figcaption>{name}</figcaption></figure>')
    return "".join(figures)


def _charts(measured: Measurements) -> str:
    single = [region for region in measured.regions if region.label is not None]
    charts = []
    if all(region.profile.height_mm is not None for region in single) and any(len(region.profile.voxels) > 1 for region in single):
        areas = {r.name: (colour(r), r.profile.height_mm, r.profile.area_cm2) for r in single}
        charts.append(chart_svg(areas, "Height z (mm), towards the head", "Area in the slice (cm²)"))  # type: ignore[arg-type]
    densities = {}
    for region in single:
        if region.density is not None:
            histogram = region.density.histogram
            densities[region.name] = (colour(region), histogram.middles_hu, 100.0 * histogram.voxels / region.voxels)
    if densities:
        charts.append(chart_svg(densities, "Density (HU)", "Part of the voxels (%)"))
    return "".join(f"<div>{chart}</div>" for chart in charts)


def colour(region: Region) -> str:
    """Colour of a region, as that of its label."""
    return OTHER_COLOUR if region.label is None else COLOURS.get(region.label, OTHER_COLOUR)

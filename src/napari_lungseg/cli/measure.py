"""``napari-lungseg measure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_lungseg.cli.terminal import named_labels, say
from napari_lungseg.errors import InputError


def measure(
    labels: Annotated[Path, typer.Argument(help="Labels: any numbers above 0; .seg.nrrd and DICOM-SEG say what they are.")],
    image: Annotated[Path | None, typer.Option(help="The CT on the same grid, for densities and mass.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all measures to this CSV file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with table, pictures and curves to this HTML file.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NUMBER=NAME", help="What a label is; once for each.")] = None,
    mesh: Annotated[Path | None, typer.Option(help="Write the surfaces, in mm, to this .stl, .obj, .ply or .glb file.")] = None,
) -> None:
    """Measure a mask: volume, surface, place, area profile, and densities where there is a CT."""
    from napari_lungseg.batch_paths import stem_of
    from napari_lungseg.files import new_path, write_whole
    from napari_lungseg.formats import read
    from napari_lungseg.grid import with_segmentation_whole
    from napari_lungseg.measurement import as_rows, measure, summary, write_report
    from napari_lungseg.mesh import check_mesh_path, surfaces, write_surfaces
    from napari_lungseg.tables import aligned, as_csv

    # Before anything long is begun.
    for path in (csv, report):
        if path is not None:
            new_path(path)
    if mesh is not None:
        check_mesh_path(mesh)
    mask, ct = read(labels), None if image is None else read(image)
    if ct is not None:
        mask, ct = with_segmentation_whole(mask, ct)
    if mesh is not None and not mask.spacing_known:
        raise InputError(f"{labels} does not say how large its voxels are, so there is no surface in mm; give a mask with a geometry.")
    names = named_labels(label) or mask.names
    measured = measure(mask, ct, names=names)
    table = summary(measured)
    say(aligned([["", *table.columns], *([title, *cells] for title, cells in table.lines)]))
    for note in (*mask.notes, *(ct.notes if ct is not None else ()), *measured.notes):
        say(note, err=True)
    case = stem_of(labels)
    if csv is not None:
        write_whole(csv, as_csv(as_rows(measured, case)))
    if report is not None:
        write_report(report, case, measured, mask, ct)
    if mesh is not None:
        write_surfaces(surfaces(mask), mesh, names)

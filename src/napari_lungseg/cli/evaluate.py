"""``napari-lungseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_lungseg.cli.scores import report_scores
from napari_lungseg.cli.terminal import named_labels, say
from napari_lungseg.errors import InputError, memory_sentence


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Labels, or a folder of labels.")],
    reference: Annotated[Path, typer.Argument(help="Reference labels, or a folder with files of the same names.")],
    csv: Annotated[Path | None, typer.Option(help="Write the scores to this CSV file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    per_slice: Annotated[
        Path | None, typer.Option(help="Write the scores of each axial slice to this CSV file; with --json they go into that, too.")
    ] = None,
    tolerance_mm: Annotated[float, typer.Option(help="Distance, in mm, that the surface Dice (nsd) allows.")] = 3.0,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NUMBER=NAME", help="A label to score, and its name; once for each. By default all of them.")
    ] = None,
) -> int:
    """Compare labels with a reference: Dice, IoU, precision, recall, specificity, HD95, ASSD, surface Dice, volume error."""
    from napari_lungseg.comparison import case_rows, pairs, slice_rows
    from napari_lungseg.files import new_path
    from napari_lungseg.formats import read
    from napari_lungseg.grid import with_segmentation_whole
    from napari_lungseg.metrics import evaluate as evaluate_volume
    from napari_lungseg.metrics import evaluate_slices
    from napari_lungseg.tables import Row

    names = named_labels(label)
    for path in (csv, json, per_slice):
        if path is not None:
            new_path(path)
    matched, failures = pairs(prediction, reference)
    rows: list[Row] = []
    slices: list[Row] = []
    for case, paths in matched.items():
        try:
            predicted, expected = with_segmentation_whole(*map(read, paths))
            for path, volume in zip(paths, (predicted, expected), strict=True):
                for note in volume.notes:
                    say(f"{path}: {note}", err=True)
            rows += case_rows(case, evaluate_volume(predicted, expected, tolerance_mm=tolerance_mm, names=names))
            if per_slice is not None:
                slices += slice_rows(case, evaluate_slices(predicted, expected, tolerance_mm=tolerance_mm, names=names))
        except InputError as error:
            failures.append(f"{case}: {error}")
            continue
        except MemoryError as error:
            failures.append(f"{case}: {memory_sentence(error)}")
            continue
        if not (predicted.spacing_known or expected.spacing_known):
            say(f"{case}: neither file says how large a pixel is; it is taken as 1 mm.", err=True)
    return report_scores(rows, slices, failures, csv=csv, per_slice=per_slice, json=json)

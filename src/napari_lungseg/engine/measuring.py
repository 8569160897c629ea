"""Jobs of an engine: measure masks, compare them, and make their surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_lungseg.engine.control import Control
from napari_lungseg.measurement import Measurements, measure, write_report
from napari_lungseg.mesh import surfaces, write_surfaces
from napari_lungseg.metrics import Scores, disagreement, evaluate, evaluate_slices
from napari_lungseg.readers import only
from napari_lungseg.volume import Array, Volume


def measure_mask(control: Control, labels: Volume, image: Volume | None) -> Measurements:
    """Measure a mask."""
    return measure(labels, image)


def report_mask(control: Control, path: Path, name: str, labels: Volume, image: Volume | None) -> Measurements:
    """Measure a mask and write the page about it."""
    measured = measure(labels, image)
    write_report(path, name, measured, labels, image)
    return measured


def save_surfaces(control: Control, path: Path, labels: Volume) -> Path:
    """Make the surfaces of all labels and write them in LPS mm."""
    return write_surfaces(surfaces(labels), path, labels.names)


def make_surfaces(control: Control, labels: Volume) -> list[tuple[int, Array, Array, Array]]:
    """Label, vertices in LPS mm, faces, and normals of the vertices of each surface."""
    return [
        (label, np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(mesh.vertex_normals))
        for label, mesh in surfaces(labels).items()
    ]


def compare_masks(
    control: Control, prediction: Volume, reference: Volume, tolerance_mm: float
) -> tuple[Mapping[str, Scores], Mapping[str, tuple[Scores, ...]], Array]:
    """Scores by label, those of each slice, and where the two differ."""
    errors = disagreement(prediction, reference).array
    control.check()
    scores = evaluate(prediction, reference, tolerance_mm=tolerance_mm)
    control.check()
    return scores, evaluate_slices(prediction, reference, tolerance_mm=tolerance_mm), errors


def compare_readers(
    control: Control, ours: Volume, theirs: Volume, axis: int, reviewed: Sequence[int], by_both: Sequence[int]
) -> tuple[Mapping[str, Scores], list[int]]:
    """Scores over the slices that both readers have reviewed, if there are any, and how many voxels differ on each that the other has."""
    differs = np.asarray(ours.array != theirs.array)
    planes = np.moveaxis(differs, axis, 0) if differs.ndim == 3 else differs[None]
    voxels = [int(np.count_nonzero(planes[index])) for index in reviewed]
    control.check()
    return evaluate(only(ours, axis, by_both), only(theirs, axis, by_both)) if by_both else {}, voxels

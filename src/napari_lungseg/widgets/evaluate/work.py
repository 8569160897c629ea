"""Comparing two label layers, off the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
from napari.layers import Labels

from napari_lungseg.formats import read_segments
from napari_lungseg.metrics import Scores, disagreement, evaluate, evaluate_slices
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.view import voxel_shape
from napari_lungseg.workspace import import_mask

Step = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out for two layers.

    Attributes
    ----------
    prediction, reference : Labels
        The layers.
    scores : mapping
        By label.
    slices : mapping
        Those of each slice, by label.
    axis : int
        Axis of the reference's volume along which its slices are stacked.
    errors : array
        On the voxels of the reference's layer, as from :func:`~napari_lungseg.metrics.disagreement`; 0 at its other steps.
    in_mm : bool
        Whether either layer said how large a voxel is; else one is taken as 1 mm.
    """

    prediction: Labels
    reference: Labels
    scores: Mapping[str, Scores]
    slices: Mapping[str, tuple[Scores, ...]]
    axis: int
    errors: Array
    in_mm: bool


def compare(prediction: tuple[Labels, Step], reference: tuple[Labels, Step], tolerance_mm: float) -> Comparison:
    """Compare the volumes of two layers, each at a step of its time axes (InputError where they do not fit)."""
    # napari takes it for the names of labels, and would halt the window to import it.
    import_module("pandas")
    found, known = _volume(*prediction), _volume(*reference)
    errors = np.zeros(voxel_shape(reference[0]), np.uint8)
    errors[reference[1]] = disagreement(found, known).array
    return Comparison(
        prediction=prediction[0],
        reference=reference[0],
        scores=evaluate(found, known, tolerance_mm=tolerance_mm),
        slices=evaluate_slices(found, known, tolerance_mm=tolerance_mm),
        axis=known.axial_axis,
        errors=errors,
        in_mm=found.spacing_known or known.spacing_known,
    )


def read_reference(path: Path, layer: Labels, step: Step) -> tuple[Array, dict[int, str] | None]:
    """Read a mask onto the voxels of a layer, 0 at its other steps, and what its labels are (InputError where it lies on other voxels)."""
    labels = import_mask(path, volume_from_layer(layer, step, "arbitrary"), exact=True)
    whole = np.zeros(voxel_shape(layer), labels.dtype)
    whole[step] = labels
    segments = read_segments(path)
    return whole, None if segments is None else segments[1]


def _volume(layer: Labels, step: Step) -> Volume:
    volume = volume_from_layer(layer, step, "arbitrary")
    # As it is now: the person may paint meanwhile.
    return replace(volume, array=np.array(volume.array), names=names_on(layer))

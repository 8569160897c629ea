"""Comparing two label layers, off the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from napari.layers import Labels

from napari_lungseg.metrics import Scores, disagreement, evaluate, evaluate_slices
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.layers import volume_from_layer

Step = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out for two layers.

    Attributes
    ----------
    prediction, reference : Labels
        The layers.
    step : tuple of int
        Which volume of the reference, along its time axes.
    scores : mapping
        By label.
    slices : mapping
        Those of each slice, by label.
    axis : int
        Axis of the reference's volume along which its slices are stacked.
    errors : array
        On the voxels of the reference's volume, as from :func:`~napari_lungseg.metrics.disagreement`.
    in_mm : bool
        Whether either layer said how large a voxel is; else one is taken as 1 mm.
    """

    prediction: Labels
    reference: Labels
    step: Step
    scores: Mapping[str, Scores]
    slices: Mapping[str, tuple[Scores, ...]]
    axis: int
    errors: Array
    in_mm: bool


def compare(prediction: tuple[Labels, Step], reference: tuple[Labels, Step], tolerance_mm: float) -> Comparison:
    """Compare the volumes of two layers, each at a step of its time axes (InputError where they do not fit)."""
    found, known = _volume(*prediction), _volume(*reference)
    return Comparison(
        prediction=prediction[0],
        reference=reference[0],
        step=reference[1],
        scores=evaluate(found, known, tolerance_mm=tolerance_mm),
        slices=evaluate_slices(found, known, tolerance_mm=tolerance_mm),
        axis=known.axial_axis,
        errors=np.asarray(disagreement(found, known).array),
        in_mm=found.spacing_known or known.spacing_known,
    )


def _volume(layer: Labels, step: Step) -> Volume:
    volume = volume_from_layer(layer, step, "arbitrary")
    # As it is now: the person may paint meanwhile.
    return volume.with_array(np.array(volume.array))

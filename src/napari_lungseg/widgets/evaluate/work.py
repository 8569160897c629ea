"""What is read of two label layers before the engine compares them, and what comes out."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from napari.layers import Labels

from napari_lungseg.metrics import Scores
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.layers import labels_now, volume_from_layer
from napari_lungseg.widgets.napari_compat import import_pandas
from napari_lungseg.widgets.tasks import Request
from napari_lungseg.widgets.view import TimeIndex, voxel_shape
from napari_lungseg.workspace import read_mask


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
        On the voxels of the reference's layer, as from :func:`~napari_lungseg.metrics.disagreement`; 0 at its other time points.
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


def compare(
    prediction: tuple[Labels, TimeIndex], reference: tuple[Labels, TimeIndex], tolerance_mm: float
) -> Generator[LayerPair, None, Request]:
    """Ask the engine to compare the volumes of two layers, each at a time point."""
    import_pandas()
    found, known = _volume(*prediction), _volume(*reference)
    yield LayerPair(prediction[0], *reference, known.axial_axis, in_mm=found.spacing_known or known.spacing_known)
    return Request("compare", (found, known, tolerance_mm))


@dataclass(frozen=True, eq=False)
class LayerPair:
    """Two layers that are compared, and the time point of the reference; otherwise as :class:`Comparison`."""

    prediction: Labels
    reference: Labels
    reference_time_index: TimeIndex
    axis: int
    in_mm: bool

    def comparison(self, scores: Mapping[str, Scores], slices: Mapping[str, tuple[Scores, ...]], errors: Array) -> Comparison:
        """What came out."""
        whole = np.zeros(voxel_shape(self.reference), np.uint8)
        whole[self.reference_time_index] = errors
        return Comparison(self.prediction, self.reference, scores, slices, self.axis, whole, self.in_mm)


def read_reference(path: Path, layer: Labels, time_index: TimeIndex) -> tuple[Array, Volume]:
    """Read a mask onto the voxels of a layer, 0 at its other times, and as it is (InputError where it lies on other voxels)."""
    mask = read_mask(path, volume_from_layer(layer, time_index, "arbitrary"), exact=True)
    whole = np.zeros(voxel_shape(layer), mask.array.dtype)
    whole[time_index] = mask.array
    return whole, mask


def _volume(layer: Labels, time_index: TimeIndex) -> Volume:
    return replace(labels_now(layer, time_index), names=names_on(layer))

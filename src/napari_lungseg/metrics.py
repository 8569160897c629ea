"""How well a mask agrees with a reference: overlap, surface distances, volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt

from napari_lungseg.grids import on_same_grid
from napari_lungseg.volume import Array, Volume

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Agreement of one structure in two label images.

    Where both are empty the overlaps are 1 and the distances 0; where only one is, the overlaps are 0 and the distances
    infinite, so that a missed lung cannot hide in an average.

    Attributes
    ----------
    dice, iou : float
        Overlap, 0 to 1.
    precision, recall : float
        Part of the prediction that is right; part of the reference that was found.
    hd95_mm : float
        Hausdorff distance at 95 %: the larger of the two directed 95th percentiles (linear between ranks) of the distances from
        each surface voxel of one mask to the nearest of the other. A surface voxel has a face neighbour outside the mask; so
        does one at the edge of the image, except along an axis of one voxel.
    assd_mm : float
        Mean of all these distances, both ways together.
    volume_ml, reference_ml : float
        Volumes of prediction and reference in mL (of a slice, its area times the slice distance of its geometry).
    volume_error_ml : float
        Prediction less reference.
    """

    dice: float
    iou: float
    precision: float
    recall: float
    hd95_mm: float
    assd_mm: float
    volume_ml: float
    reference_ml: float
    volume_error_ml: float


def evaluate(prediction: Volume, reference: Volume) -> dict[str, Scores]:
    """Compare labels with a reference on the same grid.

    Parameters
    ----------
    prediction, reference : Volume
        Labels, (Z, Y, X) or (Y, X): 1 right lung, 2 left lung, or anything above 0 for lung. Axes stored in another order or
        direction are brought together by the geometry.

    Returns
    -------
    dict
        Under "lungs" the scores of everything above 0; where the reference tells the sides apart (holds a 2), also
        under "right" and "left".

    Raises
    ------
    InputError
        When the two do not lie on the same grid.
    """
    predicted, expected = on_same_grid(
        prediction,
        reference,
        ("prediction", "reference"),
        "give the mask that was made on the reference's own image, or resample it first.",
    )
    spacing, voxel_ml = expected.spacing, expected.voxel_ml
    both = _joint(predicted.array, expected.array)
    scores = {"lungs": _score(both[0] > 0, both[1] > 0, spacing, voxel_ml)}
    if (both[1] == 2).any():
        for name, label in (("right", 1), ("left", 2)):
            scores[name] = _score(both[0] == label, both[1] == label, spacing, voxel_ml)
    return scores


def _score(predicted: Mask, expected: Mask, spacing: tuple[float, ...], voxel_ml: float) -> Scores:
    """Scores of two masks of three axes."""
    predicted, expected = _joint(predicted, expected)
    hits = int(np.count_nonzero(predicted & expected))
    size, wanted = int(np.count_nonzero(predicted)), int(np.count_nonzero(expected))
    hd95, assd = _surface_distances(predicted, expected, spacing)
    empty = float(size == wanted == 0)
    return Scores(
        dice=2 * hits / (size + wanted) if size + wanted else 1.0,
        iou=hits / (size + wanted - hits) if size + wanted else 1.0,
        precision=hits / size if size else empty,
        recall=hits / wanted if wanted else empty,
        hd95_mm=hd95,
        assd_mm=assd,
        volume_ml=size * voxel_ml,
        reference_ml=wanted * voxel_ml,
        volume_error_ml=(size - wanted) * voxel_ml,
    )


def _surface_distances(one: Mask, other: Mask, spacing: tuple[float, ...]) -> tuple[float, float]:
    """HD95 and ASSD in mm."""
    if not (one.any() and other.any()):
        distance = 0.0 if one.any() == other.any() else math.inf
        return distance, distance
    surfaces = _surface(one), _surface(other)
    # On all cores: this is nearly all the time that a comparison takes.
    there = edt.edt(~surfaces[1], anisotropy=spacing, parallel=0)[surfaces[0]]
    back = edt.edt(~surfaces[0], anisotropy=spacing, parallel=0)[surfaces[1]]
    hd95 = max(float(np.percentile(distances, 95)) for distances in (there, back))
    return hd95, float((there.sum(dtype=np.float64) + back.sum(dtype=np.float64)) / (there.size + back.size))


def _surface(mask: Mask) -> Mask:
    """Voxels of a mask with a face neighbour outside it."""
    inner = mask.copy()
    for axis, size in enumerate(mask.shape):
        if size == 1:
            continue
        along, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= source[:-1]
        along[:-1] &= source[1:]
        along[0] = along[-1] = False
    return mask & ~inner


def _joint(one: Array, other: Array) -> tuple[Array, Array]:
    """Both arrays cropped to the box around what either holds.

    An axis keeps two voxels where it has them: an axis of one means a single slice, which has no surface along it.
    """
    filled = (one > 0) | (other > 0)
    box = []
    for axis, size in enumerate(filled.shape):
        along = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
        start, stop = (int(along[0]), int(along[-1]) + 1) if along.size else (0, 1)
        if stop - start == 1:
            start, stop = (start, stop + 1) if stop < size else (max(0, start - 1), stop)
        box.append(slice(start, stop))
    cut = tuple(box)
    return np.ascontiguousarray(one[cut]), np.ascontiguousarray(other[cut])

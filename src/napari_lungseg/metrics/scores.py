"""The scores of one structure in two masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_lungseg.metrics.surface import Mask, compare_surfaces
from napari_lungseg.volume import Array


@dataclass(frozen=True)
class Scores:
    """Agreement of one structure in two label images.

    TP are the voxels in both, FP those in the prediction alone, FN those in the reference alone, TN those in neither.

    Where both are empty the overlaps and the surface Dice are 1 and the distances 0; where only one is, the overlaps and the surface
    Dice are 0 and the distances infinite, so that a missed lung cannot hide in an average. MONAI gives NaN where both are empty, and
    scikit-learn what its ``zero_division`` says.

    Attributes
    ----------
    dice : float
        2 TP / (2 TP + FP + FN), 0 to 1 (Dice 1945, doi 10.2307/1932409).
    f1 : float
        Harmonic mean of precision and recall: for masks the same number as Dice, under its other name.
    iou : float
        TP / (TP + FP + FN), the Jaccard index (Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x).
    precision, recall : float
        TP / (TP + FP), the part of the prediction that is right; TP / (TP + FN), the part of the reference that was found.
    specificity : float
        TN / (TN + FP) over the whole image, or slice: it grows with what lies around the lungs and is no figure to compare images
        by. 1 where the reference fills the image.
    hd95_mm : float
        Hausdorff distance at 95 %: the larger of the two directed 95th percentiles (linear between ranks, rule 7 of Hyndman and Fan
        1996, doi 10.2307/2684934) of the distances from each surface voxel of one mask to the nearest of the other, between voxel
        centres in mm. A surface voxel has a face neighbour outside the mask; so does one at the edge of the image, except along an
        axis of one voxel. As MONAI's ``compute_hausdorff_distance(percentile=95)`` with its ``spacing``.
    assd_mm : float
        Average symmetric surface distance: mean of all these distances, both ways together (Heimann et al. 2009,
        doi 10.1109/TMI.2009.2013851). As MONAI's ``compute_average_surface_distance(symmetric=True)``.
    nsd : float
        Surface Dice, or normalised surface distance: the part of these distances, both ways together, that is at most
        ``tolerance_mm`` (Nikolov et al. 2018, arXiv 1809.04430). It counts surface voxels, as MONAI's ``compute_surface_dice`` does
        with its defaults; Nikolov weighs pieces of surface by their area instead, which differs most where slices are thick.
    tolerance_mm : float
        Tolerance of ``nsd``.
    volume_ml, reference_ml : float
        Volumes of prediction and reference in mL (of a slice, its area times the slice distance of its geometry).
    volume_error_ml : float
        Prediction less reference.
    volume_error_percent : float
        That in percent of the reference; infinite where this is empty and the prediction is not.
    """

    dice: float
    f1: float
    iou: float
    precision: float
    recall: float
    specificity: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    tolerance_mm: float
    volume_ml: float
    reference_ml: float
    volume_error_ml: float
    volume_error_percent: float


def score(predicted: Mask, expected: Mask, spacing: tuple[float, ...], voxel_ml: float, tolerance_mm: float, voxels: int) -> Scores:
    """Scores of two masks of three axes, cut from an image of so many voxels."""
    predicted, expected = joint(predicted, expected)
    hits = int(np.count_nonzero(predicted & expected))
    size, wanted = int(np.count_nonzero(predicted)), int(np.count_nonzero(expected))
    surfaces = compare_surfaces(predicted, expected, spacing, tolerance_mm)
    empty = float(size == wanted == 0)
    dice = 2 * hits / (size + wanted) if size + wanted else 1.0
    excess = size - wanted
    return Scores(
        dice=dice,
        f1=dice,
        iou=hits / (size + wanted - hits) if size + wanted else 1.0,
        precision=hits / size if size else empty,
        recall=hits / wanted if wanted else empty,
        specificity=(voxels - wanted - (size - hits)) / (voxels - wanted) if voxels > wanted else 1.0,
        hd95_mm=surfaces.hd95_mm,
        assd_mm=surfaces.assd_mm,
        nsd=surfaces.nsd,
        tolerance_mm=tolerance_mm,
        volume_ml=size * voxel_ml,
        reference_ml=wanted * voxel_ml,
        volume_error_ml=excess * voxel_ml,
        volume_error_percent=100.0 * excess / wanted if wanted else (math.inf if excess else 0.0),
    )


def joint(one: Array, other: Array) -> tuple[Array, Array]:
    """Both arrays of three axes, cropped to the box around what either holds.

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

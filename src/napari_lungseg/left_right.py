"""Which lung is the right and which the left, by the patient's geometry, also where the two touch."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import cc3d
import edt
import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import LEFT, RIGHT
from napari_lungseg.pieces import Floats, Integers, Labels, Mask, Pieces
from napari_lungseg.volume import bounding_box, widen

#: Two pieces whose centres lie on the same side of the midline are both lungs only if they are as far apart as this, in mm.
LUNGS_APART_MM = 90.0
#: A second piece of this part of the first's volume is a lung of its own; then the first is not searched for two.
OWN_LUNG = 0.05
#: A piece holds both lungs only if this part of it lies on either side of the midline ...
STRADDLING = 0.1
#: ... and each of the two parts that erosion leaves has this share of what is left.
SMALLEST_SHARE = 0.05
#: Erosion that finds the necks between touching lungs, in mm.
EROSIONS_MM = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 12.0)
#: Parts this balanced are taken at once; otherwise all erosions are tried.
BALANCED_SHARE = 0.25
#: A piece as wide as this (mm) holds two lungs even if no erosion parts them; one lung reaches about 170 mm.
TWO_LUNGS_WIDE_MM = 220.0
#: A further piece this near to a lung (mm) has come off it.
CLOSE_MM = 5.0
#: Grid (mm) on which touching lungs are parted first; only near the cut it is done again on the image's own.
COARSE_MM = 2.5
#: Depth inside the lungs is smoothed by this (mm, at least so many voxels; standard deviation) before touching lungs are parted.
SMOOTH_MM = 4.0
SMOOTH_VOXELS = 2.0

Spacing = tuple[float, float, float]


def split_sides(pieces: Pieces, spacing: Spacing, middle: float) -> Labels:
    """Label right lung 1 and left lung 2.

    The two largest pieces that lie beside each other are the lungs. Where there is but one, and it reaches over the midline,
    it is parted at its narrowest place. A single lung belongs to the side of the midline where its centre lies.
    Further pieces go to the lung they have come off, else to the lung on their side of the chest.

    Parameters
    ----------
    pieces : Pieces
        What is lung; it is used up.
    spacing : tuple of float
        Millimetres along z, y, x.
    middle : float
        x index of the midline; may lie outside the array.

    Returns
    -------
    (Z, Y, X) array of uint8
        0, 1 and 2.
    """
    side_of = np.zeros(len(pieces.counts), np.uint8)
    first = int(np.argmax(pieces.counts))
    if pieces.counts[first] == 0:
        return pieces.paint(side_of)
    partner = _partner(pieces, first, spacing, middle)
    halves = None
    if partner is None or pieces.counts[partner] < OWN_LUNG * pieces.counts[first]:
        halves = _halves(pieces.mask_of(first), spacing, middle)
    if halves is None:
        if partner is not None:
            right_first = pieces.columns[first] < pieces.columns[partner]
            side_of[partner] = LEFT if right_first else RIGHT
        else:
            right_first = pieces.columns[first] < middle
        side_of[first] = RIGHT if right_first else LEFT
    rest = (pieces.counts > 0) & (side_of == 0)
    rest[first] = False
    loose = pieces.voxels_of(rest) if rest.any() else None
    labels = pieces.paint(side_of)
    if halves is not None:
        box, parted = halves
        labels[box] = parted
    if loose is not None:
        _join(labels, *loose, spacing)
    return labels


def _partner(pieces: Pieces, first: int, spacing: Spacing, middle: float) -> int | None:
    """The largest piece that lies on the other side of the chest from the first one."""
    low, high = pieces.low, pieces.high
    overlap = np.minimum(high, high[first]) - np.maximum(low, low[first]) + 1
    narrower = np.minimum(high - low, high[first] - low[first]) + 1
    beside = 2 * overlap < narrower
    opposite = (pieces.columns - middle) * (pieces.columns[first] - middle) < 0
    apart = np.abs(pieces.columns - pieces.columns[first]) * spacing[2] >= LUNGS_APART_MM
    counts = np.where(beside & (opposite | apart), pieces.counts, 0)
    partner = int(np.argmax(counts))
    return partner if counts[partner] > 0 else None


def _join(labels: Labels, where: tuple[Integers, ...], owners: Integers, spacing: Spacing) -> None:
    """Give further pieces to one of the two lungs, in place; ``owners`` is the piece of each voxel in ``where``.

    What lies close to a lung has come off it. Anything else belongs to the lung whose side of the chest it lies on: in the
    bases a piece of the left lung behind the heart is often nearer to the right lung than to the rest of the left.
    """
    steps, coarse_spacing = _coarse(spacing)
    coarse = labels[tuple(slice(None, None, step) for step in steps)]
    at = tuple(np.minimum(index // step, size - 1) for index, step, size in zip(where, steps, coarse.shape, strict=True))
    pieces = int(owners.max()) + 1
    nearest = np.full((3, pieces), np.inf, np.float32)
    centres = []
    for side in (RIGHT, LEFT):
        lung = coarse == side
        if not lung.any():
            labels[where] = LEFT if side == RIGHT else RIGHT
            return
        np.minimum.at(nearest[side], owners, edt.edt(~lung, anisotropy=coarse_spacing)[at])
        profile = np.count_nonzero(lung, axis=(0, 1))
        centres.append(float(np.average(np.arange(len(profile)), weights=profile)))
    columns = np.bincount(owners, weights=at[2]) / np.maximum(1, np.bincount(owners))
    by_place = np.where(columns <= sum(centres) / 2, RIGHT, LEFT)
    by_distance = np.where(nearest[RIGHT] <= nearest[LEFT], RIGHT, LEFT)
    close = np.minimum(nearest[RIGHT], nearest[LEFT]) <= CLOSE_MM
    labels[where] = np.where(close, by_distance, by_place)[owners]


def _halves(lung: Mask, spacing: Spacing, middle: float) -> tuple[tuple[slice, ...], Labels] | None:
    """The box around a piece that holds both lungs, and these in it; None where it is one lung."""
    box = bounding_box(lung)
    assert box is not None
    halves = _part(lung[box], spacing, middle - box[2].start)
    return None if halves is None else (box, halves)


def _part(lung: Mask, spacing: Spacing, middle: float) -> Labels | None:
    """Part a piece that holds both lungs; None where it is one lung."""
    profile = np.count_nonzero(lung, axis=(0, 1))
    on_right = profile[np.arange(len(profile)) < middle].sum() / profile.sum()
    if not STRADDLING <= on_right <= 1 - STRADDLING:
        return None
    steps, coarse_spacing = _coarse(spacing)
    coarse = np.ascontiguousarray(lung[tuple(slice(None, None, step) for step in steps)])
    depth = edt.edt(coarse, anisotropy=coarse_spacing)
    markers = _two_lungs(depth)
    if markers is None:
        return _cut_by_plane(lung, profile, spacing)
    halves = _flood(depth, markers, coarse, coarse_spacing)
    return _refine(lung, halves, steps, spacing, coarse_spacing)


def _two_lungs(depth: Floats) -> Labels | None:
    """Erode until two large parts lie beside each other: 1 in the right one, 2 in the left one."""
    best: tuple[float, Labels] | None = None
    for radius in EROSIONS_MM:
        parts = cc3d.connected_components(depth > radius, connectivity=6, binary_image=True)
        counts = np.bincount(parts.ravel())
        counts[0] = 0
        total = counts.sum()
        large = [int(n) for n in np.argsort(counts)[::-1][:4] if counts[n] > max(1.0, SMALLEST_SHARE * total)]
        for one, other in combinations(large, 2):
            order = _right_to_left(parts, one, other)
            share = min(counts[one], counts[other]) / max(1, np.count_nonzero(depth))
            if order is None or (best is not None and share <= best[0]):
                continue
            best = share, np.where(parts == order[0], RIGHT, np.where(parts == order[1], LEFT, 0)).astype(np.uint8)
            if share >= BALANCED_SHARE:
                return best[1]
    return None if best is None else best[1]


def _right_to_left(parts: npt.NDArray[np.unsignedinteger], one: int, other: int) -> tuple[int, int] | None:
    """The two parts in order if nine tenths of one lie beside nine tenths of the other."""
    spans = {}
    for part in (one, other):
        reached = np.cumsum(np.count_nonzero(parts == part, axis=(0, 1)))
        spans[part] = np.searchsorted(reached, (0.1 * reached[-1], 0.9 * reached[-1]))
    if spans[one][1] < spans[other][0]:
        return one, other
    if spans[other][1] < spans[one][0]:
        return other, one
    return None


def _flood(depth: Floats, markers: Labels, within: Mask, spacing: Spacing) -> Labels:
    """Grow markers from the depth outwards until they meet, at the narrowest place."""
    # Imported where lungs touch, as it takes a while.
    from scipy import ndimage
    from skimage.segmentation import watershed

    # Smoothed, as the waters else meet in steps where the neck is thick and flat.
    smooth = ndimage.gaussian_filter(depth, [max(SMOOTH_MM / step, SMOOTH_VOXELS) for step in spacing])
    return np.asarray(watershed(-smooth, markers, mask=within).astype(np.uint8))


def _cut_by_plane(lung: Mask, profile: npt.NDArray[np.integer], spacing: Spacing) -> Labels | None:
    """Cut at the sagittal plane with the least lung in the middle third, if the piece is too wide for one lung."""
    columns = len(profile)
    if columns * spacing[2] < TWO_LUNGS_WIDE_MM:
        return None
    third = columns // 3
    cut = third + int(np.argmin(profile[third : columns - third]))
    labels = lung.astype(np.uint8)
    labels[:, :, cut:] *= LEFT
    return labels


def _coarse(spacing: Spacing) -> tuple[tuple[int, ...], Spacing]:
    """Steps along the axes that thin an array to about ``COARSE_MM``, and the spacing they lead to."""
    steps = tuple(max(1, round(COARSE_MM / step)) for step in spacing)
    dz, dy, dx = (size * step for size, step in zip(spacing, steps, strict=True))
    return steps, (dz, dy, dx)


def _refine(lung: Mask, halves: Labels, steps: tuple[int, ...], spacing: Spacing, coarse_spacing: Spacing) -> Labels:
    """Bring halves found on the coarse grid to the image's own, with a cut as exact as that allows."""
    from scipy import ndimage
    from skimage.segmentation import expand_labels

    everywhere = expand_labels(halves, distance=1e6, spacing=coarse_spacing).astype(np.uint8)
    near_cut = ndimage.maximum_filter(everywhere, 3) != ndimage.minimum_filter(everywhere, 3)
    labels = _enlarge(everywhere, steps, lung.shape) * lung
    band = _enlarge(near_cut, steps, lung.shape) & lung
    found = bounding_box(band)
    if found is None or max(steps) == 1:
        return labels
    margins = [max(2, round(4 * COARSE_MM / step)) for step in spacing]
    box = widen(found, margins, lung.shape)
    part, undecided = np.ascontiguousarray(lung[box]), band[box]
    depth = edt.edt(part, anisotropy=spacing)
    rim = ndimage.maximum_filter(undecided, 3) & part
    cut = _flood(depth, np.where(undecided, 0, labels[box]) * rim, rim, spacing)
    # Specks of the band that touch no decided voxel keep the coarse label.
    labels[box] = np.where(undecided & (cut > 0), cut, labels[box])
    return labels


def _enlarge(coarse: npt.NDArray[Any], steps: tuple[int, ...], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Bring an array from the coarse grid to one of a given shape by nearest neighbours."""
    # The last axis first, while there is the least to gather.
    for axis in (2, 1, 0):
        nearest = (np.arange(shape[axis]) + steps[axis] // 2) // steps[axis]
        coarse = coarse.take(nearest, axis, mode="clip")
    return coarse

"""Distances between the surfaces of two masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError

Mask = npt.NDArray[np.bool_]

#: Default tolerance of the surface Dice, in mm: that of TotalSegmentator (Wasserthal et al. 2023, doi 10.1148/ryai.230024), whose
#: figures are the best known in this field. It is wider than the pixels of a chest CT: it never asks for the very same voxels.
TOLERANCE_MM = 3.0
#: Part by which a distance may exceed the tolerance: six steps of 0.5 mm are 3 mm, whatever their sum in binary.
_ROUNDING = 1e-5
#: Voxels from which on a distance transform is shared among the cores.
_LARGE = 1_000_000


@dataclass(frozen=True)
class SurfaceScores:
    """HD95 and ASSD in mm, and the surface Dice; defined at :class:`~napari_lungseg.metrics.Scores`."""

    hd95_mm: float
    assd_mm: float
    nsd: float


def compare_surfaces(one: Mask, other: Mask, spacing: tuple[float, ...], tolerance_mm: float) -> SurfaceScores:
    """Compare the surfaces of two masks of the same shape; ``spacing`` in mm for each axis."""
    if not (one.any() and other.any()):
        return SurfaceScores(math.inf, math.inf, 0.0) if one.any() or other.any() else SurfaceScores(0.0, 0.0, 1.0)
    # edt takes fifty times as long for a slice that has a third axis.
    kept = [axis for axis, size in enumerate(one.shape) if size > 1] or [0]
    one, other = (mask.reshape([mask.shape[axis] for axis in kept]) for mask in (one, other))
    spacing = tuple(spacing[axis] for axis in kept)
    surfaces = surface(one), surface(other)
    # This is nearly all the time that a comparison takes.
    cores = 0 if one.size >= _LARGE else 1
    there = edt.edt(~surfaces[1], anisotropy=spacing, parallel=cores)[surfaces[0]]
    back = edt.edt(~surfaces[0], anisotropy=spacing, parallel=cores)[surfaces[1]]
    both = np.concatenate([there, back])
    return SurfaceScores(
        hd95_mm=max(float(np.percentile(distances, 95)) for distances in (there, back)),
        assd_mm=float(both.mean(dtype=np.float64)),
        nsd=float(np.count_nonzero(both <= tolerance_mm * (1 + _ROUNDING)) / both.size),
    )


def surface(mask: Mask) -> Mask:
    """Voxels of a mask with a face neighbour outside it, or at the edge of the image; an axis of one voxel does not count."""
    inner = mask.copy()
    for axis, size in enumerate(mask.shape):
        if size == 1:
            continue
        along, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= source[:-1]
        along[:-1] &= source[1:]
        along[0] = along[-1] = False
    return mask & ~inner


def check_tolerance(tolerance_mm: float) -> None:
    """Refuse a tolerance that is none (InputError)."""
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise InputError(f"A tolerance of {tolerance_mm} mm cannot be used for the surface Dice; give 0 or more millimetres.")

"""Distances between the surfaces of two masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from napari_lungseg.errors import InputError

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

#: Default tolerance of the surface Dice, in mm: that of TotalSegmentator (Wasserthal et al. 2023, doi 10.1148/ryai.230024), whose
#: figures are the best known in this field. It is wider than the pixels of a chest CT: it never asks for the very same voxels.
TOLERANCE_MM = 3.0
#: Part by which a distance may exceed the tolerance: six steps of 0.5 mm are 3 mm, whatever their sum in binary.
_ROUNDING = 1e-5
#: Distance, in mm, up to which the nearest surface voxel is always looked up in a tree, and how many farther ones are.
_NEAR_MM = 10.0
_FEW = 2000


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
    surfaces = [_Surface(edge := surface(mask), np.argwhere(edge) * np.asarray(spacing)) for mask in (one, other)]
    there, back = _distances(surfaces[0], surfaces[1], spacing), _distances(surfaces[1], surfaces[0], spacing)
    both = np.concatenate([there, back])
    return SurfaceScores(
        hd95_mm=max(float(np.percentile(distances, 95)) for distances in (there, back)),
        assd_mm=float(both.mean()),
        nsd=float(np.count_nonzero(both <= tolerance_mm * (1 + _ROUNDING)) / both.size),
    )


@dataclass(frozen=True, eq=False)
class _Surface:
    """A surface as voxels of an image and as points in mm."""

    mask: Mask
    points: Distances


def _distances(origin: _Surface, target: _Surface, spacing: tuple[float, ...]) -> Distances:
    """Distance in mm from each point of one surface to the nearest of the other; neither is empty.

    A tree is fast for what is near, and lets other threads run; but where many targets are about equally far, it takes minutes for many
    points. A distance transform takes about a second for any large volume, but holds Python's lock, and with it the window, all the while.
    """
    tree = KDTree(target.points, balanced_tree=False)
    distances: Distances = tree.query(origin.points, distance_upper_bound=_NEAR_MM, workers=-1)[0]
    far = np.isinf(distances)
    count = np.count_nonzero(far)
    if count > _FEW:
        distances[far] = _transform(target.mask, spacing)[origin.mask][far]
    elif count:
        distances[far] = tree.query(origin.points[far], workers=-1)[0]
    return distances


def _transform(targets: Mask, spacing: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Distance in mm from each voxel to the nearest true one."""
    # edt takes fifty times as long for a slice that has a third axis.
    kept = [axis for axis, size in enumerate(targets.shape) if size > 1]
    flat = targets.reshape([targets.shape[axis] for axis in kept])
    distances: npt.NDArray[np.float32] = edt.edt(~flat, anisotropy=tuple(spacing[axis] for axis in kept), parallel=0)
    return distances.reshape(targets.shape)


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

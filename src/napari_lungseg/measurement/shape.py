"""Measures of the border of a mask: its extremes, largest diameter and smallest box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from napari_lungseg.measurement.values import OrientedBox, Point
from napari_lungseg.volume import Affine

Points = npt.NDArray[np.float64]
#: Points whose distances to all others are looked at together.
_CHUNK = 500


def extremes(mask: npt.NDArray[np.bool_], axes: tuple[int, ...]) -> Points:
    """Border points of a mask among which are all corners of its convex hull: (points, 3) indices.

    They are the middles of the outer faces of the first and the last voxel of every line along each of the axes.
    """
    found = []
    for axis in axes:
        lines = np.nonzero(mask.any(axis=axis))
        backwards = np.flip(mask, axis)
        for along, sign in ((mask, -0.5), (backwards, 0.5)):
            first = along.argmax(axis=axis)[lines]
            ends = first if along is mask else mask.shape[axis] - 1 - first
            found.append(np.stack(_with(axis, lines, ends + sign), axis=1))
    return np.concatenate(found)


def _with(axis: int, others: tuple[npt.NDArray[np.int64], ...], values: Points) -> list[Points]:
    indices = [index.astype(np.float64) for index in others]
    return [*indices[:axis], values, *indices[axis:]]


def hull_corners(points: Points) -> Points:
    """Corners of the convex hull of points in space, or of points in one plane."""
    centred = points - points.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[sizes > 1e-6 * sizes[0]].T
    return points[ConvexHull(flat).vertices]


def feret(corners: Points) -> float:
    """Largest distance between two of the points."""
    return max(float(cdist(corners[start : start + _CHUNK], corners).max()) for start in range(0, len(corners), _CHUNK))


def oriented_box(corners: Points) -> OrientedBox:
    """The box of the smallest volume around points in space."""
    from trimesh.bounds import oriented_bounds

    to_box, size = oriented_bounds(corners)
    order = np.argsort(size)[::-1]
    centre = np.linalg.inv(to_box)[:3, 3]
    x, y, z = (point(axis) for axis in to_box[order, :3])
    return OrientedBox(point(size[order]), point(centre), (x, y, z))


def placed(indices: Points, affine: Affine) -> Points:
    """Indices (z, y, x) in LPS mm."""
    return indices @ affine[:3, :3].T + affine[:3, 3]


def point(values: npt.ArrayLike) -> Point:
    """Three numbers as a tuple."""
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z

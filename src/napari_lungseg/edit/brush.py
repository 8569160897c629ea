"""The brush: round in millimetres, on a slice and as a sphere."""

from __future__ import annotations

import math

import numpy as np

from napari_lungseg.edit.region import ROUNDING, Box, Mask, Spacing, check_spacing, reach
from napari_lungseg.errors import InputError

Point = tuple[float, ...]


def ball(diameter_mm: float, spacing: Spacing) -> Mask:
    """A disc or sphere.

    Parameters
    ----------
    diameter_mm : float
        From edge to edge. What is smaller than a voxel still has one.
    spacing : tuple of float
        Millimetres along each axis, two for a disc, three for a sphere.

    Returns
    -------
    array of bool
        With an odd number of voxels along each axis; true where the voxel's centre is not further than half the diameter from the
        central voxel's.

    Raises
    ------
    InputError
        When diameter or spacing is not above zero.
    """
    _check(diameter_mm, spacing, len(spacing))
    margins = reach(diameter_mm / 2, spacing)
    return brush(tuple(2 * margin + 1 for margin in margins), margins, diameter_mm, spacing)[1]


def brush(shape: tuple[int, ...], centre: Point, diameter_mm: float, spacing: Spacing) -> tuple[Box, Mask]:
    """The voxels under a round brush.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array that is painted, two axes for a disc, three for a sphere.
    centre : tuple of float
        Index of the brush's centre, which may lie between voxels and outside the array.
    diameter_mm : float
        From edge to edge.
    spacing : tuple of float
        Millimetres along each axis.

    Returns
    -------
    box : tuple of slice
        The part of the array that the brush reaches; empty where it misses the array.
    mask : array of bool
        The brush in this box: ``labels[box][mask] = label`` paints it.

    Raises
    ------
    InputError
        When diameter or spacing is not above zero.
    """
    return stroke(shape, centre, centre, diameter_mm, spacing)


def stroke(shape: tuple[int, ...], start: Point, end: Point, diameter_mm: float, spacing: Spacing) -> tuple[Box, Mask]:
    """The voxels that a round brush touches on a straight way between two positions of the mouse.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array that is painted.
    start, end : tuple of float
        Indices of the brush's centre, which may lie between voxels and outside the array.
    diameter_mm : float
        From edge to edge. However thin, the line itself is always drawn, without gaps.
    spacing : tuple of float
        Millimetres along each axis.

    Returns
    -------
    box : tuple of slice
        The part of the array that the stroke reaches; empty where it misses the array.
    mask : array of bool
        The stroke in this box.

    Raises
    ------
    InputError
        When diameter or spacing is not above zero.
    """
    _check(diameter_mm, spacing, len(shape))
    first, last, steps = np.asarray(start, float), np.asarray(end, float), np.asarray(spacing, float)
    radius = diameter_mm / 2
    # Half a voxel at least, so that the box holds the nearest voxels to the line too.
    margin = np.maximum(radius * (1 + ROUNDING) / steps, 0.5)
    lower = np.clip(np.ceil(np.minimum(first, last) - margin), 0, shape).astype(int)
    upper = np.clip(np.floor(np.maximum(first, last) + margin) + 1, lower, shape).astype(int)
    box = tuple(slice(int(low), int(high)) for low, high in zip(lower, upper, strict=True))
    line = (last - first) * steps
    # Millimetres from the start along each axis, in a shape that broadcasts to the box.
    away = [
        ((np.arange(part.start, part.stop) - begin) * step).reshape([-1 if axis == own else 1 for axis in range(len(shape))])
        for own, (part, begin, step) in enumerate(zip(box, first, steps, strict=True))
    ]
    # How far along the line its point nearest to each voxel lies, 0 to 1.
    length = float(line @ line)
    along = np.clip(sum(offset * part for offset, part in zip(away, line, strict=True)) / length, 0, 1) if length else 0.0
    squared = sum((offset - along * part) ** 2 for offset, part in zip(away, line, strict=True))
    mask = np.asarray(squared <= (radius * (1 + ROUNDING)) ** 2)
    points = np.rint(np.linspace(first, last, math.ceil(np.abs(last - first).max()) + 1)).astype(int)
    mask[tuple(points[((points >= lower) & (points < upper)).all(axis=1)].T - lower[:, None])] = True
    return box, mask


def _check(diameter_mm: float, spacing: Spacing, axes: int) -> None:
    check_spacing(spacing, axes)
    if not (math.isfinite(diameter_mm) and diameter_mm > 0):
        raise InputError(f"The brush must be wider than 0 mm, not {diameter_mm:g} mm.")

"""What is known of each voxel near a stroke, from which it is told whether it belongs to what the stroke means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

from napari_lungseg.edit.region import Mask, Spacing
from napari_lungseg.volume import Box

Numbers = npt.NDArray[np.float32]

#: Number of values that a voxel has.
FEATURES = 33
#: Beyond this way (mm, weighted by cost) nothing is told apart.
FAR = 1e4
#: Way lengths at which level sets are looked at.
WAYS = np.geomspace(2.0, 5e3, 40)
#: Half of the ratio between the way lengths that bound a front.
FRONT = 1.15
#: Standard deviation (mm) of the image, in tenths of its range, that is always allowed for.
SLACK = 0.5
#: Cost of what is unlike the stroke, and of an edge, in the two kinds of way: careful and bold.
COSTS = ((3.0, 1.0), (0.5, 0.3))


@dataclass(frozen=True, eq=False)
class Around:
    """A box around a stroke, on a grid of about 1.5 mm, or coarser where the voxels are.

    Attributes
    ----------
    box : tuple of slice
        Where it lies in the labels.
    factors : tuple of int
        How many of the labels' voxels along each axis one of these voxels takes.
    seeds, free : array of bool
        In that box, on the labels' own grid: the stroke, and all that may be found.
    image, marked, probability : (Z, Y, X) array of float32
        Intensity; part of the voxel that is labelled; the model's probability from 0 to 1.
    stroke, domain : (Z, Y, X) array of bool
        The stroke, and all that may be found, the stroke with it.
    spacing : tuple of float
        Millimetres along each axis.
    adding : bool
        Whether what is missing is looked for, or what is too much.
    """

    box: Box
    factors: tuple[int, ...]
    seeds: Mask
    free: Mask
    image: Numbers
    marked: Numbers
    probability: Numbers
    stroke: Mask
    domain: Mask
    spacing: Spacing
    adding: bool


def features(around: Around) -> Numbers:
    """Describe the voxels of the domain, in C order.

    Intensities are counted in tenths of the range in the box, so that nothing depends on the image's unit; distances in mm.

    Returns
    -------
    (N, 33) array of float32
    """
    at, spacing = around.domain, around.spacing
    stroke = around.stroke[at]
    fine, coarse = _blurred(around.image, spacing, 1.0), _blurred(around.image, spacing, 3.0)
    low, high = np.percentile(fine, (2, 98))
    unit = max(float(high - low), 1e-6) / 10
    slope = _slope(fine, spacing) / unit
    texture = _texture(around.image, spacing) / unit
    probability = around.probability[at]
    fine_off, fine_spread = _unlike(fine, around, unit)
    coarse_off, coarse_spread = _unlike(coarse, around, unit)
    probability_off = probability - np.median(probability[stroke])
    unlike = (fine_off / max(fine_spread, SLACK)) ** 2 / 2 + (coarse_off / max(coarse_spread, SLACK)) ** 2 / 2
    unlike += (probability_off / 0.35) ** 2 / 2
    cost = np.zeros(at.shape, np.float32)
    ways = []
    for for_unlike, for_edge in COSTS:
        cost[at] = 1 + for_unlike * np.minimum(unlike, 30) + for_edge * (5 * slope[at]) ** 2
        ways.append(_ways(cost, around))
    straight = ndimage.distance_transform_edt(~around.stroke, sampling=spacing)[at]
    places = np.argwhere(around.stroke)
    length = float(np.linalg.norm(np.ptp(places[:, 1:], axis=0) * spacing[1:])) + 3
    inside = around.marked >= 0.5
    near = ~inside
    near[at] &= straight < 40
    within = np.median(fine[inside]) if inside.any() else low
    without = np.median(fine[near]) if near.any() else high
    middle = np.median(fine[around.stroke])
    slice_mm = np.abs(np.nonzero(at)[0] - places[:, 0].mean()) * spacing[0]
    slope, texture, values = slope[at], texture[at], fine[at]
    columns: list[Any] = [
        *(np.log(np.maximum(way, 1)) for way in ways),
        np.log1p(straight),
        straight / length,
        np.abs(fine_off),
        fine_off,
        np.abs(coarse_off),
        coarse_off,
        slope,
        texture,
        texture - np.median(texture[stroke]),
        probability,
        probability_off,
        np.clip(_from_border(inside, spacing)[at], -30, 30) / 10,
        (values - within) / unit,
        (values - without) / unit,
        (middle - within) / unit,
        (middle - without) / unit,
        fine_spread,
        float(np.median(probability[stroke])),
        np.log(length),
        np.log(np.count_nonzero(stroke) * spacing[1] * spacing[2]),
        1.0 if around.adding else -1.0,
        np.sqrt(np.minimum(unlike, 30)),
        *(column for way in ways for column in _level_sets(way, slope, np.abs(fine_off), int(stroke.sum()))),
        slice_mm / 10,
    ]
    return np.stack([np.broadcast_to(column, values.shape) for column in columns], axis=-1).astype(np.float32)


def _sigmas(spacing: Spacing, mm: float) -> tuple[float, ...]:
    """Standard deviations in voxels; none along axes whose voxels are much longer."""
    return tuple(0.0 if step > 3 * mm else mm / step for step in spacing)


def _blurred(image: Numbers, spacing: Spacing, mm: float) -> Numbers:
    return np.asarray(ndimage.gaussian_filter(image, _sigmas(spacing, mm), truncate=3))


def _texture(image: Numbers, spacing: Spacing) -> Numbers:
    """Standard deviation within some 2 mm."""
    mean = _blurred(image, spacing, 2.0)
    return np.sqrt(np.maximum(_blurred(image * image, spacing, 2.0) - mean * mean, 0))


def _slope(image: Numbers, spacing: Spacing) -> Numbers:
    """Magnitude of the gradient per mm."""
    slopes = [np.gradient(image, step, axis=axis) for axis, step in enumerate(spacing) if image.shape[axis] > 1]
    return np.sqrt(sum((slope**2 for slope in slopes), start=np.zeros(image.shape, np.float32)))


def _unlike(image: Numbers, around: Around, unit: float) -> tuple[Numbers, float]:
    """How far the domain's voxels are from the median of the stroke, and how far the stroke's own are (median, as a standard deviation)."""
    of_stroke = image[around.stroke]
    middle = np.median(of_stroke)
    return (image[around.domain] - middle) / unit, float(1.48 * np.median(np.abs(of_stroke - middle)) / unit)


def _ways(cost: Numbers, around: Around) -> Numbers:
    """Length of the cheapest way from the stroke to each voxel of the domain."""
    search = MCP_Geometric(np.where(around.domain, cost, -1).astype(np.float64), sampling=around.spacing)
    found, _ = search.find_costs(np.argwhere(around.stroke))
    return np.minimum(found[around.domain], FAR).astype(np.float32)


def _from_border(inside: Mask, spacing: Spacing) -> Numbers:
    """Distance to the mask's border in mm, negative inside; 30 where there is none."""
    if inside.all() or not inside.any():
        return np.full(inside.shape, 30, np.float32)
    distance: Callable[..., Numbers] = ndimage.distance_transform_edt
    return np.where(inside, -distance(inside, sampling=spacing), distance(~inside, sampling=spacing))


def _level_sets(way: Numbers, slope: Numbers, off: Numbers, of_stroke: int) -> list[Numbers]:
    """What is known of all that lies nearer than a voxel: how much it is, how fast it grows, and how its front stands out."""
    order = np.argsort(way)
    ends = np.searchsorted(way[order], np.concatenate([WAYS / FRONT, WAYS, WAYS * FRONT]), side="right").reshape(3, -1)
    amount = np.log(ends[1] + 1)
    front = np.maximum(ends[2] - ends[0], 1)
    slopes, offs = (np.concatenate([[0], np.cumsum(values[order], dtype=np.float64)]) for values in (slope, off))
    curves = (
        amount - np.log(of_stroke + 1),
        np.gradient(amount, np.log(WAYS)),
        (slopes[ends[2]] - slopes[ends[0]]) / front,
        (offs[ends[2]] - offs[ends[0]]) / front - offs[ends[1]] / np.maximum(ends[1], 1),
    )
    at = np.log(np.maximum(way, WAYS[0]))
    return [np.interp(at, np.log(WAYS), curve) for curve in curves]

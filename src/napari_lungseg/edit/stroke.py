"""Find what a short stroke means: the region round it that the mask lacks, or has too much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fill_voids
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from scipy import ndimage

from napari_lungseg.edit.region import Labels, Mask, Spacing, check_labels, check_same_shape, check_spacing, reach
from napari_lungseg.edit.stroke_features import FEATURES, Around, Numbers, features
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Box, bounding_box, widen

#: How far (mm) from the stroke a region can reach.
REACH_MM = 60.0
#: Side (mm) of the voxels on which it is looked for. The region's border is then placed between them.
GRID_MM = 1.5
#: What is told apart: the logarithm of odds, limited to this either way.
LIMIT = 6.0
#: Steps in which regions of different sizes follow each other.
SIZES = 24
WEIGHTS = Path(__file__).with_name("stroke.safetensors")


@dataclass(frozen=True, eq=False)
class FoundRegion:
    """What a stroke may mean, at every size.

    Attributes
    ----------
    box : tuple of slice
        Where it lies in the labels.
    levels : array of float32
        In that box: from which size on a voxel belongs to it, as the logarithm of odds against it; infinite where it never does.
    """

    box: Box
    levels: Numbers

    def at(self, size: float = 0.0) -> Mask:
        """The region in its box; a size above 0 makes it larger, below 0 smaller, from -6 to 6."""
        return self.levels <= size


@dataclass(frozen=True, eq=False)
class Stroke:
    """A stroke, with the part of a volume round it that counts.

    Attributes
    ----------
    image, labels, drawn : (Z, Y, X) or (Y, X) array
        Intensities, the mask, and where the stroke is.
    fixed : array of bool
        Voxels that are never found.
    probability : array of uint8 or None
        The model's, in percent.
    spacing : tuple of float
        Millimetres along each axis.
    label : int
        Which label's voxels may be found; 0 for what is missing.
    where : tuple of slice or int
        Index of the slice on which it was drawn; empty for a single slice.
    """

    image: npt.NDArray[Any]
    labels: Labels
    drawn: Mask
    fixed: Mask
    probability: npt.NDArray[np.uint8] | None
    spacing: Spacing
    label: int
    where: tuple[slice | int, ...] = ()


def regions(stroke: Stroke) -> Iterator[FoundRegion]:
    """Find what a stroke means on its slice, and then in the volume; each as :func:`find_region`."""
    where = stroke.where
    if where:
        hidden = len(where) - 1
        index = where[hidden]
        assert isinstance(index, int)
        percent = None if stroke.probability is None else stroke.probability[where]
        spacing = tuple(step for axis, step in enumerate(stroke.spacing) if axis != hidden)
        image, labels, drawn = stroke.image[where], stroke.labels[where], stroke.drawn[where]
        flat = find_region(image, labels, drawn, spacing, label=stroke.label, fixed=stroke.fixed[where], probability=percent)
        box = (*flat.box[:hidden], slice(index, index + 1), *flat.box[hidden:])
        yield FoundRegion(box, np.expand_dims(flat.levels, hidden))
    yield find_region(
        stroke.image,
        stroke.labels,
        stroke.drawn,
        stroke.spacing,
        label=stroke.label,
        fixed=stroke.fixed,
        probability=stroke.probability,
    )


def find_region(
    image: npt.NDArray[Any],
    labels: Labels,
    stroke: Mask,
    spacing: Spacing,
    *,
    label: int = 0,
    fixed: Mask | None = None,
    probability: npt.NDArray[np.uint8] | None = None,
) -> FoundRegion:
    """Find the region that a stroke means.

    Every voxel near the stroke is described by its likeness to the stroke, the cheapest ways to it, edges, the mask's border and the
    model's probability; a small network, trained on strokes drawn into errors of masks, gives the odds that it is meant.
    See ``tools/train_strokes.py``.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) array
        Intensities, of whatever unit.
    labels : array of int
        The mask on the same grid.
    stroke : array of bool
        Drawn into what is meant.
    spacing : tuple of float
        Millimetres along each axis.
    label : int
        Which label's voxels may be found: 0 for what is missing, else the label of which something is too much.
    fixed : array of bool, optional
        Voxels that are never found.
    probability : array of uint8, optional
        The model's, in percent; by default the mask stands for it.

    Returns
    -------
    FoundRegion

    Raises
    ------
    InputError
        When no voxel of the stroke may be found, or the arrays do not fit.
    """
    return region_in(look_around(image, labels, stroke, spacing, label, fixed, probability), _weights())


def look_around(
    image: npt.NDArray[Any],
    labels: Labels,
    stroke: Mask,
    spacing: Spacing,
    label: int,
    fixed: Mask | None,
    probability: npt.NDArray[np.uint8] | None,
) -> Around:
    """Gather what is near a stroke, as :func:`find_region` is given it."""
    check_labels(labels)
    check_spacing(spacing, labels.ndim)
    for array in (image, stroke, fixed, probability):
        if array is not None:
            check_same_shape(labels, array)
    seeds = stroke & (labels == label)
    if fixed is not None:
        seeds &= ~fixed
    drawn = bounding_box(seeds)
    if drawn is None:
        what = say("what is not labelled yet") if label == 0 else say("label {number}", number=label)
        raise InputError(say("The stroke meets nothing that may be changed; draw it on {what}, where nobody has painted.", what=what))
    box = widen(drawn, reach(REACH_MM, spacing), labels.shape)
    free = labels[box] == label
    if fixed is not None:
        free &= ~fixed[box]
    missing = 3 - labels.ndim
    factors = (1,) * missing + tuple(max(1, round(GRID_MM / step)) for step in spacing)

    def coarse(array: npt.NDArray[Any]) -> Numbers:
        return block_mean(array.reshape((1,) * missing + array.shape).astype(np.float32), factors)

    marked, of_stroke = coarse(labels[box] > 0), coarse(seeds[box])
    found = of_stroke > min(0.3, float(of_stroke.max()) / 2)
    return Around(
        box,
        factors,
        seeds[box],
        free,
        coarse(_finite(image[box].astype(np.float32))),
        marked,
        marked if probability is None else coarse(probability[box]) / np.float32(100),
        found,
        (coarse(free) >= 0.5) | found,
        tuple(step * factor for step, factor in zip((1.0,) * missing + tuple(spacing), factors, strict=True)),
        label == 0,
    )


def region_in(around: Around, weights: dict[str, Numbers]) -> FoundRegion:
    """Tell what is meant by what is near."""
    levels = np.full(around.domain.shape, LIMIT, np.float32)
    levels[around.domain] = -_odds(features(around), weights)
    levels[around.stroke] = -LIMIT
    levels = _refined(_joined(levels, around.stroke, around.domain), around.factors, around.free.shape)
    levels[~around.free] = np.inf
    levels[around.seeds] = -LIMIT
    return FoundRegion(around.box, levels)


def _odds(described: Numbers, weights: dict[str, Numbers]) -> Numbers:
    """The network: three layers on each voxel alone."""
    values = np.clip((described - weights["mean"]) / weights["deviation"], -5, 5)
    for layer in ("first", "second"):
        values = np.maximum(values @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
    return np.clip((values @ weights["last.weight"].T + weights["last.bias"])[:, 0], -LIMIT, LIMIT)


@cache
def _weights() -> dict[str, Numbers]:
    weights = load_file(WEIGHTS)
    if weights["mean"].shape != (FEATURES,):
        raise ValueError(f"{WEIGHTS.name} belongs to another version of the features")
    return weights


def _finite(values: Numbers) -> Numbers:
    """Missing values count as the lowest."""
    known = np.isfinite(values)
    return values if known.all() else np.where(known, values, values[known].min() if known.any() else 0).astype(np.float32)


def block_mean(array: Numbers, factors: tuple[int, ...]) -> Numbers:
    """Mean of blocks of voxels; the last ones are filled up with their border."""
    padded = np.pad(array, [(0, -size % factor) for size, factor in zip(array.shape, factors, strict=True)], mode="edge")
    split = [number for size, factor in zip(padded.shape, factors, strict=True) for number in (size // factor, factor)]
    return np.asarray(padded.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32))


def _joined(levels: Numbers, stroke: Mask, domain: Mask) -> Numbers:
    """From which size on each voxel is joined to the stroke."""
    joined = np.full(levels.shape, np.inf, np.float32)
    for size in np.linspace(LIMIT, -LIMIT, SIZES, endpoint=False):
        parts, _ = ndimage.label((levels <= size) & domain | stroke)
        whole = np.isin(parts, np.unique(parts[stroke]))
        joined[_filled(whole)] = size
    joined[~domain] = np.inf
    joined[stroke] = -LIMIT
    # Between two sizes the levels themselves tell.
    return np.maximum(joined - 2 * LIMIT / SIZES, np.minimum(levels, joined))


def _filled(whole: Mask) -> Mask:
    """A region with what it encloses; a single slice has no inside along its third axis."""
    # Without the frame, fill_voids 2.1 takes some background on the faces of an array for holes.
    if len(whole) == 1:
        return np.asarray(fill_voids.fill(np.pad(whole[0], 1))[None, 1:-1, 1:-1])
    return np.asarray(fill_voids.fill(np.pad(whole, 1))[1:-1, 1:-1, 1:-1])


def _refined(levels: Numbers, factors: tuple[int, ...], shape: tuple[int, ...]) -> Numbers:
    """Levels on the finer grid of the labels, the border between two coarse voxels interpolated."""
    if math.prod(factors) > 1:
        # What belongs at no size counts as what belongs at the largest only, when a border is placed.
        levels = ndimage.zoom(np.minimum(levels, LIMIT), factors, order=1, mode="nearest", grid_mode=True)
    levels = levels[tuple(slice(0, size) for size in (1,) * (3 - len(shape)) + shape)].reshape(shape)
    return np.where(levels < LIMIT, levels, np.inf).astype(np.float32)

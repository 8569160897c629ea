"""Islands: the connected parts of a label (26 neighbours in a volume, 8 on a slice)."""

from __future__ import annotations

import math

import cc3d
import numpy as np
import numpy.typing as npt

from napari_lungseg.edit.region import Labels, Mask, Spacing, box_of, check_labels, check_spacing, with_label
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Box

Point = tuple[int, ...]


def keep_largest(labels: Labels, label: int, count: int = 1) -> Labels:
    """Remove all islands of a label but the largest.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one whose islands are looked at.
    count : int
        How many to keep.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty, or none were to be kept.
    """
    if count < 1:
        raise InputError(say("At least one island must be kept, not {count}; erase the label to remove all.", count=count))
    box, numbers, sizes = _islands(labels, label)
    kept = np.zeros(len(sizes), bool)
    kept[_by_size(sizes)[:count]] = True
    return with_label(labels, box, kept[numbers], label)


def keep_island(labels: Labels, at: Point) -> Labels:
    """Remove all islands of the label at a position but the one there.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    at : tuple of int
        Index of a voxel of the island.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When there is no label at the position.
    """
    label, box, island = _island(labels, at)
    return with_label(labels, box, island, label)


def remove_island(labels: Labels, at: Point) -> Labels:
    """Remove the island at a position.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    at : tuple of int
        Index of a voxel of the island.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When there is no label at the position.
    """
    _, box, island = _island(labels, at)
    new = labels.copy()
    new[box][island] = 0
    return new


def relabel_island(labels: Labels, at: Point, new_label: int) -> Labels:
    """Give the island at a position another label.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    at : tuple of int
        Index of a voxel of the island.
    new_label : int
        The label it gets.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When there is no label at the position, or the labels cannot hold the new one.
    """
    check_labels(labels, new_label)
    _, box, island = _island(labels, at)
    new = labels.copy()
    new[box][island] = new_label
    return new


def remove_small(labels: Labels, label: int, smallest_ml: float, spacing: Spacing) -> Labels:
    """Remove islands of a label below a volume.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one whose islands are looked at.
    smallest_ml : float
        Millilitres that an island must have to stay.
    spacing : tuple of float
        Three numbers of millimetres, in any order; for a slice its own two and its thickness.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty or the volume not above zero.
    """
    check_spacing(spacing, 3)
    if not (math.isfinite(smallest_ml) and smallest_ml > 0):
        raise InputError(say("The smallest island to keep must have more than 0 mL, not {smallest_ml:g} mL.", smallest_ml=smallest_ml))
    box, numbers, sizes = _islands(labels, label)
    kept = sizes * math.prod(spacing) / 1000.0 >= smallest_ml
    kept[0] = False
    return with_label(labels, box, kept[numbers], label)


def split_islands(labels: Labels, label: int) -> Labels:
    """Give each island of a label a label of its own.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one to split. Its largest island keeps it; the others, from large to small, get the numbers above the highest label.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty, or has more islands than the labels can number.
    """
    box, numbers, sizes = _islands(labels, label)
    order, highest, limit = _by_size(sizes), int(labels.max()), int(np.iinfo(labels.dtype).max)
    if len(order) - 1 > limit - highest:
        raise InputError(
            say(
                "Label {label} has {count} islands, but {dtype} has {free} free labels; remove small islands first.",
                label=label,
                count=len(order),
                dtype=labels.dtype,
                free=limit - highest,
            )
        )
    names = np.zeros(len(sizes), labels.dtype)
    names[order] = [label, *range(highest + 1, highest + len(order))]
    new = labels.copy()
    np.copyto(new[box], names[numbers], where=numbers > 0)
    return new


def _islands(labels: Labels, label: int) -> tuple[Box, npt.NDArray[np.unsignedinteger], npt.NDArray[np.int64]]:
    """The box around a label, the number of the island in each voxel of it, and each island's voxels."""
    box = box_of(labels, label)
    # In C order, as islands of one size are numbered in the order in which they lie in memory.
    mask = np.ascontiguousarray(labels[box] == label)
    numbers = cc3d.connected_components(mask, connectivity=26 if labels.ndim == 3 else 8, binary_image=True)
    return box, numbers, cc3d.statistics(numbers, no_slice_conversion=True)["voxel_counts"].astype(np.int64)


def _island(labels: Labels, at: Point) -> tuple[int, Box, Mask]:
    """The label at a position, the box around all of it, and the island there."""
    check_labels(labels)
    if len(at) != labels.ndim or not all(0 <= index < size for index, size in zip(at, labels.shape, strict=True)) or labels[at] <= 0:
        raise InputError(say("There is no label under the cursor; point at the island that is meant."))
    label = int(labels[at])
    box, numbers, _ = _islands(labels, label)
    number = numbers[tuple(index - part.start for index, part in zip(at, box, strict=True))]
    return label, box, numbers == number


def _by_size(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Numbers of the islands from large to small."""
    return 1 + np.argsort(-sizes[1:], kind="stable")

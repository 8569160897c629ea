"""Copy between slices, right and left, logical operations, crop."""

from __future__ import annotations

from typing import Literal

import numpy as np

from napari_lungseg.edit.region import Labels, box_of, check_labels, check_same_shape, check_volume, with_label
from napari_lungseg.errors import InputError
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.translation import say
from napari_lungseg.volume import Box, Volume

Operation = Literal["union", "intersection", "difference", "xor"]
_OPERATIONS = {
    "union": np.logical_or,
    "intersection": np.logical_and,
    "difference": np.greater,  # of truth values: the one, but not the other
    "xor": np.logical_xor,
}


def copy_slice(labels: Labels, axis: int, source: int, target: int, label: int | None = None) -> Labels:
    """Copy what is drawn on one slice to another.

    Parameters
    ----------
    labels : (Z, Y, X) array of int
        The volume.
    axis : int
        Axis along which the slices are counted.
    source, target : int
        Index of the slice to copy from, and of the one that is replaced.
    label : int, optional
        Copy this one only, around other labels on the target; all of them if not given.

    Returns
    -------
    (Z, Y, X) array of int
        New labels.

    Raises
    ------
    InputError
        When there is no such slice, or nothing to copy on it.
    """
    check_labels(labels, label)
    check_volume(labels, axis)
    count = labels.shape[axis]
    if source == target or not (0 <= source < count and 0 <= target < count):
        raise InputError(
            say(
                "Slice {source} cannot be copied to slice {target} of {count}; choose two different ones from 0 to {last}.",
                source=source,
                target=target,
                count=count,
                last=count - 1,
            )
        )
    new = labels.copy()
    planes = np.moveaxis(new, axis, 0)
    wanted, plane = planes[source], planes[target]
    if not (wanted > 0 if label is None else wanted == label).any():
        what = say("label") if label is None else say("label {number}", number=label)
        raise InputError(
            say("There is no {what} on slice {source}; choose a slice that has what is to be copied.", what=what, source=source)
        )
    if label is None:
        plane[...] = wanted
    else:
        plane[(plane == label) & (wanted != label)] = 0
        plane[(plane == 0) & (wanted == label)] = label
    return new


def split_left_right(labels: Volume, label: int | None = None) -> Labels:
    """Tell the right lung from the left by the patient's geometry, also where the two touch.

    Parameters
    ----------
    labels : Volume
        (Z, Y, X) or (Y, X), in any orientation.
    label : int, optional
        The one to split; everything that is labelled if not given.

    Returns
    -------
    array of int
        New labels, 1 for the right lung and 2 for the left where the label was; others as they were.

    Raises
    ------
    InputError
        When there is nothing to split.
    """
    array = np.asarray(labels.array)
    check_labels(array, label)
    both = array > 0 if label is None else array == label
    if not both.any():
        what = say("label") if label is None else say("label {number}", number=label)
        raise InputError(say("There is no {what} to split into right and left; segment or draw the lungs first.", what=what))
    percent = labels.with_array(np.where(both, np.uint8(100), np.uint8(0)))
    sides = make_mask(percent, MaskSettings(keep_lungs=False, fill_holes=False, split_sides=True)).array
    return np.where(both, sides.astype(array.dtype), array)


def combine(first: Labels, second: Labels, how: Operation, label: int) -> Labels:
    """Change a label by a logical operation with the same label of another array.

    Parameters
    ----------
    first : array of int
        What is changed. Its other labels stay.
    second : array of int
        Labels on the same grid.
    how : {"union", "intersection", "difference", "xor"}
        Keep what is in either, in both, in the first but not in the second, or in just one of them.
    label : int
        The label in both.

    Returns
    -------
    array of int
        New labels, of the first's type.

    Raises
    ------
    InputError
        When the shapes differ or there is no such operation.
    """
    check_labels(first, label)
    check_labels(second)
    check_same_shape(first, second)
    if how not in _OPERATIONS:
        raise InputError(say("There is no operation called {how!r}; choose union, intersection, difference or xor.", how=how))
    wanted = _OPERATIONS[how](first == label, second == label)
    return with_label(first, (slice(None),) * first.ndim, wanted, label)


def crop_to_box(labels: Labels, box: Box, label: int | None = None) -> Labels:
    """Make background of what lies outside a box.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    box : tuple of slice
        Start and stop along each axis; may reach beyond the array.
    label : int, optional
        Crop this one only; all of them if not given.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the box does not meet the array, or the label is empty.
    """
    check_labels(labels)
    if len(box) != labels.ndim:
        raise InputError(
            say("A box of {axes} axes does not fit an image of {others}; draw it on this image.", axes=len(box), others=labels.ndim)
        )
    inside = tuple(slice(max(0, part.start), min(size, part.stop)) for part, size in zip(box, labels.shape, strict=True))
    if any(part.start >= part.stop for part in inside):
        raise InputError(say("The box lies outside the image, so that nothing would be left; draw it over the image."))
    if label is None:
        new = np.zeros_like(labels)
    else:
        new = labels.copy()
        part = new[box_of(labels, label)]
        part[part == label] = 0
    new[inside] = labels[inside]
    return new

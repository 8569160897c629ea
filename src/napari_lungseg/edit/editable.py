"""Where edits are allowed: an intensity range, and the inside of a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.edit.region import Labels, Mask, check_same_shape
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say


@dataclass(frozen=True)
class Limits:
    """What a voxel must be like to be changed by a brush or tool.

    Attributes
    ----------
    low, high : float, optional
        Its intensity lies from low to high, both included, in the image's unit (HU in a CT). No limit if not given.
    inside_label : int, optional
        It has this label, or is background if 0, before the edit. No limit if not given.

    Raises
    ------
    InputError
        When no intensity lies between the two, or the label is below 0.
    """

    low: float | None = None
    high: float | None = None
    inside_label: int | None = None

    def __post_init__(self) -> None:
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        if not low <= high:
            raise InputError(
                say("No intensity lies between {low:g} and {high:g}; the lower limit must not be above the upper one.", low=low, high=high)
            )
        if self.inside_label is not None and self.inside_label < 0:
            raise InputError(say("Labels start at 0, so that nothing lies inside label {label}; choose another.", label=self.inside_label))


def allowed(limits: Limits, image: npt.NDArray[Any] | None, labels: Labels) -> Mask:
    """Where the limits let an edit change voxels.

    Parameters
    ----------
    limits : Limits
        What a voxel must be like.
    image : array, optional
        The part of the image that is edited. Not needed where the intensity is not limited; what is no number is never allowed
        where it is.
    labels : array of int
        The same part of the labels before the edit.

    Returns
    -------
    array of bool
        Of the same shape.

    Raises
    ------
    InputError
        When the intensity is limited but there is no image on the labels' grid.
    """
    result = np.ones(labels.shape, bool)
    if limits.low is not None or limits.high is not None:
        if image is None:
            raise InputError(
                say("An intensity range limits the edit, but there is no image to look it up in; choose one or switch it off.")
            )
        check_same_shape(image, labels)
        if limits.low is not None:
            result &= image >= limits.low
        if limits.high is not None:
            result &= image <= limits.high
    if limits.inside_label is not None:
        result &= labels == limits.inside_label
    return result


def restrict(before: Labels, after: Labels, allowed: Mask) -> Labels:
    """An edit where it is allowed.

    Parameters
    ----------
    before, after : array of int
        Labels before and after the edit.
    allowed : array of bool
        Where it may change them.

    Returns
    -------
    array of int
        New labels: those after the edit where allowed, else those before.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    check_same_shape(before, after)
    check_same_shape(before, allowed)
    return np.where(allowed, after, before).astype(before.dtype, copy=False)

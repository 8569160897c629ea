"""Whose voxel is it: the plugin's or a person's? Told by comparing a layer with what the plugin wrote into it last."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Stands in the record of what the plugin wrote where a person's own voxel was met and left alone.
PERSON = 255

Labels = npt.NDArray[np.uint8]


def edited(current: npt.NDArray[Any], written: Labels) -> npt.NDArray[np.bool_]:
    """Voxels that a person set, by whatever tool.

    Parameters
    ----------
    current : array
        The labels as they are now.
    written : array of uint8, same shape
        What the plugin wrote last, :data:`PERSON` where an edit was found before.
    """
    return (current != written) | (written == PERSON)


def any_edited(current: npt.NDArray[Any], written: Labels) -> bool:
    """Whether a person set any voxel, looked up slab by slab so that no large temporary array is made."""
    if current.ndim < 3:
        return bool(edited(current, written).any())
    return any(edited(now, was).any() for now, was in zip(current, written, strict=True))


def merge(current: npt.NDArray[Any], written: Labels, new: Labels) -> None:
    """Write a new mask around a person's voxels.

    Parameters
    ----------
    current : array
        Labels that are shown; changed in place, except where a person set them.
    written : array of uint8, same shape
        What the plugin wrote last; changed in place to the new mask, and to :data:`PERSON` where a person's voxels stay.
    new : array of uint8, same shape
        The new mask.
    """
    theirs = edited(current, written)
    np.copyto(current, new, where=~theirs)
    written[...] = new
    written[theirs] = PERSON

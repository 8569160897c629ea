"""Grow and shrink a label by millimetres."""

from __future__ import annotations

from functools import partial

import edt
import numpy as np

from napari_lungseg.edit.region import (
    ROUNDING,
    Labels,
    Mask,
    Progress,
    Spacing,
    box_of,
    by_tiles,
    check_mm,
    check_spacing,
    reach,
    unless_even,
    with_label,
)


def grow(labels: Labels, label: int, mm: float, spacing: Spacing, progress: Progress | None = None) -> Labels:
    """Extend a label into the background.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one to extend.
    mm : float
        Background whose voxel centre is not further than this from one of the label's becomes the label.
    spacing : tuple of float
        Millimetres along each axis.
    progress : callable, optional
        Called with tiles done and tiles in all.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty, or the distance does not reach the next voxel.
    """
    margin = _margin(labels, mm, spacing)
    box = box_of(labels, label, margin)
    wanted = by_tiles(unless_even(partial(dilated, mm=mm, spacing=spacing)), labels[box] == label, margin, progress)
    return with_label(labels, box, wanted, label)


def shrink(labels: Labels, label: int, mm: float, spacing: Spacing, progress: Progress | None = None) -> Labels:
    """Take away a label's rim, towards the background and towards other labels.

    The image's edge is no rim: a label that goes on beyond it keeps its full width there.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one to reduce.
    mm : float
        What is not further than this from a voxel outside the label becomes background.
    spacing : tuple of float
        Millimetres along each axis.
    progress : callable, optional
        Called with tiles done and tiles in all.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty, or the distance does not reach the next voxel.
    """
    margin = _margin(labels, mm, spacing)
    box = box_of(labels, label)
    wanted = by_tiles(unless_even(partial(eroded, mm=mm, spacing=spacing)), labels[box] == label, margin, progress)
    return with_label(labels, box, wanted, label)


def dilated(mask: Mask, mm: float, spacing: Spacing) -> Mask:
    """All voxels that are not further than ``mm`` from the mask."""
    return ~eroded(~mask, mm, spacing)


def eroded(mask: Mask, mm: float, spacing: Spacing) -> Mask:
    """The mask's voxels that are further than ``mm`` from every voxel outside it; the array's edge is not outside."""
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=spacing) > mm * (1 + ROUNDING))


def _margin(labels: Labels, mm: float, spacing: Spacing) -> tuple[int, ...]:
    check_spacing(spacing, labels.ndim)
    check_mm(mm, spacing)
    return reach(mm, spacing)

"""Fill holes and smooth, one label by itself or all together."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import fill_voids
import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from napari_lungseg.edit.margin import dilated, eroded
from napari_lungseg.edit.region import (
    ROUNDING,
    Labels,
    Mask,
    Progress,
    Spacing,
    box_of,
    by_tiles,
    check_labels,
    check_mm,
    check_spacing,
    reach,
    unless_even,
    with_label,
)
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import bounding_box, widen

Method = Literal["median", "opening", "closing", "gaussian"]

#: A Gaussian is cut off at so many standard deviations.
TRUNCATE = 4.0


def fill_holes(labels: Labels, label: int) -> Labels:
    """Fill the background that a label encloses, in the slice or in the volume.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X). What opens to the array's edge is no hole.
    label : int
        The one whose holes are filled.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When the label is empty.
    """
    box = box_of(labels, label)
    # Without a frame fill_voids 2.1 takes some background on the faces of an array for holes; of anything but Fortran order
    # it makes a copy.
    framed = np.ascontiguousarray(np.pad(labels[box] == label, 1))
    filled = fill_voids.fill(framed.T, in_place=True).T
    return with_label(labels, box, filled[(slice(1, -1),) * labels.ndim], label)


def smooth(labels: Labels, label: int, method: Method, radius_mm: float, spacing: Spacing, progress: Progress | None = None) -> Labels:
    """Smooth one label, into the background and back.

    Beyond the image's edge a label is taken to go on as it ends there.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    label : int
        The one to smooth. Other labels count as outside; where two touch, :func:`smooth_joint` leaves no gap.
    method : {"median", "opening", "closing", "gaussian"}
        "median" takes the majority in a ball, "opening" removes what a ball does not fit into, "closing" fills what a ball
        outside does not fit into, "gaussian" blurs and cuts at one half.
    radius_mm : float
        Radius of the ball, or standard deviation of the Gaussian.
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
        When the label is empty, the method unknown, or the radius does not reach the next voxel.
    """
    check_spacing(spacing, labels.ndim)
    # No method sets a voxel outside the box: the half-space beyond each of its sides holds nothing.
    box = box_of(labels, label)
    if method == "gaussian":
        sigmas = _sigmas(radius_mm, spacing)
        work, halo = partial(_gaussian, sigmas=sigmas), support(sigmas)
    else:
        check_mm(radius_mm, spacing)
        works = {"median": _median, "opening": _opening, "closing": _closing}
        if method not in works:
            raise InputError(say("There is no smoothing called {method!r}; choose median, opening, closing or gaussian.", method=method))
        work = partial(works[method], radius_mm=radius_mm, spacing=spacing)
        halo = tuple((1 if method == "median" else 2) * more for more in reach(radius_mm, spacing))
    return with_label(labels, box, by_tiles(unless_even(work), labels[box] == label, halo, progress), label)


def smooth_joint(labels: Labels, sigma_mm: float, spacing: Spacing, progress: Progress | None = None) -> Labels:
    """Smooth all labels together, so that neither gap nor overlap arises where they touch.

    Each label, and the background as one of them, is blurred by a Gaussian; a voxel goes to the strongest. Large structures keep
    their volumes; what is thinner than about the standard deviation goes.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X).
    sigma_mm : float
        Standard deviation of the Gaussian.
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
        When there is no label at all, or the standard deviation is not above zero.
    """
    check_labels(labels)
    check_spacing(spacing, labels.ndim)
    sigmas = _sigmas(sigma_mm, spacing)
    box = bounding_box(labels > 0)
    if box is None:
        raise InputError(say("There are no labels to smooth here; draw or segment something first."))
    box = widen(box, (1,) * labels.ndim, labels.shape)
    new = labels.copy()
    new[box] = by_tiles(unless_even(partial(_strongest, sigmas=sigmas)), labels[box], support(sigmas), progress)
    return new


def _median(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    element = _ball(radius_mm, spacing)
    padded = np.pad(mask, [(size // 2, size // 2) for size in element.shape], mode="edge").astype(np.float32)
    # By FFT, as a ball has hundreds of voxels. Odd as their number is, no count is nearer to its half than float32 can tell.
    return np.asarray(signal.fftconvolve(padded, element.astype(np.float32), mode="valid") > element.sum() / 2)


def _ball(radius_mm: float, spacing: Spacing) -> Mask:
    """A disc or sphere of odd size: true where a voxel's centre is not further than the radius from the central one's."""
    away = np.meshgrid(*(np.arange(-margin, margin + 1) for margin in reach(radius_mm, spacing)), indexing="ij", sparse=True)
    squared = sum((offset * step) ** 2 for offset, step in zip(away, spacing, strict=True))
    return np.asarray(squared <= (radius_mm * (1 + ROUNDING)) ** 2)


def _opening(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    return dilated(eroded(mask, radius_mm, spacing), radius_mm, spacing)


def _closing(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    # With room around it, as what grows to the array's edge would not shrink back from there.
    margins = reach(radius_mm, spacing)
    padded = np.pad(mask, [(margin, margin) for margin in margins], mode="edge")
    closed = eroded(dilated(padded, radius_mm, spacing), radius_mm, spacing)
    return closed[tuple(slice(margin, margin + size) for margin, size in zip(margins, mask.shape, strict=True))]


def _gaussian(mask: Mask, sigmas: tuple[float, ...]) -> Mask:
    return blurred(mask, sigmas) > 0.5


def _strongest(labels: Labels, sigmas: tuple[float, ...]) -> Labels:
    """The label that is strongest at each voxel after blurring."""
    winner = np.zeros_like(labels)
    background = np.ones(labels.shape, np.float32)
    best = np.zeros(labels.shape, np.float32)
    margin = support(sigmas)
    for label in np.unique(labels[labels > 0]):
        found = bounding_box(labels == label)
        assert found is not None
        box = widen(found, margin, labels.shape)
        strength = blurred(labels[box] == label, sigmas)
        background[box] -= strength
        stronger = strength > best[box]
        winner[box][stronger] = label
        best[box][stronger] = strength[stronger]
    winner[background >= best] = 0
    return winner


def blurred(array: npt.NDArray[Any], sigmas: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """An array blurred by a Gaussian of so many voxels; at the edges it goes on as it ends there."""
    return np.asarray(ndimage.gaussian_filter(array.astype(np.float32), sigmas, mode="nearest", truncate=TRUNCATE))


def support(sigmas: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along each axis that this Gaussian reaches."""
    return tuple(math.ceil(TRUNCATE * sigma) for sigma in sigmas)


def _sigmas(sigma_mm: float, spacing: Spacing) -> tuple[float, ...]:
    """Standard deviation along each axis in voxels."""
    if not (math.isfinite(sigma_mm) and sigma_mm > 0):
        raise InputError(say("The standard deviation must be above 0 mm, not {sigma_mm:g} mm.", sigma_mm=sigma_mm))
    return tuple(sigma_mm / step for step in spacing)

"""What the package lungmask does with slices and labels, so that its models give the same masks here.

The steps are those of ``lungmask.utils`` (lungmask 0.2.22, https://github.com/JoHof/lungmask, Apache-2.0; J. Hofmanninger
et al. 2020, doi 10.1186/s41747-020-00173-2), ties included; but each part of labels is
looked at in its own box instead of the whole volume.
"""

from __future__ import annotations

import fill_voids
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure, morphology

from napari_lungseg.preprocess import Box
from napari_lungseg.volume import Array, widen

#: Parts of fewer voxels are given to no neighbour.
LEAST_VOXELS = 3
#: Holes of up to so many pixels are filled where there is one slice only.
LARGEST_HOLE = 64

#: Sides of the plane on which the body is looked for, and the HU at which tissue starts.
BODY_SIDE, BODY_HU = 128, -500

Labels = npt.NDArray[np.uint8]


def body_of(hu: Array) -> Box:
    """Box of the body on a slice; the whole slice where there is none."""
    mask = ndimage.zoom(hu, BODY_SIDE / np.asarray(hu.shape), order=0) > BODY_HU
    mask = ndimage.binary_closing(mask)
    mask = ndimage.binary_fill_holes(mask, structure=np.ones((3, 3)))
    parts = measure.label(ndimage.binary_erosion(mask, iterations=2), connectivity=1)
    if not parts.any():
        return slice(0, hu.shape[0]), slice(0, hu.shape[1])
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    mask = ndimage.zoom(ndimage.binary_dilation(largest, iterations=2), np.asarray(hu.shape) / BODY_SIDE, order=0)
    (rows, columns), *_ = ndimage.find_objects(measure.label(mask)) or [(slice(0, hu.shape[0]), slice(0, hu.shape[1]))]
    return rows, columns


def stretched(hu: Array, side: int) -> Array:
    """(H, W) as a square, the corners' centres on each other, in the type of the image: whole numbers are rounded."""
    return np.asarray(ndimage.zoom(hu, side / np.asarray(hu.shape), order=1))


def nearest(plane: Labels, size: tuple[int, int]) -> Labels:
    """(H, W) at another size: each pixel the nearest one, the corners' centres on each other."""
    return np.asarray(ndimage.zoom(plane, np.asarray(size) / np.asarray(plane.shape), order=0))


def tidy(labels: Labels, *, keep_largest: bool = True, fill_holes: bool = True) -> Labels:
    """Give each small part to the neighbour that it touches most, and keep one part of each label, without its holes.

    Parameters
    ----------
    labels : (Z, Y, X) array of uint8
        Feet first, front to back, right to left, which decides on ties; it is not changed.
    keep_largest : bool
        Move small parts, and keep the largest part of each label.
    fill_holes : bool
        Fill what one label encloses; of two that enclose the same the higher stays.

    Returns
    -------
    (Z, Y, X) array of uint8
    """
    own = _joined(labels) if keep_largest else labels
    result = np.zeros_like(labels)
    # No hole reaches out of the box of its label. fill_voids errs at the border of an array, in some orders of its axes: with a voxel more
    # around each box, and the axes as they are there, it errs only where it does there too.
    for label, box in enumerate(ndimage.find_objects(own), 1):
        if box is None:
            continue
        box = widen(box, (1,) * own.ndim, own.shape)
        mask = own[box] == label
        if keep_largest:
            mask = _largest(mask)
        result[box][_filled(mask, len(labels) > 1) if fill_holes else mask] = label
    return result


def _joined(labels: Labels) -> Labels:
    """Labels with each part that is smaller than the largest of its label given to a neighbour."""
    parts = measure.label(labels)
    count = int(parts.max())
    boxes = [None, *ndimage.find_objects(parts)]
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    label_of = np.zeros(count + 1, np.uint8)
    label_of[parts] = labels
    # By size; of equal ones the first in the array first.
    order = 1 + np.argsort(areas[1:], kind="stable")
    largest = np.zeros(256, np.int64)
    written_as = np.zeros(count + 1, np.uint8)
    for part in order:
        if areas[part] > largest[label_of[part]]:
            largest[label_of[part]] = areas[part]
            # A part as large as the largest before is written as nothing.
            written_as[part] = label_of[part]
    for part in order:
        if not LEAST_VOXELS <= areas[part] < largest[label_of[part]]:
            continue
        view = parts[widen(boxes[part], (1,) * parts.ndim, parts.shape)]
        own = view == part
        numbers, contacts = np.unique(view[ndimage.binary_dilation(own) & ~own], return_counts=True)
        numbers, contacts = numbers[numbers > 0], contacts[numbers > 0]
        if not len(numbers):
            continue
        taker = numbers[contacts.argmax()]
        view[own] = taker
        boxes[taker] = tuple(
            slice(min(one.start, other.start), max(one.stop, other.stop)) for one, other in zip(boxes[taker], boxes[part], strict=True)
        )
        if areas[taker] == largest[label_of[taker]]:
            largest[label_of[taker]] += areas[part]
        areas[taker] += areas[part]
    return written_as[parts]


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    parts = measure.label(mask)
    sizes = np.bincount(parts.ravel())[1:].astype(np.float64)
    # Which of equal ones comes last is left to numpy, as it is there.
    return np.asarray(parts == np.argsort(sizes)[-1] + 1)


def _filled(mask: npt.NDArray[np.bool_], is_volume: bool) -> npt.NDArray[np.bool_]:
    if is_volume:
        return np.asarray(fill_voids.fill(mask), bool)
    closed = morphology.area_closing(mask[0], area_threshold=LARGEST_HOLE)
    return np.asarray(closed & ndimage.binary_fill_holes(mask[0]))[None]

"""Grow labels from seeds along what the image shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from napari_lungseg.edit.region import Labels, Progress, Spacing, by_tiles, check_labels, check_same_shape, check_spacing, reach
from napari_lungseg.edit.smooth import blurred, support
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import bounding_box, widen

#: Standard deviation (mm) of the Gaussian before the gradient is taken. Of 1, 1.5, 2 and 2.5 mm the best on 30 CT slices.
SMOOTH_MM = 1.5
#: Steps into which the gradient is divided. With 255, 1000 or 65535 the result is the same to 1 voxel in 10,000; more take longer.
LEVELS = 255
#: How far (mm) beyond the box around all seeds they grow.
MARGIN_MM = 10.0
#: Part of the time that the gradient takes.
GRADIENT_PERCENT = 20


def grow_from_seeds(
    labels: Labels,
    image: npt.NDArray[Any],
    spacing: Spacing,
    background: int | None = None,
    progress: Progress | None = None,
) -> Labels:
    """Let all labels grow until they meet where the image's intensity changes most.

    A watershed from markers on the magnitude of the smoothed image's gradient (Beucher and Meyer 1993): each label takes its
    surroundings in, flat parts first, edges last.

    Parameters
    ----------
    labels : array of int
        (Z, Y, X) or (Y, X). Whatever is labelled is a seed and stays; the labels grow up to 10 mm beyond the box around all.
    image : array
        Intensities on the same grid.
    spacing : tuple of float
        Millimetres along each axis.
    background : int, optional
        The label that stands for everything that is to have none: it competes with the others, then it becomes 0, its seeds too.
    progress : callable, optional
        Called with per cent done and 100.

    Returns
    -------
    array of int
        New labels.

    Raises
    ------
    InputError
        When there are not at least two labels, the one for the background is not among them, or the image does not fit.
    """
    # Chosen by trial: strokes drawn by chance into the known lungs of 30 CT slices and around them. Mean Dice 0.981 (13 ms a slice)
    # for this, 0.91 (75 ms) for the shortest geodesic way and 0.80 (930 ms) for a random walker, both with the best of their
    # parameters that were tried. ITK's watershed gives the same as scikit-image's in a fifth of the time, lets the window live
    # and can be stopped.
    check_labels(labels)
    check_spacing(spacing, labels.ndim)
    check_same_shape(labels, image)
    found = bounding_box(labels > 0)
    seeds = np.unique(labels[labels > 0])
    if found is None or len(seeds) < 2:
        raise InputError(say("Seeds of at least two labels are needed; draw some of each, and some of another one around them."))
    if background is not None and background not in seeds:
        raise InputError(
            say(
                "There are no seeds of label {background}, which stands for the background; draw some or choose another label.",
                background=background,
            )
        )
    box = widen(found, reach(MARGIN_MM, spacing), labels.shape)
    markers = labels[box]
    levels = _gradient(image[box], markers > 0, spacing, _share(progress, 0, GRADIENT_PERCENT))
    grown = _watershed(levels, markers.astype(np.min_scalar_type(int(seeds[-1]))), _share(progress, GRADIENT_PERCENT, 100))
    new = labels.copy()
    new[box] = grown
    if background is not None:
        new[box][grown == background] = 0
    return new


def _gradient(image: npt.NDArray[Any], seeded: npt.NDArray[np.bool_], spacing: Spacing, progress: Progress | None) -> npt.NDArray[np.uint8]:
    """Magnitude of the gradient in steps."""
    known = image[seeded]
    if not np.isfinite(known).all():
        raise InputError(say("Some seeds lie where the image has no number; erase them there."))
    low, high = known.min(), known.max()
    sigmas = tuple(SMOOTH_MM / step for step in spacing)

    def squared(part: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        # What lies beyond the seeds' own intensities (metal, missing values) tells nothing of what parts them.
        clipped = np.nan_to_num(part.clip(low, high).astype(np.float32), nan=float(low))
        smoothed = blurred(clipped, sigmas)
        # Differences of neighbours, as thick slices are too coarse for a Gaussian's derivative.
        slopes = [np.gradient(smoothed, step, axis=axis) for axis, step in enumerate(spacing) if part.shape[axis] > 1]
        return sum((slope**2 for slope in slopes), start=np.zeros(part.shape, np.float32))

    halo = tuple(more + 1 for more in support(sigmas))
    steepness = by_tiles(squared, image, halo, progress, np.float32)
    steepest = float(steepness.max())
    return np.sqrt(steepness * (LEVELS**2 / steepest if steepest else 0.0)).astype(np.uint8)


def _share(progress: Progress | None, first: int, last: int) -> Progress | None:
    """Tells the progress of a part of the work as per cent of all of it, from ``first`` to ``last``."""
    return None if progress is None else lambda done, total: progress(round(first + (last - first) * done / total), 100)


def _watershed(levels: npt.NDArray[np.uint8], markers: Labels, progress: Progress | None) -> Labels:
    """Flood from the markers, without lines between the basins."""
    flood = sitk.MorphologicalWatershedFromMarkersImageFilter()
    flood.MarkWatershedLineOff()
    stopped: list[BaseException] = []

    def report() -> None:
        # What is raised here would come out of ITK as an error of its own, and ITK tells of the end also when it was stopped.
        try:
            if progress is not None and not stopped:
                progress(round(100 * flood.GetProgress()), 100)
        except BaseException as reason:
            stopped.append(reason)
            flood.Abort()

    flood.AddCommand(sitk.sitkProgressEvent, report)
    try:
        result = flood.Execute(sitk.GetImageFromArray(levels), sitk.GetImageFromArray(markers))
    except RuntimeError:
        if stopped:
            raise stopped[0] from None
        raise
    return np.asarray(sitk.GetArrayFromImage(result))

"""Fill between slices by the image: what is drawn on two slices is moved as the image moves from one to the other."""

from __future__ import annotations

import edt
import numpy as np
from scipy import ndimage
from skimage.registration import optical_flow_ilk

from napari_lungseg.edit.interpolate import Floats, Shape, fill_gaps
from napari_lungseg.edit.region import Labels, Mask, Progress, Spacing, check_same_shape
from napari_lungseg.volume import Array

#: Pixel size at which slices are registered: as good as 1.4 mm, at a third of the time (measured on lungs; docs/benchmarks.md).
PIXEL_MM = 2.8
#: Pixels along the wider side, at least and at most.
PIXELS = (128, 256)
#: Pixels around each that move alike.
RADIUS = 5
#: How often a slice is moved and compared anew.
ROUNDS = 8
#: Percentiles of the two slices between which greys are looked at.
GREYS = (0.5, 99.5)


def fill_between_by_image(
    labels: Labels,
    image: Array,
    label: int,
    axis: int,
    spacing: Spacing,
    progress: Progress | None = None,
) -> Labels:
    """Fill the slices between those on which a label is drawn, following the image.

    Each slice is registered with the drawn slices before and after it, by iterative Lucas-Kanade (Le Besnerais and Champagnat 2005). The
    signed distances to both outlines are moved along, and the nearer one counts more.

    Parameters
    ----------
    labels, label, axis, spacing, progress
        As for :func:`~napari_lungseg.edit.fill_between`.
    image : (Z, Y, X) array
        Greys of the same voxels.

    Returns
    -------
    (Z, Y, X) array of int
        New labels.

    Raises
    ------
    InputError
        When the image has another shape, or for what :func:`~napari_lungseg.edit.fill_between` refuses.
    """
    check_same_shape(labels, image)
    greys = np.moveaxis(image, axis, 0)
    in_plane = tuple(length for other, length in enumerate(spacing) if other != axis)

    def shapes(labels: Labels, first: int, last: int) -> Shape:
        drawn = [labels[index] == label for index in (first, last)]
        fields = [edt.sdf(mask, anisotropy=in_plane, black_border=False) for mask in drawn]
        ends = np.stack([greys[first], greys[last]]).astype(np.float32)
        low, high = np.percentile(ends, GREYS)
        scale = _scale(drawn[0].shape, in_plane)
        small = [_small(grey, low, high, scale) for grey in ends]

        def shape(index: int) -> Mask:
            here = _small(np.asarray(greys[index], np.float32), low, high, scale)
            position = (index - first) / (last - first)
            field = sum(
                weight * _moved(field, here, there, scale)
                for weight, field, there in zip((1 - position, position), fields, small, strict=True)
            )
            return np.asarray(field > 0)

        return shape

    return fill_gaps(labels, label, axis, spacing, shapes, progress=progress)


def _scale(shape: tuple[int, ...], spacing: Spacing) -> tuple[float, ...]:
    """By how much each axis of a slice is made smaller; what is no body is looked at as if it were as wide as one."""
    widest = max(pixels * length for pixels, length in zip(shape, spacing, strict=True))
    pixel = widest / np.clip(widest / PIXEL_MM, *PIXELS)
    return tuple(length / pixel for length in spacing)


def _small(grey: Floats, low: float, high: float, scale: tuple[float, ...]) -> Floats:
    """A slice as it is registered: its greys from 0 to 1, smoothed before pixels are left out."""
    clipped = (np.clip(grey, low, high) - low) / max(high - low, 1e-6)
    smooth = ndimage.gaussian_filter(clipped, [0.5 / factor if factor < 1 else 0.0 for factor in scale])
    return ndimage.zoom(smooth, scale, order=1, grid_mode=True, mode="nearest")


def _moved(field: Floats, here: Floats, there: Floats, scale: tuple[float, ...]) -> Floats:
    """A field of one slice, moved as the image moves from there to here."""
    flow = optical_flow_ilk(here, there, radius=RADIUS, num_warp=ROUNDS, dtype=np.float32)
    to_pixels = [size / length for size, length in zip(field.shape, here.shape, strict=True)]
    moves = [
        ndimage.zoom(part, to_pixels, order=1, grid_mode=True, mode="nearest") * factor
        for part, factor in zip(flow, to_pixels, strict=True)
    ]
    where = np.indices(field.shape, np.float32) + np.stack(moves)
    return ndimage.map_coordinates(field, where, order=1, mode="nearest")

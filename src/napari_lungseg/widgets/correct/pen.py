"""The trace of a pen on a slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_lungseg.edit.region import Mask
from napari_lungseg.volume import Box

Point = npt.NDArray[np.float64]


def trace(start: Point, end: Point, radius: float, spacing: tuple[float, ...], shape: tuple[int, ...]) -> tuple[Box, Mask] | None:
    """Pixels that a round pen meets on a straight way; None where that is outside of the slice.

    Parameters
    ----------
    start, end : (2,) array of float
        Indices, of pixels or between them.
    radius : float
        In mm. The pixels at the start and at the end are always met.
    spacing : (float, float)
        Millimetres along each axis.
    shape : (int, int)
        Of the slice.

    Returns
    -------
    box : tuple of slice
        Around what is met.
    met : array of bool
        In that box.
    """
    scale = np.array(spacing)
    ends = np.stack([start, end])
    low = np.maximum(np.floor(ends.min(axis=0) - radius / scale).astype(int), 0)
    high = np.minimum(np.ceil(ends.max(axis=0) + radius / scale).astype(int) + 1, shape)
    if (low >= high).any():
        return None
    pixels = np.moveaxis(np.mgrid[low[0] : high[0], low[1] : high[1]], 0, -1)
    way = (end - start) * scale
    from_start = (pixels - start) * scale
    along = np.clip(from_start @ way / max(float(way @ way), 1e-12), 0, 1)
    met = np.linalg.norm(from_start - along[..., None] * way, axis=-1) <= radius
    for place in np.rint(ends).astype(int) - low:
        if (place >= 0).all() and (place < met.shape).all():
            met[tuple(place)] = True
    return (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))), met

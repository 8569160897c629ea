"""Arrays of labels, whatever type their file had."""

from __future__ import annotations

import numpy as np

from napari_lungseg.volume import Array

#: Files that scale whole numbers by a float give them back this near, as nibabel writes float labels into integers.
NEARLY = 1e-3


def whole_labels(array: Array) -> Array | None:
    """Labels as integers; None where a number is not whole, to within :data:`NEARLY`.

    Parameters
    ----------
    array : array
        Of any shape and type.

    Returns
    -------
    array or None
        The array itself where it holds integers, else a copy.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind != "f" or not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > np.iinfo(np.int32).max:
        return None
    whole = np.rint(array)
    return whole.astype(np.int32) if np.abs(array - whole).max(initial=0.0) <= NEARLY else None

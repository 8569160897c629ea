"""Whether two images lie on the same grid, and both turned upright."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume, grid_difference


def upright(volume: Volume) -> Volume:
    """The same voxels with three axes, feet-head, front-back, right-left where that is known; a view, not a copy."""
    solid = replace(volume, array=volume.array[None]) if volume.ndim == 2 else volume
    return solid.reorient()[0] if volume.spacing_known else solid


def on_same_grid(one: Volume, other: Volume, names: tuple[str, str], advice: str) -> tuple[Volume, Volume]:
    """Both as upright volumes in memory, after making sure that they agree.

    Parameters
    ----------
    one, other : Volume
        (Z, Y, X) or (Y, X). Axes stored in another order or direction are brought together by the geometry.
    names : (str, str)
        What they are, for the error: "labels", "image".
    advice : str
        What to do where they do not agree.

    Returns
    -------
    one, other : Volume
        Where only one of them carries a geometry, both have it.

    Raises
    ------
    InputError
        When the two do not lie on the same grid.
    """
    first, second = upright(_in_memory(with_geometry(one, other))), upright(_in_memory(with_geometry(other, one)))
    difference = None
    if first.shape != second.shape:
        difference = f"shape {one.shape} against {other.shape}"
    elif first.spacing_known:
        difference = grid_difference(first, second)
    if difference:
        raise InputError(f"The {names[0]} and the {names[1]} lie on different grids ({difference}); {advice}")
    return first, second


def with_geometry(volume: Volume, other: Volume | None) -> Volume:
    """The volume, with the other's geometry where it has none itself and as many voxels along each axis."""
    if other is None or volume.spacing_known or not other.spacing_known or volume.shape != other.shape:
        return volume
    return replace(volume, affine=other.affine, spacing_known=True)


def _in_memory(volume: Volume) -> Volume:
    return replace(volume, array=np.asarray(volume.array))

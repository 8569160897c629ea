"""Whether two images lie on one grid, by one tolerance for all rooms, and both turned upright."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Affine, Array, Orientation, Volume

#: Grids whose corners lie nearer together than this part of a voxel are the same: files round their geometry.
SAME_GRID = 0.05
#: Told of a segmentation that is made whole; a grid of so many times the voxels of two volumes is not made of them.
CROPPED = mark("The segmentation was saved cropped to its labels: it was put back into its place, and is empty beyond.")
_MOST_LARGER = 20


def upright(volume: Volume) -> Volume:
    """The same voxels with three axes, feet-head, front-back, right-left where that is known; a view, not a copy."""
    return solid(volume).reorient()[0] if volume.spacing_known else solid(volume)


def solid(volume: Volume) -> Volume:
    """The volume with three axes: a two-dimensional image becomes one slice."""
    return replace(volume, array=volume.array[None]) if volume.ndim == 2 else volume


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
    first, second = _agreeing(one, other, names, advice)
    return _in_memory(first), _in_memory(second)


def laid_on(volume: Volume, grid: Volume, names: tuple[str, str], advice: str) -> Volume:
    """A volume in the order and direction of axes of another that has the same voxels.

    Parameters
    ----------
    volume : Volume
        To be laid on the other; read into memory.
    grid : Volume
        Whose axes count; its voxels are not read.
    names, advice
        As for :func:`on_same_grid`.

    Returns
    -------
    Volume
        On the other's own axes, with its geometry.

    Raises
    ------
    InputError
        When the two do not lie on the same grid.
    """
    first, _ = _agreeing(volume, grid, names, advice)
    array = orientation_of(grid, volume).restore(np.asarray(first.array))
    return replace(
        volume, array=array[0] if grid.ndim == 2 else array, affine=grid.affine, spacing_known=grid.spacing_known, oriented=grid.oriented
    )


def orientation_of(volume: Volume, other: Volume) -> Orientation:
    """What turns a volume's three axes upright, by the other's geometry where it has none itself."""
    located = solid(with_geometry(volume, other))
    return located.reorient()[1] if located.spacing_known else Orientation((0, 1, 2), ())


def with_geometry(volume: Volume, other: Volume | None) -> Volume:
    """The volume, with the other's geometry where it has none itself and as many voxels along each axis."""
    if other is None or volume.spacing_known or not other.spacing_known or solid(volume).shape != solid(other).shape:
        return volume
    return replace(volume, affine=other.affine, spacing_known=True)


def grid_difference(one: Volume, other: Volume) -> str | None:
    """What differs between two grids, index by index, in words; None where they agree.

    Where either carries no geometry, the shape alone counts.
    """
    if one.shape != other.shape:
        return say("shape {one} against {other}", one=one.shape, other=other.shape)
    if not (one.spacing_known and other.spacing_known):
        return None
    shift, tolerance = _shift_mm(one.affine, other), SAME_GRID * min(other.spacing)
    if shift.max() <= tolerance:
        return None
    steps = [" x ".join(f"{step:.4g}" for step in grid.spacing) for grid in (one, other)]
    if steps[0] != steps[1]:
        return say("spacing {one} mm against {other} mm", one=steps[0], other=steps[1])
    if shift.max() - shift.min() <= tolerance:
        return say("{shift:.3g} mm apart", shift=shift.max())
    return say("turned against each other, corners up to {shift:.3g} mm apart", shift=shift.max())


def voxel_shift(volume: Volume, grid: Volume) -> Affine | None:
    """Index in another grid by the index in a volume, as whole numbers; None where voxels do not lie on voxels.

    Parameters
    ----------
    volume : Volume
        Of three axes, with a geometry; it may cover another part of the patient than the grid, or have its axes stored otherwise.
    grid : Volume
        With a geometry.

    Returns
    -------
    (4, 4) array of float or None
        A permutation of axes with signs, and an offset in voxels.
    """
    whole = np.rint(np.linalg.inv(grid.affine) @ volume.affine)
    straight = np.array_equal(np.abs(whole[:3, :3]) @ np.ones(3), np.ones(3))
    if not straight or _shift_mm(grid.affine @ whole, volume).max() > SAME_GRID * min(grid.spacing):
        return None
    return np.asarray(whole)


def with_segmentation_whole(one: Volume, other: Volume) -> tuple[Volume, Volume]:
    """Two volumes on one grid where a segmentation was saved cropped to its labels, as 3D Slicer and DICOM-SEG do.

    What lies beyond such a segmentation is empty. Only volumes that say what their labels are (``names``) are taken for cropped, and only
    where voxels lie on voxels; all others come back as they are.

    Parameters
    ----------
    one, other : Volume
        (Z, Y, X).

    Returns
    -------
    one, other : Volume
        Each on the least grid that holds both, with a note where it was cropped.
    """
    if one.shape == other.shape or one.ndim + other.ndim < 6 or not (one.spacing_known and other.spacing_known):
        return one, other
    index = voxel_shift(one, other)
    if index is None or (one.names is None and other.names is None):
        return one, other
    ends = (index @ np.array([(0, 0, 0, 1), (*(size - 1 for size in one.shape), 1)]).T)[:3].astype(int)
    first, last = np.minimum(ends.min(axis=1), 0), np.maximum(ends.max(axis=1) + 1, other.shape)
    affine = other.affine.copy()
    affine[:, 3] = other.affine @ (*first, 1)
    shape = tuple(int(size) for size in last - first)
    if math.prod(shape) > _MOST_LARGER * (math.prod(one.shape) + math.prod(other.shape)):
        return one, other
    cropped = [math.prod(volume.shape) < math.prod(shape) for volume in (one, other)]
    if any(is_cropped and volume.names is None for is_cropped, volume in zip(cropped, (one, other), strict=True)):
        return one, other
    whole = [
        replace(volume, array=placed(volume, affine, shape), affine=affine, notes=(*volume.notes, CROPPED)) if is_cropped else volume
        for is_cropped, volume in zip(cropped, (one, other), strict=True)
    ]
    return whole[0], whole[1]


def placed(volume: Volume, affine: Affine, shape: tuple[int, ...]) -> Array:
    """Voxels of a volume in their places on a grid on whose voxels they lie; 0 beyond them, and without those beyond the grid.

    Parameters
    ----------
    volume : Volume
        (Z, Y, X).
    affine : (4, 4) array
        Of the grid; :func:`voxel_shift` must not be None there.
    shape : tuple of int
        Of the grid, (Z, Y, X).
    """
    array = np.asarray(volume.array)
    index = np.rint(np.linalg.inv(affine) @ volume.affine)
    turn = index[:3, :3]
    ends = index @ np.array([(0, 0, 0, 1), (*(size - 1 for size in array.shape), 1)]).T
    # The axis of the volume that runs along each axis of the grid, and which of them run backwards there.
    order = np.abs(turn).argmax(axis=1)
    turned = np.flip(array.transpose(order), tuple(axis for axis in range(3) if turn[axis, order[axis]] < 0))
    starts = ends.min(axis=1).astype(int)[:3]
    result = np.zeros(shape, array.dtype)
    there = tuple(slice(max(0, start), max(0, start + size)) for start, size in zip(starts, turned.shape, strict=True))
    here = tuple(slice(max(0, -start), max(0, whole - start)) for start, whole in zip(starts, shape, strict=True))
    result[there] = turned[here]
    return result


def _agreeing(one: Volume, other: Volume, names: tuple[str, str], advice: str) -> tuple[Volume, Volume]:
    """Both upright, as views (InputError where they do not lie on the same grid)."""
    first, second = upright(with_geometry(one, other)), upright(with_geometry(other, one))
    difference = grid_difference(first, second)
    if first.shape != second.shape or first.spacing_known != second.spacing_known:
        difference = say("shape {one} against {other}", one=one.shape, other=other.shape)
        if one.shape == other.shape:
            difference = say(
                "axes that run otherwise, so that the upright shapes are {one} and {other}", one=first.shape, other=second.shape
            )
    if difference:
        raise InputError(
            say(
                "The {one} and the {other} lie on different grids ({difference}); {advice}",
                one=say(names[0]),
                other=say(names[1]),
                difference=difference,
                advice=say(advice),
            )
        )
    return first, second


def _shift_mm(affine: Affine, volume: Volume) -> Affine:
    """How far an affine lays the corners of a volume from where they lie, in mm."""
    shape = (1,) * (3 - volume.ndim) + volume.shape
    corners = np.array([(*corner, 1.0) for corner in product(*((0.0, size - 1.0) for size in shape))])
    return np.asarray(np.linalg.norm((corners @ (affine - volume.affine).T)[:, :3], axis=1))


def _in_memory(volume: Volume) -> Volume:
    return replace(volume, array=np.asarray(volume.array))

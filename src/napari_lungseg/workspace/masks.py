"""A case's mask as a file, and masks that were made elsewhere as a start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_lungseg.content import plain_labels
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.grid import grid_difference, placed, voxel_shift
from napari_lungseg.volume import Array, Volume
from napari_lungseg.workspace.records import Case
from napari_lungseg.workspace.workspace import Workspace


def export_labels(workspace: Workspace, case: Case, path: str | Path) -> Path:
    """Write a case's mask as it was saved last, on its image's grid.

    Parameters
    ----------
    workspace, case
        Which mask.
    path : path
        As for :func:`napari_lungseg.write`; ``.seg.nrrd`` is 3D Slicer's, with names and colours.

    Returns
    -------
    path : Path
        What was written.

    Raises
    ------
    InputError
        When the case has no mask, or the file cannot be written.
    """
    saved = workspace.load(case)
    if saved is None:
        raise InputError(f"{case.name} has no mask in the workspace yet; there is nothing to export.")
    return write(Volume(saved.labels, case.affine), path, None if saved.source is None else saved.source.names)


def import_mask(path: str | Path, like: Volume, *, exact: bool = False) -> Array:
    """Read a mask as :func:`read_mask` does; its labels alone."""
    return read_mask(path, like, exact=exact).array


def read_mask(path: str | Path, like: Volume, *, exact: bool = False) -> Volume:
    """Read a mask and bring it onto an image's grid.

    A mask whose voxels lie on the image's is taken over exactly, also if its axes are stored in another order or direction
    or it covers only a part (as 3D Slicer writes it). Any other is resampled to the nearest voxel: a start that a person
    corrects anyway may be half a voxel off.

    Parameters
    ----------
    path : path
        In any format that :func:`napari_lungseg.read` knows.
    like : Volume
        The image.
    exact : bool
        Refuse to resample.

    Returns
    -------
    Volume
        Labels (uint) on the image's grid, 0 where the mask does not reach, with the names and the notes of the file.

    Raises
    ------
    InputError
        When it holds no labels, or none of them within the image; when it would have to be resampled and may not; where the size of
        voxels is not known, also when its shape is not the image's.
    """
    mask = read(path)
    try:
        labels = plain_labels(np.asarray(mask.array))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not (mask.spacing_known and like.spacing_known):
        flat = [tuple(size for size in shape if size > 1) for shape in (mask.shape, like.shape)]
        if flat[0] != flat[1]:
            raise InputError(f"{path} has the shape {mask.shape} and the image {like.shape}; give the mask of this image.")
        return replace(like.with_array(np.ascontiguousarray(labels.reshape(like.shape))), names=mask.names, notes=mask.notes)
    shape = (1,) * (3 - like.ndim) + like.shape
    labels = labels[None] if labels.ndim == 2 else labels
    found = _place(Volume(labels, mask.affine), like, shape, exact=exact)
    if found is None:
        difference = grid_difference(mask, like) or "turned, or in part"
        raise InputError(f"{path} lies on other voxels than the image ({difference}); resample it first.")
    if labels.any() and not found.any():
        raise InputError(f"Nothing in {path} lies within the image; give the mask of this image.")
    return replace(like.with_array(found.reshape(like.shape)), names=mask.names, notes=mask.notes)


def _place(mask: Volume, like: Volume, shape: tuple[int, ...], *, exact: bool) -> Array | None:
    """Labels of three axes on another grid; None where they would have to be resampled and may not."""
    if voxel_shift(mask, like) is not None:
        return placed(mask, like.affine, shape)
    if exact:
        return None
    back = np.linalg.inv(mask.affine) @ like.affine
    return ndimage.affine_transform(mask.array, back[:3, :3], back[:3, 3], shape, order=0, mode="grid-constant")

"""An image with its geometry: the value that travels through the whole package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError

Unit = Literal["HU", "arbitrary"]
Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
#: A slice for each axis of an array.
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie in the patient.

    Attributes
    ----------
    array : array
        (Z, Y, X) or (Y, X). Anything that slices like numpy (dask, zarr, memory map) will do; the axes are
        storage axes, not necessarily anatomical ones.
    affine : (4, 4) array of float
        Maps the homogeneous array index (z, y, x, 1) of a voxel's centre to LPS millimetres (x to the
        patient's left, y to the back, z to the head). A (Y, X) image is the slice z = 0.
    unit : {"HU", "arbitrary"}
        What the numbers mean.
    spacing_known : bool
        False where the file carried no physical size (photographs, plain TIFF): the affine then counts
        pixels, not millimetres.
    oriented : bool
        False where the file did not tell how the patient lies (PNG, JPEG, TIFF): the array's axes are then only taken to run
        like those of an upright axial image.
    notes : tuple of str
        What reading decided or left out, each a sentence for a person.
    names : mapping of int to str, or None
        What each label is, where the voxels are labels and their file or their maker says so; None where nothing is known.
    why_unit : str
        By what the unit was told, a sentence for a person; empty where nobody had to tell it.

    Raises
    ------
    InputError
        When the array has not two or three axes, or the affine is not an invertible 4 x 4 matrix.
    """

    array: Array
    affine: Affine
    unit: Unit = "arbitrary"
    spacing_known: bool = True
    oriented: bool = True
    notes: tuple[str, ...] = ()
    names: Mapping[int, str] | None = None
    why_unit: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim not in (2, 3):
            raise InputError(
                f"An image of {self.array.ndim} axes (shape {tuple(self.array.shape)}) cannot be used as a volume; "
                "give one with axes (Z, Y, X) or (Y, X)."
            )
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
            raise InputError("The image's geometry is not usable: its affine must be an invertible 4 x 4 matrix.")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes, 2 or 3."""
        return int(self.array.ndim)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between voxel centres along each axis of the array, in mm."""
        steps = np.linalg.norm(self.affine[:3, :3], axis=0)
        return tuple(float(step) for step in steps[3 - self.ndim :])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axial_axis(self) -> int:
        """Array axis along which axial slices are stacked: the one nearest to the patient's long axis.

        0 for a two-dimensional image and where no geometry is known; the axis of length one for a single slice, whichever way
        that was cut.
        """
        if self.ndim == 3 and self.shape.count(1) == 1:
            return self.shape.index(1)
        if self.ndim == 2 or not self.spacing_known:
            return 0
        return axis_order(self.affine)[0]

    def with_array(self, array: Array, unit: Unit = "arbitrary") -> Volume:
        """Other voxels (labels, probability) on the same grid."""
        if tuple(array.shape) != self.shape:
            raise InputError(f"An array of shape {tuple(array.shape)} does not lie on a grid of {self.shape}.")
        return replace(self, array=array, unit=unit, notes=(), why_unit="")

    def crop(self, box: tuple[slice, ...]) -> Volume:
        """The part inside ``box`` (one slice with start and stop per axis), geometry kept."""
        starts = np.zeros(4)
        starts[3] = 1.0
        starts[3 - self.ndim : 3] = [part.start or 0 for part in box]
        affine = self.affine.copy()
        affine[:, 3] = self.affine @ starts
        return replace(self, array=self.array[box], affine=affine)

    def reorient(self) -> tuple[Volume, Orientation]:
        """Turn by axis permutation and flips so that axes run feet-head, front-back, right-left.

        Returns
        -------
        volume : Volume
            A view on the same voxels, not a copy.
        orientation : Orientation
            Takes arrays on the turned grid back with :meth:`Orientation.restore`.
        """
        if self.ndim == 2:
            return self, Orientation((0, 1), ())
        order = axis_order(self.affine)
        rotation = self.affine[:3, :3]
        flips = tuple(new for new, old in enumerate(order) if rotation[2 - new, old] < 0)
        orientation = Orientation(order, flips)
        turned = np.zeros((4, 4))
        turned[3, 3] = 1.0
        for new, old in enumerate(order):
            last = self.array.shape[old] - 1
            turned[old, new] = -1.0 if new in flips else 1.0
            turned[old, 3] = last if new in flips else 0.0
        return replace(self, array=orientation.apply(self.array), affine=self.affine @ turned), orientation


@dataclass(frozen=True)
class Orientation:
    """A permutation of axes followed by flips.

    Attributes
    ----------
    order : tuple of int
        For each axis of the turned array, the axis of the original.
    flips : tuple of int
        Axes of the turned array that run backwards.
    """

    order: tuple[int, ...]
    flips: tuple[int, ...]

    def apply(self, array: Array) -> Array:
        """View of ``array`` on the turned grid."""
        return self._flip(array.transpose(self.order))

    def restore(self, array: Array) -> Array:
        """View of an array of the turned grid on the original one."""
        inverse = tuple(int(axis) for axis in np.argsort(self.order))
        return self._flip(array).transpose(inverse)

    def _flip(self, array: Array) -> Array:
        return array[tuple(slice(None, None, -1) if axis in self.flips else slice(None) for axis in range(array.ndim))]


def axis_order(affine: Affine) -> tuple[int, int, int]:
    """Array axes that run most nearly along the patient's z, y and x, in this order.

    The assignment maximises the sum of direction cosines over all permutations, so that every axis is used once, also for
    strongly oblique volumes.
    """
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return max(orders, key=lambda o: directions[2, o[0]] + directions[1, o[1]] + directions[0, o[2]])


def scaling(spacing: tuple[float, ...], origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Affine:
    """Affine of an upright axial image.

    Parameters
    ----------
    spacing : tuple of float
        Millimetres along (z, y, x) or (y, x).
    origin : tuple of float
        LPS (x, y, z) of the first voxel's centre, in mm.
    """
    dz, dy, dx = (1.0, *spacing) if len(spacing) == 2 else spacing
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = dz, dy, dx
    affine[:3, 3] = origin
    affine[3, 3] = 1.0
    return affine


def bounding_box(mask: npt.NDArray[np.bool_]) -> Box | None:
    """The smallest box around the true voxels; None where there are none."""
    box = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if filled.size == 0:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def inside(part: Box, box: Box) -> Box:
    """Where a part of an array lies within a box that holds it."""
    return tuple(slice(own.start - outer.start, own.stop - outer.start) for own, outer in zip(part, box, strict=True))


def outside(part: Box, box: Box) -> Box:
    """Where a part of a box lies in the array of that box."""
    return tuple(slice(own.start + outer.start, own.stop + outer.start) for own, outer in zip(part, box, strict=True))


def widen(box: Box, margin: Sequence[int], shape: tuple[int, ...]) -> Box:
    """A box with a margin of voxels, clipped to an array's shape."""
    return tuple(slice(max(0, part.start - more), min(size, part.stop + more)) for part, more, size in zip(box, margin, shape, strict=True))


def labels_in(array: Array) -> list[int]:
    """All values of an array of labels but 0, in order; slice by slice, so that no large temporary array is made."""
    if array.ndim > 2:
        return sorted(set().union(*(labels_in(part) for part in array)))
    return [int(label) for label in np.unique(array) if label != 0]

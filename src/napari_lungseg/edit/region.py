"""What all tools share: their types, the check of what they are given, and work on a part of the labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Box, bounding_box, inside, widen

Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, ...]
#: Called with steps done and steps in all. What it raises ends the tool.
Progress = Callable[[int, int], None]
Work = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

#: Voxels of a tile that is worked on at once: some ten milliseconds.
TILE_VOXELS = 2**19
#: Distances are float32: what exceeds a limit by less than this part is still within it.
ROUNDING = 1e-5


def check_labels(labels: Labels, label: int | None = None) -> None:
    """Refuse what is no label image of two or three axes, and a label that it cannot hold."""
    if labels.dtype.kind not in "iu" or labels.ndim not in (2, 3):
        raise InputError(
            say(
                "Labels must be whole numbers on two or three axes, not {dtype} on {ndim}; choose a labels layer of one image.",
                dtype=labels.dtype,
                ndim=labels.ndim,
            )
        )
    if label is not None and not 1 <= label <= np.iinfo(labels.dtype).max:
        raise InputError(
            say(
                "{label} is no label that {dtype} can hold; choose one from 1 to {highest}.",
                label=label,
                dtype=labels.dtype,
                highest=np.iinfo(labels.dtype).max,
            )
        )


def check_volume(labels: Labels, axis: int) -> None:
    """Refuse labels without slices along ``axis``."""
    if labels.ndim != 3:
        raise InputError(say("This needs a volume of several slices, and the image is a single one; use a tool for one slice."))
    if axis not in (0, 1, 2):
        raise InputError(say("A volume has the axes 0, 1 and 2, but not {axis}.", axis=axis))


def check_same_shape(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
    """Refuse two arrays that do not lie on one grid."""
    if first.shape != second.shape:
        raise InputError(
            say(
                "Two layers of shapes {one} and {other} do not lie on one grid; choose layers that belong to the same image.",
                one=first.shape,
                other=second.shape,
            )
        )


def check_spacing(spacing: Spacing, axes: int) -> None:
    """Refuse anything but one positive number of millimetres per axis."""
    if len(spacing) != axes or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise InputError(
            say(
                "The spacing must be {axes} positive numbers of millimetres, not {spacing}; correct the layer's scale.",
                axes=axes,
                spacing=spacing,
            )
        )


def check_mm(mm: float, spacing: Spacing) -> None:
    """Refuse a distance that is no number or too short to reach a neighbouring voxel."""
    if not (math.isfinite(mm) and mm >= min(spacing) * (1 - ROUNDING)):
        # Rounded up, so that what is proposed will do.
        raise InputError(
            say("{mm:g} mm do not reach the next voxel; give at least {least:g} mm.", mm=mm, least=math.ceil(100 * min(spacing)) / 100)
        )


def reach(mm: float, spacing: Spacing) -> tuple[int, ...]:
    """Voxels along each axis that are not further than ``mm``."""
    return tuple(math.floor(mm * (1 + ROUNDING) / step) for step in spacing)


def box_of(labels: Labels, label: int, margin: tuple[int, ...] | None = None) -> Box:
    """The box around a label, wider by ``margin`` (one voxel if not given) on all sides as far as the array goes.

    Raises
    ------
    InputError
        When the labels cannot be used, or the label is nowhere.
    """
    check_labels(labels, label)
    box = bounding_box(labels == label)
    if box is None:
        raise InputError(say("Label {label} is empty here; draw some of it first or choose another label.", label=label))
    return widen(box, margin or (1,) * labels.ndim, labels.shape)


def with_label(labels: Labels, box: Box, wanted: Mask, label: int) -> Labels:
    """Labels whose ``label`` covers, in a box, just what is wanted of it and of the background."""
    new = labels.copy()
    set_label(new[box], wanted, label)
    return new


def set_label(part: Labels, wanted: Mask, label: int) -> None:
    """Have a label cover, in an array that is changed, just what is wanted of it and of the background."""
    part[(part == label) & ~wanted] = 0
    part[(part == 0) & wanted] = label


def by_tiles(
    work: Work, part: npt.NDArray[Any], halo: tuple[int, ...], progress: Progress | None, dtype: npt.DTypeLike | None = None
) -> Any:
    """The same as ``work(part)``, tile by tile.

    Progress can be told and the work be cancelled, and a window on another thread lives: most libraries used here keep Python's
    lock while they work.

    Parameters
    ----------
    work : callable
        From an array to one of the same shape. What it makes of a voxel depends on nothing further away than the halo.
    part : array
        Two or three axes.
    halo : tuple of int
        Voxels along each axis beyond a tile that its result depends on.
    progress : callable, optional
        Called with tiles done and tiles in all.
    dtype : optional
        Type of the result; that of ``part`` if not given.
    """
    edge = round(TILE_VOXELS ** (1 / part.ndim))
    # Not too thin, or the halos would cost more than the tiles.
    edges = [max(edge, 4 * more) for more in halo]
    starts = list(product(*(range(0, size, step) for size, step in zip(part.shape, edges, strict=True))))
    result = np.empty(part.shape, dtype or part.dtype)
    for done, corner in enumerate(starts, start=1):
        tile = tuple(slice(start, min(start + step, size)) for start, step, size in zip(corner, edges, part.shape, strict=True))
        around = widen(tile, halo, part.shape)
        result[tile] = work(part[around])[inside(tile, around)]
        if progress is not None:
            progress(done, len(starts))
    return result


def unless_even(work: Work) -> Work:
    """The same work, spared where the array has one value only; for work that would leave it as it is."""

    def spared(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return part if (part == part.flat[0]).all() else work(part)

    return spared

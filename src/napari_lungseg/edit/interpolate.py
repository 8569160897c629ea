"""Fill between slices: the shapes in between follow from those drawn on some slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cc3d
import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse, spatial

from napari_lungseg.edit.region import Labels, Mask, Progress, Spacing, check_labels, check_spacing, check_volume, set_label
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say

#: Parts of two slices that share this much of the smaller one are the same thing at the same place.
SAME_PLACE = 0.5
#: Parts that do not are the same thing, moved, if their centres are not further apart than so many of their mean diameters.
MOVED_DIAMETERS = 2.0

Floats = npt.NDArray[np.floating]
#: Where the label shall be on a slice, told by its number.
Shape = Callable[[int], Mask]
#: (N, 2) indices of pixels.
Points = npt.NDArray[np.int64]


def fill_between(
    labels: Labels, label: int, axis: int, spacing: Spacing, slices: Sequence[int] | None = None, progress: Progress | None = None
) -> Labels:
    """Fill the slices between those on which a label is drawn.

    Signed distances to the outlines are interpolated linearly in position (Raya and Udupa 1990, shape-based interpolation).
    Parts that lie over one another are interpolated where they are, parts that have moved are moved along, one part that
    faces several divides, and a part that faces nothing ends half-way.

    Parameters
    ----------
    labels : (Z, Y, X) array of int
        The volume.
    label : int
        The one to fill; others are left as they are.
    axis : int
        Axis along which the slices are counted.
    spacing : tuple of float
        Millimetres along each axis.
    slices : sequence of int, optional
        Slices that are right as they are. What the label has between them is replaced; one of them without the label ends it there.
        If not given, all slices that have the label.
    progress : callable, optional
        Called with slices done and slices in all.

    Returns
    -------
    (Z, Y, X) array of int
        New labels.

    Raises
    ------
    InputError
        When the image is no volume, or there are not two slices with others between.
    """
    in_plane = tuple(length for other, length in enumerate(spacing) if other != axis)

    def shapes(labels: Labels, first: int, last: int) -> Shape:
        moves = _moves(labels[first] == label, labels[last] == label, in_plane)

        def shape(index: int) -> Mask:
            wanted = np.zeros(labels.shape[1:], bool)
            for move in moves:
                move.draw(wanted, (index - first) / (last - first))
            return wanted

        return shape

    return fill_gaps(labels, label, axis, spacing, shapes, slices, progress)


def fill_gaps(
    labels: Labels,
    label: int,
    axis: int,
    spacing: Spacing,
    shapes: Callable[[Labels, int, int], Shape],
    slices: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Labels:
    """Fill the slices between those on which a label is drawn, by the shapes that a function gives.

    Parameters
    ----------
    labels, label, axis, spacing, slices, progress
        As for :func:`fill_between`.
    shapes : callable
        Given the labels with ``axis`` first, and two slices, gives what tells for each slice between them where the label shall be.

    Returns
    -------
    (Z, Y, X) array of int
        New labels.

    Raises
    ------
    InputError
        When the image is no volume, or there are not two slices with others between.
    """
    check_labels(labels, label)
    check_volume(labels, axis)
    check_spacing(spacing, 3)
    across = tuple(other for other in range(3) if other != axis)
    if slices is None:
        drawn = [int(index) for index in np.flatnonzero((labels == label).any(axis=across))]
    else:
        drawn = sorted(set(slices))
        if drawn and not 0 <= drawn[0] <= drawn[-1] < labels.shape[axis]:
            raise InputError(
                say(
                    "Slices {first} to {last} do not all lie in the volume; choose from 0 to {highest}.",
                    first=drawn[0],
                    last=drawn[-1],
                    highest=labels.shape[axis] - 1,
                )
            )
    gaps = [(one, next_one) for one, next_one in pairwise(drawn) if next_one - one > 1]
    planes = np.moveaxis(labels, axis, 0)
    if not gaps or not any((planes[index] == label).any() for index in drawn):
        raise InputError(
            say("There is nothing to fill between; draw label {label} on at least two slices that have others between them.", label=label)
        )
    new = labels.copy()
    filled = np.moveaxis(new, axis, 0)
    done, total = 0, sum(last - first - 1 for first, last in gaps)
    for first, last in gaps:
        shape = shapes(planes, first, last)
        for index in range(first + 1, last):
            set_label(filled[index], shape(index), label)
            done += 1
            if progress is not None:
                progress(done, total)
    return new


@dataclass(frozen=True)
class _Move:
    """How a shape on one slice becomes one on another.

    Attributes
    ----------
    start : (2,) array of int
        Pixel of the plane at which both fields begin on the first slice; may lie outside.
    shift : (2,) array of int
        Pixels that they have moved by when they come to the last.
    first, last : array of float
        Signed distances (mm) to the shapes' outlines, above zero inside.
    """

    start: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    first: Floats
    last: Floats

    def draw(self, plane: Mask, position: float) -> None:
        """Add the shape at a position, 0 on the first slice and 1 on the last."""
        field = (1.0 - position) * self.first + position * self.last
        begin = self.start + position * self.shift
        whole = np.floor(begin).astype(int)
        if (begin != whole).any():
            field = ndimage.shift(field, begin - whole, order=1, mode="nearest")
        lower = np.maximum(whole, 0)
        upper = np.minimum(whole + field.shape, plane.shape)
        plane[_box(lower, upper)] |= field[_box(lower - whole, upper - whole)] > 0


@dataclass(frozen=True)
class _Parts:
    """The connected parts of a label on a slice, numbered from 1.

    Attributes
    ----------
    numbers : (Y, X) array of int
        Which part each pixel belongs to.
    sizes : (N + 1,) array of int
        Pixels of each, the background first.
    centres : (N + 1, 2) array of float
        Centres of mass, in pixels.
    """

    numbers: npt.NDArray[np.unsignedinteger]
    sizes: npt.NDArray[np.int64]
    centres: Floats

    @classmethod
    def of(cls, mask: Mask) -> _Parts:
        """The parts of a mask."""
        numbers = cc3d.connected_components(mask, connectivity=8, binary_image=True)
        sizes = np.bincount(numbers[mask], minlength=1)
        sums = [np.bincount(numbers[mask], weights=index, minlength=1) for index in np.nonzero(mask)]
        return cls(numbers, sizes, np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None])

    def points(self, chosen: Sequence[int]) -> Points:
        """The pixels of some parts."""
        wanted = np.zeros(len(self.sizes), bool)
        wanted[list(chosen)] = True
        return np.argwhere(wanted[self.numbers])


def _moves(first: Mask, last: Mask, spacing: Spacing) -> list[_Move]:
    """What becomes what between two slices."""
    one, other = _Parts.of(first), _Parts.of(last)
    still, nothing = np.zeros(2), np.zeros((0, 2), np.int64)
    moves = []
    alone_one, alone_other = set(range(1, len(one.sizes))), set(range(1, len(other.sizes)))
    for some, facing in _same_place(one, other):
        moves.append(_move(one.points(some), other.points(facing), still, spacing))
        alone_one -= set(some)
        alone_other -= set(facing)
    for a, b in _moved(one, other, sorted(alone_one), sorted(alone_other), spacing):
        moves.append(_move(one.points([a]), other.points([b]), other.centres[b] - one.centres[a], spacing))
        alone_one.discard(a)
        alone_other.discard(b)
    moves += [_move(one.points([a]), nothing, still, spacing) for a in alone_one]
    moves += [_move(nothing, other.points([b]), still, spacing) for b in alone_other]
    return moves


def _same_place(one: _Parts, other: _Parts) -> list[tuple[list[int], list[int]]]:
    """Groups of parts that lie over one another."""
    both = (one.numbers > 0) & (other.numbers > 0)
    pairs, shared = np.unique(np.stack([one.numbers[both], other.numbers[both]], axis=1), axis=0, return_counts=True)
    a, b = pairs.astype(np.int64).T
    over = shared >= SAME_PLACE * np.minimum(one.sizes[a], other.sizes[b])
    a, b = a[over], b[over]
    count = len(one.sizes) + len(other.sizes)
    graph = sparse.coo_array((np.ones(len(a), bool), (a, len(one.sizes) + b)), shape=(count, count))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    of_one, of_other = group[: len(one.sizes)], group[len(one.sizes) :]
    return [(np.flatnonzero(of_one == number).tolist(), np.flatnonzero(of_other == number).tolist()) for number in np.unique(of_one[a])]


def _moved(one: _Parts, other: _Parts, some: list[int], facing: list[int], spacing: Spacing) -> set[tuple[int, int]]:
    """Pairs of the parts given by number of which one is the nearest to the other, and near enough."""
    if not (some and facing):
        return set()
    distances = spatial.distance.cdist(one.centres[some] * spacing, other.centres[facing] * spacing)
    diameters = [2 * np.sqrt(parts.sizes[chosen] * math.prod(spacing) / math.pi) for parts, chosen in ((one, some), (other, facing))]
    far = distances > MOVED_DIAMETERS * (diameters[0][:, None] + diameters[1]) / 2
    # Where there is but one on either slice, it can only be the same.
    if not len(one.sizes) == len(other.sizes) == 2:
        distances[far] = np.inf
    nearest = {(i, int(distances[i].argmin())) for i in range(len(some))} | {(int(distances[:, j].argmin()), j) for j in range(len(facing))}
    return {(some[i], facing[j]) for i, j in nearest if np.isfinite(distances[i, j])}


def _move(first: Points, last: Points, shift: Floats, spacing: Spacing) -> _Move:
    """The way from one shape to another that lies ``shift`` pixels further; one of the two may be empty."""
    whole = np.rint(shift).astype(np.int64)
    points = first, last - whole
    every = np.concatenate(points)
    # With room for the outline, and for a shift by less than a pixel.
    start = every.min(axis=0) - 2
    shape = tuple(every.max(axis=0) + 3 - start)
    one, other = (_signed_distance(some - start, shape, spacing) for some in points)
    # Nothing is as far outside as the deepest point of what faces it is inside: that point is the last to go, half-way.
    if not len(first):
        one = np.full(shape, -other.max())
    if not len(last):
        other = np.full(shape, -one.max())
    return _Move(start, whole, one, other)


def _signed_distance(points: Points, shape: tuple[int, ...], spacing: Spacing) -> Floats:
    """Distance (mm) of every pixel to the outline of a shape, above zero inside."""
    shape_mask = np.zeros(shape, bool)
    shape_mask[tuple(points.T)] = True
    return np.asarray(edt.edt(shape_mask, anisotropy=spacing) - edt.edt(~shape_mask, anisotropy=spacing))


def _box(lower: npt.NDArray[np.int64], upper: npt.NDArray[np.int64]) -> tuple[slice, ...]:
    """Slices from the lower corner to the upper one, empty where that is not above."""
    return tuple(slice(int(low), int(max(low, high))) for low, high in zip(lower, upper, strict=True))

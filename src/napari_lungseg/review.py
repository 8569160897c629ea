"""Which slice a person should look at next: the one in which the most is expected to be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array

#: Percentages between which a pixel is in doubt. The sum of entropy, or of the probability of error, finds less: the few
#: percent that a weak network leaves all over the body outweigh the places where it wavers.
DOUBT_FROM, DOUBT_TO = 25, 75
#: From this percentage on an opinion is lung.
LUNG_FROM = 50
#: Slices nearer than this to a reviewed one count for less, in proportion (mm).
APART_MM = 5.0

Percent = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Weights:
    """Wrong area to expect for each mm² of a measure, in mm².

    Attributes
    ----------
    doubt, jump, disagreement : float
        Of the areas in :class:`SliceMeasures`.

    Raises
    ------
    InputError
        When a weight is negative or not finite.
    """

    doubt: float = 0.0
    jump: float = 0.0
    disagreement: float = 0.0

    def __post_init__(self) -> None:
        for name in ("doubt", "jump", "disagreement"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise InputError(f"The weight of {name} in the review must be 0 or more, not {value:g}.")


# Fitted on CT with known masks, to models that had learnt from other patients: `python benchmarks/review.py` prints the fit and
# what it finds.
#: For a mask without a probability; the scale is that of a weak model's mask.
MASK_ALONE = Weights(jump=12.8)
#: For a mask and its probability.
ONE_OPINION = Weights(doubt=0.36, jump=0.16)
#: For a second probability besides. It finds 1 to 3 % more in weak masks, no more in good ones.
TWO_OPINIONS = Weights(doubt=0.27, jump=0.44, disagreement=0.54)


@dataclass(frozen=True, eq=False)
class SliceMeasures:
    """What hints at errors, slice by slice, in mm².

    Attributes
    ----------
    jump_mm2 : (N,) array of float
        Area of :func:`jumps`; 0 in the first slice and the last.
    doubt_mm2 : (N,) array of float, optional
        Area :func:`in_doubt`; None without a probability.
    disagreement_mm2 : (N,) array of float, optional
        Area :func:`in_dispute`; None without a second probability.
    """

    jump_mm2: Floats
    doubt_mm2: Floats | None = None
    disagreement_mm2: Floats | None = None

    def expected_error_mm2(self, weights: Weights | None = None) -> Floats:
        """Area of each slice that is expected to be wrong, in mm²: the score by which slices are ranked.

        Parameters
        ----------
        weights : Weights, optional
            By default those fitted to the measures that there are.
        """
        if weights is None:
            weights = MASK_ALONE if self.doubt_mm2 is None else ONE_OPINION if self.disagreement_mm2 is None else TWO_OPINIONS
        score = weights.jump * self.jump_mm2
        if self.doubt_mm2 is not None:
            score = score + weights.doubt * self.doubt_mm2
        if self.disagreement_mm2 is not None:
            score = score + weights.disagreement * self.disagreement_mm2
        return score


def measure_slices(
    labels: Array,
    spacing: tuple[float, ...],
    percent: Percent | None = None,
    second: Percent | None = None,
    *,
    axis: int = 0,
    slices: Sequence[int] | None = None,
) -> SliceMeasures:
    """Measure slices for the review.

    A slice's jump changes with the labels of its neighbours: after a correction of slice k, measure k - 1, k and k + 1 again.

    Parameters
    ----------
    labels : array of int
        The mask as shown, (Z, Y, X) or (Y, X): 0 background.
    spacing : tuple of float
        Distance between voxel centres along each axis of ``labels``, in mm.
    percent : array of uint8, optional
        The network's probability in percent, of the same shape.
    second : array of uint8, optional
        Another opinion on the same image in percent: the network run on the image flipped left to right and flipped back, or
        another model.
    axis : int
        Axis along which the slices are stacked; 0 for a two-dimensional image, which is one slice.
    slices : sequence of int, optional
        Which slices to measure; all by default.

    Returns
    -------
    SliceMeasures
        One number for each of ``slices``, in that order.

    Raises
    ------
    InputError
        When the arrays differ in shape, a probability is not in percent, a second opinion comes without the first, or a slice, an
        axis or the spacing cannot be.
    """
    if second is not None and percent is None:
        raise InputError("A second opinion on a mask needs the first: give the probability of the mask too.")
    if any(opinion is not None and opinion.dtype != np.uint8 for opinion in (percent, second)):
        raise InputError("A probability must be given in whole percent (uint8, 0 to 100); multiply fractions by 100 and round them.")
    mask = _stack(labels, labels.shape, axis)
    first = None if percent is None else _stack(percent, labels.shape, axis)
    other = None if second is None else _stack(second, labels.shape, axis)
    if len(spacing) != labels.ndim or not all(math.isfinite(step) and step > 0.0 for step in spacing):
        raise InputError(f"The spacing of labels of shape {labels.shape} must be {labels.ndim} distances above 0 mm, not {spacing}.")
    pixel_mm2 = math.prod(spacing) / (spacing[axis] if labels.ndim == 3 else 1.0)
    last = mask.shape[axis] - 1
    here = np.arange(last + 1) if slices is None else np.array(slices, np.intp)
    if ((here < 0) | (here > last)).any():
        raise InputError(f"Slices {here.tolist()} cannot be measured: the image has slices 0 to {last}.")
    around = np.maximum(here - 1, 0), here, np.minimum(here + 1, last)
    return SliceMeasures(
        pixel_mm2 * _count(jumps, [(mask, index) for index in around], axis),
        None if first is None else pixel_mm2 * _count(in_doubt, [(first, here)], axis),
        None if first is None or other is None else pixel_mm2 * _count(in_dispute, [(first, here), (other, here)], axis),
    )


def in_doubt(percent: Percent) -> Mask:
    """Pixels whose probability lies from 25 to 75 %."""
    return np.asarray((percent >= DOUBT_FROM) & (percent <= DOUBT_TO))


def jumps(before: Array, labels: Array, after: Array) -> Mask:
    """Pixels whose label is that of neither neighbouring slice, where these agree.

    They are half of what the slice differs from both neighbours beyond what those differ from each other: a lung that grows or
    shrinks steadily has no jump, and one that changes sides in a slice has.
    """
    return np.asarray((before == after) & (labels != before))


def in_dispute(percent: Percent, second: Percent) -> Mask:
    """Pixels that one of two probabilities, but not the other, calls lung, at 50 %."""
    return np.asarray((percent >= LUNG_FROM) != (second >= LUNG_FROM))


def next_slice(score: Floats, reviewed: Collection[int], step_mm: float, apart_mm: float = APART_MM) -> int | None:
    """Slice to look at next: the highest score that is not beside a reviewed slice.

    Parameters
    ----------
    score : (N,) array of float
        What a look at each slice is worth, such as :meth:`SliceMeasures.expected_error_mm2`.
    reviewed : collection of int
        Slices that are not to be offered.
    step_mm : float
        Distance between slices in mm.
    apart_mm : float
        The score of a slice nearer than this to a reviewed one is lowered in proportion to the distance; 0 to leave it.

    Returns
    -------
    int or None
        The first of equals; None when all slices are reviewed.

    Raises
    ------
    InputError
        When the distances are negative or not finite, or there is no such reviewed slice.
    """
    return next(_ranked(score, reviewed, step_mm, apart_mm), None)


def rank(score: Floats, reviewed: Collection[int], step_mm: float, apart_mm: float = APART_MM) -> list[int]:
    """All slices that are not reviewed, in the order in which :func:`next_slice` offers them one after the other."""
    return list(_ranked(score, reviewed, step_mm, apart_mm))


def _ranked(score: Floats, reviewed: Collection[int], step_mm: float, apart_mm: float) -> Iterator[int]:
    if not (math.isfinite(step_mm) and step_mm > 0.0 and math.isfinite(apart_mm) and apart_mm >= 0.0):
        raise InputError(f"Slices cannot be {step_mm:g} mm apart and kept {apart_mm:g} mm from reviewed ones.")
    if any(not 0 <= index < len(score) for index in reviewed):
        raise InputError(f"The reviewed slices {sorted(reviewed)} are not all among the image's slices 0 to {len(score) - 1}.")
    place = np.arange(len(score)) * step_mm
    factor = np.ones(len(score))

    def see(index: int) -> None:
        if apart_mm > 0.0:
            np.minimum(factor, np.abs(place - place[index]) / apart_mm, out=factor)

    waiting = np.ones(len(score), bool)
    for index in reviewed:
        waiting[index] = False
        see(index)
    while waiting.any():
        best = int(np.argmax(np.where(waiting, score * factor, -1.0)))
        yield best
        waiting[best] = False
        see(best)


def _stack(array: Array, shape: tuple[int, ...], axis: int) -> Array:
    """View with three axes of an array (InputError where it has another shape, or no slices along the axis)."""
    if len(shape) not in (2, 3) or not 0 <= axis < (3 if len(shape) == 3 else 1):
        raise InputError(f"An image of shape {shape} has no slices along axis {axis}.")
    if array.shape != shape:
        raise InputError(f"The labels have shape {shape} but a probability has {array.shape}; both must lie on one grid.")
    return array[None] if array.ndim == 2 else array


def _count(test: Callable[..., Mask], parts: list[tuple[Array, Indices]], axis: int) -> Floats:
    """Pixels of each slice that pass a test, whose arguments are those slices of each array."""
    if axis < 2:
        stacks = [(np.moveaxis(array, axis, 0), index) for array, index in parts]
        count = len(parts[0][1])
        return np.array([np.count_nonzero(test(*(stack[index[n]] for stack, index in stacks))) for n in range(count)], float)
    # One by one, slices along the last axis would each read the whole memory.
    counts = np.zeros(len(parts[0][1]))
    for row in range(len(parts[0][0])):
        counts += np.count_nonzero(test(*(array[row][:, index] for array, index in parts)), axis=0)
    return counts

"""Scores of a prediction, label by label, for a volume and for its slices; and where it errs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.metrics.grid import Pair, bring_together
from napari_lungseg.metrics.scores import Scores, joint, score
from napari_lungseg.metrics.surface import TOLERANCE_MM, Mask, check_tolerance
from napari_lungseg.volume import Array, Volume

#: Name of everything above 0, and of the labels that this package gives.
WHOLE = "lungs"
SIDES = {1: "right", 2: "left"}
#: What :func:`disagreement` holds.
FALSE_POSITIVE, FALSE_NEGATIVE, OTHER_LABEL = 1, 2, 3
#: An image with more labels than this is taken for one that is no label image.
MOST_LABELS = 255


def evaluate(
    prediction: Volume, reference: Volume, *, tolerance_mm: float = TOLERANCE_MM, names: Mapping[int, str] | None = None
) -> dict[str, Scores]:
    """Compare labels with a reference on the same grid.

    Parameters
    ----------
    prediction, reference : Volume
        Labels, (Z, Y, X) or (Y, X): 1 right lung, 2 left lung; or any other numbers; or anything above 0 for lung. Axes stored in another
        order or direction are brought together by the geometry.
    tolerance_mm : float
        Distance in mm up to which two surfaces count as one in the surface Dice.
    names : mapping of int to str, optional
        Labels to score, whether they occur or not, and what to call them. By default those that occur.

    Returns
    -------
    dict
        Under "lungs" the scores of everything above 0. Where the reference tells parts apart also those of each label: under "right" and
        "left" where it holds a 2 and nothing but 1 and 2; under its number where it holds several others.

    Raises
    ------
    InputError
        When the two do not lie on the same grid, one of them does not hold labels, or the tolerance is negative.
    """
    check_tolerance(tolerance_mm)
    pair = bring_together(prediction, reference)
    structures = _structures(pair, names)
    both = joint(pair.predicted, pair.expected)
    return {
        name: score(_mask(both[0], label), _mask(both[1], label), pair.spacing, pair.voxel_ml, tolerance_mm, pair.expected.size)
        for name, label in structures.items()
    }


def evaluate_slices(
    prediction: Volume, reference: Volume, *, tolerance_mm: float = TOLERANCE_MM, names: Mapping[int, str] | None = None
) -> dict[str, tuple[Scores, ...]]:
    """Compare labels with a reference on each axial slice alone, as :func:`evaluate` does it for a two-dimensional image.

    Parameters
    ----------
    prediction, reference, tolerance_mm, names
        As for :func:`evaluate`.

    Returns
    -------
    dict
        The scores of each slice, in the order in which the reference stores them along its ``axial_axis``, under the names that
        :func:`evaluate` gives.

    Raises
    ------
    InputError
        As :func:`evaluate`.
    """
    check_tolerance(tolerance_mm)
    pair = bring_together(prediction, reference)
    structures = _structures(pair, names)
    cut = pair.slices()
    return {
        name: tuple(
            score(_mask(one, label), _mask(other, label), pair.spacing, pair.voxel_ml, tolerance_mm, other.size) for one, other in cut
        )
        for name, label in structures.items()
    }


def disagreement(prediction: Volume, reference: Volume) -> Volume:
    """Where a prediction errs.

    Returns
    -------
    volume : Volume
        uint8 on the reference's own grid: 1 false positive, 2 false negative, 3 found but under another label (only where the
        reference tells parts apart).

    Raises
    ------
    InputError
        When the two do not lie on the same grid.
    """
    pair = bring_together(prediction, reference)
    found, wanted = pair.predicted > 0, pair.expected > 0
    errors = np.zeros(wanted.shape, np.uint8)
    errors[found & ~wanted] = FALSE_POSITIVE
    errors[wanted & ~found] = FALSE_NEGATIVE
    if len(_structures(pair, None)) > 1:
        errors[found & wanted & (pair.predicted != pair.expected)] = OTHER_LABEL
    return reference.with_array(np.ascontiguousarray(pair.on_reference(errors)))


def _structures(pair: Pair, names: Mapping[int, str] | None) -> dict[str, int | None]:
    """Labels to score by their names; None stands for everything above 0."""
    found, known = _labels(pair.predicted, "prediction"), _labels(pair.expected, "reference")
    if names is None:
        several = known and (2 in known if known <= set(SIDES) else len(known) > 1)
        called = SIDES if known <= set(SIDES) else {}
        names = {label: called.get(label, str(label)) for label in sorted(known | found | set(called))} if several else {}
    return {WHOLE: None, **{name: label for label, name in names.items()}}


def _labels(array: Array, which: str) -> set[int]:
    """The labels above 0 that an array holds."""
    values = np.unique(array[array > 0])
    if len(values) > MOST_LABELS:
        raise InputError(f"The {which} holds {len(values)} different labels; give labels, not an image.")
    return {int(value) for value in values}


def _mask(array: Array, label: int | None) -> Mask:
    return np.asarray(array > 0 if label is None else array == label)

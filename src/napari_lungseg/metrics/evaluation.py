"""Scores of a prediction, label by label, for a volume and for its slices; and where it errs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.labels import label_name, lung_labels
from napari_lungseg.metrics.pairing import Pair, bring_together
from napari_lungseg.metrics.scores import Scores, joint, score
from napari_lungseg.metrics.surface import TOLERANCE_MM, Mask, check_tolerance
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Array, Volume

#: Name of all labels that are lung by their names, and of everything above 0 where no name says so.
WHOLE = "lungs"
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
        Labels, (Z, Y, X) or (Y, X). Axes stored in another order or direction are brought together by the geometry. Where both have
        names, labels are matched by these, whatever their numbers; else by their numbers.
    tolerance_mm : float
        Distance in mm up to which two surfaces count as one in the surface Dice.
    names : mapping of int to str, optional
        Labels of both to score, whether they occur or not, and what to call them. By default those that occur, under the volumes' names.

    Returns
    -------
    dict
        Under "lungs" the scores of all labels that are a lung by their names; of everything above 0 where there are no such names. Then
        those of each label under its name, a lung's under "right" or "left". Where nothing has names, and the reference tells parts apart,
        under "label 1" and so on.

    Raises
    ------
    InputError
        When the two do not lie on the same grid, one of them does not hold labels, the tolerance is negative, or the names of one put
        the lungs into other labels than this package does while the other has no names.
    """
    check_tolerance(tolerance_mm)
    pair = bring_together(prediction, reference, by_name=names is None)
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
    pair = bring_together(prediction, reference, by_name=names is None)
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
    return pair.reference.with_array(np.ascontiguousarray(pair.on_reference(errors)))


def _structures(pair: Pair, names: Mapping[int, str] | None) -> dict[str, Collection[int] | None]:
    """Labels to score by their names; None stands for everything above 0."""
    found, known = _labels(pair.predicted, mark("prediction")), _labels(pair.expected, mark("reference"))
    if names is not None:
        return {WHOLE: None, **{name: [label] for label, name in names.items()}}
    lungs = lung_labels(pair.names)
    parts: dict[str, list[int]] = {}
    if pair.names is not None:
        for label in sorted(known | found | lungs.keys()):
            parts.setdefault(lungs.get(label) or label_name(label, pair.names), []).append(label)
        if known == {1} and lungs in ({1: "right", 2: "left"}, {1: "lungs"}):
            # The reference does not tell the lungs apart.
            parts = {}
    elif 2 in known if known <= {1, 2} else len(known) > 1:
        parts = {label_name(label, None): [label] for label in sorted(known | found)}
    parts.pop(WHOLE, None)
    return {WHOLE: list(lungs) or None, **parts}


def _labels(array: Array, which: str) -> set[int]:
    """The labels above 0 that an array holds."""
    values = np.unique(array[array > 0])
    if len(values) > MOST_LABELS:
        raise InputError(say("The {which} holds {count} different labels; give labels, not an image.", which=say(which), count=len(values)))
    return {int(value) for value in values}


def _mask(array: Array, labels: Collection[int] | None) -> Mask:
    if labels is None:
        return np.asarray(array > 0)
    return np.asarray(array == next(iter(labels)) if len(labels) == 1 else np.isin(array, list(labels)))

"""Labels of a prediction and a reference brought to one numbering, by what they are called."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_lungseg.classes import LEFT, RIGHT
from napari_lungseg.errors import InputError
from napari_lungseg.labels import lung_labels, plain_name
from napari_lungseg.translation import say
from napari_lungseg.volume import Array, labels_in

Names = Mapping[int, str] | None
#: Labels of lungs, as this package writes them into files that hold no names.
_OWN = ({RIGHT: "right"}, {LEFT: "left"}, {RIGHT: "right", LEFT: "left"}, {RIGHT: "lungs"})


def match(predicted: Array, predicted_names: Names, expected: Array, expected_names: Names) -> tuple[Array, Names]:
    """Bring a prediction to the reference's numbers, and say what the labels of both are called.

    Parameters
    ----------
    predicted, expected : array of int
        Labels.
    predicted_names, expected_names : mapping of int to str, or None
        What each label is; None where nothing is known.

    Raises
    ------
    InputError
        When one has names that put lungs into labels of other numbers than this package does, and the other has none; or when both
        have names, and no two are alike.
    """
    if predicted_names is None or expected_names is None:
        names = expected_names if predicted_names is None else predicted_names
        if names is not None:
            _check_numbers(names, predicted, expected)
        return predicted, names
    _check_names(predicted_names, expected_names)
    names = dict(expected_names)
    numbers = {plain_name(name): label for label, name in reversed(list(names.items()))}
    found = labels_in(predicted)
    free = max((*names, *predicted_names, *found, *labels_in(expected)), default=0) + 1
    renumbered = np.zeros(predicted.shape, np.min_scalar_type(free + len(found)))
    for label in found:
        name = predicted_names.get(label)
        number = numbers.get(plain_name(name)) if name is not None else None
        if number is None:
            number, free = free, free + 1
            names[number] = name or say("label {number}", number=label)
        renumbered[predicted == label] = number
    return renumbered, names


def _check_names(one: Mapping[int, str], other: Mapping[int, str]) -> None:
    """Refuse names that do not tell which labels belong together (InputError): none is alike, nor are those of lungs on both sides."""
    alike = {plain_name(name) for name in one.values()} & {plain_name(name) for name in other.values()}
    if one and other and not alike and not (lung_labels(one) and lung_labels(other)):
        raise InputError(
            say(
                "The two name their labels by no name alike ({one} against {other}), so it cannot be told which belong "
                "together; give them the same names, or compare by numbers (--label NUMBER=NAME, or names in Python).",
                one=_listed(one),
                other=_listed(other),
            )
        )


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{label} {name}" for label, name in list(names.items())[:8])


def _check_numbers(names: Mapping[int, str], predicted: Array, expected: Array) -> None:
    """Refuse to go by numbers where they cannot mean the same on both sides (InputError)."""
    lungs = lung_labels(names)
    if lungs and lungs not in _OWN and set(labels_in(predicted)) != set(labels_in(expected)):
        raise InputError(
            say(
                "One of the two names its labels ({names}) and the other does not, so it cannot be told which belong together; give "
                "both with names (.seg.nrrd), or renumber one and say what the labels are (--label NUMBER=NAME, or names in Python).",
                names=_listed(names),
            )
        )

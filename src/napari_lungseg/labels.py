"""Arrays of labels, whatever type their file had, and what labels are called."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Array

#: Files that scale whole numbers by a float give them back this near, as nibabel writes float labels into integers.
NEARLY = 1e-3
#: How a description begins that tells the names of labels, and how long it may be.
_NAMES, _LONGEST = "napari-lungseg labels ", 100_000


def whole_labels(array: Array) -> Array | None:
    """Labels as integers; None where a number is not whole, to within :data:`NEARLY`.

    Parameters
    ----------
    array : array
        Of any shape and type.

    Returns
    -------
    array or None
        The array itself where it holds integers, else a copy.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind != "f" or not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > np.iinfo(np.int32).max:
        return None
    whole = np.rint(array)
    return whole.astype(np.int32) if np.abs(array - whole).max(initial=0.0) <= NEARLY else None


def labels_of(array: Array, what: str) -> Array:
    """Labels as integers.

    Parameters
    ----------
    array : array
        Of any shape and type.
    what : str
        What they should be labels of, to begin the message with: "The prediction".

    Raises
    ------
    InputError
        When they are none: not finite, not whole, or negative.
    """
    whole = whole_labels(array)
    if whole is not None and whole.min(initial=0) >= 0:
        return whole
    if whole is not None:
        raise InputError(
            say("{what} holds negative numbers (down to {least}), as an image does; choose a mask.", what=say(what), least=whole.min())
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(say("{what} holds what is no number (NaN or infinity); choose a mask.", what=say(what)))
    raise InputError(
        say(
            "{what} holds numbers that are not whole (up to {highest:g}), as a probability does; choose a mask.",
            what=say(what),
            highest=array.max(),
        )
    )


def count_labels(array: Array, length: int) -> npt.NDArray[np.int64]:
    """How often each number from 0 to below ``length``, which none reaches, occurs in an array of them."""
    counts = np.zeros(length, np.int64)
    # bincount copies what it is given to 8 bytes a number: plane by plane, and without the background.
    for plane in array if array.ndim > 2 else [array]:
        labelled = plane[plane != 0]
        counts += np.bincount(labelled, minlength=length)
        counts[0] += plane.size - labelled.size
    return counts


def label_name(label: int, names: Mapping[int, str] | None) -> str:
    """What a label is called: its name where there is one, else its number; a number alone never means a side."""
    return (names or {}).get(label) or say("label {number}", number=label)


def plain_name(name: str) -> str:
    """A name by which structures of two files are matched: "Right lung", "lung_right" and "right" are one."""
    words = name.lower().replace("_", " ").replace("-", " ").split()
    side = [word for word in words if word not in ("lung", "lungs")]
    if side in (["right"], ["left"]):
        return side[0]
    return " ".join(words) if side else "lungs"


def lung_labels(names: Mapping[int, str] | None) -> dict[int, str]:
    """Those labels that are a lung by their names, each as "right", "left" or "lungs"."""
    plain = {label: plain_name(name) for label, name in (names or {}).items()}
    return {label: name for label, name in plain.items() if name in ("right", "left", "lungs")}


def renumbered(array: Array, names: Mapping[int, str], wanted: Mapping[int, str]) -> Array:
    """Labels by the numbers that another list of names has for them.

    Parameters
    ----------
    array : array of int
        Labels.
    names : mapping of int to str
        What they are, as their file says.
    wanted : mapping of int to str
        Numbers and names that are wanted; names are matched by :func:`plain_name`.

    Returns
    -------
    array
        The array itself where no name is a wanted one (as of "Segment_1"), or all have their numbers already.

    Raises
    ------
    InputError
        When some labels have a wanted name and others have not.
    """
    numbers = {plain_name(name): label for label, name in wanted.items()}
    there = [int(label) for label in np.unique(array) if label != 0]
    found = {label: numbers.get(plain_name(names[label])) if label in names else None for label in there}
    if not any(found.values()) or all(label == number for label, number in found.items()):
        return array
    unknown = [label for label, number in found.items() if number is None]
    if unknown:
        raise InputError(
            f"Label {unknown[0]} is called {names.get(unknown[0], 'nothing')!r}, but wanted are {', '.join(wanted.values())}; "
            "give it one of these names, or remove it."
        )
    result = np.zeros_like(array)
    for label, number in found.items():
        result[array == label] = number
    return result


def names_as_text(names: Mapping[int, str]) -> str:
    """Write names as one line of ASCII, for formats that have room for a description; :func:`names_in_text` reads it."""
    return _NAMES + json.dumps({str(label): name for label, name in names.items()}, separators=(",", ":"))


def names_in_text(text: str) -> dict[int, str] | None:
    """Read what :func:`names_as_text` wrote; None for any other text."""
    if not text.startswith(_NAMES) or len(text) > _LONGEST:
        return None
    try:
        found = {int(label): name for label, name in json.loads(text[len(_NAMES) :]).items()}
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if found and all(isinstance(name, str) for name in found.values()) else None

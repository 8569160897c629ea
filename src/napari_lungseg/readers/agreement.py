"""How far two readers agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_lungseg.errors import InputError
from napari_lungseg.metrics import TOLERANCE_MM, Scores, evaluate, evaluate_slices
from napari_lungseg.readers.reading import Reading, check_names, only


@dataclass(frozen=True, eq=False)
class Agreement:
    """Scores of one reader's mask against another's.

    Attributes
    ----------
    compared : tuple of int
        Slices that both have reviewed; the others count as empty in both.
    scores : mapping
        By label, as :func:`~napari_lungseg.metrics.evaluate` gives them.
    slices : mapping
        By label and slice of ``compared``.
    """

    compared: tuple[int, ...]
    scores: Mapping[str, Scores]
    slices: Mapping[str, Mapping[int, Scores]]


def compare_readings(first: Reading, second: Reading, tolerance_mm: float = TOLERANCE_MM) -> Agreement:
    """Score the slices that two readers both have reviewed; Dice and surface Dice are the same either way.

    Parameters
    ----------
    first, second : Reading
        Of the same image.
    tolerance_mm : float
        Distance that the surface Dice allows.

    Raises
    ------
    InputError
        When there is no such slice, or the masks cannot be compared.
    """
    compared = tuple(sorted(first.reviewed & second.reviewed))
    if not compared:
        raise InputError(f"{first.case.name}: no slice was reviewed by both {first.reader} and {second.reader}.")
    check_names(first.names, second.names, first.case.name)
    masks = [only(reading.volume, reading.case.axis, compared) for reading in (first, second)]
    scores = evaluate(*masks, tolerance_mm=tolerance_mm)
    slices = evaluate_slices(*masks, tolerance_mm=tolerance_mm)
    return Agreement(compared, scores, {label: {index: found[index] for index in compared} for label, found in slices.items()})

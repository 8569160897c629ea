"""How far two runs of a network agree on what they find."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def found_labels(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """From 1 on the most likely class of each pixel (..., classes, H, W), 0 where all classes together have less than 50 %."""
    best = probabilities.argmax(axis=-3).astype(np.uint8) + np.uint8(1)
    return np.where(probabilities.sum(axis=-3) >= 0.5, best, np.uint8(0))


def overlap(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Of two arrays of probabilities the found pixels that agree, twice, and those of both; their quotient is Dice."""
    first, second = found_labels(one), found_labels(other)
    both = 2 * int(np.count_nonzero((first == second) & (first > 0)))
    return both, int(np.count_nonzero(first) + np.count_nonzero(second))


def dice(both: int, total: int) -> float:
    """Dice of counts that :func:`overlap` has given; 1 where nothing was found."""
    return round(both / total, 6) if total else 1.0

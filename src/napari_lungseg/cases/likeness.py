"""How unlike the images that a model has learnt from an image is, by the grey values of the body as the network sees them.

The grey values of all that lies inside the body are counted in 32 equal steps of the network's input, from -1 to 1. Two images differ by
the share of the body's pixels that would need another step for the counts to be the same (total variation distance). What counts is the
difference from the most alike image of the training, so that each kind of image that the model has learnt from is as good as any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.grid import upright
from napari_lungseg.preprocess import Preprocessing, normalise
from napari_lungseg.volume import Volume

#: Key of the card's ``training`` under which the counts are kept, by case, in units of a ten-thousandth of the body.
GREYS, UNIT = "greys", 10_000
STEPS = 32
#: What is darker than this, and reaches the border of its slice, is not the body.
DARK = -0.25
#: Slices that are looked at, and of these every second row and column: more change nothing.
MOST_SLICES, STRIDE = 24, 2

Shares = npt.NDArray[np.float64]


def grey_shares(image: Volume, preprocessing: Preprocessing) -> Shares | None:
    """Count the grey values of the body.

    Parameters
    ----------
    image : Volume
        (Z, Y, X) or (Y, X), in any orientation.
    preprocessing : Preprocessing
        How the network sees it.

    Returns
    -------
    (32,) array of float or None
        Share of the body's pixels in each step, from -1 to 1; None where there is no body.
    """
    array = upright(image).array
    wanted = np.unique(np.linspace(0, array.shape[0] - 1, MOST_SLICES).round().astype(int))
    slices = [np.asarray(array[int(index), ::STRIDE, ::STRIDE]) for index in wanted]
    seen = [normalise(one, *preprocessing.intensity_range(image)) for one in slices]
    inside = np.concatenate([one[ndimage.binary_fill_holes(one > DARK)] for one in seen])
    return np.histogram(inside, STEPS, (-1.0, 1.0))[0] / inside.size if inside.size else None


def unlike_training(image: Volume, card: Card) -> float | None:
    """Tell how much an image differs from the most alike one of a model's training.

    Parameters
    ----------
    image : Volume
        As for :func:`grey_shares`.
    card : Card
        Of the model.

    Returns
    -------
    float or None
        Share of the body whose grey values differ, from 0 to 1; None where the card has no counts, or the image no body.

    Raises
    ------
    InputError
        When the card's counts cannot be read.
    """
    known = card.training.get(GREYS)
    shares = None if known is None else grey_shares(image, card.preprocessing)
    if shares is None:
        return None
    return difference(shares, from_card(known))


def difference(shares: Shares, others: Shares) -> float:
    """Share of the body by which counts differ from the most alike of others, (cases, 32)."""
    return float(np.abs(others - shares).sum(axis=1).min()) / 2


def to_card(cases: dict[str, Shares]) -> dict[str, str]:
    """Counts of cases as a card keeps them, a line each."""
    return {name: " ".join(str(round(share * UNIT)) for share in shares) for name, shares in cases.items()}


def from_card(known: Any) -> Shares:
    """Back from :func:`to_card`, all cases in one array (InputError where they are no such counts)."""
    try:
        counts = np.array([[int(number) for number in line.split()] for line in known.values()], np.float64) / UNIT
    except (AttributeError, ValueError) as error:
        raise InputError(f"The model's card has no grey values that can be read ({error}); copy the model's folder again.") from error
    if counts.ndim != 2 or counts.shape[1] != STEPS:
        raise InputError(f"The model's card has grey values that are not in {STEPS} steps; copy the model's folder again.")
    return counts

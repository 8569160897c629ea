"""Slices that a person reads without the model's mask, to measure how far the mask leads them (automation bias)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array

#: What is said of a slice that waits to be read blind.
UNREAD: Literal["unread"] = "unread"


class BlindReading(NamedTuple):
    """A person's mask against the model's, in pixels of one slice or of several.

    Attributes
    ----------
    both : int
        Pixels to which both give the same label.
    person, model : int
        Pixels that each labels.
    """

    both: int
    person: int
    model: int

    @property
    def dice(self) -> float:
        """Dice of the two; nan where neither labels anything."""
        return 2 * self.both / (self.person + self.model) if self.person + self.model else math.nan

    @property
    def volume_difference_percent(self) -> float:
        """How much more the person labels than the model, in percent of the model's; nan where that is nothing."""
        return 100.0 * (self.person - self.model) / self.model if self.model else math.nan


def compare_masks(person: Array, model: Array) -> BlindReading:
    """Count what a person and the model label, in arrays of one shape."""
    labelled = person > 0
    both = int(np.count_nonzero(labelled & (person == model)))
    return BlindReading(both, int(np.count_nonzero(labelled)), int(np.count_nonzero(model)))


def add_up(readings: Iterable[BlindReading]) -> BlindReading:
    """Take several slices together."""
    both, person, model = (sum(values) for values in zip((0, 0, 0), *readings, strict=True))
    return BlindReading(both, person, model)


def draw_slices(content: str, slices: int, share: float) -> frozenset[int]:
    """Draw the slices of an image that are read blind.

    The draw depends on nothing but the image, so that each reader gets the same slices, and a larger share holds the smaller ones.

    Parameters
    ----------
    content : str
        Hash of the image's voxels.
    slices : int
        How many there are.
    share : float
        From 0 to 1. Of ``share * slices`` the fraction is rounded up or down by chance, so that of many single slices the share is drawn.

    Raises
    ------
    InputError
        When the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"The share of slices to read blind must be from 0 to 1, not {share:g}.")
    count = math.floor(share * slices + _chance(content, -1))
    return frozenset(sorted(range(slices), key=lambda index: _chance(content, index))[:count])


def _chance(content: str, index: int) -> float:
    """A number from 0 up to 1, always the same for one slice of one image."""
    return int.from_bytes(blake2b(f"{content} {index}".encode(), digest_size=6).digest()) / 2**48

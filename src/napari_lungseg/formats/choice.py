"""Several images in one place: what each is, and which is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from napari_lungseg.errors import InputError

#: So many images are listed in a message.
_MOST_LISTED = 8


@dataclass(frozen=True)
class SeriesInfo:
    """One of several images of a folder or file; says nothing of the patient.

    Attributes
    ----------
    key : str
        How to ask for it: the number of its series, with ``.1``, ``.2`` ... where there are several of that number;
        ``1``, ``2`` ... for the points of time of a file.
    description : str
        What the scanner calls it.
    modality : str
        CT, and in lists of what cannot be read others.
    shape : tuple of int
        Slices, rows and columns.
    spacing : tuple of float
        Distances in mm along these; the usual one between slices where they are uneven, 0 for a lone slice.
    part : str
        What sets it off from others of its series: acquisition, phase, point of time; else empty.
    """

    key: str
    description: str
    modality: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    part: str = ""

    @property
    def text(self) -> str:
        """The choice in words."""
        size = " x ".join(str(length) for length in self.shape[::-1])
        steps = " x ".join(f"{step:.3g}" for step in self.spacing[::-1] if step)
        words = [f"'{self.description}'" if self.description else "", self.part, self.modality, size, f"{steps} mm" if steps else ""]
        return ", ".join(word for word in words if word)


class SeriesChoiceError(InputError):
    """It was not said, or not rightly, which of several images is meant.

    Attributes
    ----------
    choices : tuple of SeriesInfo
        Those that can be read.
    """

    def __init__(self, message: str, choices: Sequence[SeriesInfo]) -> None:
        listed = "; ".join(f"{choice.key}: {choice.text}" for choice in choices[:_MOST_LISTED])
        more = len(choices) - _MOST_LISTED
        listed += f"; and {more} more" if more > 0 else ""
        super().__init__(
            f"{message} ({listed}); choose one of them by its number (segment --series in the terminal), or save it in a file of its own."
        )
        self.choices = tuple(choices)


class UnevenSlicesError(InputError):
    """Slices are missing or unevenly spaced; they can be filled in by interpolation if a person wants it."""


Image = TypeVar("Image")


@dataclass(frozen=True)
class Candidate(Generic[Image]):
    """An image and what it is."""

    info: SeriesInfo
    image: Image


def choose(candidates: Sequence[Candidate[Image]], wanted: str | None, path: Path) -> Candidate[Image]:
    """The only one, or the one that is wanted by its key or its description.

    Raises
    ------
    SeriesChoiceError
        When there are several and none is wanted, or none or several fit.
    """
    infos = [candidate.info for candidate in candidates]
    if wanted is None:
        if len(candidates) == 1:
            return candidates[0]
        raise SeriesChoiceError(f"{path} holds {len(candidates)} images", infos)
    for fits in (lambda info: info.key == wanted, lambda info: info.description.casefold() == wanted.casefold()):
        found = [candidate for candidate in candidates if fits(candidate.info)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SeriesChoiceError(f"{path} holds {len(found)} images that '{wanted}' fits", [candidate.info for candidate in found])
    raise SeriesChoiceError(f"{path} holds no image '{wanted}'", infos)

"""The values that a workspace takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from napari_lungseg.blind import BlindReading
from napari_lungseg.classes import ClassLabels, spelled_out
from napari_lungseg.volume import Affine, Array, Unit

State = Literal["unseen", "flagged", "corrected", "reviewed", "rejected"]
STATES: tuple[State, ...] = get_args(State)
#: Those that a person gives; the others follow from the voxels.
SAID: frozenset[State] = frozenset({"reviewed", "flagged", "rejected"})

#: That a slice is to be read blind, or how it was read.
Blind = Literal["unread"] | BlindReading

#: Length of the hash that :attr:`Case.content` begins with.
HASH_DIGITS = 64

EventKind = Literal["began", "ended", "added", "moved", "made", "saved", "state", "damaged"]


def case_key(content: str) -> str:
    """Name a case by its content: short, the same in every export, and without the patient's name."""
    return f"case_{content[:12]}{content[HASH_DIGITS:]}"


class Labelled(NamedTuple):
    """One slice of a mask.

    Attributes
    ----------
    labels : (H, W) array of int
        0 background, 1 right lung, 2 left lung; any other number from 0 on.
    origin : (H, W) array of uint8
        The model's own label (low 7 bits), and 0x80 where a person set the voxel.
    """

    labels: Array
    origin: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image volume.

    Attributes
    ----------
    id : int
        Its number in this workspace.
    content : str
        Hash of its voxels; cases are equal when this is. A second mask of the same image is a case of its own: ``-2`` follows the hash.
    name : str
        What it is called in the window.
    path : Path or None
        Where it was opened last.
    shape : tuple of int
        (Z, Y, X) or (Y, X).
    affine : (4, 4) array
        From array index to LPS mm, as in :class:`~napari_lungseg.volume.Volume`.
    axis : int
        Array axis along which its slices are counted; fixed when the case was added. A 2-D image is one slice, index 0.
    unit : {"HU", "arbitrary"}
        What its numbers mean.
    dtype : str
        Type of its numbers, little-endian; empty where an older version did not keep it.
    """

    id: int = field(compare=False)
    content: str
    name: str = field(compare=False)
    path: Path | None = field(compare=False)
    shape: tuple[int, ...] = field(compare=False)
    affine: Affine = field(compare=False)
    axis: int = field(compare=False)
    unit: Unit = field(compare=False)
    dtype: str = field(default="", compare=False)

    @property
    def image(self) -> str:
        """Hash of the image's voxels, the same for all masks of one image."""
        return self.content[:HASH_DIGITS]

    @property
    def slices(self) -> int:
        """How many slices it has."""
        return self.shape[self.axis] if len(self.shape) == 3 else 1

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Shape of one slice."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :] if len(self.shape) == 3 else self.shape

    def planes(self, array: Array) -> Array:
        """View of an array of the case's shape as (slice, row, column)."""
        return np.moveaxis(array, self.axis, 0) if array.ndim == 3 else array[None]


@dataclass(frozen=True)
class Source:
    """What made a mask.

    Attributes
    ----------
    model : str
        The model's name; the file's, if the mask was imported.
    weights_sha256 : str
        Hash of the model's weights.
    settings : mapping
        Threshold, post-processing and the like; what JSON can hold.
    kind : {"model", "imported"}
        A model's run, or a file from elsewhere.
    """

    model: str
    weights_sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["model", "imported"] = "model"

    @property
    def names(self) -> dict[int, str]:
        """What the labels are, spelled out; lungs where nothing else is known."""
        classes = ClassLabels.from_settings(self.settings.get("classes"))
        return spelled_out(classes.names_by_label(split_sides=self.settings.get("split_sides", True)))


@dataclass(frozen=True)
class Damage:
    """A part of a journal that is not what was written.

    Attributes
    ----------
    what : {"mask", "probability", "state", "image", "source", "record"}
        What it was.
    index : int or None
        Of which slice.
    text : str
        What is damaged, and what is used in its place, for a person.
    """

    what: Literal["mask", "probability", "state", "image", "source", "record"]
    index: int | None
    text: str


@dataclass(frozen=True, eq=False)
class Saved:
    """A case's mask as it was saved last.

    Attributes
    ----------
    labels : array of uint
        In the case's shape; 0 in slices that were never saved.
    origin : array of uint8
        As in :class:`Labelled`.
    percent : array of uint8 or None
        The model's probability, if there is one.
    source : Source or None
        What made the mask last.
    damage : tuple of Damage
        What of it is not as it was saved last.
    blind : frozenset of int
        Slices that a person is to read without the model's mask. The arrays hold it all the same.
    """

    labels: Array
    origin: npt.NDArray[np.uint8]
    percent: npt.NDArray[np.uint8] | None
    source: Source | None
    damage: tuple[Damage, ...] = ()
    blind: frozenset[int] = frozenset()

    @property
    def older(self) -> frozenset[int]:
        """Slices whose labels are an older state, or nothing, as the last one is damaged."""
        return frozenset(one.index for one in self.damage if one.what == "mask" and one.index is not None)


@dataclass(frozen=True)
class Revision:
    """One saved state of a slice.

    Attributes
    ----------
    id : int
        For :meth:`Workspace.slice_at`.
    at : datetime
        When, with its time zone.
    user : str
        Who worked then.
    cause : str
        What had changed it.
    by_person : int
        Voxels that a person had set.
    """

    id: int
    at: datetime
    user: str
    cause: str
    by_person: int


@dataclass(frozen=True)
class SliceState:
    """How far the work on a slice has come.

    Attributes
    ----------
    state : {"unseen", "flagged", "corrected", "reviewed", "rejected"}
        As it was set, or "corrected" where a person set a voxel since.
    note : str
        The last one.
    seconds : float
        Time spent on the slice in all.
    blind : "unread", BlindReading or None
        That it is to be read without the model's mask, or what came of that; None where the mask is shown.
    """

    state: State
    note: str = ""
    seconds: float = 0.0
    blind: Blind | None = None


@dataclass(frozen=True)
class CaseSummary:
    """A case and how far the work on it has come.

    Attributes
    ----------
    case : Case
        Which one.
    saved, corrected, reviewed, flagged, rejected : int
        How many of its slices were saved, and how many are in these states.
    changed : datetime
        When anything about it was written last, with its time zone.
    """

    case: Case
    saved: int
    corrected: int
    reviewed: int
    flagged: int
    rejected: int
    changed: datetime


@dataclass(frozen=True)
class Event:
    """One entry of the record.

    Attributes
    ----------
    at : datetime
        When, with its time zone.
    user : str
        Who worked then.
    kind : str
        "began" and "ended" (a session), "added" and "moved" (a case: its place, name or geometry), "made" (a mask, by what),
        "saved" (slices), "state" (of a slice); "damaged" where an entry cannot be read any more, with the time of the one before.
    content : str or None
        Hash of the case.
    details : mapping
        What else is known: ``path``, ``name``, ``weights_sha256``, ``settings``, ``cause``, ``slices``, ``slice``, ``state``,
        ``note``, ``seconds``, ``blind`` ("unread", or pixels of both, of the person and of the model when it was read) ...
    """

    at: datetime
    user: str
    kind: EventKind
    content: str | None
    details: Mapping[str, Any]

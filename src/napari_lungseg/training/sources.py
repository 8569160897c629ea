"""Read labelled images from a data set folder, a workspace, or memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import JOURNAL, Case, Workspace, case_key, image_of


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """Hold one image with labels.

    Attributes
    ----------
    key : str
        Under which the split remembers it; the same for the same image, wherever it comes from.
    name : str
        For the person.
    image : Volume
        The image.
    labels : Volume
        uint8 on its grid; ``IGNORE`` where nobody has judged.
    patient : str
        Cases of one patient are never on both sides of the split; the key by default.
    """

    key: str
    name: str
    image: Volume
    labels: Volume
    patient: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Name a case that cannot be used, and say why."""

    name: str
    why: str


class TrainingSource(Protocol):
    """Give labelled images, read one at a time.

    Attributes
    ----------
    title : str
        For the person and the card.
    names : dict of int to str
        What the labels mean, as far as it is known.
    watched : frozenset of str or None
        Keys of cases that are to be watched, where that is given.
    licences : list
        Where the images come from and under which licence.
    """

    title: str
    names: dict[int, str]
    watched: frozenset[str] | None
    licences: list[Any]

    def __len__(self) -> int:
        """Count the cases."""

    def __iter__(self) -> Iterator[TrainingCase | LeftOut]:
        """Read them, one after the other."""


class FolderSource:
    """Read a data set folder, as :func:`~.dataset.open_dataset` takes it, without its held-out cases.

    Raises
    ------
    InputError
        When it is no data set.
    """

    def __init__(self, folder: str | Path) -> None:
        self.data = data = open_dataset(folder)
        # The folder may be called after a person; its own name for itself is public.
        self.title, self.names, self.licences = data.name or "a data set folder", data.names, data.sources
        self.watched = None if data.validation is None else frozenset(data.validation)

    def __len__(self) -> int:
        return len(self.data.cases)

    def __iter__(self) -> Iterator[TrainingCase | LeftOut]:
        for case in self.data.cases:
            try:
                yield TrainingCase(case, case, *self.data.load(case), self.data.patients[case])
            except InputError as error:
                yield LeftOut(case, str(error))


class WorkspaceSource:
    """Read all cases of a workspace with reviewed slices; only these are judged, as a whole.

    Parameters
    ----------
    workspace : Workspace
        Where the work is kept.
    images : mapping, optional
        Images that are at hand, by their content; the others are read from their files.
    """

    def __init__(self, workspace: Workspace, images: Mapping[str, Volume] | None = None) -> None:
        self.title = "a workspace"
        self.names: dict[int, str] = {}
        self.watched: frozenset[str] | None = None
        self.licences: list[Any] = []
        self._workspace, self._images = workspace, images or {}
        self._cases = [summary.case for summary in workspace.cases() if summary.reviewed]

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[TrainingCase | LeftOut]:
        for case in self._cases:
            try:
                yield self._read(case)
            except InputError as error:
                yield LeftOut(case.name, str(error))

    def _read(self, case: Case) -> TrainingCase:
        saved = self._workspace.load(case)
        if saved is None:
            raise InputError(say("{name} has no mask in the workspace", name=case.name))
        reviewed = [index for index, one in self._workspace.states(case).items() if one.state == "reviewed"]
        image = image_of(case, self._images)
        labels = only_slices(saved.labels, case.axis, reviewed)
        return TrainingCase(case_key(case.content), case.name, image, image.with_array(labels.reshape(image.shape)), case_key(case.image))


@dataclass(eq=False)
class CasesSource:
    """Give images in memory.

    Attributes
    ----------
    cases : sequence of TrainingCase
        With their labels.
    names : dict of int to str
        What the labels mean, as far as it is known.
    title : str
        For the card.
    """

    cases: Sequence[TrainingCase]
    names: dict[int, str] = field(default_factory=dict)
    title: str = "images at hand"
    watched: frozenset[str] | None = None
    licences: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[TrainingCase | LeftOut]:
        return iter(self.cases)


def source_of(path: str | os.PathLike[str]) -> TrainingSource:
    """Open a folder of labelled images: the reviewed slices of a workspace, or a data set.

    Raises
    ------
    InputError
        When it is neither.
    """
    folder = given_path(path)
    return WorkspaceSource(Workspace(folder)) if (folder / JOURNAL).is_file() else FolderSource(folder)


def only_slices(labels: np.ndarray[Any, Any], axis: int, judged: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Convert labels to uint8, with ``IGNORE`` in all slices along an axis but the judged ones (a 2-D image is one slice).

    Raises
    ------
    InputError
        When a label is above 254.
    """
    if labels.max(initial=0) >= IGNORE:
        raise InputError(f"Labels above {IGNORE - 1} cannot be learnt (there is a {labels.max()}); give the label a lower number.")
    known = np.full(labels.shape, IGNORE, np.uint8)
    planes, own = (np.moveaxis(array, axis, 0) if array.ndim == 3 else array[None] for array in (known, labels))
    planes[list(judged)] = own[list(judged)]
    return known

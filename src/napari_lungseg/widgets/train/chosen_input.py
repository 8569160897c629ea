"""What a model is to learn from, as it is when a button is pressed: plain references, which are read in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from napari.layers import Image, Labels

from napari_lungseg.classes import spelled_out
from napari_lungseg.corrections import PERSON
from napari_lungseg.engine.training_input import DatasetFolder, TrainingInput, WorkspaceFolder
from napari_lungseg.errors import InputError
from napari_lungseg.grid import grid_difference
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.training.sources import CasesSource, TrainingCase, only_slices
from napari_lungseg.volume import Array
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import read_volume, volume_from_layer
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.workspace import Case, Workspace, case_key, content_hash


class ChosenInput(Protocol):
    """Something to learn from."""

    def read(self) -> TrainingInput:
        """Read what lies in layers, and say where the rest lies; may take long (InputError where there is nothing)."""


@dataclass(frozen=True, eq=False)
class ChosenLayers:
    """An image layer and its labels.

    Attributes
    ----------
    image, labels : layer
        On the same voxels.
    time_index : tuple of int
        Which volume, if they have a time axis.
    result : MaskLayer or None
        To which the labels belong; None where they are not this plugin's.
    workspace, case : Workspace and Case, or None
        Where it is kept which slices were reviewed.
    background : int or None
        Label of what is no structure, where voxels without a label were judged by nobody; None where they are background.
    """

    image: Image
    labels: Labels
    time_index: tuple[int, ...]
    result: MaskLayer | None = None
    workspace: Workspace | None = None
    case: Case | None = None
    background: int | None = None

    def read(self) -> TrainingInput:
        """Labels are copied slice by slice, so that a stroke that is being painted is in them or not."""
        image = read_volume(volume_from_layer(self.image, self.time_index))
        labels = volume_from_layer(self.labels, self.time_index, "arbitrary")
        if image.shape != labels.shape:
            raise InputError(
                tr(
                    "'{labels}' has the shape {one}, but '{image}' {other}; choose labels of this image.",
                    labels=self.labels.name,
                    one=labels.shape,
                    image=self.image.name,
                    other=image.shape,
                )
            )
        if difference := grid_difference(labels, image):
            raise InputError(
                tr(
                    "'{labels}' and '{image}' lie on different grids ({difference}); choose labels of this image.",
                    labels=self.labels.name,
                    image=self.image.name,
                    difference=difference,
                )
            )
        axis = self.case.axis if self.case is not None else image.axial_axis
        planes = np.moveaxis(labels.array, axis, 0) if labels.ndim == 3 else labels.array[None]
        copied = [np.array(plane) for plane in planes]
        known = np.stack(copied, axis) if labels.ndim == 3 else copied[0]
        judged = self._judged(copied, axis)
        learnt = only_slices(known, axis, judged)
        if self.background is not None:
            learnt = _scribbled(learnt, self.background)
        content = self.case.content if self.case is not None else content_hash(image.array)
        case = TrainingCase(
            case_key(content), self.image.name, image, image.with_array(learnt), case_key(content if self.case is None else self.case.image)
        )
        names = {} if self.result is None or self._is_foreign else self.result.names
        return CasesSource([case], spelled_out(names), "a layer of labels")

    @property
    def _is_foreign(self) -> bool:
        """Whether the labels came from elsewhere, rather than from a model here."""
        source = None if self.result is None else self.result.document(self.time_index).source
        return source is None or source.kind == "imported"

    def _judged(self, planes: Sequence[Array], axis: int) -> list[int]:
        """Slices that were reviewed; else those that a person changed; else, of labels from elsewhere, those that hold any.

        Rejected slices are none of them, nor those that are still to be read blind.
        """
        if self.workspace is not None and self.case is not None:
            reviewed = [index for index, known in self.workspace.states(self.case).items() if known.state == "reviewed"]
            if reviewed:
                return reviewed
        rejected: set[int] = set()
        if self.result is not None:
            document = self.result.document(self.time_index)
            rejected.update(document.rejected, document.blind)
            origin = document.corrections.origin
            touched = np.moveaxis(origin, axis, 0) if origin.ndim == 3 else origin[None]
            changed = [index for index, plane in enumerate(touched) if (plane & PERSON).any() and index not in rejected]
            if changed:
                return changed
        return [index for index, plane in enumerate(planes) if plane.any() and index not in rejected] if self._is_foreign else []


@dataclass(frozen=True, eq=False)
class ChosenWorkspace:
    """All that was reviewed in the workspace.

    Attributes
    ----------
    workspace : Workspace
        Where it is kept.
    open_images : mapping
        Layer and time point of images that are open, by their content; those of the others are read from their files.
    """

    workspace: Workspace
    open_images: Mapping[str, tuple[Image, tuple[int, ...]]] = field(default_factory=dict)

    def read(self) -> TrainingInput:
        """Its folder, and those of its images that are open."""
        reviewed = {summary.case.image for summary in self.workspace.cases() if summary.reviewed}
        images = {content: read_volume(volume_from_layer(*where)) for content, where in self.open_images.items() if content in reviewed}
        return WorkspaceFolder(self.workspace.folder, images)


@dataclass(frozen=True)
class ChosenFolder:
    """A data set folder."""

    folder: Path

    def read(self) -> TrainingInput:
        """The folder."""
        return DatasetFolder(self.folder)


def _scribbled(labels: Array, background: int) -> Any:
    """Labels in which only painted voxels were judged, one label of them meaning background."""
    table = np.arange(256, dtype=np.uint8)
    table[0], table[background] = IGNORE, 0
    return table[labels]

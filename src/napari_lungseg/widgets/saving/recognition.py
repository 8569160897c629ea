"""The search for saved work on an image that was opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from napari.layers import Layer

from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.language import tr, tr_n
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.view import TimeIndex, voxel_shape
from napari_lungseg.widgets.worker import Failure, sentence
from napari_lungseg.workspace import Case, CaseSummary, Workspace, WorkspaceError, content_hash


@dataclass(frozen=True, eq=False)
class Offer:
    """Work on an image that was found in the workspace.

    Attributes
    ----------
    layer : Image
        The image.
    time_index : tuple of int
        Which volume of it.
    volume : Volume
        Its geometry.
    case : Case
        Under what the work is kept.
    summary : CaseSummary
        How far it has come.
    more : int
        How many other masks of this image the workspace has that no layer shows.
    """

    layer: Layer
    time_index: TimeIndex
    volume: Volume
    case: Case
    summary: CaseSummary
    more: int = 0


def describe(offers: Sequence[Offer]) -> str:
    """Say what was found for one image, at one or several time points."""
    first = offers[0]
    changed = max(offer.summary.changed for offer in offers)
    corrected, reviewed = (sum(getattr(offer.summary, what) for offer in offers) for what in ("corrected", "reviewed"))
    points = ", ".join("/".join(map(str, offer.time_index)) for offer in offers if offer.time_index)
    name: str = first.layer.name
    if points:
        name = tr_n("{image} at time point {time}", "{image} at time points {time}", len(offers), image=name, time=points)
    text = tr(
        "The workspace has your work on {name} of {moment} (slices: {corrected} corrected, {reviewed} reviewed).",
        name=name,
        moment=changed.astimezone().strftime(tr("%d %b %Y, %H:%M")),
        corrected=corrected,
        reviewed=reviewed,
    )
    if first.more:
        text += " " + tr("It has {count} more of this image; duplicate the image layer to be offered that too.", count=first.more)
    return text


@dataclass(frozen=True)
class Found:
    """A volume of an image, and the saved work on it.

    Attributes
    ----------
    time_index : tuple of int
        Which volume of the layer.
    volume : Volume
        Its geometry.
    content : str
        Hash of its voxels.
    known : list of CaseSummary
        Cases of it with a saved mask, the oldest first.
    """

    time_index: TimeIndex
    volume: Volume
    content: str
    known: list[CaseSummary]


class _CancelledError(Exception):
    """The image or the workspace is not there any more."""


class Search:
    """Looks for saved work on an image; runs off the GUI thread.

    An image is read only where a case has its shape and type.

    Parameters
    ----------
    workspace : Workspace
        Where to look.
    layer : Image
        The image.
    shown : tuple of int
        The time point to look at first.
    shapes : set of tuple of int
        Shapes of volumes that are to be read in any case.
    resume : bool
        Whether what is found is to be shown without asking.
    """

    def __init__(
        self, workspace: Workspace, layer: Layer, shown: tuple[int, ...], shapes: set[tuple[int, ...]], *, resume: bool = False
    ) -> None:
        self.layer, self.resume = layer, resume
        self.cancelled = False
        self._workspace, self._shown, self._shapes = workspace, shown, shapes

    def run(self) -> tuple[Search, list[Found] | Failure]:
        """All volumes of the image that could be known, each with what is known of it."""
        try:
            return self, self._find()
        except _CancelledError:
            return self, []
        except Exception as error:
            if isinstance(error, InputError) and not isinstance(error, WorkspaceError):
                # Of an image that the modules cannot take nothing was saved; they say why when they are asked to.
                return self, []
            return self, Failure(sentence(error, say("Looking for saved work on {name}", name=self.layer.name)))

    def _find(self) -> list[Found]:
        saved = [summary for summary in self._workspace.cases() if summary.saved]
        found = []
        for time_index in sorted(np.ndindex(voxel_shape(self.layer)[:-3]), key=lambda time_index: time_index != self._shown):
            volume = volume_from_layer(self.layer, time_index, "arbitrary")
            alike = [summary for summary in saved if _could_be(summary.case, volume)]
            if not (alike or volume.shape in self._shapes):
                break
            content = content_hash(volume.array, self._check)
            found.append(Found(time_index, volume, content, [summary for summary in alike if summary.case.image == content]))
        return sorted(found, key=lambda one: one.time_index)

    def _check(self) -> None:
        if self.cancelled:
            raise _CancelledError


def _could_be(case: Case, volume: Volume) -> bool:
    return case.shape == volume.shape and case.dtype in ("", np.dtype(volume.array.dtype).newbyteorder("<").str)

"""Make the mask of a stored probability anew, in the background; the latest request wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from qtpy.QtCore import QObject, Signal

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.mask import UNKNOWN_SIDE, MaskSettings
from napari_lungseg.steps import Step
from napari_lungseg.translation import say
from napari_lungseg.volume import Array
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.notices import show_warning
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.worker import Failure, sentence


@dataclass(frozen=True, eq=False)
class MaskRequest:
    """A mask that is wanted.

    Attributes
    ----------
    document : MaskDocument
        Of which volume.
    settings : MaskSettings
        How.
    first : int
        Slice along the array's first axis to show first.
    step : Step or None
        To which change of the mask this belongs; None if it cannot be undone.
    done : callable
        Called with the number of labelled voxels once the mask is written, or with the reason why there is none; not
        called if a later request overtakes this one.
    """

    document: MaskDocument
    settings: MaskSettings
    first: int
    step: Step | None
    done: Callable[[int | Failure], None]


class Remasker(QObject):
    """Masks for the documents of one image, one at a time.

    The mask is computed in the engine. It is written slice by slice on the GUI thread, in stretches short enough for a
    person to go on painting: a stroke is on the slice before it is written, and stays, or comes after.
    """

    #: A mask was written, or a part of it.
    written = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._latest: MaskRequest | None = None
        self._task = Task(self, say("Making the mask"))
        self._task.returned.connect(self._computed)
        self._task.failed.connect(self._not_computed)
        self._writing = Stretches(self)

    @property
    def busy(self) -> bool:
        """Whether a mask is being made or written."""
        return self._latest is not None

    def request(self, request: MaskRequest) -> None:
        """Make a mask, and forget the one that was asked for before if it is not finished."""
        self.forget()
        self._latest = request
        document = request.document
        probability = document.probability
        if document.blind:
            probability = replace(probability, array=document.whole("percent"))
        likeliest = document.whole_likeliest()
        self._task.ask("mask", probability, request.settings, document.making.classes, likeliest, document.making.own)

    def forget(self, step: Step | None = None) -> None:
        """Drop what is being made; given a step, only if it belongs to that."""
        if step is not None and (self._latest is None or self._latest.step is not step):
            return
        self._latest = None
        self._task.forget()
        self._writing.stop()

    def _computed(self, made: tuple[Array, int, tuple[str, ...]]) -> None:
        mask, count, notes = made
        request = self._latest
        assert request is not None
        writing = request.document.put_mask(mask, request.first, request.step)
        self._writing.start(writing, partial(self._all_written, request, count, notes), partial(self._failed, request))

    def _not_computed(self, text: str) -> None:
        request, self._latest = self._latest, None
        assert request is not None
        request.done(Failure(text))

    def _failed(self, request: MaskRequest, error: Exception) -> None:
        self._latest = None
        self.written.emit()
        request.done(Failure(tr("{problem} Only a part of it was written.", problem=sentence(error, say("Writing the mask")))))

    def _all_written(self, request: MaskRequest, count: int, notes: tuple[str, ...]) -> None:
        self._latest = None
        # Sides that are not known were not split, so no label is called one.
        settings = replace(request.settings, split_sides=False) if UNKNOWN_SIDE in notes else request.settings
        request.document.made(settings, request.step)
        for note in notes:
            show_warning(tr(note))
        self.written.emit()
        request.done(count)

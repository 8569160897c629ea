"""The review of one mask: scores of its slices, and which one to look at next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal
from superqt.utils import qdebounced

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.review import next_slice
from napari_lungseg.steps import as_box
from napari_lungseg.translation import say
from napari_lungseg.volume import Array, Box
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.notices import show_warning
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.view import TimeIndex
from napari_lungseg.workspace import State

#: Milliseconds after a change before its slices are scored again.
RESCORE_MS = 400


class Reviewing(QObject):
    """Scores of the slices of one volume, and what a person says of them, for one module.

    Parameters
    ----------
    session : Session
        Writes down what is decided.
    result : MaskLayer
        The mask.
    time_index : tuple of int
        At which time point.
    """

    #: States or scores are others now.
    changed = Signal()

    def __init__(self, session: Session, result: MaskLayer, time_index: TimeIndex) -> None:
        super().__init__()
        self.result = result
        self.target = session.tracking.target(result, time_index)
        self.document = self.target.document
        self.slices = session.tracking.states(self.target)
        self.scores: npt.NDArray[np.float64] = np.zeros(self.document.slices)
        self._measured = self.scores.copy()
        volume = volume_from_layer(result.lungs, time_index, "arbitrary")
        self._spacing = volume.spacing
        self._slice_mm = volume.spacing[self.document.axis] if volume.ndim == 3 else 1.0
        self._stale: set[int] = set(range(self.document.slices))
        self._scoring = False
        self._indices: list[int] = []
        self._task = Task(self, say("Scoring the slices"))
        self._task.returned.connect(self._scored)
        self._task.failed.connect(self._not_scored)
        self._rescore = qdebounced(self._score, timeout=RESCORE_MS, parent=self)
        self.document.changed.connect(self._mask_changed)
        self.slices.changed.connect(self.changed)
        self.document.blinded.connect(self._show_scores)
        self._score()

    def end(self) -> None:
        """Hear of nothing any more."""
        self.document.changed.disconnect(self._mask_changed)
        self.slices.changed.disconnect(self.changed)
        self.document.blinded.disconnect(self._show_scores)
        self._rescore.cancel()

    @property
    def states(self) -> dict[int, State]:
        """States by slice; those that are not in it are "unseen"."""
        return self.document.states

    @property
    def notes(self) -> dict[int, str]:
        """Notes by slice."""
        return self.document.notes

    @property
    def reviewed(self) -> list[int]:
        """Slices that a person stands for."""
        return self.document.reviewed

    @property
    def done(self) -> bool:
        """Whether a person has decided on every slice."""
        return len(self.reviewed) + len(self.document.rejected) == self.document.slices

    def state(self, index: int) -> State:
        """State of a slice."""
        return self.document.state(index)

    def look_at(self, index: int) -> None:
        """The person looks at this slice now."""
        self.slices.look_at(index)

    def accept(self, index: int) -> int | None:
        """Stand for a slice as it is; gives the slice to look at next, None if there is none left."""
        self.result.finish_edits()
        self.document.accept(index)
        return self.next()

    def flag(self, index: int, note: str) -> None:
        """Leave a slice for later, with a note."""
        self.result.finish_edits()
        self.document.flag(index, note)
        self.result.refresh()

    def reject(self, index: int, note: str) -> None:
        """Say that a slice is of no use, with a note."""
        self.result.finish_edits()
        self.document.reject(index, note)
        self.result.refresh()

    def reopen(self, index: int) -> None:
        """Stand for a slice no longer."""
        self.result.finish_edits()
        self.document.reopen(index)
        self.result.refresh()

    def next(self) -> int | None:
        """The unreviewed slice that is most worth a look; flagged ones come last."""
        flagged = {index for index, state in self.states.items() if state == "flagged"}
        found = next_slice(self.scores, {*self.reviewed, *self.document.rejected, *flagged}, self._slice_mm)
        return found if found is not None else min(flagged, default=None)

    def _mask_changed(self, box: Box, _: str) -> None:
        indices = self.document.slices_in(box)
        # The measures of a slice look at its neighbours too.
        self._stale.update(range(max(0, indices.start - 1), min(self.document.slices, indices.stop + 1)))
        self._rescore()

    # ---- scores

    def _score(self) -> None:
        if self._scoring or not self._stale:
            return
        self._scoring = True
        indices, self._stale = sorted(self._stale), set()
        self._indices = indices
        self._task.run(_request_scores, self.document, indices, self._spacing)

    def _scored(self, scores: Array) -> None:
        self._scoring = False
        self._measured[self._indices] = scores
        self._show_scores()
        if self._stale:
            self._rescore()

    def _show_scores(self) -> None:
        """Give a slice that is to be read blind the mean score, as its own tells of the model's mask."""
        self.scores[:] = self._measured
        blind = list(self.document.blind)
        if blind:
            self.scores[blind] = self._measured.mean()
        self.changed.emit()

    def _not_scored(self, text: str) -> None:
        """Leave the scores as they were; the next change asks again."""
        self._scoring = False
        self._stale.update(self._indices)
        show_warning(text)


def _request_scores(document: MaskDocument, indices: list[int], spacing: tuple[float, ...]) -> Request:
    """Copy the slices and their neighbours, and ask the engine to score them."""
    axis, box = document.axis, as_box((), document.labels.shape)
    first = 0
    if len(box) == 3:
        first = max(0, min(indices) - 1)
        box = (*box[:axis], slice(first, min(box[axis].stop, max(indices) + 2)), *box[axis + 1 :])
    percent = document.whole("percent", box) if document.predicted else None
    return Request("score", (document.whole("labels", box), percent, spacing, axis, [index - first for index in indices]))

"""The review of one mask: states and scores of its slices, and the time they took."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, QTimer, Signal

from napari_lungseg.review import measure_slices, next_slice
from napari_lungseg.steps import Box
from napari_lungseg.volume import Array
from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.saving.autosave import MODELS
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.saving.track import Track
from napari_lungseg.workspace import Case, State, Workspace

#: A slice is not looked at for longer than this (s) at a time; the person was away.
AWAY_S = 300.0
#: Milliseconds after a change before its slices are scored again.
RESCORE_MS = 400


class Reviewing(QObject):
    """States and scores of the slices of one volume.

    Parameters
    ----------
    session : Session
        Writes down what is decided.
    track : Track
        The mask.
    """

    #: States or scores are others now.
    changed = Signal()

    def __init__(self, session: Session, track: Track) -> None:
        super().__init__()
        self.track = track
        self.states: dict[int, str] = {}
        self.notes: dict[int, str] = {}
        self.scores: npt.NDArray[np.float64] = np.zeros(track.slices)
        self.spent_s = 0.0
        self._session = session
        volume = volume_from_layer(track.lungs, track.step, "arbitrary")
        self._spacing = volume.spacing
        self._slice_mm = volume.spacing[track.axis] if volume.ndim == 3 else 1.0
        self._here = -1
        self._since = time.monotonic()
        self._known = False
        self._stale: set[int] = set(range(track.slices))
        self._scoring = False
        self._rescore = QTimer(self)
        self._rescore.setSingleShot(True)
        self._rescore.setInterval(RESCORE_MS)
        self._rescore.timeout.connect(self._score)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.changed)
        track.result.changed.connect(self._mask_changed)
        session.saved.connect(self._saved)
        self._read()
        self._score()

    def end(self) -> None:
        """Hear of nothing any more."""
        self.track.result.changed.disconnect(self._mask_changed)
        self._session.saved.disconnect(self._saved)
        self._rescore.stop()
        self._soon.stop()

    @property
    def reviewed(self) -> list[int]:
        """Slices that a person stands for."""
        return [index for index, state in self.states.items() if state == "reviewed"]

    def state(self, index: int) -> str:
        """State of a slice."""
        return self.states.get(index, "unseen")

    def look_at(self, index: int) -> None:
        """The person looks at this slice now."""
        if index != self._here:
            self._here, self._since = index, time.monotonic()

    def accept(self, index: int) -> int | None:
        """Stand for a slice as it is; gives the slice to look at next, None if there is none left."""
        self.track.corrections.accept(self.track.box(index))
        self._set(index, "reviewed")
        return self.next()

    def flag(self, index: int, note: str) -> None:
        """Leave a slice for later, with a note."""
        self.notes[index] = note
        self._set(index, "flagged", note)

    def reopen(self, index: int) -> None:
        """Stand for a slice no longer."""
        self._set(index, "corrected" if self._is_touched(index) else "unseen")

    def next(self) -> int | None:
        """The unreviewed slice that is most worth a look; flagged ones come last."""
        flagged = {index for index, state in self.states.items() if state == "flagged"}
        found = next_slice(self.scores, {*self.reviewed, *flagged}, self._slice_mm)
        return found if found is not None else min(flagged, default=None)

    def _set(self, index: int, state: State, note: str = "") -> None:
        seconds = min(time.monotonic() - self._since, AWAY_S) if index == self._here else 0.0
        self._since = time.monotonic()
        self.spent_s += seconds
        self.states[index] = state

        def write(workspace: Workspace, case: Case) -> None:
            workspace.set_state(case, index, state, note=note, seconds=seconds)

        self._session.note(self.track, write)
        self.changed.emit()

    def _mask_changed(self, box: Box, cause: str) -> None:
        track = self.track
        indices = track.touched(box)
        # The measures of a slice look at its neighbours too.
        self._stale.update(range(max(0, indices.start - 1), min(track.slices, indices.stop + 1)))
        self._rescore.start()
        if cause in MODELS or cause == "accept":
            return
        for index in indices:
            if self.state(index) in ("unseen", "corrected"):
                self.states[index] = "corrected" if self._is_touched(index) else "unseen"
            elif self.state(index) == "reviewed" and not self._is_touched(index):
                self.reopen(index)  # it was given back to the model
        # A stroke across many slices comes as many changes.
        if not self._soon.isActive():
            self._soon.start()

    def _is_touched(self, index: int) -> bool:
        return self.track.corrections.is_touched(self.track.box(index))

    # ---- what is known from before

    def _saved(self, track: Track, _: list[int]) -> None:
        if track is self.track and not self._known:
            self._read()

    def _read(self) -> None:
        case, workspace = self.track.case, self._session.workspace
        if case is None or workspace is None:
            return
        self._known = True
        for index, known in workspace.states(case).items():
            self.states.setdefault(index, known.state)
            self.notes.setdefault(index, known.note)
            self.spent_s += known.seconds
        self.changed.emit()

    # ---- scores

    def _score(self) -> None:
        if self._scoring or not self._stale:
            return
        self._scoring = True
        indices, self._stale = sorted(self._stale), set()
        worker = create_worker(_score, self.track, indices, self._spacing)
        worker.returned.connect(self._scored)
        worker.start()

    def _scored(self, scored: tuple[list[int], Array]) -> None:
        self._scoring = False
        indices, scores = scored
        self.scores[indices] = scores
        self.changed.emit()
        if self._stale:
            self._rescore.start()


def _score(track: Track, indices: list[int], spacing: tuple[float, ...]) -> tuple[list[int], Array]:
    corrections, step = track.corrections, track.step
    percent = None if corrections.percent is None or track.result.find_frame(step) is None else corrections.percent[step]
    measures = measure_slices(track.lungs.data[step], spacing, percent, axis=track.axis, slices=indices)
    return indices, measures.expected_error_mm2()

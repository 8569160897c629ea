"""How far the work on each slice of a mask has come: unseen, corrected, flagged, or reviewed.

What a person says of a slice is a step of the mask's history, as an edit is, and goes with it when it is undone or done again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, QTimer, Signal

from napari_lungseg.steps import Box, Step
from napari_lungseg.widgets.latest import LatestWins
from napari_lungseg.widgets.saving.autosave import MODELS
from napari_lungseg.widgets.saving.track import Track
from napari_lungseg.widgets.worker import Failed
from napari_lungseg.workspace import Accepted, Case, SliceState, State, Workspace

if TYPE_CHECKING:
    from napari_lungseg.widgets.saving.session import Session

#: A slice is not looked at for longer than this (s) at a time; the person was away.
AWAY_S = 300.0
ACCEPT, FLAG, REOPEN = "accept", "flag", "open again"
GIVE_BACK = "give back to the model"
_OWN = frozenset({ACCEPT, FLAG, REOPEN})


class _Mark(NamedTuple):
    """What a person said of a slice: "reviewed", "flagged" or nothing, and the note."""

    state: State | None
    note: str


class SliceStates(QObject):
    """States, notes and times of the slices of one volume, in the window and in the workspace.

    Parameters
    ----------
    session : Session
        Writes down what is decided.
    track : Track
        The mask.

    Attributes
    ----------
    states : dict
        By slice; those that are not in it are "unseen".
    notes : dict
        By slice.
    spent_s : float
        Time spent on all slices (s).
    """

    #: States, notes or times are others now.
    changed = Signal()

    def __init__(self, session: Session, track: Track) -> None:
        super().__init__()
        self.track = track
        self.states: dict[int, State] = {}
        self.notes: dict[int, str] = {}
        self.spent_s = 0.0
        self._session = session
        self._here = -1
        self._since = time.monotonic()
        self._known = False
        #: Slices of which something was said in this window.
        self._said: set[int] = set()
        #: Of each step, what it has changed: what was said of the slice before and after.
        self._marks: WeakKeyDictionary[Step, dict[int, tuple[_Mark, _Mark]]] = WeakKeyDictionary()
        self._reading = LatestWins(self, "Reading the workspace", self._arrived)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.changed)
        track.result.changed.connect(self._mask_changed)
        track.result.stepped.connect(self._stepped)
        session.saved.connect(self._saved)
        self._read()

    def end(self) -> None:
        """Hear of nothing any more."""
        self.track.result.changed.disconnect(self._mask_changed)
        self.track.result.stepped.disconnect(self._stepped)
        self._session.saved.disconnect(self._saved)
        self._reading.forget()
        self._soon.stop()

    @property
    def reviewed(self) -> list[int]:
        """Slices that a person stands for."""
        return [index for index, state in self.states.items() if state == "reviewed"]

    def state(self, index: int) -> State:
        """State of a slice."""
        return self.states.get(index, "unseen")

    def look_at(self, index: int) -> None:
        """The person looks at this slice now."""
        if index != self._here:
            self._here, self._since = index, time.monotonic()
        self._read()

    # ---- what a person says

    def accept(self, index: int) -> None:
        """Stand for a slice as it is."""
        step = Step(ACCEPT)
        self.track.result.accept(self.track.box(index), step)
        if step.patches or self.state(index) != "reviewed":
            self._say(index, "reviewed", self.notes.get(index, ""), step)

    def flag(self, index: int, note: str) -> None:
        """Leave a slice for later, with a note; it is open again if it was accepted."""
        step = Step(FLAG)
        self.track.result.reopen(self.track.box(index), step)
        if step.patches or (self.state(index), self.notes.get(index, "")) != ("flagged", note):
            self._say(index, "flagged", note, step)

    def reopen(self, index: int) -> None:
        """Stand for a slice no longer: what was the model's is its again, what a person set stays."""
        if self.state(index) in ("reviewed", "flagged"):
            step = Step(REOPEN)
            self.track.result.reopen(self.track.box(index), step)
            self._say(index, None, self.notes.get(index, ""), step)

    def tell_again(self) -> None:
        """Write down all that was said, in another workspace."""
        for index, state in self.states.items():
            if state in ("reviewed", "flagged"):
                self._write(index, state, 0.0)

    def _say(self, index: int, state: State | None, note: str, step: Step) -> None:
        self.track.corrections.record(step)
        before, after = self._mark(index), _Mark(state, note)
        self._marks.setdefault(step, {})[index] = before, after
        self._set(index, after)

    def _mark(self, index: int) -> _Mark:
        state = self.state(index)
        return _Mark(state if state in ("reviewed", "flagged") else None, self.notes.get(index, ""))

    def _set(self, index: int, mark: _Mark) -> None:
        seconds = 0.0
        if index == self._here:
            now = time.monotonic()
            seconds, self._since = min(now - self._since, AWAY_S), now
        self.spent_s += seconds
        self.states[index] = mark.state or self._derived(index)
        self.notes[index] = mark.note
        self._said.add(index)
        self._write(index, self.states[index], seconds)
        self.changed.emit()

    def _write(self, index: int, state: State, seconds: float) -> None:
        note = self.notes.get(index, "")

        def write(workspace: Workspace, case: Case) -> None:
            workspace.set_state(case, index, state, note=note, seconds=seconds)

        self._session.note(self.track, write)

    def _derived(self, index: int) -> State:
        return "corrected" if self.track.corrections.is_touched(self.track.box(index)) else "unseen"

    # ---- what happens to the mask

    def _mask_changed(self, box: Box, cause: str) -> None:
        if cause in MODELS or cause in _OWN:
            return
        touched = self.track.touched(box)
        if cause == "restored" and touched:
            # What is said of it is in the workspace.
            self.states, self.notes, self.spent_s = {}, {}, 0.0
            self._said.clear()
            self._known = False
        for index in touched:
            state = self.state(index)
            if state in ("unseen", "corrected"):
                self.states[index] = self._derived(index)
            elif state == "reviewed" and cause == GIVE_BACK:
                self._given_back(index)
        # A stroke across many slices comes as many changes.
        if not self._soon.isActive():
            self._soon.start()

    def _given_back(self, index: int) -> None:
        """A part of an accepted slice is the model's again: nobody stands for the rest either. It is one step with what gave it back."""
        step, before = self.track.corrections.newest, self._mark(index)
        assert step is not None
        # Before the rest is given back, which is told too.
        self.states[index] = "corrected"
        self.track.corrections.reopen(self.track.lungs.data, self.track.box(index), step)
        after = before._replace(state=None)
        self._marks.setdefault(step, {})[index] = before, after
        self._set(index, after)

    def _stepped(self, step: Step, forward: bool) -> None:
        for index, (before, after) in self._marks.get(step, {}).items():
            self._set(index, after if forward else before)

    # ---- what is known from before

    def _saved(self, track: Track, _: list[int]) -> None:
        if track is self.track:
            self._read()

    def _read(self) -> None:
        case, workspace = self.track.case, self._session.workspace
        if not self._known and not self._reading.busy and case is not None and workspace is not None:
            self._reading.ask(_look_up, workspace, case)

    def _arrived(self, found: tuple[dict[int, SliceState], dict[int, Accepted]] | Failed) -> None:
        if isinstance(found, Failed):
            return  # asked again when the next slice is looked at or saved
        self._known = True
        states, accepted = found
        for index, known in states.items():
            self.spent_s += known.seconds
            if index in self._said:
                continue
            self.notes[index] = known.note
            if known.state in ("reviewed", "flagged") or index not in self.states:
                self.states[index] = known.state
            if index in accepted:
                which, labels = accepted[index]
                box = self.track.box(index)
                now = self.track.lungs.data[box]
                # What was painted since it was saved is the person's.
                self.track.corrections.know_accepted(box, which.reshape(now.shape) & (now == labels.reshape(now.shape)))
        self.changed.emit()


def _look_up(workspace: Workspace, case: Case) -> tuple[dict[int, SliceState], dict[int, Accepted]]:
    return workspace.states(case), workspace.accepted(case)

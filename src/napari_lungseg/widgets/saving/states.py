"""What a person says of slices, in the workspace: written down with the time that it took, and read again."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtCore import QObject, Signal
from superqt.utils import qthrottled

from napari_lungseg.annotation import MODEL_CAUSES
from napari_lungseg.blind import UNREAD
from napari_lungseg.translation import say
from napari_lungseg.volume import Box
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.saving.waiting import Note
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.workspace import SAID, Accepted, Blind, Case, SliceState, State, Workspace

#: A slice is not looked at for longer than this (s) at a time; the person was away.
AWAY_S = 300.0


class SliceStates(QObject):
    """Keeps the states of one document's slices in the workspace, and the time spent on them.

    Parameters
    ----------
    target : SaveTarget
        The mask.
    note : callable
        Writes something about a target down, in the background.
    workspace : callable
        Gives the workspace, or None.

    Attributes
    ----------
    spent_s : float
        Time spent on all slices (s).
    """

    #: States, notes or times are others now.
    changed = Signal()

    def __init__(self, target: SaveTarget, note: Callable[[SaveTarget, Note], None], workspace: Callable[[], Workspace | None]) -> None:
        # Without a parent, which would keep it and the mask after its end.
        super().__init__()
        self.spent_s = 0.0
        self._target, self._document, self._note, self._workspace = target, target.document, note, workspace
        self._here = -1
        self._since = time.monotonic()
        self._known = False
        # Where it fails it is asked again when the next slice is looked at or saved.
        self._reading = Task(self, say("Reading the workspace"))
        self._reading.returned.connect(self._arrived)
        # A stroke across many slices comes as many changes.
        self._tell_soon = qthrottled(self._tell, timeout=0, leading=False, parent=self)
        self._document.changed.connect(self._mask_changed)
        self._document.said.connect(self._said)
        if target.case is None:
            # Said before anybody heard; in a case that is known they are in the workspace.
            for index in sorted(self._document.blind):
                self._write(index, self._document.state(index), 0.0)
        self.read()

    def end(self) -> None:
        """Hear of nothing any more."""
        self._document.changed.disconnect(self._mask_changed)
        self._document.said.disconnect(self._said)
        self._reading.forget()
        self._tell_soon.cancel()

    def look_at(self, index: int) -> None:
        """The person looks at this slice now."""
        if index != self._here:
            self._here, self._since = index, time.monotonic()
        self.read()

    def tell_again(self) -> None:
        """Write down all that was said, in another workspace."""
        known = self._document.blind.union(self._document.readings)
        for index in sorted(known.union(index for index, state in self._document.states.items() if state in SAID)):
            self._write(index, self._document.state(index), 0.0)

    def _said(self, index: int) -> None:
        seconds = 0.0
        if index == self._here:
            now = time.monotonic()
            seconds, self._since = min(now - self._since, AWAY_S), now
        self.spent_s += seconds
        self._write(index, self._document.state(index), seconds)
        self.changed.emit()

    def _write(self, index: int, state: State, seconds: float) -> None:
        note = self._document.notes.get(index, "")
        blind: Blind | None = UNREAD if index in self._document.blind else self._document.readings.get(index)

        def write(workspace: Workspace, case: Case) -> None:
            workspace.set_state(case, index, state, note=note, seconds=seconds, blind=blind)

        self._note(self._target, write)

    def _mask_changed(self, _: Box, cause: str) -> None:
        if cause in MODEL_CAUSES:
            return
        if cause == "restored":
            # What is said of it is in the workspace.
            self.spent_s, self._known = 0.0, False
        self._tell_soon()

    def _tell(self) -> None:
        self.changed.emit()

    # ---- what is known from before

    def read(self) -> None:
        """Read what was said in earlier sessions, once it is known where that is."""
        case, workspace = self._target.case, self._workspace()
        if not self._known and not self._reading.busy and case is not None and workspace is not None:
            self._reading.run(_look_up, workspace, case)

    def _arrived(self, found: tuple[dict[int, SliceState], dict[int, Accepted]]) -> None:
        self._known = True
        states, accepted = found
        self.spent_s += sum(known.seconds for known in states.values())
        self._document.know(states, accepted)
        self.changed.emit()


def _look_up(workspace: Workspace, case: Case) -> tuple[dict[int, SliceState], dict[int, Accepted]]:
    return workspace.states(case), workspace.accepted(case)

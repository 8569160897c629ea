"""Every change to the journal, within a second, off the GUI thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_lungseg.annotation import MODEL_CAUSES
from napari_lungseg.errors import InputError
from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.saving.image_reader import ImageReader
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.saving.waiting import Note, Status, Waiting
from napari_lungseg.widgets.worker import sentence
from napari_lungseg.workspace import Case, Workspace, WorkspaceError

logger = logging.getLogger(__name__)

#: Seconds between two looks for edits that nobody told of, such as those from the console.
LOOK_S = 0.7
#: Seconds for which the model's mask must rest before it is saved: a run writes every slice twice.
REST_S = 1.5
#: Seconds after which saving is tried again when the workspace has failed; of an image that cannot be read twice as many each time, up to
#: the longest.
RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
#: Changes that may touch the probability.
PROBABILITY = frozenset({"segment", "segment again", "undo", "redo"})

SAVED_BY_ITSELF = mark("Every change is saved by itself.")


class Autosave(QObject):
    """Saves the targets' changed slices in a thread of its own, each target for itself.

    An image is read in another thread, to know it by its content: however long that takes, and whether it can be read, is nothing to the
    other targets.

    Parameters
    ----------
    folder : Path
        The workspace; opened in the thread, as a network drive may take its time.
    user : str or None
        Who makes the corrections; None for the name this person is logged in with.
    """

    #: The workspace is open, or could not be opened: the workspace or a sentence, and the cases that an ended session left.
    opened = Signal(object, list)
    #: How saving stands now.
    told = Signal(object)
    #: Something that the person should know once.
    noticed = Signal(str)
    #: These slices of a target are on disk, or what was said of it.
    saved = Signal(object, list)
    #: A target's labels were changed and nobody told.
    unseen = Signal(object)

    def __init__(self, folder: Path, user: str | None = None) -> None:
        super().__init__()
        self.workspace: Workspace | None = None
        self._folder, self._user = folder, user
        self._targets: list[SaveTarget] = []
        self._waiting: dict[SaveTarget, Waiting] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.images = ImageReader(self._fail, self._wake.set)
        self._closing = False
        self._idle = threading.Event()
        self._busy_since = 0.0
        self._status = Status(True, "")
        self._thread = threading.Thread(target=self._work, name="napari-lungseg autosave", daemon=True)

    # ---- from the GUI thread

    def start(self) -> None:
        """Open the workspace and begin."""
        self._thread.start()

    def watch(self, target: SaveTarget) -> None:
        """Look after a target from now on."""
        with self._lock:
            self._targets.append(target)

    def forget(self, target: SaveTarget) -> None:
        """The target's layers are gone; what waits is still saved, or given up if its image cannot be read."""
        with self._lock:
            self._targets = [other for other in self._targets if other is not target]
            if target in self._waiting:
                self._waiting[target].again = 0.0
        self._wake.set()

    def put(self, target: SaveTarget, indices: Iterable[int], cause: str) -> None:
        """These slices have changed."""
        waits = cause in MODEL_CAUSES
        with self._lock:
            waiting = self._waiting.setdefault(target, Waiting())
            for index in indices:
                if not waits or waiting.causes.get(index, cause) in MODEL_CAUSES:
                    waiting.causes[index] = cause
                if cause in PROBABILITY:
                    waiting.percent.add(index)
            if waits:
                waiting.due = time.monotonic() + REST_S
            self._idle.clear()
        self._wake.set()

    def note(self, target: SaveTarget, note: Note) -> None:
        """Write something else about a target down, after the slices that wait now."""
        with self._lock:
            self._waiting.setdefault(target, Waiting()).notes.append(note)
            self._idle.clear()
        self._wake.set()

    def pending(self, target: SaveTarget) -> bool:
        """Whether something of a target waits to be saved."""
        with self._lock:
            return target in self._waiting

    @property
    def unsaved(self) -> list[SaveTarget]:
        """Tracks of which something waits to be saved."""
        with self._lock:
            return list(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether anything can be saved."""
        return self._thread.is_alive()

    @property
    def silent_s(self) -> float:
        """Seconds for which the disk has not answered; 0 if it need not."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    def flush(self, timeout_s: float) -> bool:
        """Save all that waits, now; tells whether it is done."""
        if not self._thread.is_alive():
            return not self._waiting
        with self._lock:
            if not self._waiting:
                # Also while the workspace is still being opened.
                return True
            for waiting in self._waiting.values():
                waiting.due, waiting.failure = 0.0, ""
            self._idle.clear()
        self._wake.set()
        return self._idle.wait(timeout_s) and not self._waiting

    def close(self, timeout_s: float = 10.0) -> bool:
        """Save all that waits and end; tells whether all is on disk."""
        done = self.flush(timeout_s)
        self._closing = True
        self.images.close()
        self._wake.set()
        self._thread.join(timeout_s)
        return done

    # ---- in the thread

    def _work(self) -> None:
        try:
            self.workspace = Workspace(self._folder, user=self._user)
            unfinished = self.workspace.unfinished()
        except Exception as error:
            self._say(self.opened, sentence(error, say("Opening the workspace {folder}", folder=self._folder)), [])
            return
        self._say(self.opened, self.workspace, unfinished)
        look = time.monotonic() + LOOK_S
        while not self._closing:
            self._wake.wait(self._pause(look))
            self._wake.clear()
            self._write_down()
            if time.monotonic() >= look:
                began = time.monotonic()
                self._look_around()
                # However large the labels, this takes no more than a part of one core.
                look = time.monotonic() + max(LOOK_S, 20 * (time.monotonic() - began))
        self.workspace.close()

    def _pause(self, look: float) -> float:
        with self._lock:
            times = [look, *(waiting.when() for target, waiting in self._waiting.items() if not self.images.is_busy_with(target))]
        return max(0.0, min(times) - time.monotonic())

    def _write_down(self) -> None:
        """Save all whose turn it is."""
        now = time.monotonic()
        with self._lock:
            turn = [target for target, waiting in self._waiting.items() if waiting.when() <= now and not self.images.is_busy_with(target)]
        wrote = [target for target in turn if self._write(target, now)]
        with self._lock:
            self._waiting = {target: waiting for target, waiting in self._waiting.items() if waiting}
            if all(waiting.failure for waiting in self._waiting.values()):
                # Nobody waits for a disk that is full.
                self._idle.set()
        self._report(tried=bool(turn), wrote=bool(wrote))

    def _write(self, target: SaveTarget, now: float) -> bool:
        """Save what waits of a target; tells whether anything was written."""
        if target.content is None:
            if not self.images.is_busy_with(target):
                self.images.start(target)
            return False
        assert self.workspace is not None
        self._busy_since = time.monotonic()
        taken = Waiting()
        try:
            case = target.case or self._claim(target, self.workspace)
            with self._lock:
                taken = self._waiting[target].take(now)
            indices = sorted(taken.causes)
            self._save(target, case, taken)
            taken.causes, taken.percent = {}, set()
            while taken.notes:
                taken.notes[0](self.workspace, case)
                taken.notes.pop(0)
        except Exception as error:
            with self._lock:
                self._waiting[target].put_back(taken)
            self._fail(target, error)
            return False
        finally:
            self._busy_since = 0.0
        with self._lock:
            self._waiting[target].failure, self._waiting[target].tries = "", 0
        self._say(self.saved, target, indices)
        return True

    def _claim(self, target: SaveTarget, workspace: Workspace) -> Case:
        """Find the case of a target, a free one; all of the mask is saved there if the case may hold another one."""
        assert target.content is not None
        with self._lock:
            others = {other.case.content: other for other in self._targets if other.case is not None}
        keys = (f"{target.content}-{number}" if number > 1 else target.content for number in count(1))
        # What lies on no image is never found again, so that nothing would tell it from what is in an older case.
        key = next(key for key in keys if key not in others and (target.has_image or workspace.find(key) is None))
        known = workspace.find(key)
        case = target.add_to(workspace, key)
        with self._lock:
            waiting = self._waiting[target]
            if known is not None or case.axis != target.document.axis:
                cause = next(iter(waiting.causes.values()), "import")
                told = waiting.causes if case.axis == target.document.axis else {}
                target.belong(case)
                waiting.causes = dict.fromkeys(range(target.document.slices), cause) | told
                waiting.percent = set(waiting.causes)
        target.belong(case)
        if key != target.content and target.has_image:
            first = others[target.content].name
            self._say(
                self.noticed,
                tr("{name} is the same image as {first}: both masks are saved, each as a case of its own.", name=target.name, first=first),
            )
        return case

    def _save(self, target: SaveTarget, case: Case, taken: Waiting) -> None:
        assert self.workspace is not None
        document = target.document
        for cause in sorted(set(taken.causes.values())):
            indices = [index for index, why in taken.causes.items() if why == cause]
            slices = {index: document.planes(index) for index in indices}
            predicted = taken.percent.intersection(indices) if document.predicted else ()
            percent = {index: document.percent_plane(index) for index in predicted}
            self.workspace.save(case, slices, cause=cause, percent=percent, source=document.source)

    def _fail(self, target: SaveTarget, error: Exception) -> None:
        """Try a target again later; give it up if its mask is gone and it cannot be read."""
        everywhere = isinstance(error, WorkspaceError)
        if everywhere:
            text = tr(str(error))
        else:
            text = (
                tr("Saving {name} failed: {problem}", name=target.name, problem=str(error))
                if isinstance(error, InputError)
                else sentence(error, say("Saving {name}", name=target.name))
            )
        with self._lock:
            if target not in self._waiting:
                return
            waiting, given_up = self._waiting[target], target not in self._targets and not everywhere
            if given_up:
                del self._waiting[target]
            else:
                longer = 1 if everywhere else 2 ** min(waiting.tries, 10)
                waiting.failure, waiting.tries = text, waiting.tries + 1
                waiting.again = time.monotonic() + min(RETRY_S * longer, LONGEST_RETRY_S)
        if given_up:
            self._say(self.noticed, tr("{problem} Its mask was removed, and what was not saved of it is given up.", problem=text))

    def _report(self, *, tried: bool, wrote: bool) -> None:
        """Tell how saving stands, if that has changed."""
        with self._lock:
            failures = list(dict.fromkeys(waiting.failure for waiting in self._waiting.values() if waiting.failure))
            homeless = [target.name for target in self._targets if target.case is not None and not target.has_image]
        before = self._status
        if failures:
            self._status = Status(False, " ".join(failures))
        elif wrote:
            now = time.strftime("%H:%M:%S")
            text = tr("Saved at {time}", time=now) if before.safe else tr("Saved again at {time}", time=now)
            if homeless:
                text = tr("{saved}. {names} cannot be offered again: there is no image below it", saved=text, names=", ".join(homeless))
            self._status = Status(True, text)
        elif not before.safe:
            self._status = Status(True, tr(SAVED_BY_ITSELF))
        if self._status.text and (self._status != before or tried):
            self._say(self.told, self._status)

    def _say(self, signal: Any, *values: Any) -> None:
        # The window may have gone while something was being written.
        with suppress(RuntimeError):
            signal.emit(*values)

    def _look_around(self) -> None:
        with self._lock:
            targets = list(self._targets)
        for target in targets:
            try:
                if target.document.has_unseen():
                    self._say(self.unseen, target)
            except Exception:
                # Whatever a layer may have become meanwhile, saving goes on.
                logger.exception("%s could not be looked at", target.name)

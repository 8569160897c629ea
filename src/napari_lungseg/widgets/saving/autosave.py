"""Every change to the journal, within a second, off the GUI thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_lungseg.corrections import Corrections, as_box
from napari_lungseg.steps import Box
from napari_lungseg.volume import Array
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.results import Result
from napari_lungseg.widgets.worker import sentence
from napari_lungseg.workspace import Case, Workspace, content_hash

logger = logging.getLogger(__name__)

#: Seconds between two looks for edits that nobody told of, such as those from the console.
LOOK_S = 0.7
#: Seconds for which the model's mask must rest before it is saved: a run writes every slice twice.
REST_S = 1.5
#: Seconds after which saving is tried again when it has failed.
RETRY_S = 2.0
#: Seconds without an answer of the disk after which the person is told.
SILENCE_S = 5.0
#: Changes of the model's mask; all others are a person's and wait for nothing.
MODELS = frozenset({"segment", "segment again", "threshold", "post-processing"})
#: Changes that may touch the probability.
PROBABILITY = frozenset({"segment", "segment again", "undo", "redo"})


#: Writes something about a case into the workspace.
Note = Callable[[Workspace, Case], None]


@dataclass(frozen=True)
class Status:
    """How saving stands.

    Attributes
    ----------
    safe : bool
        Whether everything is on disk, or on its way there.
    text : str
        For the person.
    """

    safe: bool
    text: str


@dataclass(eq=False)
class Track:
    """One volume of a mask, as the journal sees it.

    Attributes
    ----------
    result : Result
        Whose mask it is.
    lungs : Labels
        Its layer.
    corrections : Corrections
        Who set what in it.
    step : tuple of int
        Which volume of the layer, if it has time steps.
    axis : int
        Array axis of the volume along which slices are counted.
    case : Case or None
        Under what it is saved, once the image's content is known.
    """

    result: Result
    lungs: Labels
    corrections: Corrections
    step: tuple[int, ...]
    axis: int
    case: Case | None = None

    @classmethod
    def of(cls, result: Result, step: tuple[int, ...]) -> Track:
        """The track of a result's present mask."""
        assert result.lungs is not None
        # The unit does not matter here; telling it from the numbers would read them.
        axis = volume_from_layer(result.image, step, "arbitrary").axial_axis
        return cls(result, result.lungs, result.corrections, step, axis)

    @property
    def slices(self) -> int:
        """How many slices there are."""
        shape = self.corrections.origin[self.step].shape
        return shape[self.axis] if len(shape) == 3 else 1

    def touched(self, box: Box) -> range:
        """The slices that a box in the layer's axes reaches."""
        leading = len(self.step)
        if any(not part.start <= index < part.stop for part, index in zip(box, self.step)):
            return range(0)
        return range(box[leading + self.axis].start, box[leading + self.axis].stop) if len(box) - leading == 3 else range(1)

    def box(self, index: int) -> Box:
        """A slice in the layer's axes."""
        shape = self.corrections.origin.shape
        where = (slice(None),) * self.axis + (index,) if len(shape) - len(self.step) == 3 else ()
        return as_box((*self.step, *where), shape)

    def planes(self, index: int) -> tuple[Array, Array]:
        """Copies of labels and origin of one slice."""
        return self._plane(self.lungs.data, index), self._plane(self.corrections.origin, index)

    def percent(self, index: int) -> Array | None:
        """A copy of the probability of one slice, if there is one."""
        percent = self.corrections.percent
        return None if percent is None or self.result.find_frame(self.step) is None else self._plane(percent, index)

    def _plane(self, array: Array, index: int) -> Array:
        volume = array[self.step]
        return np.array(volume if volume.ndim == 2 else volume.take(index, self.axis))

    def belong(self, case: Case) -> None:
        """Take the track for that case, whose slices may be counted along another axis, as the geometry was another one then."""
        self.case, self.axis = case, case.axis

    def identify(self, workspace: Workspace) -> Case:
        """The case that the image is, found by its content."""
        image = self.result.image
        volume = volume_from_layer(image, self.step)
        path = image.source.path
        return workspace.add_case(
            content_hash(volume.array),
            name=image.name + "".join(f" t{index}" for index in self.step),
            path=Path(path) if path else None,
            shape=volume.shape,
            affine=volume.affine,
            axis=self.axis,
            unit=volume.unit,
        )


@dataclass
class _Dirty:
    """Slices that wait to be saved: why, whether with their probability, and from when on the model's part is due."""

    causes: dict[int, str] = field(default_factory=dict)
    percent: set[int] = field(default_factory=set)
    due: float = 0.0

    def take(self, *, all_of_it: bool) -> _Dirty:
        """What is to be saved now: everything, or what a person has changed; the rest stays."""
        now = [index for index, cause in self.causes.items() if all_of_it or cause not in MODELS]
        taken = _Dirty({index: self.causes.pop(index) for index in now}, self.percent.intersection(now))
        self.percent -= taken.percent
        return taken

    def put_back(self, other: _Dirty) -> None:
        """What could not be saved waits again, except where it has changed since."""
        self.causes = other.causes | self.causes
        self.percent |= other.percent


class Autosave(QObject):
    """Saves the tracks' changed slices in a thread of its own.

    Parameters
    ----------
    folder : Path
        The workspace; opened in the thread, as a network drive may take its time.
    user : str or None
        Who makes the corrections; None for the name this person is logged in with.
    """

    #: The workspace is open, or could not be opened.
    opened = Signal(object)
    #: How saving stands now.
    told = Signal(object)
    #: These slices of a track are on disk, or what was said of it.
    saved = Signal(object, list)
    #: A track's labels were changed and nobody told.
    unseen = Signal(object)

    def __init__(self, folder: Path, user: str | None = None) -> None:
        super().__init__()
        self.workspace: Workspace | None = None
        self._folder, self._user = folder, user
        self._tracks: list[Track] = []
        self._dirty: dict[Track, _Dirty] = {}
        self._notes: deque[tuple[Track, Note]] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._hurry = False
        self._idle = threading.Event()
        self._busy_since = 0.0
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="napari-lungseg autosave", daemon=True)

    # ---- from the GUI thread

    def start(self) -> None:
        """Open the workspace and begin."""
        self._thread.start()

    def watch(self, track: Track) -> None:
        """Look after a track from now on."""
        with self._lock:
            self._tracks.append(track)

    def forget(self, track: Track) -> None:
        """The track's layers are gone; what waits is still saved."""
        with self._lock:
            self._tracks = [other for other in self._tracks if other is not track]

    def put(self, track: Track, indices: Iterable[int], cause: str) -> None:
        """These slices have changed."""
        waits = cause in MODELS
        with self._lock:
            dirty = self._dirty.setdefault(track, _Dirty())
            for index in indices:
                if not waits or dirty.causes.get(index, cause) in MODELS:
                    dirty.causes[index] = cause
                if cause in PROBABILITY:
                    dirty.percent.add(index)
            if waits:
                dirty.due = time.monotonic() + REST_S
            self._idle.clear()
        self._wake.set()

    def note(self, track: Track, note: Note) -> None:
        """Write something else about a track down, after the slices that wait now."""
        with self._lock:
            self._notes.append((track, note))
            self._idle.clear()
        self._wake.set()

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
            return not (self._dirty or self._notes)
        self._hurry = True
        self._wake.set()
        return self._idle.wait(timeout_s) and not (self._dirty or self._notes)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Save all that waits and end; tells whether all is on disk."""
        done = self.flush(timeout_s)
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        return done

    # ---- in the thread

    def _work(self) -> None:
        try:
            self.workspace = Workspace(self._folder, user=self._user)
        except Exception as error:
            self._say(self.opened, sentence(error))
            return
        self._say(self.opened, self.workspace)
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
        if self._failed:
            return RETRY_S
        with self._lock:
            times = [look, *(dirty.due for dirty in self._dirty.values())]
        return max(0.0, min(times) - time.monotonic())

    def _write_down(self) -> None:
        """Save all whose turn it is."""
        now = time.monotonic()
        with self._lock:
            slices = [(track, dirty.take(all_of_it=self._hurry or dirty.due <= now)) for track, dirty in self._dirty.items()]
            slices = [(track, dirty) for track, dirty in slices if dirty.causes]
            self._dirty = {track: dirty for track, dirty in self._dirty.items() if dirty.causes}
            notes = list(self._notes)
            self._notes.clear()
        while (slices or notes) and self._try(slices, notes):
            pass
        with self._lock:
            # What could not be written waits for the next time, in its order.
            for track, dirty in slices:
                self._dirty.setdefault(track, _Dirty()).put_back(dirty)
            self._notes.extendleft(reversed(notes))
            if self._failed or not (self._dirty or self._notes):
                # Nobody waits for a disk that is full.
                self._hurry = False
                self._idle.set()

    def _try(self, slices: list[tuple[Track, _Dirty]], notes: list[tuple[Track, Note]]) -> bool:
        """Write the first of the slices, or else of the notes, and take it off its list; tells whether that went well."""
        assert self.workspace is not None
        self._busy_since = time.monotonic()
        track = (slices or notes)[0][0]
        try:
            case = track.case or track.identify(self.workspace)
            if track.case is None and case.axis != track.axis and slices:
                cause = next(iter(slices[0][1].causes.values()))
                track.belong(case)
                slices[0] = track, _Dirty(dict.fromkeys(range(track.slices), cause), set(range(track.slices)))
            track.belong(case)
            if slices:
                self._save(track, case, slices[0][1])
                self._say(self.saved, track, sorted(slices.pop(0)[1].causes))
            else:
                notes[0][1](self.workspace, case)
                notes.pop(0)
                self._say(self.saved, track, [])
        except Exception as error:
            self._failed = True
            self._say(self.told, Status(False, sentence(error)))
            return False
        finally:
            self._busy_since = 0.0
        again, self._failed = self._failed, False
        self._say(self.told, Status(True, f"{'Saved again' if again else 'Saved'} at {time.strftime('%H:%M:%S')}"))
        return True

    def _save(self, track: Track, case: Case, dirty: _Dirty) -> None:
        assert self.workspace is not None
        for cause in sorted(set(dirty.causes.values())):
            indices = [index for index, why in dirty.causes.items() if why == cause]
            slices = {index: track.planes(index) for index in indices}
            percent = {index: plane for index in dirty.percent.intersection(indices) if (plane := track.percent(index)) is not None}
            self.workspace.save(case, slices, cause=cause, percent=percent, source=track.result.source_of(track.step))

    def _say(self, signal: Any, *values: Any) -> None:
        # The window may have gone while something was being written.
        with suppress(RuntimeError):
            signal.emit(*values)

    def _look_around(self) -> None:
        with self._lock:
            tracks = list(self._tracks)
        for track in tracks:
            try:
                if track.corrections.has_unseen(track.lungs.data):
                    self._say(self.unseen, track)
            except Exception:
                # Whatever a layer may have become meanwhile, saving goes on.
                logger.exception("%s could not be looked at", track.lungs)

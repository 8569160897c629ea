"""Train on a worker of a Dask cluster what was prepared on this computer.

The folder of the run goes to the worker, and comes back from there after every epoch, so that the run can be gone on with anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from napari_lungseg.errors import InputError
from napari_lungseg.files import write_whole
from napari_lungseg.library import CARD_FILE, INT8_FILE, WEIGHTS_FILE
from napari_lungseg.predicted import Notice
from napari_lungseg.remote.errand import PART, End, Errand, LostError
from napari_lungseg.remote.model_files import ModelFiles
from napari_lungseg.remote.worker_side import LOOK_S, Actor, Background
from napari_lungseg.run_files import BEST, FOLDER, LAST, LOG, SAMPLES, SLICES_DATA, SLICES_INDEX, run_lock
from napari_lungseg.training.calibrate import run_with_int8
from napari_lungseg.training.plan import Plan, read_plan, write_plan
from napari_lungseg.training.run import tidy
from napari_lungseg.training.run_setup import check_unfinished
from napari_lungseg.training.updates import EpochDone, Finished, Int8Tried, Progress, Update
from napari_lungseg.translation import say

#: What a run makes, in the order in which it is renewed: a checkpoint refers to the best weights, and a card names its weights.
MADE = tuple(path.as_posix() for path in (LOG, FOLDER / BEST, FOLDER / LAST, Path(WEIGHTS_FILE), Path(INT8_FILE), Path(CARD_FILE)))
#: What it needs besides its plan, its index of slices last.
NEEDED = tuple(path.as_posix() for path in (LOG, FOLDER / BEST, FOLDER / LAST, SAMPLES / SLICES_DATA, SAMPLES / SLICES_INDEX))
#: Updates that wait to be asked for; more hold the training.
AHEAD = 1000


def train_remotely(
    scheduler: str,
    folder: Path,
    resume: bool = False,
    *,
    check: Callable[[], None] = lambda: None,
    is_paused: Callable[[], bool] = lambda: False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Update]:
    """Train what was prepared in a folder, as :func:`~napari_lungseg.training.calibrate.run_with_int8` does, on a worker of a cluster.

    Checkpoints and model are in the folder before the update that tells of them is yielded.

    Parameters
    ----------
    scheduler : str
        Its address, ``tcp://host:8786`` or ``tls://host:8786``.
    folder : Path
        As given to :func:`~napari_lungseg.training.prepare.prepare`.
    resume : bool
        Go on from the last checkpoint, if there is one.
    check : callable
        Called many times a second; what it raises ends the work, here and on the worker. It may wait while the run is paused.
    is_paused, should_stop : callable
        Whether the worker is to hold the run, or to end it and keep the best epoch so far.

    Raises
    ------
    InputError
        When the cluster cannot be used or is lost, nothing was prepared, another process runs it, or a disk refuses.
    """
    check_unfinished(folder)
    plan = read_plan(folder)
    errand = _TrainErrand(scheduler, folder, plan, resume, lambda: _Asked(is_paused(), should_stop()))
    with closing(errand.carried_out(check)) as told:
        updates = _kept(told, folder)
        with run_lock(folder):
            while not isinstance(update := next(updates), Finished):
                yield update
        yield from tidy(folder, plan)
        yield replace(update, folder=str(folder))
        try:
            yield from updates
        except LostError:
            yield Int8Tried(False, say("The model runs in float32: {why}.", why=say("the cluster stopped answering")))


def _kept(told: Iterator[_Delivery | Notice], folder: Path) -> Iterator[Update]:
    """Write what comes with updates into the folder of the run, and yield them after it."""
    for delivery in told:
        if isinstance(delivery, Notice):
            yield delivery
            continue
        for name in MADE:
            if name in delivery.files:
                write_whole(folder / name, delivery.files[name])
        yield from delivery.updates


@dataclass(frozen=True)
class _Asked:
    """What a person asks of a run."""

    paused: bool = False
    stopped: bool = False


@dataclass(frozen=True, eq=False)
class _Delivery:
    """Updates, and the files that have changed since the ones before."""

    updates: tuple[Update, ...]
    files: dict[str, bytes]


class _Copy:
    """A run on a worker: its folder, and what is asked of it. The thread that trains knows this, not the actor, which Dask lets go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = _Asked()
        self._writing, self._removed = threading.Lock(), False

    def append(self, name: str, part: Any) -> None:
        """Write the next part of a file."""
        path = self.folder / name
        with self._writing:
            if self._removed:
                return
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write(part)
            except OSError as error:
                raise InputError(_refused(error)) from error

    def remove(self) -> None:
        """Remove the folder, and write nothing more."""
        with self._writing:
            self._removed = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def train(self, plan: Plan, resume: bool, told: Background) -> None:
        """Train to the end, then remove the folder."""
        try:
            write_plan(plan, self.folder)
            changes = _Changes(self.folder)
            with closing(run_with_int8(self.folder, resume=resume, should_stop=lambda: self.asked.stopped)) as updates:
                for update in updates:
                    told.put(update, changes.read() if isinstance(update, EpochDone | Finished | Int8Tried) else None)
                    while self.asked.paused and not self.asked.stopped:
                        told.check()
                        time.sleep(LOOK_S)
        except InputError as error:
            if isinstance(cause := error.__cause__, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(_refused(cause)) from error
            raise
        finally:
            self.remove()


class _Training(Actor):
    """One run on a worker, in a folder that goes with it."""

    def __init__(self) -> None:
        super().__init__()
        self._copy = _Copy(Path(tempfile.mkdtemp(prefix="train-", dir=self.place)))
        self._taken: dict[str, bytes] = {}

    async def take_part(self, name: str, part: Any) -> None:
        """Keep the next part of a file."""
        await asyncio.to_thread(self._copy.append, name, part)

    async def begin(self, plan: bytes, resume: bool, asked: _Asked) -> None:
        """Begin; all files are there."""
        self._copy.asked = asked
        own = replace(TypeAdapter(Plan).validate_json(plan), base=None if self.model is None else str(self.model))
        no_memory = say(
            "The memory of the cluster's worker does not suffice to train; choose another device, or smaller views or a smaller batch."
        )
        self.background = Background(partial(self._copy.train, own, resume), AHEAD, no_memory)

    async def next(self, asked: _Asked) -> tuple[list[Update | End], dict[str, int]]:
        """What has been found since, and the sizes of files that have changed."""
        self._copy.asked = asked
        found, self._taken = await self.found()
        return found, {name: len(content) for name, content in self._taken.items()}

    async def part(self, name: str, start: int) -> Any:
        """A part of a file that has changed."""
        assert self.background is not None
        self.background.heard()
        return np.frombuffer(self._taken[name], np.uint8)[start : start + PART]

    def __del__(self) -> None:
        super().__del__()
        if self.background is None:
            self._copy.remove()  # else the thread does


class _Changes:
    """Tells which files of a run have changed since it was last asked; those that were there at the beginning have not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, ...]] = {}
        self._changed()

    def read(self) -> dict[str, bytes]:
        """Their content, by their names."""
        return {name: (self._folder / name).read_bytes() for name in self._changed()}

    def _changed(self) -> list[str]:
        before = dict(self._known)
        for name in MADE:
            try:
                status = (self._folder / name).stat()
            except FileNotFoundError:
                self._known.pop(name, None)
            else:
                self._known[name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return [name for name, state in self._known.items() if before.get(name) != state]


class _TrainErrand(Errand):
    """One run as the asking side sees it."""

    actor = _Training

    def __init__(self, scheduler: str, folder: Path, plan: Plan, resume: bool, asked: Callable[[], _Asked]) -> None:
        super().__init__(scheduler)
        self._folder, self._plan, self._resume, self._asked = folder, plan, resume, asked
        self._base = None if plan.base is None else ModelFiles.read(plan.base)

    def work(self, actor: Any) -> None:
        if self._base is not None:
            self.send_model(actor, self._base)
        self._send_files(actor)
        # Names of cases, and paths, stay here.
        base = None if self._base is None else self._base.name
        plan = replace(self._plan, base=base, overview=replace(self._plan.overview, problems=(), notes=()))
        self.wait(actor.begin(TypeAdapter(Plan).dump_json(plan), self._resume, self._asked()))
        while not self.closed.is_set():
            found, sizes = self.wait(actor.next(self._asked())) or ((), {})
            files = {name: self._fetch(actor, name, size) for name, size in sizes.items()}
            if self.closed.is_set():
                return
            updates, end = [one for one in found if not isinstance(one, End)], [one for one in found if isinstance(one, End)]
            self.tell(_Delivery(tuple(updates), files))
            if end:
                self.tell(end[0])
                return

    def _send_files(self, actor: Any) -> None:
        """Send the files of the run, in parts."""
        files = [self._folder / name for name in NEEDED if (self._folder / name).is_file()]
        total, sent = sum(file.stat().st_size for file in files), 0
        for file in files:
            with file.open("rb") as parts:
                while part := parts.read(PART):
                    self.tell(_Delivery((Progress(say("Sending the slices to the cluster (MB)"), sent >> 20, total >> 20),), {}))
                    self.wait(actor.take_part(file.relative_to(self._folder).as_posix(), np.frombuffer(part, np.uint8)))
                    if self.closed.is_set():
                        return
                    sent += len(part)

    def _fetch(self, actor: Any, name: str, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size and (part := self.wait(actor.part(name, len(parts)))) is not None:
            parts += np.asarray(part).tobytes()
        return bytes(parts)

    def lost(self, reason: str) -> str:
        return say(
            "The cluster at {scheduler} stopped answering ({error}). All up to the last epoch that came is kept: "
            "go on with the run there, or on this computer.",
            scheduler=self.scheduler,
            error=reason,
        )


def _refused(error: OSError) -> str:
    return say(
        "The disk of the cluster's worker refuses ({reason}); make room there, or go on with the run on this computer.",
        reason=error.strerror or error,
    )

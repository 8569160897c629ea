"""A training run in the background: what the worker does, and how it is paused, stopped and cancelled."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from napari.qt.threading import GeneratorWorker
from qtpy.QtCore import QObject, Signal

from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, list_models, user_folder
from napari_lungseg.run_files import remove_files, remove_run
from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.train.materials import Materials
from napari_lungseg.widgets.worker import Failed, sentence

if TYPE_CHECKING:
    from napari_lungseg.training.settings import TrainSettings
    from napari_lungseg.training.updates import Update

#: One run at a time in a library: two would halve each other's pace. The lock goes with the process, however that ends.
LOCK = ".training.lock"
#: Seconds that a run waits for the one before, which may have to end its batch.
WAIT_S = 15.0
#: Seconds between two looks whether a pause is over.
LOOK_S = 0.05
#: Runs whose worker has not let go yet: until then it must have somebody to tell, also after its window is gone.
_held: set[Run] = set()


@dataclass(frozen=True)
class Job:
    """One press of the button.

    Attributes
    ----------
    folder : Path
        Of the model that is to come.
    device : str
        Where to train.
    materials : Materials or None
        What to learn from; None to go on with what was prepared in the folder.
    base : str or None
        Name or folder of the model to start from; None for new weights.
    preset : str
        Architecture of a new model.
    settings : TrainSettings or None
        How; None where the folder says it.
    """

    folder: Path
    device: str
    materials: Materials | None = None
    base: str | None = None
    preset: str = "small"
    settings: TrainSettings | None = None


class Reins:
    """By which a person holds a run; may be pulled from any thread."""

    def __init__(self) -> None:
        self.paused, self.stopped, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    def hold(self) -> bool:
        """Wait while it is paused; tells whether to go on."""
        while self.paused.is_set() and not self.cancelled.is_set() and not self.stopped.is_set():
            self.cancelled.wait(LOOK_S)
        return not self.cancelled.is_set()


def training(job: Job, reins: Reins) -> Generator[Update | Failed, None, None]:
    """Read what there is to learn, and train; pauses and ends between any two batches."""
    try:
        # It may be closed in another thread than it ran in.
        with FileLock(user_folder_made() / LOCK, timeout=WAIT_S, thread_local=False), closing(_updates(job, reins)) as updates:
            while reins.hold():
                update = next(updates, None)
                if update is None:
                    return
                if not reins.cancelled.is_set():
                    yield update
    except Timeout:
        yield Failed("A model is being trained in another window; wait until that is done.")
    except Exception as error:
        yield Failed(why(error, "The training"))


def _updates(job: Job, reins: Reins) -> Generator[Any, None, None]:
    from napari_lungseg.training.updates import Progress

    yield Progress("Loading PyTorch")
    from napari_lungseg.device import one_core_free
    from napari_lungseg.training.prepare import prepare
    from napari_lungseg.training.run import run

    with one_core_free():
        if job.materials is not None:
            source = job.materials.open()
            command = "Train in the window"
            yield from prepare(source, job.folder, base=job.base, preset=job.preset, settings=job.settings, command=command)
        yield from run(job.folder, device=job.device, resume=job.materials is None, should_stop=reins.stopped.is_set)


def why(error: Exception, what: str) -> str:
    """What went wrong in training, and what to do; ``what`` as for :func:`~.worker.sentence`."""
    # The core says which file could not be written, and its cause why.
    trouble = error.__cause__ if isinstance(error, InputError) and error.__cause__ is not None else error
    if isinstance(trouble, OSError) and trouble.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {user_folder()} is full; make room there, then go on with the run."
    if isinstance(error, MemoryError):
        return "There is not enough memory to train; close other programs, or choose smaller views or a smaller batch under Settings."
    return sentence(error, what)


def _drive(updates: Iterator[Any]) -> Iterator[Any]:
    yield from updates


class Run(QObject):
    """A run, as the window sees it.

    The worker only computes; nothing that it still sends is heard once the run is over.

    Parameters
    ----------
    job : Job
        What to do.
    """

    #: Any update of :mod:`napari_lungseg.training.updates`.
    updated = Signal(object)
    #: The end: None, or why it ended early.
    ended = Signal(object)
    #: The worker has let go of the folder; only after this can the run be gone on with.
    released = Signal()

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.over = False
        self._reins = Reins()
        self._updates = training(job, self._reins)
        self._worker: GeneratorWorker = create_worker(_drive, self._updates)
        self._worker.yielded.connect(self._arrived)
        self._worker.finished.connect(self._finished)

    def start(self) -> None:
        """Begin."""
        _held.add(self)
        self._worker.start()

    @property
    def paused(self) -> bool:
        """Whether it waits to be gone on with."""
        return self._reins.paused.is_set()

    def pause(self, paused: bool) -> None:
        """Hold the run after the batch that it is in, or let it go on."""
        (self._reins.paused.set if paused else self._reins.paused.clear)()

    def stop(self) -> None:
        """End soon, and keep the best epoch so far."""
        self._reins.stopped.set()

    def cancel(self) -> None:
        """End now; the model in use stays, and so does the last checkpoint."""
        self._reins.cancelled.set()
        self._end("Cancelled.")

    def _arrived(self, update: Any) -> None:
        if self.over:
            return
        if isinstance(update, Failed):
            self._end(update)
        else:
            self.updated.emit(update)

    def _finished(self) -> None:
        # napari, when it quits, leaves a worker where it is.
        self._updates.close()
        self._end(None)
        self.released.emit()
        _held.discard(self)

    def _end(self, reason: str | Failed | None) -> None:
        if not self.over:
            self.over = True
            self.ended.emit(reason)


def user_folder_made() -> Path:
    """Folder of the user's models, made if need be (InputError where it cannot be)."""
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder of your models {folder} cannot be made ({error.strerror}); check your rights on it.") from error
    return folder


def free_name(base: str | None) -> str:
    """A name for what is made of a base, that no model and no run has yet."""
    taken = {entry.name for entry in list_models(candidates=True)}
    if (folder := user_folder()).is_dir():
        taken |= {path.name for path in folder.iterdir()}
    stem = "new-model" if base is None else re.sub(r"-tuned(-\d+)?$", "", Path(base).name) + "-tuned"
    return next(name for name in (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))) if name not in taken)


def unfinished_runs() -> list[Path]:
    """Folders of runs that were begun and not ended, the latest first; none while a window trains."""
    folder = user_folder()
    if not folder.is_dir():
        return []
    try:
        with FileLock(folder / LOCK, blocking=False):
            plans = sorted(folder.glob("*/training/plan.json"), key=lambda plan: plan.stat().st_mtime, reverse=True)
            return [plan.parents[1] for plan in plans if not (plan.parents[1] / CARD_FILE).exists()]
    except (Timeout, OSError):
        return []


def discard(folder: Path) -> Failed | None:
    """Remove what is left of a run that was not finished, unless somebody goes on with it."""
    from napari_lungseg.run_files import run_lock

    try:
        with FileLock(user_folder() / LOCK, blocking=False), run_lock(folder):
            if (folder / CARD_FILE).exists():
                return Failed(f"The training of {folder.name} has ended meanwhile; its model was kept.")
            remove_files(folder)
        remove_run(folder)
    except Timeout:
        return Failed(f"A model is being trained in another window, so {folder.name} was not discarded; wait until that is done.")
    except OSError as error:
        return Failed(f"What is left of {folder.name} could not be removed ({error.strerror or error}); remove {folder} yourself.")
    except InputError as error:
        return Failed(str(error))
    return None

"""A training run in an engine of its own: how it is begun, paused, stopped and cancelled, and what becomes of its folder."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from qtpy.QtCore import QObject, Signal

from napari_lungseg.engine.process import Engine
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, list_models, user_folder
from napari_lungseg.run_files import PLAN, remove_files, remove_run, run_lock
from napari_lungseg.translation import say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.train.chosen_input import ChosenInput
from napari_lungseg.widgets.worker import Failure

if TYPE_CHECKING:
    from napari_lungseg.training.settings import TrainSettings

#: One run at a time in a library: two would halve each other's pace. The lock goes with the process, however that ends.
LOCK = ".training.lock"
#: Seconds that a run waits for the one before, which may have to end its batch.
WAIT_S = 15.0
#: Seconds that others wait for it: who only looks for unfinished runs holds it for a moment too.
LOOK_S = 1.0
#: Runs whose engine has not let go yet: until then it must have somebody to tell, also after its window is gone.
_held: set[TrainRun] = set()


@dataclass(frozen=True)
class TrainJob:
    """One press of the button.

    Attributes
    ----------
    folder : Path
        Of the model that is to come.
    device : str
        Where to train.
    chosen : ChosenInput or None
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
    chosen: ChosenInput | None = None
    base: str | None = None
    preset: str = "small"
    settings: TrainSettings | None = None


def request_training(job: TrainJob) -> Request:
    """Read the layers to learn from, and ask the engine to train."""
    lock = user_folder_made() / LOCK
    chosen = None if job.chosen is None else job.chosen.read()
    return Request("train", (lock, WAIT_S, job.folder, job.device, chosen, job.base, job.preset, job.settings))


class TrainRun(QObject):
    """A run, as the window sees it; it has an engine of its own.

    Parameters
    ----------
    job : TrainJob
        What to do.
    """

    #: Any update of :mod:`napari_lungseg.training.updates`.
    updated = Signal(object)
    #: The end: None, or why it ended early.
    ended = Signal(object)
    #: The engine has let go of the folder; only after this can the run be gone on with.
    released = Signal()

    def __init__(self, job: TrainJob) -> None:
        super().__init__()
        self.job = job
        self.over = self.paused = False
        self._engine = Engine()
        self._task = Task(self, say("The training"), self._engine)
        self._task.yielded.connect(self.updated)
        self._task.returned.connect(self._returned)
        self._task.failed.connect(self._failed)
        self._task.released.connect(self._released)

    def start(self) -> None:
        """Begin."""
        _held.add(self)
        self._task.run(request_training, self.job)

    def pause(self, paused: bool) -> None:
        """Hold the run after the batch that it is in, or let it go on."""
        self.paused = paused
        self._task.pause(paused)

    def stop(self) -> None:
        """End soon, and keep the best epoch so far."""
        self._task.stop()

    def cancel(self) -> None:
        """End now; the model in use stays, and so does the last checkpoint."""
        self._task.cancel()
        self._end(tr("Cancelled."))

    def _returned(self, _: Any) -> None:
        self._end(None)

    def _failed(self, text: str) -> None:
        self._end(Failure(text))

    def _released(self) -> None:
        # In the background: it waits for the process to end.
        threading.Thread(target=_let_go, args=(self._engine, self.job.folder), name="engine-close", daemon=True).start()
        self.released.emit()
        _held.discard(self)

    def _end(self, reason: str | Failure | None) -> None:
        if not self.over:
            self.over = True
            self.ended.emit(reason)


def _let_go(engine: Engine, folder: Path) -> None:
    """End an engine, and remove what a run left that was ended before there was anything to go on with."""
    engine.close()
    if not (folder / PLAN).exists() and not (folder / CARD_FILE).exists():
        with suppress(OSError):
            remove_run(folder)


def user_folder_made() -> Path:
    """Folder of the user's models, made if need be (InputError where it cannot be)."""
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            tr(
                "The folder of your models {folder} cannot be made ({reason}); check your rights on it.",
                folder=folder,
                reason=error.strerror,
            )
        ) from error
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
        with FileLock(folder / LOCK, timeout=LOOK_S):
            plans = sorted(folder.glob("*/training/plan.json"), key=lambda plan: plan.stat().st_mtime, reverse=True)
            return [plan.parents[1] for plan in plans if not (plan.parents[1] / CARD_FILE).exists()]
    except (Timeout, OSError):
        return []


def discard(folder: Path) -> None:
    """Remove what is left of a run that was not finished (InputError where somebody goes on with it, or the disk refuses)."""
    try:
        with FileLock(user_folder() / LOCK, timeout=LOOK_S), run_lock(folder):
            if (folder / CARD_FILE).exists():
                raise InputError(tr("The training of {name} has ended meanwhile; its model was kept.", name=folder.name))
            remove_files(folder)
        remove_run(folder)
    except Timeout as error:
        raise InputError(
            tr("A model is being trained in another window, so {name} was not discarded; wait until that is done.", name=folder.name)
        ) from error
    except OSError as error:
        raise InputError(
            tr(
                "What is left of {name} could not be removed ({reason}); remove {folder} yourself.",
                name=folder.name,
                reason=error.strerror or error,
                folder=folder,
            )
        ) from error

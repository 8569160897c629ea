"""Fit a network, batch after batch; a run can be stopped anywhere and resumed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder, whole_file
from napari_lungseg.predicted import Notice
from napari_lungseg.run_files import BEST, LAST
from napari_lungseg.training.batches import Batch, Batches, BatchesAhead
from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.judge import Confusion, Judge
from napari_lungseg.training.samples import LabelledSlice
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.step import Learner, make_optimizer, set_rate, update_average
from napari_lungseg.training.updates import EpochDone, PooledScores, StepDone, driven
from napari_lungseg.translation import say_n
from napari_lungseg.unet import UNet

ALONE = ProcessGroup(0, 1, torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """Describe what a network learns, and how it is watched.

    Attributes
    ----------
    batches : Batches
        What it learns from.
    settings : TrainSettings
        How.
    judge : Judge
        Scores it.
    validation : sequence of LabelledSlice
        Slices to watch; may be empty.
    teacher : UNet or None
        The base; its classes are the first of the network's.
    replay_classes : int or None
        How many of the classes, from the first on, the base's own cases know; None for all.
    """

    batches: Batches
    settings: TrainSettings
    judge: Judge
    validation: Sequence[LabelledSlice] = ()
    teacher: UNet | None = None
    replay_classes: int | None = None


class _FitState:
    """Hold the state of a run, as a checkpoint does."""

    def __init__(self, network: UNet, job: TrainingJob, group: ProcessGroup) -> None:
        self.network, self.average = network, copy.deepcopy(network).eval()
        self.optimizer = make_optimizer(network, job.settings)
        self.epoch, self.seconds = 0, 0.0
        self.best, self.best_epoch = -math.inf, -1
        #: Views that go through the network at once; fewer than a batch once the memory has run out.
        self.at_once = 2 * job.settings.batch_size
        self._since = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds trained, this stretch included."""
        return self.seconds + time.monotonic() - self._since

    def resume_clock(self) -> None:
        self._since = time.monotonic()

    def stop_clock(self) -> None:
        self.seconds = self.elapsed

    def save(self, path: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        save_state(path, parts | {name: getattr(self, name) for name in _PLAIN} | {"seconds": self.elapsed})

    def load(self, path: Path) -> None:
        saved = load_state(path)
        try:
            for name in _PARTS:
                getattr(self, name).load_state_dict(saved[name])
            for name in _PLAIN:
                setattr(self, name, saved[name])
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} is a checkpoint of another network or optimizer; resume with its settings.") from error


_PARTS = ("network", "average", "optimizer")
_PLAIN = ("epoch", "seconds", "best", "best_epoch", "at_once")


def fit(
    network: UNet,
    job: TrainingJob,
    folder: Path,
    *,
    resume: bool = False,
    group: ProcessGroup = ALONE,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[StepDone | EpochDone | Notice]:
    """Train ``network`` in place; at the end it holds the averaged weights of the best epoch (of the last one, without validation).

    Parameters
    ----------
    network : UNet
        Reads single slices (no context).
    job : TrainingJob
        What to learn.
    folder : Path
        Where the checkpoints of the last and the best epoch are renewed, each whole or not at all.
    resume : bool
        Go on from there. A resumed run ends as an unbroken one, since every step draws from its own seed.
    group : ProcessGroup
        The processes that train together.
    should_stop : callable
        Asked before every step; once it says so the run ends as if its time were over.

    Yields
    ------
    StepDone, EpochDone or Notice
        After every batch and every epoch, and the last StepDone again after every slice that is scored, so that the caller can
        pause or close it within a batch. Time in which it is not driven does not count. Closing it stops the run; the checkpoints stay.

    Raises
    ------
    InputError
        When there is no checkpoint to resume from, it is of another network, the disk refuses, or the memory does not suffice.
    """
    if network.config.in_channels != 1:
        raise InputError("Only networks that read single slices can be trained; choose a model without neighbouring slices.")
    settings = job.settings
    for part in (network, job.teacher):
        if part is not None:
            part.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = _FitState(network.train(), job, group)
    if resume:
        state.load(folder / LAST)
    learner = Learner(group.wrap(network), settings.loss, group, job.teacher, job.replay_classes)
    state.resume_clock()
    with BatchesAhead(job.batches, group.rank) as ahead:
        for update in _epochs(state, job, learner, ahead, folder, group, should_stop):
            state.stop_clock()
            yield update
            state.resume_clock()
    if group.leads and state.best_epoch >= 0:
        state.average.load_state_dict(load_state(folder / BEST)["average"])
    network.load_state_dict(state.average.state_dict())
    network.requires_grad_(True).eval()


def _epochs(
    state: _FitState,
    job: TrainingJob,
    learner: Learner,
    ahead: BatchesAhead,
    folder: Path,
    group: ProcessGroup,
    should_stop: Callable[[], bool],
) -> Iterator[StepDone | EpochDone | Notice]:
    """Learn batch after batch, until steps or time are over, a stop is asked for, or nothing gets better."""
    settings = job.settings
    ended = False
    while state.epoch < settings.epochs and not ended:
        confusion, latest = Confusion(job.judge.names), None
        for done in range(settings.steps_per_epoch):
            number = state.epoch * settings.steps_per_epoch + done
            elapsed = group.agree(state.elapsed)
            progress = _progress(settings, number, elapsed)
            if progress >= 1.0 or group.agree(should_stop()):
                ended = True
                break
            batch = ahead.take(number, progress, _progress(settings, number + 1, elapsed))
            loss, at_once = _step(state, settings, learner, batch, number, progress, confusion)
            if at_once < state.at_once:
                state.at_once = at_once
                yield Notice(
                    say_n(
                        "The memory ran out: going on with {count} view at a time.",
                        "The memory ran out: going on with {count} views at a time.",
                        at_once,
                    )
                )
            latest = StepDone(state.epoch, number, done + 1, settings.steps_per_epoch, progress, loss, state.elapsed)
            yield latest
        if latest is None:
            break
        validation: PooledScores | None = None
        if job.validation and group.leads:
            scoring = job.judge.score(state.average, job.validation)
            validation = yield from driven(scoring, partial(replace, latest))
        yield from _keep(state, job, folder, confusion.scores, validation, latest, group)
        if job.validation and settings.patience is not None and state.epoch - 1 - state.best_epoch >= settings.patience:
            ended = True


def _progress(settings: TrainSettings, number: int, seconds: float) -> float:
    """Return how much of the run (0 .. 1) is over before a step: of its steps or of its time, whichever is more."""
    steps = number / (settings.epochs * settings.steps_per_epoch)
    return steps if settings.minutes is None else max(steps, seconds / (60.0 * settings.minutes))


def _step(
    state: _FitState, settings: TrainSettings, learner: Learner, batch: Batch, number: int, progress: float, confusion: Confusion
) -> tuple[float, int]:
    """Learn from one batch; returns its loss and how many views at once fitted into memory."""
    set_rate(state.optimizer, settings, progress)
    state.optimizer.zero_grad(set_to_none=True)
    loss, at_once = learner.learn(batch, state.at_once, confusion)
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    state.optimizer.step()
    update_average(state.average, state.network, min(settings.average, (1 + number) / (10 + number)))
    return loss, at_once


def _keep(
    state: _FitState,
    job: TrainingJob,
    folder: Path,
    train: PooledScores,
    validation: PooledScores | None,
    latest: StepDone,
    group: ProcessGroup,
) -> Iterator[EpochDone]:
    """End an epoch: save its checkpoint, and its weights if they are the best."""
    score = float(state.epoch) if validation is None else validation.mean_dice
    # Without a single labelled pixel there is no Dice, and no epoch better than another.
    is_best = bool(group.agree(state.best_epoch < 0 or score > state.best))
    if is_best:
        state.best, state.best_epoch = group.agree(score), state.epoch
    state.epoch += 1
    if not group.leads:
        return
    # In this order, a resumed run finds the best weights that the last state refers to, or newer ones.
    if is_best:
        save_state(folder / BEST, {"average": state.average.state_dict()})
    state.save(folder / LAST)
    picture = job.judge.picture(state.average, job.validation[len(job.validation) // 2]) if job.validation else None
    yield EpochDone(state.epoch - 1, train, validation, is_best, picture, latest.progress, state.elapsed)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an older state of that name stays until this one is on disk (InputError when it cannot be)."""
    make_folder(path.parent)
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
    except InputError as error:
        raise InputError(f"{error} The state before is kept; make room there, then go on with the run.") from error.__cause__


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, without running any code in it.

    Raises
    ------
    InputError
        When there is no such file, or it is damaged.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path} to resume from; begin the training anew.") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(f"{path} is not a readable checkpoint; delete it and begin the training anew.") from error

"""The fit loop: batches in, better weights out; it can be stopped anywhere and gone on with."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from napari_lungseg.errors import InputError
from napari_lungseg.run_files import BEST, LAST
from napari_lungseg.training.batches import Batches
from napari_lungseg.training.checkpoint import load_state, save_state
from napari_lungseg.training.distributed import World
from napari_lungseg.training.driving import telling
from napari_lungseg.training.optimize import make_optimizer, set_rate, update_average
from napari_lungseg.training.samples import LabelledSlice
from napari_lungseg.training.scoring import Judge, Tally
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.step import Learner
from napari_lungseg.training.updates import EpochDone, Notice, Scores, StepDone
from napari_lungseg.unet import UNet

ALONE = World(0, 1, torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a network is to learn, and how it is watched.

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


class _Run:
    """The state of a run, as a checkpoint holds it."""

    def __init__(self, network: UNet, lesson: Lesson, world: World) -> None:
        self.network, self.average = network, copy.deepcopy(network).eval()
        self.optimizer = make_optimizer(network, lesson.settings)
        self.epoch, self.seconds = 0, 0.0
        self.best, self.best_epoch = -math.inf, -1
        #: Views that go through the network at once; fewer than a batch once the memory has run out.
        self.at_once = 2 * lesson.settings.batch_size
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
    lesson: Lesson,
    folder: Path,
    *,
    resume: bool = False,
    world: World = ALONE,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[StepDone | EpochDone | Notice]:
    """Train ``network`` in place; at the end it holds the averaged weights of the best epoch (of the last one, without validation).

    Parameters
    ----------
    network : UNet
        Reads single slices (no context).
    lesson : Lesson
        What to learn.
    folder : Path
        Where the checkpoints of the last and the best epoch are renewed, each whole or not at all.
    resume : bool
        Go on from there. A resumed run ends as an unbroken one, since every step draws from its own seed.
    world : World
        The processes that train together.
    should_stop : callable
        Asked before every step; once it says so the run ends as if its time were over.

    Yields
    ------
    StepDone, EpochDone or Notice
        After every batch and every epoch, and the last StepDone again after every slice that is scored, so that whoever drives this can
        pause or close it within a batch. Time in which it is not driven does not count. Closing it stops the run; the checkpoints stay.

    Raises
    ------
    InputError
        When there is no checkpoint to resume from, it is of another network, the disk refuses, or the memory does not suffice.
    """
    if network.config.in_channels != 1:
        raise InputError("Only networks that read single slices can be trained; choose a model without neighbouring slices.")
    settings = lesson.settings
    for part in (network, lesson.teacher):
        if part is not None:
            part.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(network.train(), lesson, world)
    if resume:
        run.load(folder / LAST)
    learner = Learner(world.wrap(network), settings.loss, world, lesson.teacher, lesson.replay_classes)
    run.resume_clock()
    for update in _epochs(run, lesson, learner, folder, world, should_stop):
        run.stop_clock()
        yield update
        run.resume_clock()
    if world.leads and run.best_epoch >= 0:
        run.average.load_state_dict(load_state(folder / BEST)["average"])
    network.load_state_dict(run.average.state_dict())
    network.requires_grad_(True).eval()


def _epochs(
    run: _Run, lesson: Lesson, learner: Learner, folder: Path, world: World, should_stop: Callable[[], bool]
) -> Iterator[StepDone | EpochDone | Notice]:
    """Batch after batch, until the steps or the time are over, it is asked to stop, or nothing gets better."""
    settings = lesson.settings
    ended = False
    while run.epoch < settings.epochs and not ended:
        tally, told = Tally(lesson.judge.names), None
        for done in range(settings.steps_per_epoch):
            number = run.epoch * settings.steps_per_epoch + done
            progress = _progress(settings, number, world.agree(run.elapsed))
            if progress >= 1.0 or world.agree(should_stop()):
                ended = True
                break
            loss, at_once = _step(run, lesson, learner, number, progress, tally, world)
            if at_once < run.at_once:
                run.at_once = at_once
                yield Notice(f"The memory ran out: going on with {at_once} view{'s' * (at_once > 1)} at a time.")
            told = StepDone(run.epoch, number, done + 1, settings.steps_per_epoch, progress, loss, run.elapsed)
            yield told
        if told is None:
            break
        validation: Scores | None = None
        if lesson.validation and world.leads:
            scoring = lesson.judge.score(run.average, lesson.validation)
            validation = yield from telling(scoring, partial(replace, told))
        yield from _keep(run, lesson, folder, tally.scores, validation, told, world)
        if lesson.validation and settings.patience is not None and run.epoch - 1 - run.best_epoch >= settings.patience:
            ended = True


def _progress(settings: TrainSettings, number: int, seconds: float) -> float:
    """How much of the run is over before a step: of its steps or of its time, whichever is more."""
    steps = number / (settings.epochs * settings.steps_per_epoch)
    return steps if settings.minutes is None else max(steps, seconds / (60.0 * settings.minutes))


def _step(run: _Run, lesson: Lesson, learner: Learner, number: int, progress: float, tally: Tally, world: World) -> tuple[float, int]:
    """Learn from one batch; gives its loss and how many views at once the memory took."""
    settings = lesson.settings
    set_rate(run.optimizer, settings, progress)
    run.optimizer.zero_grad(set_to_none=True)
    loss, at_once = learner.learn(lesson.batches.draw(number, progress, world.rank), run.at_once, tally)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.clip_norm)
    run.optimizer.step()
    update_average(run.average, run.network, min(settings.average, (1 + number) / (10 + number)))
    return loss, at_once


def _keep(
    run: _Run, lesson: Lesson, folder: Path, train: Scores, validation: Scores | None, told: StepDone, world: World
) -> Iterator[EpochDone]:
    """End an epoch: its checkpoint, and the best weights if these are."""
    score = float(run.epoch) if validation is None else validation.mean_dice
    # Without a single labelled pixel there is no Dice, and no epoch better than another.
    is_best = bool(world.agree(run.best_epoch < 0 or score > run.best))
    if is_best:
        run.best, run.best_epoch = world.agree(score), run.epoch
    run.epoch += 1
    if not world.leads:
        return
    # In this order: whoever resumes finds the best weights of which the last state speaks, or newer ones.
    if is_best:
        save_state(folder / BEST, {"average": run.average.state_dict()})
    run.save(folder / LAST)
    picture = lesson.judge.picture(run.average, lesson.validation[len(lesson.validation) // 2]) if lesson.validation else None
    yield EpochDone(run.epoch - 1, train, validation, is_best, picture, told.progress, run.elapsed)

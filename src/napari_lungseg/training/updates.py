"""Define what a training run yields while it goes on; plain values, so that they can cross to another process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from napari_lungseg.predicted import Notice


@dataclass(frozen=True)
class Overview:
    """Count what there is to learn from.

    Attributes
    ----------
    cases, slices : int
        Images, and judged slices of them.
    unjudged : int
        Slices that nobody has judged, from which nothing is learnt but what the base knows.
    classes : dict of str to int
        Judged slices on which each class is seen, by its name.
    train, validation : int
        Judged slices to learn from and to watch; what lies between them is left out.
    split : str
        How they are split, or why they cannot be; one sentence.
    problems : tuple of str
        Cases that were left out and why, one sentence each.
    notes : tuple of str
        What was decided or is doubtful in files that were read, with the cases.
    """

    cases: int
    slices: int
    unjudged: int
    classes: dict[str, int]
    train: int
    validation: int
    split: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PooledScores:
    """Hold the agreement on some slices, over all of their judged pixels together.

    Attributes
    ----------
    loss : float
        What training minimises.
    dice, iou, precision, recall : dict of str to float
        By the class's name; NaN where a class is neither there nor found.
    """

    loss: float
    dice: dict[str, float]
    iou: dict[str, float]
    precision: dict[str, float]
    recall: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes; NaN where none is there."""
        known = [value for value in self.dice.values() if value == value]
        return sum(known) / len(known) if known else float("nan")


@dataclass(frozen=True, eq=False)
class SlicePicture:
    """Hold a slice with a person's mask and a model's, on the slice's own pixels, cropped to the body.

    Attributes
    ----------
    title : str
        Which slice.
    image : (H, W) array of uint8
        Greys as the network sees them.
    reference, prediction : (H, W) array of uint8
        0 background, 1 .. n the classes; 255 in ``reference``: not judged.
    dice : float
        Mean over classes, of this slice.
    """

    title: str
    image: npt.NDArray[np.uint8]
    reference: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]
    dice: float


@dataclass(frozen=True)
class Progress:
    """Report the work that goes on, ``done`` of ``total`` if it can be counted."""

    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class StepDone:
    """Report a batch that has been learnt from.

    Attributes
    ----------
    epoch, step : int
        Counted from 0; the step over the whole run.
    epoch_step, epoch_steps : int
        Batches of this epoch that are done, and in all.
    progress : float
        0 .. 1 of the run.
    loss : float
        Of this batch.
    seconds : float
        Time trained so far, earlier sittings included.
    """

    epoch: int
    step: int
    epoch_step: int
    epoch_steps: int
    progress: float
    loss: float
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take at this pace; None before the first."""
        return self.seconds * (1.0 / self.progress - 1.0) if self.progress > 0 else None


@dataclass(frozen=True, eq=False)
class EpochDone:
    """Report an epoch that has ended, with its checkpoint on disk.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    train : PooledScores
        Of its batches, as they were augmented, before each was learnt from.
    validation : PooledScores or None
        Of the averaged weights on the validation slices; None without such slices.
    best : bool
        Whether this is the best epoch so far.
    picture : SlicePicture or None
        A validation slice.
    progress, seconds : float
        As in :class:`StepDone`.
    """

    epoch: int
    train: PooledScores
    validation: PooledScores | None
    best: bool
    picture: SlicePicture | None
    progress: float
    seconds: float


@dataclass(frozen=True)
class BeforeAfter:
    """Hold the scores of one group of slices before and after training.

    Attributes
    ----------
    slices : int
        How many.
    before : PooledScores or None
        Of the base; None for a new model.
    after : PooledScores
        Of the new model.
    """

    slices: int
    before: PooledScores | None
    after: PooledScores


@dataclass(frozen=True, eq=False)
class Verdict:
    """Hold the result of a training run.

    Attributes
    ----------
    accepted : bool
        Better on what is new and no worse on what is old.
    why : str
        One or two sentences for the person.
    new, old : BeforeAfter or None
        Validation slices; frozen cases of the base.
    pictures : tuple of (before, after)
        Validation slices with the base's mask (None for a new model) and the new model's.
    """

    accepted: bool
    why: str
    new: BeforeAfter | None
    old: BeforeAfter | None
    pictures: tuple[tuple[SlicePicture | None, SlicePicture], ...] = ()


@dataclass(frozen=True, eq=False)
class Finished:
    """Report the end of a run: the model is saved.

    Attributes
    ----------
    folder : str
        The model's folder.
    name : str
        The model's name.
    verdict : Verdict
        Whether it was accepted, and why.
    seconds : float
        Time trained.
    """

    folder: str
    name: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Int8Tried:
    """Tell whether the new model has a network in int8, too.

    Attributes
    ----------
    kept : bool
        It is as good as the one in float32, and runs in its place on CPUs.
    text : str
        One sentence for the person, with figures.
    """

    kept: bool
    text: str


_Update = TypeVar("_Update")
_Result = TypeVar("_Result")


Update = Progress | Notice | Overview | StepDone | EpochDone | Finished | Int8Tried


def driven(steps: Generator[Any, None, _Result], update: Callable[[], _Update]) -> Generator[_Update, None, _Result]:
    """Drive a generator to its result, yielding what ``update`` gives after each of its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
        yield update()


def finish(steps: Generator[Any, None, _Result]) -> _Result:
    """Drive a generator to its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result

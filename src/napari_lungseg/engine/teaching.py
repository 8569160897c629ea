"""Jobs of an engine: train, and tell beforehand what there is to learn from."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from napari_lungseg.card import read_card
from napari_lungseg.engine.control import Control
from napari_lungseg.engine.training_input import TrainingInput, opened
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE
from napari_lungseg.places import is_address
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.remote.training import train_remotely
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.augmentation.augment import preview
from napari_lungseg.training.calibrate import run_with_int8
from napari_lungseg.training.plan import choose_classes
from napari_lungseg.training.prepare import look_over, prepare
from napari_lungseg.training.samples import IGNORE, LabelledSlice, slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import TrainingCase
from napari_lungseg.training.train import estimate_seconds
from napari_lungseg.training.updates import Overview, Progress, Update
from napari_lungseg.translation import say
from napari_lungseg.volume import Array

#: By how much training steps back behind the window.
NICE = 5


def train(
    control: Control,
    lock: Path,
    wait_s: float,
    folder: Path,
    device: str,
    training_input: TrainingInput | None,
    base: str | None,
    preset: str,
    settings: TrainSettings | None,
) -> Iterator[Update]:
    """Read what there is to learn, and train; without an input it goes on with a run that was begun.

    Parameters
    ----------
    control : Control
        Of the job.
    lock : Path
        Held while it trains, so that two runs do not halve each other's pace; it goes with the process.
    wait_s : float
        How long to wait for the run before, which may have to end its batch.
    folder, device, base, preset, settings
        As for :func:`~napari_lungseg.training.prepare.prepare` and :func:`~napari_lungseg.training.run.run`. The device may also be
        the address of a cluster's scheduler.
    training_input : TrainingInput or None
        What to learn from.
    """
    # The window comes first. What this thread starts inherits it.
    if hasattr(os, "nice"):
        os.nice(NICE)
    try:
        with FileLock(lock, timeout=wait_s), sentences(folder.parent):
            if training_input is not None:
                with opened(training_input) as source:
                    yield from prepare(source, folder, base=base, preset=preset, settings=settings, command="Train in the window")
            resume = training_input is None
            if is_address(device):
                yield from train_remotely(
                    device, folder, resume=resume, check=control.check, is_paused=control.paused, should_stop=control.stopped
                )
            else:
                yield from run_with_int8(folder, device=device, resume=resume, should_stop=control.stopped)
    except Timeout as error:
        raise InputError(say("A model is being trained in another window; wait until that is done.")) from error


def count(
    control: Control, training_input: TrainingInput, base: str | None, preset: str, settings: TrainSettings, device: str, timed: bool
) -> Generator[Progress | Overview, None, float | None]:
    """Tell what there is to learn from; returns the longest time, in seconds, that a run takes here, if it is to be timed."""
    with opened(training_input) as source:
        yield from look_over(source, base=base, settings=settings)
    return estimate_seconds(settings, base, preset, device) if timed else None


def find_example(control: Control, training_input: TrainingInput, base: Path | None) -> tuple[LabelledSlice, int | None, tuple[str, ...]]:
    """The judged slice of the first case on which most is labelled, which of its classes is lung, and what they are called."""
    card = None if base is None else read_card(base / CARD_FILE)
    with opened(training_input) as source:
        for case in source:
            control.check()
            if not isinstance(case, TrainingCase):
                continue
            preprocessing = Preprocessing() if card is None else card.preprocessing
            judged = [item for item in slices_of(case.key, case.image, case.labels, preprocessing, 0) if item.classes]
            if judged:
                item = max(judged, key=lambda one: int(((one.label > 0) & (one.label != IGNORE)).sum()))
                classes = choose_classes({label: source.names.get(label, "") for label in item.classes}, card, keep_old=True)
                return replace(item, label=classes.index(item.label)), 1 if classes.sides else None, classes.names
    raise InputError(say("There is no annotated slice with a label yet: correct or review one first."))


def show_views(
    control: Control,
    item: LabelledSlice,
    lung: int | None,
    names: tuple[str, ...],
    settings: AugmentSettings,
    seed: int,
    views: int,
    side: int,
    pixel_mm: float,
) -> list[tuple[Array, Array]]:
    """Greys and labels of some random views of a slice."""
    own = settings.for_classes(names)
    return [preview(item, own, pixel_mm, seed + number, size=side, lung=lung) for number in range(views)]


@contextmanager
def sentences(library: Path) -> Iterator[None]:
    """Turn a full disk and too little memory into sentences that say what to do (InputError)."""
    try:
        yield
    except MemoryError as error:
        raise InputError(
            say("There is not enough memory to train; close other programs, or choose smaller views or a smaller batch under Settings.")
        ) from error
    except (InputError, OSError) as error:
        # The core says which file could not be written, and its cause why.
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(say("The disk of {library} is full; make room there, then go on with the run.", library=library)) from error
        raise

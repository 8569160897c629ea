"""Run a training, from prepared slices to a model that is accepted or not."""

from __future__ import annotations

import copy
import gc
import json
import os
import platform
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from napari_lungseg.card import Card
from napari_lungseg.device import choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model, save_model
from napari_lungseg.predicted import Notice
from napari_lungseg.run_files import FOLDER, LAST, LOCK, LOG, SAMPLES, remove_resumable, run_lock
from napari_lungseg.training.blend import COMPARED, Pair, blend, compare
from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.fit import fit
from napari_lungseg.training.judge import decide
from napari_lungseg.training.plan import Plan, without_names, write_plan
from napari_lungseg.training.run_setup import RunSetup, make_job, read_setup
from napari_lungseg.training.samples import LabelledSlice, spread
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.split import Split
from napari_lungseg.training.updates import (
    BeforeAfter,
    EpochDone,
    Finished,
    Progress,
    SlicePicture,
    StepDone,
    Update,
    Verdict,
)
from napari_lungseg.translation import say
from napari_lungseg.unet import UNet

#: Pairs of pictures in the verdict.
PICTURES = 4


def run(
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    processes: ProcessGroup | None = None,
    saved: Callable[[RunSetup], None] = lambda setup: None,
) -> Iterator[Update]:
    """Train what was prepared in a folder, compare, and save the model there; the last update is a :class:`~.updates.Finished`.

    Not driving the generator pauses the run; closing it ends it, and all models stay as they are, as do the slices and the last
    checkpoint, so that it can be resumed.

    Parameters
    ----------
    folder : path
        As given to :func:`~.prepare.prepare`.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    resume : bool
        Go on from the last checkpoint, if there is one.
    should_stop : callable
        Once it says so the training ends, and the best epoch so far is kept.
    processes : ProcessGroup, optional
        Those that train together, in place of ``device``; only the first one compares and saves.
    saved : callable
        Called once the model is saved, before the slices are removed; what it keeps of them must be copied.

    Raises
    ------
    InputError
        When nothing was prepared there, another process runs it, the disk refuses, or the memory does not suffice.
    """
    folder = Path(folder)
    processes = processes or ProcessGroup(0, 1, choose_device(device))
    yield Progress(say("Loading the model"))
    with run_lock(folder) if processes.leads else nullcontext():
        ended = yield from _run(folder, resume, should_stop, processes, saved)
    if ended is None:
        return
    plan, finished = ended
    yield from tidy(folder, plan)
    yield finished


def _run(
    folder: Path, resume: bool, should_stop: Callable[[], bool], processes: ProcessGroup, saved: Callable[[RunSetup], None]
) -> Generator[Update, None, tuple[Plan, Finished] | None]:
    """Train, compare and save; only the process that leads returns a result."""
    setup = read_setup(folder)
    before: Pair = (None, None)
    pictures: list[SlicePicture] = []
    if processes.leads and setup.base is not None:
        before = yield from compare(setup, setup.model.network, processes, say("Scoring the model as it was"))
        pictures = [setup.judge.picture(setup.model.network, item) for item in _shown(setup)]
    job = yield from make_job(setup)
    seconds, network = 0.0, copy.deepcopy(setup.model.network)
    checkpoints = folder / FOLDER
    again = resume and (checkpoints / LAST).exists()
    for update in fit(network, job, checkpoints, resume=again, group=processes, should_stop=should_stop):
        if isinstance(update, StepDone | EpochDone):
            seconds = update.seconds
        if isinstance(update, EpochDone):
            _log(folder / LOG, update)
        yield update
    if not processes.leads:
        return None
    after, share = yield from blend(setup, network, before, processes)
    verdict = _verdict(setup, network, before, after, pictures)
    save_model(Model(network.cpu(), _card(setup, verdict, seconds, share)), folder, half=True)
    saved(setup)
    return setup.plan, Finished(str(folder), setup.plan.name, verdict, seconds)


def tidy(folder: Path, plan: Plan) -> Iterator[Notice]:
    """Remove what only resuming needs of a run that has ended, and all names; a model may be given away, these may not."""
    # What still refers to the slices keeps their file mapped, and Windows removes no mapped file.
    gc.collect()
    try:
        remove_resumable(folder)
        write_plan(without_names(plan), folder)
        (folder / LOCK).unlink(missing_ok=True)
    except (OSError, InputError) as failed:
        error = failed if isinstance(failed, OSError) else OSError(str(failed))
        yield Notice(
            say(
                "{file} could not be removed ({reason}); remove {folder} before you give the model away, as images of patients are in it.",
                file=error.filename or folder / SAMPLES,
                reason=error.strerror or error,
                folder=folder / SAMPLES,
            )
        )


def _shown(setup: RunSetup) -> list[LabelledSlice]:
    """Choose validation slices to show, with labels if there are such."""
    slices = setup.slices["validation"]
    return spread([item for item in slices if item.classes] or slices, PICTURES)


def _verdict(setup: RunSetup, network: UNet, before: Pair, after: Pair, pictures: list[SlicePicture]) -> Verdict:
    new_slices = len(spread(setup.slices["validation"], COMPARED))
    new = BeforeAfter(new_slices, before[0], after[0]) if after[0] is not None else None
    old = BeforeAfter(len(setup.old.frozen), before[1], after[1]) if setup.old is not None and after[1] is not None else None
    accepted, why = decide(new, old, setup.plan.overview.split)
    shown = [setup.judge.picture(network, item) for item in _shown(setup)]
    before_and_after = zip(pictures, shown, strict=True) if pictures else ((None, picture) for picture in shown)
    return Verdict(accepted, why, new, old, tuple(before_and_after))


def _card(setup: RunSetup, verdict: Verdict, seconds: float, share: float) -> Card:
    plan, card = setup.plan, setup.model.card
    training = {
        "command": plan.command,
        "source": plan.source,
        "settings": TypeAdapter(TrainSettings).dump_python(plan.settings, mode="json"),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "cases": plan.overview.cases,
        "slices": plan.overview.train,
        "split": TypeAdapter(Split).dump_python(plan.split, mode="json"),
        "sources": plan.licences,
        "share_of_new_weights": share,
        "base_cases": setup.old.model if setup.old is not None else None,
        "verdict": verdict.why,
    }
    scores = {
        f"{group}_{when}": _rounded(asdict(found))
        for group, compared in (("validation", verdict.new), ("base_cases", verdict.old))
        if compared is not None
        for when, found in (("before", compared.before), ("after", compared.after))
        if found is not None
    }
    return replace(card, training=training, scores=scores, accepted=verdict.accepted)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Round numbers for JSON, with None for NaN."""
    return {
        key: _rounded(value) if isinstance(value, dict) else (round(value, 5) if value == value else None) for key, value in values.items()
    }


def _log(path: Path, done: EpochDone) -> None:
    """Append one line of JSON for an epoch."""
    line = {
        "epoch": done.epoch,
        "seconds": round(done.seconds, 2),
        "best": done.best,
        "train": _rounded(asdict(done.train)),
        "validation": None if done.validation is None else _rounded(asdict(done.validation)),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")

"""A training run, from prepared slices to a model that is accepted or not."""

from __future__ import annotations

import copy
import gc
import json
import os
import platform
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from napari_lungseg.card import Card
from napari_lungseg.device import choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model, save_model
from napari_lungseg.run_files import FOLDER, LAST, LOCK, LOG, SAMPLES, remove_resumable
from napari_lungseg.training.distributed import World
from napari_lungseg.training.driving import telling
from napari_lungseg.training.fit import fit
from napari_lungseg.training.lock import run_lock
from napari_lungseg.training.plan import Plan, without_names, write_plan
from napari_lungseg.training.samples import LabelledSlice
from napari_lungseg.training.scoring import spread
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.split import Split
from napari_lungseg.training.start import Start, make_lesson, read_start
from napari_lungseg.training.updates import Compared, EpochDone, Finished, Notice, Picture, Scores, Stage, StepDone, Update, Verdict
from napari_lungseg.training.verdict import better, forgotten, judge
from napari_lungseg.unet import UNet

#: Validation slices that are scored before and after, at most.
COMPARED = 200
#: Parts of the way from the old weights to the new ones that are tried where the new ones have forgotten too much.
SHARES = (0.8, 0.6, 0.4, 0.2)
#: Pairs of pictures in the verdict.
PICTURES = 4

Pair = tuple[Scores | None, Scores | None]


def run(
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    processes: World | None = None,
) -> Iterator[Update]:
    """Train what was prepared in a folder, compare, and save the model there; the last update is a :class:`~.updates.Finished`.

    Not driving the generator pauses the run; closing it ends it, and all models stay as they are, as do the slices and the last
    checkpoint, so that it can be gone on with.

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
    processes : World, optional
        Those that train together, in place of ``device``; only the first one compares and saves.

    Raises
    ------
    InputError
        When nothing was prepared there, another process goes on with it, the disk refuses, or the memory does not suffice.
    """
    folder = Path(folder)
    processes = processes or World(0, 1, choose_device(device))
    yield Stage("Loading the model")
    with run_lock(folder) if processes.leads else nullcontext():
        ended = yield from _run(folder, resume, should_stop, processes)
    if ended is None:
        return
    plan, finished = ended
    yield from _tidy(folder, plan)
    yield finished


def _run(
    folder: Path, resume: bool, should_stop: Callable[[], bool], processes: World
) -> Generator[Update, None, tuple[Plan, Finished] | None]:
    """Train, compare and save; only the process that leads has an end to tell."""
    start = read_start(folder)
    before: Pair = (None, None)
    pictures: list[Picture] = []
    if processes.leads and start.base is not None:
        before = yield from _compare(start, start.model.network, processes, "Scoring the model as it was")
        pictures = [start.judge.picture(start.model.network, item) for item in _shown(start)]
    lesson = yield from make_lesson(start)
    seconds, network = 0.0, copy.deepcopy(start.model.network)
    checkpoints = folder / FOLDER
    again = resume and (checkpoints / LAST).exists()
    for update in fit(network, lesson, checkpoints, resume=again, world=processes, should_stop=should_stop):
        if isinstance(update, StepDone | EpochDone):
            seconds = update.seconds
        if isinstance(update, EpochDone):
            _log(folder / LOG, update)
        yield update
    if not processes.leads:
        return None
    after, share = yield from _blend(start, network, before, processes)
    verdict = _verdict(start, network, before, after, pictures)
    save_model(Model(network.cpu(), _card(start, verdict, seconds, share)), folder, half=True)
    return start.plan, Finished(str(folder), start.plan.name, verdict, seconds)


def _tidy(folder: Path, plan: Plan) -> Iterator[Notice]:
    """Remove what only going on with the run needs, and all names; a model may be given away, these may not."""
    # What still refers to the slices keeps their file mapped, and Windows removes no mapped file.
    gc.collect()
    try:
        remove_resumable(folder)
        write_plan(without_names(plan), folder)
        (folder / LOCK).unlink(missing_ok=True)
    except (OSError, InputError) as failed:
        error = failed if isinstance(failed, OSError) else OSError(str(failed))
        yield Notice(
            f"{error.filename or folder / SAMPLES} could not be removed ({error.strerror or error}); "
            f"remove {folder / SAMPLES} before you give the model away, as images of patients are in it."
        )


def _blend(start: Start, network: UNet, before: Pair, processes: World) -> Generator[Stage, None, tuple[Pair, float]]:
    """Score the new weights; where they have forgotten too much, go back towards the old ones as far as it takes.

    Weights between those before and after a short training make a network between the two (Wortsman et al. 2022, arXiv 2109.01903).

    Returns
    -------
    scores : pair of Scores
        On the validation slices and on the base's frozen cases, of the weights that ``network`` then has.
    share : float
        Part of the way from the old weights to the new ones.
    """
    after = yield from _compare(start, network, processes, "Scoring the new model")
    if not forgotten(before[1], after[1]):
        return after, 1.0
    learnt = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    old = {name: tensor.to(processes.device) for name, tensor in start.model.network.state_dict().items()}
    for share in SHARES:
        network.load_state_dict({name: torch.lerp(old[name].float(), learnt[name].float(), share) for name in learnt})
        scores = yield from _compare(start, network, processes, "Going back as far as it takes to forget nothing")
        if not forgotten(before[1], scores[1]) and better(before[0], scores[0]):
            return scores, share
    network.load_state_dict(learnt)
    return after, 1.0


def _compare(start: Start, network: UNet, processes: World, text: str) -> Generator[Stage, None, Pair]:
    """Scores on the validation slices and on the base's frozen cases."""
    network.to(processes.device).eval()
    new = spread(start.slices["validation"], COMPARED)
    old = start.old.frozen if start.old is not None else []
    total, done = len(new) + len(old), count(1)
    scores: list[Scores | None] = []
    for group, only in ((new, None), (old, start.old.classes if start.old is not None else None)):
        scoring = start.judge.score(network, group, only=only)
        found = yield from telling(scoring, lambda: Stage(text, next(done), total))
        scores.append(found if group else None)
    return scores[0], scores[1]


def _shown(start: Start) -> list[LabelledSlice]:
    """Validation slices to show; those with labels first."""
    slices = start.slices["validation"]
    return spread([item for item in slices if item.classes] or slices, PICTURES)


def _verdict(start: Start, network: UNet, before: Pair, after: Pair, pictures: list[Picture]) -> Verdict:
    new_slices = len(spread(start.slices["validation"], COMPARED))
    new = Compared(new_slices, before[0], after[0]) if after[0] is not None else None
    old = Compared(len(start.old.frozen), before[1], after[1]) if start.old is not None and after[1] is not None else None
    accepted, why = judge(new, old, start.plan.overview.split)
    shown = [start.judge.picture(network, item) for item in _shown(start)]
    before_and_after = zip(pictures, shown, strict=True) if pictures else ((None, picture) for picture in shown)
    return Verdict(accepted, why, new, old, tuple(before_and_after))


def _card(start: Start, verdict: Verdict, seconds: float, share: float) -> Card:
    plan, card = start.plan, start.model.card
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
        "base_cases": start.old.model if start.old is not None else None,
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
    """As JSON has it, which knows no NaN."""
    return {
        key: _rounded(value) if isinstance(value, dict) else (round(value, 5) if value == value else None) for key, value in values.items()
    }


def _log(path: Path, done: EpochDone) -> None:
    """One line of JSON for each epoch."""
    line = {
        "epoch": done.epoch,
        "seconds": round(done.seconds, 2),
        "best": done.best,
        "train": _rounded(asdict(done.train)),
        "validation": None if done.validation is None else _rounded(asdict(done.validation)),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")

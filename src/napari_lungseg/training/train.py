"""Train in one call, search for settings, and estimate how long a run takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from napari_lungseg.architecture import PRESETS
from napari_lungseg.device import choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, place_model
from napari_lungseg.model import Model, load_model
from napari_lungseg.run_files import run_lock
from napari_lungseg.training.batches import Batch
from napari_lungseg.training.calibrate import run_with_int8
from napari_lungseg.training.distributed import ProcessGroup, process_group
from napari_lungseg.training.fit import fit
from napari_lungseg.training.judge import TOLERANCE, Confusion, score_cases, summarise
from napari_lungseg.training.plan import read_plan, write_plan
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run_setup import RunSetup, make_job, read_setup
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import FolderSource, TrainingSource, source_of
from napari_lungseg.training.step import Learner
from napari_lungseg.training.updates import Update, finish
from napari_lungseg.unet import UNet

#: Ranges that are searched: the learning rate evenly over its logarithm.
RATES, STRENGTHS = (1e-4, 3e-3), (0.2, 1.2)
#: Part of a run that goes into drawing views and into scoring, beside the network's own time (measured on two CPU cores).
BESIDE = 0.3


def train(
    dataset: str | os.PathLike[str] | TrainingSource,
    folder: str | os.PathLike[str],
    *,
    base: str | None = None,
    preset: str = "small",
    settings: TrainSettings | None = None,
    device: str = "auto",
    resume: bool = False,
    trials: int = 0,
    command: str = "",
    progress: Callable[[Update | Trial], None] = lambda update: None,
    elsewhere: Callable[[Path, bool], Iterator[Update]] | None = None,
) -> Model:
    """Train a model and save it with its card.

    Parameters
    ----------
    dataset : path or TrainingSource
        As :func:`~.sources.source_of` takes it, or another source of labelled images.
    folder : path
        Where the model goes; its name is the model's. Plan, log and checkpoints lie in ``training/`` inside.
    base : str, optional
        Name or folder of a model to start from.
    preset : str
        Architecture of a new model.
    settings : TrainSettings, optional
        How to train; by default :meth:`TrainSettings.fine_tuning` with a base, else the defaults.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Processes that ``torchrun`` started train together; the first one reports.
    resume : bool
        Go on with the run in ``folder``, with its own slices and settings.
    trials : int
        Search for learning rate and strength of the augmentation first, in so many runs (:func:`sweep`).
    command : str
        For the card.
    progress : callable, optional
        Told of every update.
    elsewhere : callable, optional
        Trains what was prepared in a folder, anew or from its last checkpoint, in place of this computer.

    Returns
    -------
    Model
        Its card has the scores before (if there is a base) and after on validation slices and on the base's own cases, and those on the
        data set's held-out cases; ``card.accepted`` tells whether it is better on the new and no worse on the old.

    Raises
    ------
    InputError
        When the data set or the base is not usable, there is nothing to resume, or optuna is not installed for ``trials``.
    """
    if trials and not resume:
        # Before all cases are read.
        _check_optuna()
    folder = Path(folder)
    source = source_of(dataset) if isinstance(dataset, str | os.PathLike) else dataset
    with process_group(choose_device(device)) as processes:
        if processes.leads and not resume:
            for prepared in prepare(source, folder, base=base, preset=preset, settings=settings, command=command):
                progress(prepared)
            if trials:
                sweep(folder, trials, device=device, progress=progress)
        processes.wait()
        updates = run_with_int8(folder, resume=resume, processes=processes) if elsewhere is None else elsewhere(folder, resume)
        for update in updates:
            if processes.leads:
                progress(update)
        if processes.leads and isinstance(source, FolderSource) and source.data.held_out:
            model = load_model(folder)
            card = model.card
            # As all other scores: of the weights, not of their int8.
            model.card = replace(card, int8=None)
            scores = card.scores | {"held_out": summarise(score_cases(model, source.data, source.data.held_out))}
            place_model({CARD_FILE: replace(card, scores=scores).to_json().encode()}, folder)
        processes.wait()
    return load_model(folder)


@dataclass(frozen=True)
class Trial:
    """Hold the result of one short run.

    Attributes
    ----------
    learning_rate, strength : float
        What was tried.
    score : float
        Dice on the validation slices, less what was forgotten of the base's own cases beyond the tolerance.
    """

    learning_rate: float
    strength: float
    score: float


def sweep(
    folder: str | os.PathLike[str], trials: int, *, device: str = "auto", progress: Callable[[Trial], None] = lambda trial: None
) -> list[Trial]:
    """Try settings on what was prepared in a folder, and write the best ones into its plan.

    Parameters
    ----------
    folder : path
        As given to :func:`~.prepare.prepare`.
    trials : int
        How many runs; each is as long as the plan's settings say.
    device : str
        Where to train.
    progress : callable
        Told of every trial.

    Returns
    -------
    list of Trial
        The best one first.

    Raises
    ------
    InputError
        When optuna is not installed, or there are no slices to compare by.
    """
    _check_optuna()
    folder = Path(folder)
    with run_lock(folder):
        return _sweep(folder, trials, choose_device(device), progress)


def _check_optuna() -> None:
    if find_spec("optuna") is None:
        raise InputError("Searching for settings needs optuna; install it with: pip install 'napari-lungseg[sweep]'")


def _sweep(folder: Path, trials: int, device: torch.device, progress: Callable[[Trial], None]) -> list[Trial]:
    import optuna

    plan = read_plan(folder)
    if not plan.overview.validation:
        raise InputError(f"Settings can only be compared on slices that are put aside. {plan.split.why}")
    where = ProcessGroup(0, 1, device)
    done: list[Trial] = []

    def run(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", *RATES, log=True)
        strength = trial.suggest_float("strength", *STRENGTHS)
        settings = _changed(plan.settings, rate, strength)
        setup = read_setup(folder)
        setup = replace(setup, plan=replace(setup.plan, settings=settings))
        network = setup.model.network
        before = _old_dice(setup, network)
        job = finish(make_job(setup))
        with TemporaryDirectory() as scratch:
            for _ in fit(network, job, Path(scratch), group=where):
                pass
        scores = finish(setup.judge.score(network, setup.slices["validation"]))
        score = scores.mean_dice - max(0.0, before - _old_dice(setup, network) - TOLERANCE)
        done.append(Trial(rate, strength, score))
        progress(done[-1])
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=plan.settings.seed))
    study.optimize(run, n_trials=trials)
    best = sorted(done, key=lambda trial: -trial.score)
    write_plan(replace(plan, settings=_changed(plan.settings, best[0].learning_rate, best[0].strength)), folder)
    return best


def _changed(settings: TrainSettings, rate: float, strength: float) -> TrainSettings:
    return replace(settings, learning_rate=rate, augmentation=replace(settings.augmentation, strength=strength))


def _old_dice(setup: RunSetup, network: UNet) -> float:
    """Score a network on the base's frozen cases; 0 where there are none."""
    if setup.old is None:
        return 0.0
    return finish(setup.judge.score(network.eval(), setup.old.frozen, only=setup.old.classes)).mean_dice


def estimate_seconds(settings: TrainSettings, base: str | None, preset: str = "small", device: str = "auto") -> float:
    """Estimate the longest time that a run takes on this computer; early stopping may end it sooner.

    Parameters
    ----------
    settings : TrainSettings
        Of the run.
    base, preset : str
        As in :func:`~.prepare.prepare`.
    device : str
        Where to train.

    Raises
    ------
    InputError
        When the base or the device cannot be used, or the memory does not suffice for one view.
    """
    where = choose_device(device)
    network = load_model(base).network if base is not None else UNet(PRESETS[preset])
    network.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    learner = Learner(network, settings.loss, ProcessGroup(0, 1, where))
    side, count = settings.view_px, settings.batch_size
    batch = Batch(torch.zeros(count, 1, side, side), torch.zeros(count, side, side, dtype=torch.uint8), count, 0, 0)
    seconds = 0.0
    for _ in range(2):  # the first one also warms up
        began = time.perf_counter()
        learner.learn(batch, count, Confusion(()))
        seconds = time.perf_counter() - began
    # The coarse part has twice the views at a quarter of the price.
    price = 1.0 - 0.5 * settings.coarse_share
    whole = settings.epochs * settings.steps_per_epoch * seconds * price * (1.0 + BESIDE)
    return whole if settings.minutes is None else min(whole, 60.0 * settings.minutes)

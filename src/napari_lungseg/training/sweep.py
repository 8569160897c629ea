"""Learning rate and strength of the augmentation, found by short runs; optuna chooses what to try next."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from napari_lungseg.device import choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.training.distributed import World
from napari_lungseg.training.driving import finish
from napari_lungseg.training.fit import fit
from napari_lungseg.training.lock import run_lock
from napari_lungseg.training.plan import read_plan, write_plan
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.start import Start, make_lesson, read_start
from napari_lungseg.training.verdict import TOLERANCE
from napari_lungseg.unet import UNet

#: Ranges that are searched: the learning rate evenly over its logarithm.
RATES, STRENGTHS = (1e-4, 3e-3), (0.2, 1.2)


@dataclass(frozen=True)
class Trial:
    """One short run.

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
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError("Searching for settings needs optuna; install it with: pip install 'napari-lungseg[sweep]'") from error
    folder = Path(folder)
    with run_lock(folder):
        return _sweep(folder, trials, choose_device(device), progress)


def _sweep(folder: Path, trials: int, device: torch.device, progress: Callable[[Trial], None]) -> list[Trial]:
    import optuna

    plan = read_plan(folder)
    if not plan.overview.validation:
        raise InputError(f"Settings can only be compared on slices that are put aside. {plan.split.why}")
    where = World(0, 1, device)
    done: list[Trial] = []

    def run(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", *RATES, log=True)
        strength = trial.suggest_float("strength", *STRENGTHS)
        settings = _changed(plan.settings, rate, strength)
        start = read_start(folder)
        start = replace(start, plan=replace(start.plan, settings=settings))
        network = start.model.network
        before = _old_dice(start, network)
        lesson = finish(make_lesson(start))
        with TemporaryDirectory() as scratch:
            for _ in fit(network, lesson, Path(scratch), world=where):
                pass
        scores = finish(start.judge.score(network, start.slices["validation"]))
        score = scores.mean_dice - max(0.0, before - _old_dice(start, network) - TOLERANCE)
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


def _old_dice(start: Start, network: UNet) -> float:
    """On the base's frozen cases; 0 where there are none."""
    if start.old is None:
        return 0.0
    return finish(start.judge.score(network.eval(), start.old.frozen, only=start.old.classes)).mean_dice

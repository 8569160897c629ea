"""All of training in one call, for Python and the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_lungseg.device import choose_device
from napari_lungseg.model import Model, load_model, save_model
from napari_lungseg.training.distributed import world
from napari_lungseg.training.holdout import score_cases, summarise
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import FolderSource, Source, source_of
from napari_lungseg.training.sweep import Trial, sweep
from napari_lungseg.training.updates import Update


def train(
    dataset: str | os.PathLike[str] | Source,
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
) -> Model:
    """Train a model and save it with its card.

    Parameters
    ----------
    dataset : path or Source
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
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Processes that ``torchrun`` started train together; the first one tells.
    resume : bool
        Go on with the run in ``folder``, with its own slices and settings.
    trials : int
        Search for learning rate and strength of the augmentation first, in so many runs (:func:`~.sweep.sweep`).
    command : str
        For the card.
    progress : callable, optional
        Told of every update.

    Returns
    -------
    Model
        Its card has the scores before (if there is a base) and after on validation slices and on the base's own cases, and those on the
        data set's held-out cases; ``card.accepted`` tells whether it is better on the new and no worse on the old.

    Raises
    ------
    InputError
        When the data set or the base is not usable, or there is nothing to resume.
    """
    folder = Path(folder)
    source = source_of(dataset) if isinstance(dataset, str | os.PathLike) else dataset
    with world(choose_device(device)) as processes:
        if processes.leads and not resume:
            for prepared in prepare(source, folder, base=base, preset=preset, settings=settings, command=command):
                progress(prepared)
            if trials:
                sweep(folder, trials, device=device, progress=progress)
        processes.wait()
        for update in run(folder, resume=resume, processes=processes):
            if processes.leads:
                progress(update)
        if processes.leads and isinstance(source, FolderSource) and source.data.held_out:
            model = load_model(folder)
            scores = model.card.scores | {"held_out": summarise(score_cases(model, source.data, source.data.held_out))}
            save_model(Model(model.network, replace(model.card, scores=scores)), folder, half=True)
        processes.wait()
    return load_model(folder)

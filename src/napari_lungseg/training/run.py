"""From a data set folder to a model folder: the whole of training in one call."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from napari_lungseg.architecture import PRESETS
from napari_lungseg.card import Ancestor, Card
from napari_lungseg.device import choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model, load_model, save_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.dataset import Dataset, SliceSampler, open_dataset, slices_of
from napari_lungseg.training.fit import EpochDone, StepDone, TrainSettings, fit
from napari_lungseg.training.holdout import score_cases, summarise
from napari_lungseg.unet import UNet

CHECKPOINT = Path("training") / "checkpoint.pt"
PLAN = Path("training") / "plan.json"
LOG = Path("training") / "log.jsonl"


@dataclass(frozen=True)
class Plan:
    """What a training run was asked to do; kept beside its checkpoint, so that resuming needs no settings.

    Attributes
    ----------
    dataset : str
        Folder of the data set.
    base : str or None
        Model to start from; None for new weights.
    preset : str
        Architecture where there is no base.
    name : str
        Name of the model.
    command : str
        The command that asked for it, for the card.
    settings : TrainSettings
        How.
    """

    dataset: str
    base: str | None = None
    preset: str = "small"
    name: str = "my-model"
    command: str = ""
    settings: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        if self.base is None and self.preset not in PRESETS:
            raise InputError(f"There is no architecture {self.preset!r}; choose from {', '.join(PRESETS)}.")


def train(
    dataset: str | Path,
    folder: str | Path,
    *,
    base: str | None = None,
    preset: str = "small",
    settings: TrainSettings | None = None,
    device: str = "auto",
    resume: bool = False,
    command: str = "",
    progress: Callable[[StepDone | EpochDone], None] | None = None,
) -> Model:
    """Train a model and save it with its card.

    Parameters
    ----------
    dataset : path
        Folder in nnU-Net raw layout; see :func:`napari_lungseg.training.dataset.open_dataset`.
    folder : path
        Where the model goes; its name is the model's. Checkpoint, plan and log lie in ``training/`` inside.
    base : str, optional
        Name or folder of a model to start from.
    preset : str
        Architecture of a new model.
    settings : TrainSettings, optional
        How to train.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    resume : bool
        Go on with the run in ``folder``, with its own data set and settings.
    command : str
        For the card.
    progress : callable, optional
        Told of every step and epoch.

    Returns
    -------
    Model
        With its scores before (if there is a base) and after on validation and held-out cases in the card.

    Raises
    ------
    InputError
        When the data set or the base is not usable, or there is nothing to resume.
    """
    folder = Path(folder)
    plan = _read_plan(folder / PLAN) if resume else Plan(str(dataset), base, preset, folder.name, command, settings or TrainSettings())
    data = open_dataset(plan.dataset, seed=plan.settings.seed)
    start = _start(plan)
    if not resume:
        (folder / PLAN).parent.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_bytes(TypeAdapter(Plan).dump_json(plan, indent=1))
    preprocessing = start.card.preprocessing
    slices = [item for case in data.train for item in slices_of(case, *data.load(case), preprocessing, data.ignore)]
    if not slices:
        raise InputError(f"{plan.dataset} has no slice to learn from: all hold voxels to be ignored; review some slices first.")
    sampler = SliceSampler(slices, data.patients, plan.settings.empty_share)

    def validate(network: UNet) -> dict[str, float]:
        if not data.validation:
            return {}
        return summarise(score_cases(Model(network, start.card), data, data.validation, postprocess=False))

    seconds = 0.0
    with (folder / LOG).open("a") as log:
        updates = fit(
            start.network,
            sampler,
            preprocessing.spacing_mm,
            plan.settings,
            folder / CHECKPOINT,
            resume=resume,
            device=str(choose_device(device)),
            validate=validate,
        )
        for update in updates:
            seconds = update.seconds
            if isinstance(update, EpochDone):
                log.write(json.dumps({"epoch": update.epoch, "loss": update.loss, "seconds": seconds, **update.validation}) + "\n")
                log.flush()
            if progress is not None:
                progress(update)
    model = Model(start.network.cpu(), replace(start.card, training=_record(plan, data, len(slices), seconds)))
    scores = {
        group: summarise(score_cases(model, data, cases))
        for group, cases in (("validation", data.validation), ("held_out", data.held_out))
        if cases
    }
    model = Model(model.network, replace(model.card, scores=scores))
    save_model(model, folder, half=True)
    return load_model(folder)


def _start(plan: Plan) -> Model:
    common: dict[str, Any] = {
        "name": plan.name,
        "created": datetime.date.today().isoformat(),
        "code_version": version("napari-lungseg"),
        "scores": {},
    }
    if plan.base is not None:
        base = load_model(plan.base)
        lineage = (Ancestor(base.card.name, base.card.weights_sha256), *base.card.lineage)
        return Model(base.network, replace(base.card, lineage=lineage, **common))
    torch.manual_seed(plan.settings.seed)
    card = Card(description="", architecture=PRESETS[plan.preset], preprocessing=Preprocessing(), **common)
    return Model(UNet(card.architecture), card)


def _record(plan: Plan, data: Dataset, slices: int, seconds: float) -> dict[str, Any]:
    return {
        "command": plan.command,
        "settings": TypeAdapter(TrainSettings).dump_python(plan.settings, mode="json"),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "slices": slices,
        "train": sorted({data.patients[case] for case in data.train}),
        "validation": sorted({data.patients[case] for case in data.validation}),
        "held_out": sorted({data.patients[case] for case in data.held_out}),
        "sources": data.sources,
    }


def _read_plan(path: Path) -> Plan:
    try:
        return TypeAdapter(Plan).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"There is no training run to resume in {path.parent.parent}; train without --resume first.") from error

"""Set up a run: the model before training, and what it learns from."""

from __future__ import annotations

import datetime
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from napari_lungseg.architecture import PRESETS, UNetConfig
from napari_lungseg.card import Ancestor, Card
from napari_lungseg.errors import InputError
from napari_lungseg.model import CARD_FILE, Model, load_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.run_files import SAMPLES
from napari_lungseg.training.batches import Batches, SliceSampler, ViewSamplers
from napari_lungseg.training.fit import TrainingJob
from napari_lungseg.training.judge import Judge
from napari_lungseg.training.plan import Classes, Plan, read_plan
from napari_lungseg.training.samples import BaseCases, LabelledSlice, Side, base_cases, read_samples, spread
from napari_lungseg.training.updates import Progress, driven
from napari_lungseg.translation import say
from napari_lungseg.unet import UNet

#: Probability that a grown head gives a new class before it has learnt anything; small, so that the old classes stay what they were.
FIRST_GUESS = 0.01


#: Validation slices that are looked at after every epoch; all of them would take longer than the epoch.
WATCHED = 16
#: Slices of a case on which the base is scored to weight it as a teacher there, and the Dice up to which its weight is 0.
TRIED, BELIEVED = 4, 0.8


@dataclass(frozen=True, eq=False)
class RunSetup:
    """Hold what a run begins with.

    Attributes
    ----------
    plan : Plan
        What was asked for.
    base : Model or None
        The model to start from; it is not changed.
    model : Model
        What is trained: the base with the new classes, or new weights.
    old : BaseCases or None
        Slices on which nothing may be forgotten.
    slices : dict
        Slices by side.
    judge : Judge
        Scores networks.
    """

    plan: Plan
    base: Model | None
    model: Model
    old: BaseCases | None
    slices: dict[Side, list[LabelledSlice]]
    judge: Judge


def read_setup(folder: Path) -> RunSetup:
    """Read what was prepared in a folder.

    Raises
    ------
    InputError
        When nothing was, the run has ended, or nothing is left to learn from.
    """
    check_unfinished(folder)
    plan = read_plan(folder)
    slices = read_samples(folder / SAMPLES)
    if not slices["train"]:
        raise InputError(
            say("No slice is left to learn from once some are put aside for validation; annotate more slices, or put fewer aside.")
        )
    base = load_model(plan.base) if plan.base is not None else None
    model = _model(plan, base)
    old = base_cases(base.card) if base is not None and plan.settings.keep_old else None
    return RunSetup(plan, base, model, old, slices, Judge(model.card.preprocessing, plan.classes.names, plan.settings.loss))


def check_unfinished(folder: Path) -> None:
    """Refuse the folder of a run that has ended (InputError)."""
    if (folder / CARD_FILE).exists():
        raise InputError(
            say("The training in {folder} has ended, and its model is there; to train on, start from it in another folder.", folder=folder)
        )


def _model(plan: Plan, base: Model | None) -> Model:
    common: dict[str, Any] = {
        "name": plan.name,
        "classes": plan.classes.names,
        "labels": plan.classes.labels,
        "sides": plan.classes.sides,
        "created": datetime.date.today().isoformat(),
        "code_version": version("napari-lungseg"),
        "scores": {},
    }
    count, pixel_mm = len(plan.classes.names), plan.settings.pixel_mm
    own = base.card.preprocessing if base is not None else Preprocessing()
    common["preprocessing"] = own if pixel_mm is None else replace(own, spacing_mm=pixel_mm)
    if base is None:
        torch.manual_seed(plan.settings.seed)
        config = replace(PRESETS[plan.preset], classes=count)
        return Model(UNet(config), Card(description="", architecture=config, **common))
    config = replace(base.card.unet, classes=count)
    lineage = (Ancestor(base.card.name, base.card.weights_sha256), *base.card.lineage)
    network = with_head(base.network, config, plan.classes)
    # Batches of a few slices would spoil the statistics of BatchNorm; other norms have none.
    network.freeze_norm()
    return Model(network, replace(base.card, architecture=config, lineage=lineage, **common))


def make_job(setup: RunSetup) -> Generator[Progress, None, TrainingJob]:
    """Make the job of a run; scores the base on cases of which some slices were not judged."""
    plan, settings = setup.plan, setup.plan.settings
    settings = replace(settings, augmentation=settings.augmentation.for_classes(plan.classes.names))
    replay = setup.old.replay if setup.old is not None and settings.replay > 0 else []
    unjudged = setup.slices["unjudged"] if settings.keep_old and settings.distillation > 0 else []
    trust: dict[str, float] = {}
    if unjudged and setup.base is not None:
        trust = yield from _trust(setup, {item.case for item in unjudged})
        unjudged = [item for item in unjudged if trust[item.case] > 0]
    mix = ViewSamplers(
        new=SliceSampler(setup.slices["train"], plan.patients, settings.empty_share),
        replay=SliceSampler(replay, {}, settings.empty_share) if replay else None,
        unjudged=SliceSampler(unjudged, plan.patients, 0.0, trust) if unjudged else None,
        lung=1 if plan.classes.sides else None,
        preprocessing=setup.model.card.preprocessing,
    )
    return TrainingJob(
        Batches(mix, settings),
        settings,
        setup.judge,
        spread(setup.slices["validation"], WATCHED),
        setup.base.network if setup.base is not None and (replay or unjudged) else None,
        setup.old.classes if setup.old is not None else None,
    )


def _trust(setup: RunSetup, cases: Iterable[str]) -> Generator[Progress, None, dict[str, float]]:
    """Weight cases by the base's Dice on their judged slices: 0 up to a Dice of 0.8, 1 at a Dice of 1."""
    assert setup.base is not None
    judge = replace(setup.judge, names=setup.base.card.classes)
    trust = {}
    for case in sorted(cases):
        judged = spread([item for item in setup.slices["train"] if item.case == case and item.classes], TRIED)
        scoring = judge.score(setup.base.network, judged, only=len(judge.names))
        scores = yield from driven(scoring, lambda: Progress(say("Trying the starting model")))
        dice = scores.mean_dice if judged else 0.0
        trust[case] = max(0.0, (dice - BELIEVED) / (1.0 - BELIEVED)) if dice == dice else 0.0
    return trust


@torch.no_grad()
def with_head(network: UNet, config: UNetConfig, classes: Classes) -> UNet:
    """Make a network of ``config`` with the weights of another one; classes that the other knows keep what was learnt.

    Parameters
    ----------
    network : UNet
        The base; it is not changed.
    config : UNetConfig
        As the base's, but for the number of classes.
    classes : Classes
        Tells which class of the base each one is.
    """
    grown = UNet(config)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("head.")}
    grown.load_state_dict(state, strict=False)
    cells = config.patch**2
    weight, bias = (_channels(network.state_dict()[f"head.{name}"], network.config, cells) for name in ("weight", "bias"))
    new_weight, new_bias = torch.zeros(config.classes + 1, *weight.shape[1:]), torch.zeros(config.classes + 1, *bias.shape[1:])
    new_weight[0], new_bias[0] = weight[0], bias[0]
    for place, number in enumerate(classes.from_base, 1):
        if number is None:
            # As likely as background, times a small number: where the background is sure, the new class is not there.
            new_weight[place], new_bias[place] = weight[0], bias[0] + float(torch.logit(torch.tensor(FIRST_GUESS)))
        else:
            new_weight[place], new_bias[place] = weight[number], bias[number]
    if config.out_channels == 1:
        new_weight, new_bias = new_weight[1:] - new_weight[:1], new_bias[1:] - new_bias[:1]
    for name, values in (("weight", new_weight), ("bias", new_bias)):
        head = grown.state_dict()[f"head.{name}"]
        head.copy_(values.reshape(head.shape))
    return grown


def _channels(tensor: torch.Tensor, config: UNetConfig, cells: int) -> torch.Tensor:
    """Sort head parameters by channel, background first: of a single logit z the pair (0, z)."""
    parted = tensor.reshape(config.out_channels, cells, *tensor.shape[1:])
    return torch.cat((torch.zeros_like(parted), parted)) if config.out_channels == 1 else parted

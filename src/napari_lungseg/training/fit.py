"""The fit loop: batches in, better weights out, resumable at every epoch."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_lungseg.errors import InputError
from napari_lungseg.training.augment import AugmentSettings, augment
from napari_lungseg.training.dataset import SliceSampler
from napari_lungseg.training.losses import LOSSES
from napari_lungseg.unet import UNet

OPTIMIZERS = ("adam", "adamw", "sgd")
#: Share of the run over which the learning rate rises, and over which the augmentation comes up to strength.
WARM_UP = 0.03
RAMP = 0.15
#: The last part of the run sees milder changes, nearer to real images, so that the weights settle on those.
SETTLE, MILD = 0.12, 0.5
SGD_MOMENTUM = 0.99


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained.

    Attributes
    ----------
    epochs, steps_per_epoch : int
        Length of the run.
    minutes : float or None
        The run is cut to this time; the schedule knows and comes to its end with it.
    batch_size : int
        Views a step at full resolution.
    view_px : int
        Pixels a side of a view, at the model's pixel size.
    coarse_share : float
        The first part of the run sees half the resolution and twice the batch: shape and place are learnt at half the price.
    loss : {"bce", "dice", "bce-dice"}
        See :mod:`napari_lungseg.training.losses`.
    optimizer : {"adam", "adamw", "sgd"}
        SGD has Nesterov momentum.
    learning_rate : float
        Highest rate, reached after a short warm-up; then the poly schedule of nnU-Net (Isensee et al. 2021, doi
        10.1038/s41592-020-01008-z), to the power of 0.9.
    weight_decay : float
        Decay of the weights.
    clip_norm : float
        Longest gradient.
    average : float
        Decay of the running average of the weights, which is the result.
    empty_share : float
        Share of views of slices without the class.
    seed : int
        Fixes the run on the CPU.
    augmentation : AugmentSettings
        What happens to the slices.
    """

    epochs: int = 100
    steps_per_epoch: int = 100
    minutes: float | None = None
    batch_size: int = 6
    view_px: int = 448
    coarse_share: float = 0.4
    loss: str = "bce-dice"
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip_norm: float = 5.0
    average: float = 0.998
    empty_share: float = 0.2
    seed: int = 0
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "batch_size", "view_px"):
            if getattr(self, name) < 1:
                raise InputError(f"Training needs {name.replace('_', ' ')} of at least 1, not {getattr(self, name)}.")
        if self.loss not in LOSSES:
            raise InputError(f"There is no loss {self.loss!r}; choose from {', '.join(LOSSES)}.")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"There is no optimizer {self.optimizer!r}; choose from {', '.join(OPTIMIZERS)}.")
        if not self.learning_rate > 0:
            raise InputError(f"The learning rate must be above 0, not {self.learning_rate:g}.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"The time for training must be above 0 minutes, not {self.minutes:g}.")


@dataclass(frozen=True)
class StepDone:
    """One batch has been learnt from.

    Attributes
    ----------
    epoch, step : int
        Counted from 0; the step over the whole run.
    progress : float
        0 .. 1 of the run.
    loss : float
        Of this batch.
    seconds : float
        Time trained so far, earlier sittings included.
    """

    epoch: int
    step: int
    progress: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch has ended and its checkpoint is on disk.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    loss : float
        Mean over its steps.
    validation : dict
        What ``validate`` returned for the averaged weights; empty without one.
    progress, seconds : float
        As in :class:`StepDone`.
    """

    epoch: int
    loss: float
    validation: dict[str, float]
    progress: float
    seconds: float


def fit(
    network: UNet,
    sampler: SliceSampler,
    pixel_mm: float,
    settings: TrainSettings,
    checkpoint: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    validate: Callable[[UNet], dict[str, float]] | None = None,
) -> Iterator[StepDone | EpochDone]:
    """Train ``network`` in place; at the end it holds the averaged weights.

    Parameters
    ----------
    network : UNet
        Reads single slices (no context) and has one class.
    sampler : SliceSampler
        Where slices come from.
    pixel_mm : float
        The model's pixel size.
    settings : TrainSettings
        How.
    checkpoint : Path
        File that is renewed, whole or not at all, after every epoch.
    resume : bool
        Go on from that file. A resumed run ends as an unbroken one, since every step draws from its own seed.
    device : str
        Where to compute.
    validate : callable, optional
        Scores the averaged network after every epoch.

    Yields
    ------
    StepDone or EpochDone
        After every batch and every epoch. Closing the generator stops the run; the last checkpoint stays.

    Raises
    ------
    InputError
        When there is no checkpoint to resume from, or it is of another network.
    """
    if network.config.in_channels != 1 or network.config.out_channels != 1:
        raise InputError("Only networks that read single slices and know one class can be trained.")
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimizer = _optimizer(network, settings)
    coarse = sampler.coarsened(2)
    first_epoch, seconds = 0, 0.0
    if resume:
        state = _load(checkpoint)
        try:
            network.load_state_dict(state["network"])
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{checkpoint} is a checkpoint of another network or optimizer; resume with its settings.") from error
        first_epoch, seconds = int(state["epoch"]) + 1, float(state["seconds"])
    total = settings.epochs * settings.steps_per_epoch
    last = time.monotonic()
    for epoch in range(first_epoch, settings.epochs):
        losses = []
        for step in range(epoch * settings.steps_per_epoch, (epoch + 1) * settings.steps_per_epoch):
            progress = step / total
            if settings.minutes is not None:
                progress = max(progress, seconds / (60.0 * settings.minutes))
            progress = min(progress, 1.0)
            if progress == 1.0:
                break
            image, label = _batch(sampler, coarse, pixel_mm, settings, progress, step)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(progress)
            logits = network(image.to(device).contiguous(memory_format=torch.channels_last))
            loss = LOSSES[settings.loss](logits, label.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
            _update(average, network, min(settings.average, (1 + step) / (10 + step)))
            losses.append(float(loss.detach()))
            now = time.monotonic()
            seconds, last = seconds + now - last, now
            yield StepDone(epoch, step, progress, losses[-1], seconds)
        if not losses:
            break
        _save(checkpoint, network, average, optimizer, epoch, seconds)
        scores = validate(average) if validate is not None else {}
        yield EpochDone(epoch, float(np.mean(losses)), scores, progress, seconds)
        last = time.monotonic()
    network.load_state_dict(average.state_dict())
    network.eval()


def _batch(
    sampler: SliceSampler, coarse: SliceSampler, pixel_mm: float, settings: TrainSettings, progress: float, step: int
) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng((settings.seed, step))
    strength = min(1.0, 0.3 + 0.7 * progress / RAMP) if progress < 1.0 - SETTLE else MILD
    if progress < settings.coarse_share:
        chosen, count, size, pixel_mm = coarse, 2 * settings.batch_size, settings.view_px // 2, 2.0 * pixel_mm
    else:
        chosen, count, size = sampler, settings.batch_size, settings.view_px
    views = [augment(chosen.draw(rng), size, pixel_mm, settings.augmentation, strength, rng) for _ in range(count)]
    return torch.stack([image for image, _ in views]), torch.stack([label for _, label in views])


def _rate(progress: float) -> float:
    return min(1.0, (progress + 1e-4) / WARM_UP) * (1.0 - progress) ** 0.9


def _optimizer(network: UNet, settings: TrainSettings) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, **common)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **common)
    return torch.optim.SGD(parameters, momentum=SGD_MOMENTUM, nesterov=True, **common)


@torch.no_grad()
def _update(average: UNet, network: UNet, decay: float) -> None:
    for mean, new in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1.0 - decay)
    for counted, latest in zip(average.buffers(), network.buffers(), strict=True):
        counted.copy_(latest)


def _save(path: Path, network: UNet, average: UNet, optimizer: torch.optim.Optimizer, epoch: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "seconds": seconds,
    }
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path} to resume from; train without --resume first.") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(f"{path} is not a readable checkpoint; delete it and train anew.") from error

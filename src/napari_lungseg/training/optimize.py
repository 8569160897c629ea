"""How weights follow the gradient: optimizers, rates, and the running average that is kept."""

from __future__ import annotations

import math
from typing import Any

import torch

from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.unet import UNet

#: Key of a parameter group under which the part of the rate that it gets is kept.
SHARE = "rate_share"


def make_optimizer(network: UNet, settings: TrainSettings) -> torch.optim.Optimizer:
    """Optimizer with the encoder's parameters (down and middle) at their own part of the rate; frozen ones are left out."""
    encoder = [*network.down.parameters(), *network.middle.parameters()]
    if settings.encoder_rate == 0:
        for parameter in encoder:
            parameter.requires_grad_(False)
    groups: list[dict[str, Any]] = [{"params": [*network.up.parameters(), *network.head.parameters()], SHARE: 1.0}]
    groups.append({"params": encoder, SHARE: settings.encoder_rate})
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    groups = [group for group in groups if group["params"]]
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, **common)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, **common)
    return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.momentum > 0, **common)


def set_rate(optimizer: torch.optim.Optimizer, settings: TrainSettings, progress: float) -> None:
    """Give each group the rate that belongs to ``progress`` (0 .. 1) of the run."""
    rate = settings.learning_rate * rate_factor(settings, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SHARE]


def rate_factor(settings: TrainSettings, progress: float) -> float:
    """Part of the highest learning rate at ``progress`` (0 .. 1) of the run."""
    rise = min(1.0, (progress + 1e-4) / settings.warm_up) if settings.warm_up > 0 else 1.0
    if settings.schedule == "poly":
        return rise * (1.0 - progress) ** 0.9
    if settings.schedule == "cosine":
        return rise * 0.5 * (1.0 + math.cos(math.pi * progress))
    return rise


@torch.no_grad()
def update_average(average: UNet, network: UNet, decay: float) -> None:
    """Move the running average towards the network."""
    for mean, new in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1.0 - decay)
    for counted, latest in zip(average.buffers(), network.buffers(), strict=True):
        counted.copy_(latest)

"""Learn from one batch: forward, loss, backward; the optimizer, its rate, and the running average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from napari_lungseg.device import autocast, is_out_of_memory
from napari_lungseg.errors import InputError
from napari_lungseg.training.batches import Batch
from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.judge import Confusion
from napari_lungseg.training.losses import LOSSES, channels, distillation, without_new
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.translation import say
from napari_lungseg.unet import UNet

#: Key of a parameter group under which the part of the rate that it gets is kept.
SHARE = "rate_share"


class Learner:
    """Compute gradients, for as many views at once as fit into memory.

    Parameters
    ----------
    network : Module
        On its device; a :class:`UNet`, or one that averages its gradients with other processes.
    loss : str
        For judged pixels.
    group : ProcessGroup
        The processes that train together, and where this one computes.
    teacher : UNet or None
        For replayed views and those that nobody has judged; its classes are the first of the network's.
    replay_classes : int or None
        How many of the classes, from the first on, replayed labels know; None for all.
    """

    def __init__(
        self, network: nn.Module, loss: str, group: ProcessGroup, teacher: UNet | None = None, replay_classes: int | None = None
    ) -> None:
        self._network, self._loss, self._teacher = network, LOSSES[loss], teacher
        self._replay_classes = replay_classes
        self._device, self._alone = group.device, group.size == 1
        self._half = computes_bfloat16(group.device)

    def learn(self, batch: Batch, at_once: int, confusion: Confusion) -> tuple[float, int]:
        """Add the gradients of a batch; returns its loss, and how many views at once fitted into memory.

        Raises
        ------
        InputError
            When it does not suffice for one view.
        """
        while True:
            try:
                return self._learn(batch, at_once, confusion), at_once
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if at_once == 1:
                    raise InputError(
                        say(
                            "The memory does not suffice to learn from one view; make the views smaller, choose a smaller model, or "
                            "close other programs."
                        )
                    ) from error
                if not self._alone:
                    # The others would wait for ever for gradients of a batch that this one begins anew.
                    raise InputError("The memory of one of the processes does not suffice; make the batches smaller.") from error
            # Only here, past the handler, has the exception let go of the tensors in its frames.
            self._network.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            at_once = max(1, min(at_once, len(batch.image)) // 2)

    def _learn(self, batch: Batch, at_once: int, confusion: Confusion) -> float:
        total, seen = 0.0, []
        for start in range(0, len(batch.image), at_once):
            part = slice(start, start + at_once)
            image = batch.image[part].to(self._device).contiguous(memory_format=torch.channels_last)
            label = batch.label[part].to(self._device)
            new = max(0, min(batch.new - start, len(image)))
            hard = max(0, min(batch.new + batch.replay - start, len(image)))
            with autocast(self._device, torch.bfloat16, enabled=self._half):
                logits = self._network(image)
            loss = self._losses(logits.float(), image, label, new, hard) / len(batch.image)
            loss.backward()
            total += float(loss.detach())
            if new:
                seen.append((channels(logits[:new].detach()).argmax(dim=1).to(torch.uint8).cpu().numpy(), batch.label[part][:new].numpy()))
        for found, known in seen:
            confusion.add(found, known, total)
        return total

    def _losses(self, logits: Tensor, image: Tensor, label: Tensor, new: int, hard: int) -> Tensor:
        """Sum losses over views: new ones first, replayed ones up to ``hard``, then taught ones; the base teaches on replayed ones too."""
        loss = logits.new_zeros(())
        if new:
            loss = loss + new * self._loss(logits[:new], label[:new])
        if hard > new:
            known = logits[new:hard]
            known = known if self._replay_classes is None else without_new(known, self._replay_classes)
            loss = loss + (hard - new) * self._loss(known, label[new:hard])
        if len(image) > new and self._teacher is not None:
            with torch.no_grad(), autocast(self._device, torch.bfloat16, enabled=self._half):
                taught = self._teacher(image[new:])
            taught = channels(taught.float())
            loss = loss + (len(image) - new) * distillation(without_new(logits[new:], taught.shape[1] - 1), taught)
        return loss


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has units for bfloat16; elsewhere it would be slower than float32, and float16 would want its gradients scaled."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch before 2.6 does not tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def make_optimizer(network: UNet, settings: TrainSettings) -> torch.optim.Optimizer:
    """Make an optimizer with the encoder's parameters (down and middle) at their own part of the rate; frozen ones are left out."""
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
    """Set each group's rate for ``progress`` (0 .. 1) of the run."""
    rate = settings.learning_rate * rate_factor(settings, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SHARE]


def rate_factor(settings: TrainSettings, progress: float) -> float:
    """Return the part of the highest learning rate at ``progress`` (0 .. 1) of the run."""
    rise = min(1.0, (progress + 1e-4) / settings.warm_up) if settings.warm_up > 0 else 1.0
    if settings.schedule == "poly":
        return rise * (1.0 - progress) ** 0.9
    if settings.schedule == "cosine":
        return rise * 0.5 * (1.0 + math.cos(math.pi * progress))
    return rise


@torch.no_grad()
def update_average(average: UNet, network: UNet, decay: float) -> None:
    """Move the running average towards the network; buffers are copied."""
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(network.parameters()), None)
    for counted, latest in zip(average.buffers(), network.buffers(), strict=True):
        counted.copy_(latest)

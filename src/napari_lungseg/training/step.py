"""One step of training: forward, loss, backward, and the retreat when the memory does not suffice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_lungseg.device import is_out_of_memory
from napari_lungseg.errors import InputError
from napari_lungseg.training.batches import Batch
from napari_lungseg.training.distributed import World
from napari_lungseg.training.losses import LOSSES, channels, distillation, without_new
from napari_lungseg.training.scoring import Tally
from napari_lungseg.unet import UNet


class Learner:
    """Brings gradients to a network, as many views at once as the memory takes.

    Parameters
    ----------
    network : Module
        On its device; a :class:`UNet`, or one that averages its gradients with other processes.
    loss : str
        For judged pixels.
    world : World
        The processes that train together, and where this one computes.
    teacher : UNet or None
        For replayed views and those that nobody has judged; its classes are the first of the network's.
    replay_classes : int or None
        How many of the classes, from the first on, replayed labels know; None for all.
    """

    def __init__(self, network: nn.Module, loss: str, world: World, teacher: UNet | None = None, replay_classes: int | None = None) -> None:
        self._network, self._loss, self._teacher = network, LOSSES[loss], teacher
        self._replay_classes = replay_classes
        self._device, self._alone = world.device, world.size == 1
        # Below compute capability 8 there is no bfloat16; float16 would want its gradients scaled, and float32 is right as it is.
        self._half = world.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def learn(self, batch: Batch, at_once: int, tally: Tally) -> tuple[float, int]:
        """Add the gradients of a batch; gives its loss, and how many views at once the memory took.

        Raises
        ------
        InputError
            When it does not suffice for one view.
        """
        while True:
            try:
                return self._learn(batch, at_once, tally), at_once
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if at_once == 1:
                    raise InputError(
                        "The memory does not suffice to learn from one view; make the views smaller, choose a smaller model, or "
                        "close other programs."
                    ) from error
                if not self._alone:
                    # The others would wait for ever for gradients of a batch that this one begins anew.
                    raise InputError("The memory of one of the processes does not suffice; make the batches smaller.") from error
            # Only here, past the handler, has the exception let go of the tensors in its frames.
            self._network.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            at_once = max(1, min(at_once, len(batch.image)) // 2)

    def _learn(self, batch: Batch, at_once: int, tally: Tally) -> float:
        total, seen = 0.0, []
        for start in range(0, len(batch.image), at_once):
            part = slice(start, start + at_once)
            image = batch.image[part].to(self._device).contiguous(memory_format=torch.channels_last)
            label = batch.label[part].to(self._device)
            new = max(0, min(batch.new - start, len(image)))
            hard = max(0, min(batch.new + batch.replay - start, len(image)))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                logits = self._network(image)
            loss = self._losses(logits.float(), image, label, new, hard) / len(batch.image)
            loss.backward()
            total += float(loss.detach())
            if new:
                seen.append((channels(logits[:new].detach()).argmax(dim=1).to(torch.uint8).cpu().numpy(), batch.label[part][:new].numpy()))
        for found, known in seen:
            tally.add(found, known, total)
        return total

    def _losses(self, logits: Tensor, image: Tensor, label: Tensor, new: int, hard: int) -> Tensor:
        """Sum over views: new ones first, replayed ones up to ``hard``, then taught ones; the base teaches on replayed ones too."""
        loss = logits.new_zeros(())
        if new:
            loss = loss + new * self._loss(logits[:new], label[:new])
        if hard > new:
            known = logits[new:hard]
            known = known if self._replay_classes is None else without_new(known, self._replay_classes)
            loss = loss + (hard - new) * self._loss(known, label[new:hard])
        if len(image) > new and self._teacher is not None:
            with torch.no_grad():
                taught = channels(self._teacher(image[new:]))
            loss = loss + (len(image) - new) * distillation(without_new(logits[new:], taught.shape[1] - 1), taught.float())
        return loss

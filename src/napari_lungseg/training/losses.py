"""Define the losses that training minimises.

All losses take the logits of a network, (N, C, H, W), with either one channel (sigmoid) or a background channel before the
classes (softmax), and labels (N, H, W) of whole numbers: 0 background, 1 .. n the classes, :data:`~.samples.IGNORE` where nobody has
judged. Pixels to ignore give no gradient; where all are, the loss is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.training.samples import IGNORE

Loss = Callable[[Tensor, Tensor], Tensor]

#: Keeps the Dice loss defined, and near 0, where neither prediction nor label has the class.
SMOOTH = 1.0


def channels(logits: Tensor) -> Tensor:
    """Add a background channel to logits of one channel z: the pair (0, z), whose softmax is the sigmoid of z."""
    return torch.cat((torch.zeros_like(logits), logits), dim=1) if logits.shape[1] == 1 else logits


def without_new(logits: Tensor, old_classes: int) -> Tensor:
    """Merge the classes after ``old_classes`` into the background, as for a network that does not know them.

    So a label that does not tell the new classes from the background teaches nothing about them (Cermelli et al. 2020, arXiv 2002.00718).
    """
    logits = channels(logits)
    if logits.shape[1] == old_classes + 1:
        return logits
    background = torch.logsumexp(torch.cat((logits[:, :1], logits[:, 1 + old_classes :]), dim=1), dim=1, keepdim=True)
    return torch.cat((background, logits[:, 1 : 1 + old_classes]), dim=1)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Compute the mean over judged pixels of -log p(label); with one class the binary cross-entropy."""
    judged = label != IGNORE
    known = torch.where(judged, label, 0).long()
    if logits.shape[1] == 1:
        each = F.binary_cross_entropy_with_logits(logits[:, 0], known.to(logits.dtype), reduction="none")
    else:
        each = F.cross_entropy(logits, known, reduction="none")
    return (each * judged).sum() / judged.sum().clamp(min=1)


def bce(logits: Tensor, label: Tensor) -> Tensor:
    """Compute the binary cross-entropy of each class against all others, mean over judged pixels and classes."""
    if logits.shape[1] == 1:
        return cross_entropy(logits, label)
    judged = (label != IGNORE)[:, None]
    # The softmax of a channel is the sigmoid of its distance from the log-sum-exp of the others.
    others = [torch.logsumexp(torch.cat((logits[:, :c], logits[:, c + 1 :]), dim=1), dim=1) for c in range(1, logits.shape[1])]
    against = logits[:, 1:] - torch.stack(others, dim=1)
    target = (label[:, None] == torch.arange(1, logits.shape[1], device=label.device)[:, None, None]).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(against, target, reduction="none")
    return (each * judged).sum() / (judged.sum().clamp(min=1) * target.shape[1])


def dice(logits: Tensor, label: Tensor) -> Tensor:
    """Compute the soft Dice loss over the whole batch, squared denominator (Milletari et al. 2016, arXiv 1606.04797); mean over classes."""
    judged = (label != IGNORE)[:, None]
    probability = (torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1:]) * judged
    target = (label[:, None] == torch.arange(1, probability.shape[1] + 1, device=label.device)[:, None, None]).to(probability.dtype)
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = (probability * probability + target * target).sum(dim=(0, 2, 3))
    return (1.0 - (2.0 * overlap + SMOOTH) / (total + SMOOTH)).mean() * judged.any()


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Compute the cross-entropy against a teacher's probabilities, less the teacher's own entropy: 0 where both agree.

    Parameters
    ----------
    logits : (N, C, H, W) tensor
        Of the network that learns.
    teacher : (N, C, H, W) tensor
        Logits of the one that teaches, with the same channels, background included.
    """
    return F.kl_div(F.log_softmax(logits, dim=1), F.log_softmax(teacher, dim=1), reduction="none", log_target=True).sum(dim=1).mean()


def _sum(*parts: Loss) -> Loss:
    return lambda logits, label: torch.stack([part(logits, label) for part in parts]).sum()


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "dice": dice,
    "bce-dice": _sum(bce, dice),
    "ce": cross_entropy,
    "ce-dice": _sum(cross_entropy, dice),
}

"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]

#: Keeps the Dice loss defined, and near 0, where neither prediction nor label has the class.
SMOOTH = 1.0


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of (N, 1, H, W) logits against (N, 1, H, W) labels of 0 and 1."""
    return F.binary_cross_entropy_with_logits(logits, target)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss over the whole batch, squared denominator (Milletari et al. 2016, arXiv 1606.04797)."""
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum()
    total = (probability * probability).sum() + (target * target).sum()
    return 1.0 - (2.0 * overlap + SMOOTH) / (total + SMOOTH)


def bce_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of both."""
    return bce(logits, target) + dice(logits, target)


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice, "bce-dice": bce_dice}

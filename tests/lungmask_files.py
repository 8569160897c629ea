"""Weights as lungmask has them, by chance but always the same: its own may not be shipped."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

DEPTH = 4
#: Channels of the first level of lungmask's own network, and of one that is quick to run.
OWN_WIDTH, SMALL_WIDTH = 64, 4


def seeded_weights(classes: int, width: int = SMALL_WIDTH, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state of lungmask's network, under its names and in its order, with the layers that it has but does not use.

    Parameters
    ----------
    classes : int
        The background included: 3 or 6.
    width : int
        Channels of the first level.
    seed : int
        Another one gives other weights.
    """
    random = np.random.RandomState(seed)  # its numbers are the same for ever
    state: dict[str, torch.Tensor] = {}

    def add(name: str, values: np.ndarray) -> None:
        state[name] = torch.from_numpy(np.asarray(values, np.float32))

    def convolution(name: str, before: int, after: int, side: int) -> None:
        add(f"{name}.weight", random.normal(0, math.sqrt(2 / (before * side**2)), (after, before, side, side)))
        add(f"{name}.bias", random.normal(0, 0.1, after))

    def norm(name: str, channels: int) -> None:
        ranges = {"weight": (0.8, 1.2), "bias": (-0.2, 0.2), "running_mean": (0.1, 0.3), "running_var": (0.3, 0.7)}
        for part, (low, high) in ranges.items():
            add(f"{name}.{part}", random.uniform(low, high, channels))
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def block(name: str, before: int, after: int) -> None:
        convolution(f"{name}.residual_input_conv", before, after, 1)
        norm(f"{name}.residual_batchnorm", after)
        for place, channels in ((0, before), (3, after)):
            convolution(f"{name}.block.{place}", channels, after, 3)
            norm(f"{name}.block.{place + 2}", after)

    widths = [width * 2**level for level in range(DEPTH + 1)]
    for level, (before, after) in enumerate(zip([1, *widths], widths)):
        block(f"down_path.{level}", before, after)
    for step, (before, after) in enumerate(zip(widths[:0:-1], widths[-2::-1])):
        convolution(f"up_path.{step}.residual_input_conv", before, after, 1)
        norm(f"up_path.{step}.residual_batchnorm", after)
        convolution(f"up_path.{step}.up.1", before, after, 1)
        block(f"up_path.{step}.conv_block", before, after)
    convolution("last", width, classes, 1)
    return state


def write_weights(path: Path, classes: int, width: int = SMALL_WIDTH, seed: int = 0) -> Path:
    """A file as lungmask's releases are."""
    torch.save(seeded_weights(classes, width, seed), path)
    return path

"""A model as a TorchScript program from HU to probabilities."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_lungseg.export.facts import FACTS, facts_of, network_range
from napari_lungseg.model import Model
from napari_lungseg.unet import probabilities


class _FromHU(nn.Module):
    """The network between what makes its input of HU, and what makes probabilities of its logits."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.stride = model.card.unet.stride
        self.low, self.high = model.card.preprocessing.window_hu
        self.bottom, self.top = network_range(model.card)

    def forward(self, hu: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W) of images (N, channels, H, W)."""
        x = torch.clamp(torch.nan_to_num(hu, nan=self.low), self.low, self.high)
        x = (x - self.low) * ((self.top - self.bottom) / (self.high - self.low)) + self.bottom
        found = probabilities(self.network(_padded(x, self.stride, self.bottom)))
        return _cropped(found, hu)


# Scripted, as tracing would keep the sizes of the example.
@torch.jit.script
def _padded(x: Tensor, stride: int, air: float) -> Tensor:
    below = max(2, (x.shape[2] + stride - 1) // stride) * stride - x.shape[2]
    right = max(2, (x.shape[3] + stride - 1) // stride) * stride - x.shape[3]
    return torch.nn.functional.pad(x, [0, right, 0, below], "constant", air)


@torch.jit.script
def _cropped(x: Tensor, like: Tensor) -> Tensor:
    return x[:, :, : like.shape[2], : like.shape[3]]


def save_torchscript(model: Model, path: Path) -> None:
    """Write a program that torch runs without this package."""
    config = model.card.unet
    example = torch.zeros(1, config.in_channels, 2 * config.stride + 1, 3 * config.stride + 1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, whose result is checked
        program = torch.jit.trace(_FromHU(model).eval(), example, check_trace=False)
        program.save(str(path), _extra_files={FACTS: json.dumps(facts_of(model.card, "float32"))})


def read_program(path: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """A written program, ready to be called with arrays."""
    program = torch.jit.load(str(path))

    def run(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(program(torch.from_numpy(images)).numpy())

    return run

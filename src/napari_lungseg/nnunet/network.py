"""The two networks of nnU-Net v2 that can be imported: PlainConvUNet and ResidualEncoderUNet of dynamic_network_architectures (Apache-2.0).

Modules have the names that those have, so that weights fit as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.errors import InputError

#: By the number of axes: convolution, transposed convolution, norm, mean pooling.
_LAYERS: dict[int, tuple[Any, Any, Any, Any]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d, nn.AvgPool3d),
}
Sides = tuple[int, ...]


class _Convolution(nn.Module):
    """Convolution, norm and, unless it is left out, LeakyReLU."""

    def __init__(
        self, config: NnunetConfig, before: int, after: int, kernel: Sides, stride: Sides, *, bias: bool | None = None, relu: bool = True
    ) -> None:
        super().__init__()
        convolution, _, norm, _ = _LAYERS[len(config.patch)]
        padding = [(side - 1) // 2 for side in kernel]
        self.conv = convolution(before, after, kernel, stride, padding, bias=config.bias if bias is None else bias)
        self.norm = norm(after, eps=config.epsilon, affine=True)
        self.nonlin = nn.LeakyReLU(config.slope, inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x if self.nonlin is None else self.nonlin(x)


class _Stack(nn.Module):
    """Convolutions one after the other; the first one strides."""

    def __init__(self, config: NnunetConfig, count: int, before: int, after: int, kernel: Sides, stride: Sides) -> None:
        super().__init__()
        one = (1,) * len(stride)
        self.convs = nn.Sequential(
            *(_Convolution(config, after if place else before, after, kernel, one if place else stride) for place in range(count))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class _Residual(nn.Module):
    """Two convolutions and the way past them: mean pooling and a convolution of single pixels, where these are needed."""

    def __init__(self, config: NnunetConfig, before: int, after: int, kernel: Sides, stride: Sides) -> None:
        super().__init__()
        one = (1,) * len(stride)
        self.conv1 = _Convolution(config, before, after, kernel, stride)
        self.conv2 = _Convolution(config, after, after, kernel, one, relu=False)
        way = [_LAYERS[len(stride)][3](stride, stride)] if any(side != 1 for side in stride) else []
        if before != after:
            way.append(_Convolution(config, before, after, one, one, bias=False, relu=False))
        self.skip = nn.Sequential(*way)
        self.nonlin2 = nn.LeakyReLU(config.slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))


class _Blocks(nn.Module):
    def __init__(self, config: NnunetConfig, count: int, before: int, after: int, kernel: Sides, stride: Sides) -> None:
        super().__init__()
        one = (1,) * len(stride)
        self.blocks = nn.Sequential(
            *(_Residual(config, after if place else before, after, kernel, one if place else stride) for place in range(count))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class _Encoder(nn.Module):
    def __init__(self, config: NnunetConfig) -> None:
        super().__init__()
        before, stages = 1, []
        if config.residual:
            self.stem = _Stack(config, 1, 1, config.features[0], config.kernels[0], (1,) * len(config.patch))
            before = config.features[0]
        for features, kernel, stride, count in zip(config.features, config.kernels, config.strides, config.encoder, strict=True):
            part = (config, count, before, features, kernel, stride)
            stages.append(_Blocks(*part) if config.residual else nn.Sequential(_Stack(*part)))
            before = features
        self.stages = nn.Sequential(*stages)


class _Decoder(nn.Module):
    def __init__(self, config: NnunetConfig) -> None:
        super().__init__()
        convolution, transposed, _, _ = _LAYERS[len(config.patch)]
        levels = list(range(len(config.features) - 1))[::-1]
        one, features, strides = (1,) * len(config.patch), config.features, config.strides
        self.stages = nn.ModuleList(
            _Stack(config, count, 2 * features[level], features[level], config.kernels[level], one)
            for level, count in zip(levels, config.decoder, strict=True)
        )
        self.transpconvs = nn.ModuleList(
            transposed(features[level + 1], features[level], strides[level + 1], strides[level + 1], bias=config.bias) for level in levels
        )
        self.seg_layers = nn.ModuleList(convolution(features[level], config.classes + 1, 1) for level in levels)


class NnunetNetwork(nn.Module):
    """A U-Net as nnU-Net v2 plans it; (N, 1, ...) to logits (N, classes + 1, ...), the background first."""

    def __init__(self, config: NnunetConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at full resolution; those of deep supervision are not computed."""
        if hasattr(self.encoder, "stem"):
            x = self.encoder.stem(x)
        skips = []
        for stage in self.encoder.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.decoder.transpconvs, self.decoder.stages, strict=True):
            x = stage(torch.cat((up(x), skips.pop()), 1))
        logits: Tensor = self.decoder.seg_layers[-1](x)
        return logits


def weight_shapes(config: NnunetConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of one fold; no memory is taken."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in NnunetNetwork(config).state_dict().items()}


def make_network(config: NnunetConfig, weights: Mapping[str, npt.NDArray[np.float32]]) -> NnunetNetwork:
    """A network with weights of one fold (InputError where they do not fit)."""
    wanted, given = weight_shapes(config), {name: array.shape for name, array in weights.items()}
    if wrong := sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name)):
        raise InputError(f"The weights of this nnU-Net do not fit its card ({wrong[0]}); import it again.")
    with torch.device("meta"):
        network = NnunetNetwork(config)
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, assign=True)
    return network.eval()

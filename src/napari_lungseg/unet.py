"""The network: a 2-D U-Net, from the article's original to small fast variants of the same family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_lungseg.architecture import ARTICLE, PRESETS, Norm, UNetConfig, group_count

__all__ = [
    "ARTICLE",
    "PRESETS",
    "Block",
    "Norm",
    "UNet",
    "UNetConfig",
    "Up",
    "fold_batch_norm",
    "parameter_summary",
    "probabilities",
]


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm(group_count(channels), channels)


class Block(nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU; the middle block leaves out the second norm."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, second_norm: bool = True, relu_first: bool = False) -> None:
        if relu_first:
            both = ((inputs, outputs), (outputs, outputs))
            super().__init__(
                *(layer for pair in both for layer in (nn.Conv2d(*pair, 3, padding=1), nn.ReLU(inplace=True), _norm(norm, outputs)))
            )
            return
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1), _norm(norm, outputs), nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(outputs, outputs, 3, padding=1))
        if second_norm:
            layers.append(_norm(norm, outputs))
        layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Up(nn.Module):
    """Transposed convolution, resize to the skip, concatenation (skip first), block."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.block = Block(2 * outputs, outputs, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Bring ``x`` up to the skip's size and join both."""
        x = self.up(x)
        if x.shape[-2:] != skip.shape[-2:]:
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
        joined: Tensor = self.block(torch.cat((skip, x), dim=1))
        return joined


class BilinearUp(nn.Module):
    """Bilinear upsampling to the size of the skip, 1x1 convolution, concatenation (skip last), block; as in lungmask."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.Conv2d(inputs, outputs, 1)
        self.block = Block(2 * outputs, outputs, norm, relu_first=True)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Bring ``x`` up to the skip's size and join both."""
        x = self.up(F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False))
        joined: Tensor = self.block(torch.cat((x, skip), dim=1))
        return joined


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with padded convolutions.

    Parameters
    ----------
    config : UNetConfig
        Shape of the network.

    Notes
    -----
    Takes (N, ``config.in_channels``, H, W) of any H and W and returns logits
    (N, ``config.out_channels``, H, W).
    """

    def __init__(self, config: UNetConfig = ARTICLE) -> None:
        super().__init__()
        self.config = config
        self.frozen_norm = False
        cells = config.patch**2
        widths = [config.base_width * 2**level for level in range(config.depth + 1)]
        inputs = [config.in_channels * cells, *widths]
        lungmask = config.convention == "lungmask"
        up: type[Up | BilinearUp] = BilinearUp if lungmask else Up
        self.down = nn.ModuleList(Block(inputs[i], widths[i], config.norm, relu_first=lungmask) for i in range(config.depth))
        self.pool: nn.Module = nn.AvgPool2d(2, ceil_mode=True) if lungmask else nn.MaxPool2d(2, ceil_mode=True)
        self.middle = Block(widths[-2], widths[-1], config.norm, second_norm=False, relu_first=lungmask)
        self.up = nn.ModuleList(up(widths[i + 1], widths[i], config.norm) for i in reversed(range(config.depth)))
        self.head = nn.Conv2d(widths[0], config.out_channels * cells, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, ``config.out_channels``, H, W) of images (N, ``config.in_channels``, H, W)."""
        height, width = x.shape[-2:]
        patch = self.config.patch
        if patch > 1:
            x = F.pad(x, (0, -width % patch, 0, -height % patch), mode="replicate")
            x = F.pixel_unshuffle(x, patch)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.middle(x)
        for up in self.up:
            x = up(x, skips.pop())
        x = self.head(x)
        if patch > 1:
            x = F.pixel_shuffle(x, patch)[..., :height, :width]
        return x

    def train(self, mode: bool = True) -> UNet:
        """Switch training mode; frozen norm layers stay in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for module in _batch_norms(self):
                module.eval()
        return self

    def freeze_norm(self) -> None:
        """Keep BatchNorm statistics and parameters as they are, through ``train()`` as well."""
        self.frozen_norm = True
        for module in _batch_norms(self):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)


def _batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def _initialise(module: nn.Module) -> None:
    """Kaiming-normal convolutions (He et al. 2015), zero biases, norm layers 1 and 0."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def probabilities(logits: Tensor) -> Tensor:
    """Foreground probabilities (N, classes, H, W): sigmoid for one channel, softmax for several."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)[:, 1:]


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Merge every BatchNorm of a U-Net that follows a convolution into that, in place; it must be in evaluation mode."""
    fuse: Callable[..., Any] = nn.utils.fusion.fuse_conv_bn_eval
    for block in network.modules():
        if not isinstance(block, Block):
            continue
        for index in range(len(block) - 1):
            if isinstance(block[index], nn.Conv2d) and isinstance(block[index + 1], nn.BatchNorm2d):
                block[index] = fuse(block[index], block[index + 1])
                block[index + 1] = nn.Identity()
    return network


def parameter_summary(network: nn.Module) -> dict[str, int]:
    """Count parameters: ``total``, ``trainable`` and one entry per top-level part."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    every = list(network.parameters())
    return {
        "total": sum(p.numel() for p in every),
        "trainable": sum(p.numel() for p in every if p.requires_grad),
        **{name: count for name, count in parts.items() if count},
    }

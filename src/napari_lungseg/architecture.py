"""The shape of a U-Net as plain settings, so that model cards can be read without loading torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Norm = Literal["batch", "group", "instance"]
#: Whose way something of a model is: this package's, or that of the package lungmask, whose weights can be imported.
Convention = Literal["lungseg", "lungmask"]

#: Name of the bundled model that is used unless another is asked for.
DEFAULT_MODEL = "lung-ct"

#: Least and most of each whole-number setting; the upper ends only stop nonsense in a model card from filling the memory.
_BOUNDS = {"classes": (1, 254), "base_width": (1, 1024), "depth": (1, 8), "context_slices": (0, 16), "patch": (1, 16)}

_WIDEST = 4096

#: As far as a network may look at once; larger ones would make any slice as large as this.
LARGEST_STRIDE = 256

#: Bounds of what plans of nnU-Net may say.
_MOST_LEVELS, _MOST_PATCH, _MOST_ORDER = 12, 1024, 5

#: Channels per group of GroupNorm; eight is the smallest width used here.
GROUP_CHANNELS = 8

#: What norm layers add to the variance.
EPSILON = 1e-5


def group_count(channels: int) -> int:
    """Groups that GroupNorm makes of so many channels."""
    return channels // GROUP_CHANNELS if channels % GROUP_CHANNELS == 0 else 1


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net.

    Attributes
    ----------
    classes : int
        Foreground classes. One class gives one sigmoid channel; several give a background
        channel besides, under softmax.
    base_width : int
        Channels of the first level; every level below doubles them.
    depth : int
        Number of poolings.
    norm : {"batch", "group", "instance"}
        Normalisation between convolution and ReLU.
    context_slices : int
        Neighbouring slices on each side that enter as extra channels.
    patch : int
        Side of the pixel block that is folded into channels before the first level and unfolded after
        the head (sub-pixel convolution, Shi et al. 2016, doi 10.1109/CVPR.2016.207). With 2 the network
        reads and writes at full resolution for the price of half.
    convention : {"lungseg", "lungmask"}
        How layers are put together. ``lungseg``: norm before ReLU, max pooling, transposed convolutions. ``lungmask``: ReLU before
        BatchNorm, mean pooling, bilinear upsampling and a 1x1 convolution; what comes from below is concatenated first.
    """

    classes: int = 1
    base_width: int = 64
    depth: int = 4
    norm: Norm = "batch"
    context_slices: int = 0
    patch: int = 1
    convention: Convention = "lungseg"

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"U-Net setting {name} must be a whole number from {least} to {most}, not {value!r}.")
        if self.base_width * 2**self.depth > _WIDEST:
            raise ValueError(f"U-Net settings base_width {self.base_width} and depth {self.depth} give more than {_WIDEST} channels.")
        if self.norm not in ("batch", "group", "instance"):
            raise ValueError(f"U-Net setting norm must be batch, group or instance, not {self.norm!r}.")
        if self.convention == "lungmask" and self.norm != "batch":
            raise ValueError("U-Net setting norm must be batch where layers are put together as in lungmask.")

    @property
    def in_channels(self) -> int:
        """Channels of the input: the slice and its neighbours."""
        return 2 * self.context_slices + 1

    @property
    def out_channels(self) -> int:
        """Channels of the logits."""
        return 1 if self.classes == 1 else self.classes + 1

    @property
    def folds_norm(self) -> bool:
        """Whether each BatchNorm follows a convolution, into which it can be merged."""
        return self.norm == "batch" and self.convention == "lungseg"

    @property
    def parameters(self) -> tuple[int, int]:
        """Bounds of the number of parameters, so that no memory is asked for that weights cannot fill: the deepest convolution, and all."""
        deepest, folded = (self.base_width * 2**self.depth) ** 2, self.patch**2 * (self.in_channels + self.out_channels)
        return 9 * deepest, 64 * deepest + 64 * self.base_width * (folded + 64)

    @property
    def stride(self) -> int:
        """Input sides that are multiples of this need no resizing inside the network."""
        return self.patch * int(2**self.depth)


@dataclass(frozen=True)
class OnnxConfig:
    """What is known of a network of any kind that lies in an ONNX file.

    It takes one slice (1, 1, H, W) and gives (1, channels, H, W), both float32.

    Attributes
    ----------
    classes : int
        Foreground classes.
    background : bool
        The first of its channels is background.
    activation : {"none", "sigmoid", "softmax"}
        What makes probabilities of its channels; ``none``: they are such.
    values : tuple of float
        What it reads for the lower and the upper end of the card's window.
    stride : int
        Its sides must be multiples of this.
    """

    classes: int = 1
    background: bool = False
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    values: tuple[float, float] = (-1.0, 1.0)
    stride: int = 1
    convention: Literal["onnx"] = "onnx"

    def __post_init__(self) -> None:
        least, most = _BOUNDS["classes"]
        if not least <= self.classes <= most:
            raise ValueError(f"An ONNX network must have from {least} to {most} classes, not {self.classes}.")
        if not 1 <= self.stride <= LARGEST_STRIDE:
            raise ValueError(f"The stride of an ONNX network must lie from 1 to {LARGEST_STRIDE}, not at {self.stride}.")
        if not all(map(math.isfinite, self.values)) or self.values[0] == self.values[1]:
            raise ValueError("An ONNX network must read two different numbers for the ends of the window.")

    @property
    def in_channels(self) -> int:
        """Channels of the input: the slice alone."""
        return 1

    @property
    def context_slices(self) -> int:
        """Neighbouring slices on each side."""
        return 0

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.classes + self.background


@dataclass(frozen=True)
class NnunetConfig:
    """A network of nnU-Net v2, and what its plans say of the way to it and back. Axes are in the order of the plans.

    Attributes
    ----------
    classes : int
        Foreground classes; the background comes before them.
    residual : bool
        ResidualEncoderUNet in place of PlainConvUNet.
    features : tuple of int
        Channels of each level.
    kernels, strides : tuple of tuple of int
        Of each level; two or three numbers each.
    encoder, decoder : tuple of int
        Convolutions, or residual blocks in the encoder, of each level; the decoder's from the lowest up.
    patch : tuple of int
        Sides of the sliding window: two of a network of slices, three of one of volumes.
    spacing : tuple of float
        mm, as many.
    transpose : tuple of int
        The image's axes (z, y, x) in the order of the plans.
    normalisation : {"ct", "zscore", "none"}
        ``ct``: clipped to the card's window, then by ``mean`` and ``deviation``.
    mean, deviation : float
    data_orders, logit_orders : tuple of int
        Of the splines that resample the image and what is found: in the plane and along thick slices.
    separate_z, separate_z_logits : bool, optional
        Whether slices are taken for thick; None: where they are.
    mirror : tuple of int
        Axes of the patch that are mirrored.
    upright : bool
        The image is brought into the order RAS first.
    folds : int
        Networks whose mean counts.
    bias : bool
    epsilon, slope : float
        Of norms and of LeakyReLU.
    """

    classes: int
    residual: bool
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    transpose: tuple[int, int, int] = (0, 1, 2)
    normalisation: Literal["ct", "zscore", "none"] = "ct"
    mean: float = 0.0
    deviation: float = 1.0
    data_orders: tuple[int, int] = (3, 0)
    logit_orders: tuple[int, int] = (1, 0)
    separate_z: bool | None = None
    separate_z_logits: bool | None = None
    mirror: tuple[int, ...] = ()
    upright: bool = False
    folds: int = 1
    bias: bool = True
    epsilon: float = 1e-5
    slope: float = 0.01
    convention: Literal["nnunet"] = "nnunet"

    def __post_init__(self) -> None:
        axes, levels = len(self.patch), len(self.features)
        sides = [self.patch, *self.kernels, *self.strides]
        fits = (
            axes in (2, 3)
            and 2 <= levels <= _MOST_LEVELS
            and len(self.spacing) == axes
            and all(len(each) == axes and all(1 <= side <= _MOST_PATCH for side in each) for each in sides)
            and (len(self.kernels), len(self.strides), len(self.encoder), len(self.decoder)) == (levels, levels, levels, levels - 1)
            and all(1 <= number <= _WIDEST for number in (*self.features, *self.encoder, *self.decoder, self.folds))
            and 1 <= self.classes <= _BOUNDS["classes"][1]
            and sorted(self.transpose) == [0, 1, 2]
            and all(math.isfinite(number) and number > 0 for number in self.spacing)
            and all(0 <= order <= _MOST_ORDER for order in (*self.data_orders, *self.logit_orders))
            and sorted(set(self.mirror)) == sorted(self.mirror)
            and all(0 <= axis < axes for axis in self.mirror)
        )
        if not fits:
            raise ValueError("The plans of the nnU-Net do not fit together.")


Architecture = UNetConfig | OnnxConfig | NnunetConfig


#: The article's U-Net: 64-128-256-512, 1024 in the middle; 31,040,321 parameters for one class.
ARTICLE = UNetConfig()

PRESETS: dict[str, UNetConfig] = {
    "article": ARTICLE,
    "small": UNetConfig(base_width=16, norm="group", patch=2),
}

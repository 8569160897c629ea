"""The weights of a U-Net as plain arrays: read, and held against the shape that a card describes. No torch is needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from napari_lungseg.architecture import EPSILON, UNetConfig
from napari_lungseg.errors import InputError

#: Arrays by the names that torch has for them: float32, and int64 for counters.
Weights = dict[str, npt.NDArray[Any]]

_FLOATS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
_BFLOAT = "BF16"
#: Counts the batches that BatchNorm has seen.
_COUNTER = "num_batches_tracked"


def weight_shapes(config: UNetConfig, *, folded: bool = False) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of a U-Net; ``folded``: with BatchNorm merged into the convolutions, where it can be."""
    cells = config.patch**2
    widths = [config.base_width * 2**level for level in range(config.depth + 1)]
    inputs = [config.in_channels * cells, *widths]
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, *shape: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": (outputs,)})

    def norm(name: str, channels: int) -> None:
        if folded and config.folds_norm:
            return
        shapes.update({f"{name}.weight": (channels,), f"{name}.bias": (channels,)})
        if config.norm == "batch":
            shapes.update({f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,), f"{name}.{_COUNTER}": ()})

    lungmask = config.convention == "lungmask"

    def block(name: str, before: int, after: int, *, second_norm: bool = True) -> None:
        convolution(f"{name}.0", after, before, 3, 3, outputs=after)
        norm(f"{name}.{2 if lungmask else 1}", after)
        convolution(f"{name}.3", after, after, 3, 3, outputs=after)
        if second_norm:
            norm(f"{name}.{5 if lungmask else 4}", after)

    for level in range(config.depth):
        block(f"down.{level}", inputs[level], widths[level])
    block("middle", widths[-2], widths[-1], second_norm=lungmask)
    for step, level in enumerate(reversed(range(config.depth))):
        after, before = widths[level], widths[level + 1]
        convolution(f"up.{step}.up", *((after, before, 1, 1) if lungmask else (before, after, 2, 2)), outputs=after)
        block(f"up.{step}.block", 2 * widths[level], widths[level])
    convolution("head", config.out_channels * cells, widths[0], 1, 1, outputs=config.out_channels * cells)
    return shapes


def open_safetensors(data: bytes, what: str) -> dict[str, Any]:
    """Find the arrays of a safetensors file, as bytes with type and shape (InputError where it is none)."""
    try:
        return dict(safetensors.deserialize(data))
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{what} is not a safetensors file ({error}).") from error


def parse_weights(data: bytes, config: UNetConfig, folder: object) -> Weights:
    """Read the content of a weights file and check all of it.

    Parameters
    ----------
    data : bytes
        In the format safetensors.
    config : UNetConfig
        What the card says of the network.
    folder : path
        The model's, for messages.

    Returns
    -------
    dict
        Of every name an array: float32, counters int64.

    Raises
    ------
    InputError
        When the file is damaged, or its arrays do not fit the architecture, are of types that cannot be used, or are not finite.
    """
    stored = open_safetensors(data, f"The weights file in {folder}")
    wanted, given = weight_shapes(config), {name: tuple(part["shape"]) for name, part in stored.items()}
    if sum(math.prod(shape) for shape in given.values()) < config.parameters[0]:
        raise InputError(f"The weights in {folder} do not fit the card's architecture: it has at least {config.parameters[0]} numbers.")
    if wanted != given:
        name = min(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        raise InputError(
            f"The weights in {folder} do not fit the card's architecture: {name} is "
            f"{given.get(name, 'missing')} in the weights and {wanted.get(name, 'missing')} in the architecture."
        )
    weights = {name: _array(name, stored[name], folder) for name in wanted}
    check_finite(weights, f"The model in {folder}")
    return weights


def fold_batch_norm(weights: Weights, config: UNetConfig) -> Weights:
    """Merge the BatchNorm of a network, if it has such after convolutions, into these."""
    if not config.folds_norm:
        return weights
    folded = {name: weights[name] for name in weight_shapes(config, folded=True)}
    for name in [name.removesuffix(".running_var") for name in weights if name.endswith(".running_var")]:
        block, place = name.rsplit(".", 1)
        convolution = f"{block}.{int(place) - 1}"
        factor = batch_scale(weights, name)
        folded[f"{convolution}.weight"] = folded[f"{convolution}.weight"] * factor[:, None, None, None]
        folded[f"{convolution}.bias"] = (folded[f"{convolution}.bias"] - weights[f"{name}.running_mean"]) * factor + weights[f"{name}.bias"]
    return folded


def batch_scale(weights: Weights, name: str) -> npt.NDArray[np.float32]:
    """What a BatchNorm multiplies each channel by."""
    return np.asarray(weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + np.float32(EPSILON)), np.float32)


def check_finite(weights: Weights, what: str) -> None:
    """Refuse weights that are not finite numbers (InputError); ``what`` begins the sentence."""
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise InputError(f"{what} has weights that are not finite numbers ({name}); it cannot be used.")


def _array(name: str, part: dict[str, Any], folder: object) -> npt.NDArray[Any]:
    kind = part["dtype"]
    if name.endswith(_COUNTER):
        array = np.frombuffer(part["data"], "<i8") if kind == "I64" else None
    elif kind == _BFLOAT:
        # The upper half of a float32.
        array = (np.frombuffer(part["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in _FLOATS:
        with np.errstate(over="ignore"):  # then it is not finite, which is found out
            array = np.frombuffer(part["data"], np.dtype(_FLOATS[kind]).newbyteorder("<")).astype(np.float32)
    else:
        array = None
    if array is None:
        raise InputError(f"The weights in {folder} are of a type that cannot be used ({name} is {kind}).")
    return array.reshape(part["shape"])

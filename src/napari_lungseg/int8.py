"""A network in int8: its file beside the weights, and what is in it. Read and checked without torch or OpenVINO.

The file is safetensors, as the weights' own. Of each convolution in int8 it holds ``NAME.weight`` (int8) and ``NAME.scale`` (float32, one
for each output channel); all else is float32, with BatchNorm merged into the convolutions. Where activations are rounded to 8 bits there is
``activation:AFTER:BEFORE[:BEFORE ...]``, the lowest and highest value (float32), between the nodes of those names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.errors import InputError
from napari_lungseg.weights import Weights, check_finite, open_safetensors, weight_shapes

_ACTIVATION = "activation"
_TYPES: dict[str, np.dtype[Any]] = {"I8": np.dtype(np.int8), "F32": np.dtype("<f4")}


@dataclass(frozen=True)
class Activation:
    """Where values between two layers are rounded to 8 bits.

    Attributes
    ----------
    after : str
        The node that gives them.
    before : tuple of str
        The nodes that take them.
    low, high : float
        Values that the lowest and the highest of 256 steps stand for.
    """

    after: str
    before: tuple[str, ...]
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Int8Network:
    """A network with convolutions in int8.

    Attributes
    ----------
    weights : dict
        Arrays by name: int8 or float32.
    scales : dict
        Of each convolution in int8 what its numbers are multiplied by, shaped to its weights.
    activations : tuple of Activation
        Where values between layers are rounded.
    """

    weights: Weights
    scales: dict[str, npt.NDArray[np.float32]]
    activations: tuple[Activation, ...]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as the arrays of a safetensors file."""
        activations = {
            ":".join((_ACTIVATION, item.after, *item.before)): np.array([item.low, item.high], np.float32) for item in self.activations
        }
        return {**self.weights, **{f"{name}.scale": scale for name, scale in self.scales.items()}, **activations}


def parse_int8(data: bytes, config: UNetConfig, folder: object) -> Int8Network:
    """Read the content of an int8 file and check all of it.

    Parameters
    ----------
    data : bytes
        In the format safetensors.
    config : UNetConfig
        What the card says of the network.
    folder : path
        The model's, for messages.

    Raises
    ------
    InputError
        When the file is damaged or does not fit the architecture.
    """
    what = f"The int8 network in {folder}"
    stored = open_safetensors(data, what)
    arrays = {name: _array(part, f"{what} does not fit the card: {name}") for name, part in stored.items()}
    check_finite(arrays, what)
    shapes = weight_shapes(config, folded=True)
    weights = {name: arrays.pop(name) for name in shapes if name in arrays}
    wrong = [name for name, shape in shapes.items() if name not in weights or weights[name].shape != shape]
    scales = {}
    for name in [name.removesuffix(".weight") for name, array in weights.items() if array.dtype == np.int8]:
        scale = arrays.pop(f"{name}.scale", None)
        if scale is None or scale.dtype == np.int8 or scale.shape != scale_shape(name, shapes[f"{name}.weight"]):
            wrong.append(f"{name}.scale")
        else:
            scales[name] = scale
    activations = []
    for key, limits in arrays.items():
        kind, *nodes = key.split(":")
        if kind != _ACTIVATION or len(nodes) < 2 or limits.shape != (2,) or not limits[0] < limits[1]:
            wrong.append(key)
        else:
            activations.append(Activation(nodes[0], tuple(nodes[1:]), float(limits[0]), float(limits[1])))
    if wrong:
        raise InputError(f"{what} does not fit the card's architecture ({wrong[0]}).")
    return Int8Network(weights, scales, tuple(activations))


def scale_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the scales of a convolution's weights: one for each output channel, whose axis differs in transposed ones."""
    axis = 1 if name.endswith(".up") else 0
    return tuple(length if index == axis else 1 for index, length in enumerate(shape))


def _array(part: dict[str, Any], what: str) -> npt.NDArray[Any]:
    if part["dtype"] not in _TYPES or len(part["data"]) != math.prod(part["shape"]) * _TYPES[part["dtype"]].itemsize:
        raise InputError(f"{what} is of a type that cannot be used ({part['dtype']}).")
    return np.frombuffer(part["data"], _TYPES[part["dtype"]]).reshape(part["shape"])

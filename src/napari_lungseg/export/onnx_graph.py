"""A model as an ONNX graph from HU to probabilities, made from plain weights: needs the package onnx, and no torch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from napari_lungseg.architecture import EPSILON, UNetConfig, group_count
from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.export.facts import FACTS, INPUT, OUTPUT, facts_of, network_range
from napari_lungseg.int8 import Activation, Int8Network
from napari_lungseg.weights import Weights, batch_scale, fold_batch_norm

#: Old enough for the runtimes of devices; int8 by channel and padding by an input need 13.
OPSET, IR_VERSION = 17, 8
#: Steps of 8 bits.
_STEPS = 255


def onnx_graph(weights: Weights | Int8Network, card: Card, precision: str) -> onnx.ModelProto:
    """Build the graph.

    Parameters
    ----------
    weights : dict or Int8Network
        As :func:`~napari_lungseg.weights.parse_weights` gives them, or :func:`~napari_lungseg.int8.parse_int8`.
    card : Card
        Of the model.
    precision : {"float32", "float16", "int8"}
        ``float16``: weights of convolutions are stored so; all computes in float32.

    Returns
    -------
    onnx.ModelProto
        Takes (N, channels, H, W) float32 in HU, of any N, H and W, and gives probabilities (N, classes, H, W).

    Raises
    ------
    InputError
        When the network has no places of the names by which activations are rounded.
    """
    config = card.unet
    builder = _BUILDERS[config.convention](weights, config, half=precision == "float16")
    builder.build(card)
    image, found = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "rows", "columns"])
        for name, channels in ((INPUT, config.in_channels), (OUTPUT, config.classes))
    )
    graph = helper.make_graph(builder.nodes, card.name, [image], [found], builder.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="napari-lungseg")
    model.doc_string = card.description
    helper.set_model_props(model, {FACTS: json.dumps(facts_of(card, precision), ensure_ascii=False)})
    onnx.checker.check_model(model, full_check=True)
    return model


class _Builder:
    """Nodes and tensors have the names that those of :mod:`~napari_lungseg.openvino_graph` have, by which activations are rounded."""

    def __init__(self, weights: Weights | Int8Network, config: UNetConfig, *, half: bool) -> None:
        self._config, self._half = config, half
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._roundings: dict[tuple[str, str], Activation] = {}
        if isinstance(weights, Int8Network):
            self._weights, self._scales = weights.weights, weights.scales
            self._roundings = {(item.after, before): item for item in weights.activations for before in item.before}
        else:
            self._weights, self._scales = fold_batch_norm(weights, config), {}

    def build(self, card: Card) -> None:
        """Add all nodes, from ``image`` to ``probability``."""
        x = self._padded(self._normalised(INPUT, card), card)
        patch = self._config.patch
        if patch > 1:
            x = self._node("SpaceToDepth", [x], "fold", blocksize=patch)
        skips = []
        for level in range(self._config.depth):
            x = self._block(x, f"down.{level}")
            skips.append(x)
            x = self._pool(x, f"down.{level}.pool")
        x = self._block(x, "middle", second_norm=False)
        for step in range(self._config.depth):
            x, skip, name = self._up(x, f"up.{step}.up"), skips.pop(), f"up.{step}.join"
            x = self._node("Concat", [self._rounded(part, name) for part in self._joined(x, skip)], name, axis=1)
            x = self._block(x, f"up.{step}.block")
        x = self._convolution(x, "head", 0)
        if patch > 1:
            x = self._node("DepthToSpace", [x], "unfold", blocksize=patch, mode="CRD")
        if self._config.out_channels == 1:
            x = self._node("Sigmoid", [x], "sigmoid")
        else:
            x = self._node("Softmax", [x], "softmax", axis=1)
            x = self._node("Slice", [x, *self._integers("classes", [1], [self._config.out_channels], [1])], "foreground")
        self._node("Slice", [x, self._integers("origin", [0, 0])[0], "size", self._integers("plane", [2, 3])[0]], OUTPUT)
        if self._roundings:
            after, before = next(iter(self._roundings))
            raise InputError(f"There is nothing between {after} and {before} in the network.")

    def _normalised(self, x: str, card: Card) -> str:
        (low, high), (bottom, top) = card.preprocessing.window_hu, network_range(card)
        x = self._node("Where", [self._node("IsNaN", [x], "nan"), self._number("low", low), x], "filled")
        x = self._node("Clip", [x, "low", self._number("high", high)], "clipped")
        x = self._node("Sub", [x, "low"], "above")
        x = self._node("Mul", [x, self._number("slope", (top - bottom) / (high - low))], "sloped")
        return self._node("Add", [x, self._number("bottom", bottom)], "normalised")

    def _padded(self, x: str, card: Card) -> str:
        """Air below and to the right, up to sides that the network takes: as :func:`~napari_lungseg.resample.padded` has them."""
        stride = self._config.stride
        shape = self._node("Shape", [x], "shape")
        size = self._node("Slice", [shape, *self._integers("last two", [2], [4])], "size")
        count = self._node("Div", [self._node("Add", [size, *self._integers("stride - 1", [stride - 1])], "more")], "count", [stride])
        count = self._node("Max", [count, *self._integers("two", [2])], "at least two")
        missing = self._node("Sub", [self._node("Mul", [count], "full size", [stride]), size], "missing")
        pads = self._node("Concat", [*self._integers("before", [0] * 6), missing], "pads", axis=0)
        return self._node("Pad", [x, pads, "bottom"], "image.padded", mode="constant")

    def _pool(self, x: str, name: str) -> str:
        return self._node("MaxPool", [self._rounded(x, name)], name, kernel_shape=[2, 2], strides=[2, 2])

    def _joined(self, x: str, skip: str) -> list[str]:
        return [skip, x]

    def _block(self, x: str, name: str, *, second_norm: bool = True) -> str:
        x = self._node("Relu", [self._normed(self._convolution(x, f"{name}.0", 1), f"{name}.1")], f"{name}.2")
        x = self._convolution(x, f"{name}.3", 1)
        if second_norm:
            x = self._normed(x, f"{name}.4")
        return self._node("Relu", [x], f"{name}.5")

    def _convolution(self, x: str, name: str, pad: int) -> str:
        kernel, bias = self._kernel(name), self._constant(f"{name}.shift", self._weights[f"{name}.bias"])
        return self._node("Conv", [self._rounded(x, name), kernel, bias], f"{name}.bias", pads=[pad] * 4)

    def _up(self, x: str, name: str) -> str:
        kernel, bias = self._kernel(name), self._constant(f"{name}.shift", self._weights[f"{name}.bias"])
        return self._node("ConvTranspose", [self._rounded(x, name), kernel, bias], f"{name}.bias", strides=[2, 2])

    def _normed(self, x: str, name: str) -> str:
        if self._config.folds_norm:
            return x
        scale, shift = (np.asarray(self._weights[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
        if self._config.norm == "batch":
            scale = batch_scale(self._weights, name)
            shift = np.asarray(shift - self._weights[f"{name}.running_mean"] * scale, np.float32)
        else:
            # Older than ONNX's own node for groups, and known to every runtime.
            groups = group_count(len(scale)) if self._config.norm == "group" else len(scale)
            ones, zeros = (self._constant(f"{name}.{kind}", np.full(groups, value)) for kind, value in (("ones", 1), ("zeros", 0)))
            flat = self._node("Reshape", [x, *self._integers(f"{name}.groups", [0, groups, -1])], f"{name}.flat")
            flat = self._node("InstanceNormalization", [flat, ones, zeros], f"{name}.even", epsilon=EPSILON)
            x = self._node("Reshape", [flat, self._node("Shape", [x], f"{name}.shape")], f"{name}.back")
        x = self._node("Mul", [x, self._constant(f"{name}.scale", scale.reshape(1, -1, 1, 1))], f"{name}.scaled")
        return self._node("Add", [x, self._constant(f"{name}.shift", shift.reshape(1, -1, 1, 1))], name)

    def _kernel(self, name: str) -> str:
        values = np.ascontiguousarray(self._weights[f"{name}.weight"])
        if name == "down.0.0" and self._config.patch > 1:
            # ONNX folds pixels in another order of channels than torch: its own place first, then the channel.
            rows, channels, cells = len(values), self._config.in_channels, self._config.patch**2
            values = values.reshape(rows, channels, cells, 3, 3).swapaxes(1, 2).reshape(values.shape)
        if name in self._scales:
            stored = self._constant(f"{name}.weight", values, np.int8)
            scale = self._constant(f"{name}.scale", self._scales[name].ravel())
            axis = 1 if name.endswith(".up") else 0
            return self._node("DequantizeLinear", [stored, scale], f"{name}.kernel", axis=axis)
        if self._half:
            stored = self._constant(f"{name}.weight", values, np.float16)
            return self._node("Cast", [stored], f"{name}.kernel", to=TensorProto.FLOAT)
        return self._constant(f"{name}.weight", values)

    def _rounded(self, x: str, consumer: str) -> str:
        """A tensor as the node ``consumer`` takes it: rounded to 8 bits where the network in int8 does so."""
        activation = self._roundings.pop((x, consumer), None)
        if activation is None:
            return x
        name = f"{x}.rounded"
        if not any(name in node.output for node in self.nodes):
            step = (activation.high - activation.low) / _STEPS
            scale = self._number(f"{x}.step", step)
            zero = self._constant(f"{x}.zero", np.array(round(-activation.low / step)), np.uint8)
            self._node("QuantizeLinear", [x, scale, zero], f"{x}.uint8")
            self._node("DequantizeLinear", [f"{x}.uint8", scale, zero], name)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, more: list[int] | None = None, **attributes: Any) -> str:
        if more is not None:
            inputs = [*inputs, *self._integers(f"{output}.by", more)]
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value))

    def _integers(self, name: str, *lists: list[int]) -> list[str]:
        return [self._constant(f"{name}.{place}", np.array(values), np.int64) for place, values in enumerate(lists)]

    def _constant(self, name: str, values: npt.NDArray[Any], kind: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, kind).reshape(values.shape), name))
        return name


class _LungmaskBuilder(_Builder):
    """Layers put together as in lungmask."""

    def _pool(self, x: str, name: str) -> str:
        return self._node("AveragePool", [self._rounded(x, name)], name, kernel_shape=[2, 2], strides=[2, 2])

    def _joined(self, x: str, skip: str) -> list[str]:
        return [x, skip]

    def _block(self, x: str, name: str, *, second_norm: bool = True) -> str:
        for convolution, norm in ((0, 2), (3, 5)):
            x = self._node("Relu", [self._convolution(x, f"{name}.{convolution}", 1)], f"{name}.{convolution}.relu")
            x = self._normed(x, f"{name}.{norm}")
        return x

    def _up(self, x: str, name: str) -> str:
        # The convolution of single pixels gives the same before as after, at a fourth of the price.
        x = self._rounded(self._convolution(x, name, 0), f"{name}.double")
        scales = self._constant(f"{name}.scales", np.array([1, 1, 2, 2]))
        return self._node("Resize", [x, "", scales], f"{name}.double", mode="linear", coordinate_transformation_mode="half_pixel")


_BUILDERS = {"lungseg": _Builder, "lungmask": _LungmaskBuilder}

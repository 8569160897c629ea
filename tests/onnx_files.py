"""Small ONNX networks made by hand, whose masks are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper

#: HU between which the network of :func:`window_network` finds something.
AIR_BELOW, AIR_ABOVE = -950.0, -400.0


def window_network(
    *,
    slope: float = 1.0,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    end: str = "Sigmoid",
    background: bool = False,
    stride: int = 1,
    channels: int = 1,
    rank: int = 4,
) -> bytes:
    """A network that finds pixels between two densities, in whatever numbers it reads them.

    Parameters
    ----------
    slope, start : float
        It reads ``slope * HU + start``.
    size : tuple of int, optional
        Rows and columns that it takes; any by default.
    end : {"Sigmoid", "Softmax", ""}
        What makes probabilities inside; "" gives logits.
    background : bool
        Give a first channel for the background.
    stride : int
        It fails at sides that are no multiples of this.
    channels, rank : int
        Of its input, for what cannot be used.
    """
    middle, half = (AIR_BELOW + AIR_ABOVE) / 2, (AIR_ABOVE - AIR_BELOW) / 2
    constants = {"slope": slope, "start": start, "middle": middle, "half": half, "steep": 0.2}
    initial = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    nodes = []

    def node(kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    x = node("Div", [node("Sub", ["given", "start"], "a"), "slope"], "hu")
    if channels > 1:
        x = node("ReduceMean", [x], "mean", axes=[1], keepdims=1)
    if stride > 1:
        # There and back again; what does not fit is not concatenated.
        small = node("AveragePool", [x], "small", kernel_shape=[stride] * 2, strides=[stride] * 2)
        initial.append(numpy_helper.from_array(np.array([1, 1, stride, stride], np.float32), "scales"))
        large = node("Resize", [small, "", "scales"], "large", mode="nearest")
        both = node("Concat", [x, large], "both", axis=1)
        initial.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
        initial.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
        x = node("Slice", [both, "zero", "one", "one"], "first")
    distance = node("Sub", ["half", node("Abs", [node("Sub", [x, "middle"], "b")], "c")], "d")
    x = node("Mul", [distance, "steep"], "logits")
    if background:
        x = node("Concat", [node("Neg", [x], "outside"), x], "two", axis=1)
    if end:
        x = node(end, [x], "found", **({"axis": 1} if end == "Softmax" else {}))
    sides = list(size) if size else ["rows", "columns"]
    shape = [1, channels, *([4] * (rank - 4)), *sides]
    graph = helper.make_graph(
        nodes,
        "window",
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 1 + background, *shape[2:]])],
        initial,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

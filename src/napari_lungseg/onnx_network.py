"""A network in an ONNX file, as a graph of OpenVINO, which reads and runs it. Such a file holds layers and numbers, and no code."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import OnnxConfig
from napari_lungseg.openvino_graph import wrapped
from napari_lungseg.openvino_quiet import openvino, ops
from napari_lungseg.openvino_runtime import OpenVinoError, OpenVinoRuntime, adds_int8_exactly, failures

__all__ = ["OpenVinoError", "OpenVinoRuntime", "probability_graph", "read_onnx", "run_bare"]


def read_onnx(data: bytes) -> openvino.Model:
    """Read an ONNX file that needs no others (OpenVinoError where OpenVINO cannot)."""
    with failures():
        return openvino.Core().read_model(io.BytesIO(data))


def probability_graph(data: bytes, config: OnnxConfig, height: int, width: int) -> openvino.Model:
    """Build a graph of an ONNX file that takes and gives what one of :func:`make_graph` does.

    Parameters
    ----------
    data : bytes
        The file.
    config : OnnxConfig
        What is known of it.
    height, width : int
        Of the images.

    Raises
    ------
    OpenVinoError
        When OpenVINO cannot read it, or it does not fit what is known.
    """
    low, high = config.values

    def before(x: openvino.Node) -> Any:
        return ops.add(ops.multiply(x, np.float32((high - low) / 2)), np.float32((high + low) / 2))

    def after(x: openvino.Node) -> Any:
        if config.activation != "none":
            x = ops.sigmoid(x) if config.activation == "sigmoid" else ops.softmax(x, 1)
        return ops.slice(x, [1], [config.channels], [1], [1]) if config.background else x

    graph, shape = read_onnx(data), [1, 1, height, width]
    with failures():
        graph.reshape(shape)
        result = wrapped(graph, ops.parameter(shape, np.float32, name="image"), before, after)
        found, wanted = list(result.output(0).partial_shape.to_shape()), [1, config.classes, height, width]
    if found != wanted:
        raise OpenVinoError(f"it gives {found} for {shape}, where {wanted} is expected")
    if holds_int8(result) and not adds_int8_exactly():
        raise OpenVinoError("it computes in int8, which this processor adds wrongly; it is to be exported in float32")
    return result


def run_bare(data: bytes, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the network of an ONNX file gives for an input of any shape (OpenVinoError where it cannot)."""
    graph = read_onnx(data)
    with failures():
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(compiled(np.ascontiguousarray(image))[0])


def holds_int8(graph: openvino.Model) -> bool:
    """Whether values are rounded to 8 bits anywhere."""
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())

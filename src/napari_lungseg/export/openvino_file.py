"""A model as a graph of OpenVINO from HU to probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card
from napari_lungseg.export.facts import FACTS, INPUT, OUTPUT, facts_of, network_range
from napari_lungseg.int8 import Int8Network
from napari_lungseg.openvino_graph import make_graph, wrapped
from napari_lungseg.openvino_quiet import openvino, ops
from napari_lungseg.weights import Weights


def openvino_graph(weights: Weights | Int8Network, card: Card, precision: str) -> openvino.Model:
    """Build the graph, with inputs and outputs as :func:`~napari_lungseg.export.onnx_graph.onnx_graph` has them."""
    config = card.unet
    image = ops.parameter([-1, config.in_channels, -1, -1], np.float32, name=INPUT)
    image.output(0).set_names({INPUT})
    size = ops.gather(ops.shape_of(image), np.array([2, 3]), np.array(0))

    def before(x: openvino.Node) -> openvino.Node:
        (low, high), (bottom, top) = card.preprocessing.window_hu, network_range(card)
        x = ops.clamp(ops.select(ops.is_nan(x), np.float32(low), x), low, high)
        x = ops.add(ops.multiply(ops.subtract(x, np.float32(low)), np.float32((top - bottom) / (high - low))), np.float32(bottom))
        return ops.pad(
            x, np.zeros(4, np.int64), ops.concat([np.zeros(2, np.int64), _missing(size, config)], 0), "constant", np.float32(bottom)
        )

    def after(x: openvino.Node) -> openvino.Node:
        return ops.slice(x, [0, 0], size, [1, 1], [2, 3])

    graph = wrapped(make_graph(weights, config, whole_norms=True), image, before, after)
    graph.output(0).set_names({OUTPUT})
    graph.set_rt_info(json.dumps(facts_of(card, precision), ensure_ascii=False), FACTS)
    return graph


def _missing(size: openvino.Node, config: UNetConfig) -> openvino.Node:
    """Rows and columns to be added below and to the right."""
    stride = np.array([config.stride] * 2)
    count = ops.maximum(ops.divide(ops.add(size, stride - 1), stride), np.array([2, 2]))
    return ops.subtract(ops.multiply(count, stride), size)


def save_openvino(graph: openvino.Model, path: Path, precision: str) -> None:
    """Write FILE.xml and FILE.bin."""
    openvino.save_model(graph, path, compress_to_fp16=precision == "float16")


def read_compiled(path: Path) -> openvino.CompiledModel:
    """A written graph, ready to be called."""
    core = openvino.Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

"""A U-Net as a graph of OpenVINO, made from plain weights: no torch, and no file but the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_lungseg.architecture import UNetConfig, group_count
from napari_lungseg.openvino_quiet import openvino, ops
from napari_lungseg.weights import Weights

#: As in torch's norm layers.
EPSILON = 1e-5


def make_graph(weights: Weights, config: UNetConfig, height: int = -1, width: int = -1) -> openvino.Model:
    """Build the network with its sigmoid or softmax.

    Parameters
    ----------
    weights : dict
        As :func:`~napari_lungseg.weights.parse_weights` gives them.
    config : UNetConfig
        Shape of the network.
    height, width : int
        Of the images: multiples of ``config.stride``. -1 for any.

    Returns
    -------
    openvino.Model
        Takes (1, ``config.in_channels``, ``height``, ``width``), and gives probabilities (1, classes, ``height``, ``width``), both float32.
        Each node that has weights is named as they are.
    """
    image = ops.parameter([1, config.in_channels, height, width], np.float32, name="image")
    return openvino.Model([_Builder(weights, config).build(image)], [image], "unet")


class _Builder:
    def __init__(self, weights: Weights, config: UNetConfig) -> None:
        self._weights, self._config = weights, config

    def build(self, image: openvino.Node) -> openvino.Node:
        depth, patch = self._config.depth, self._config.patch
        x = _named(ops.space_to_depth(image, "depth_first", patch), "fold") if patch > 1 else image
        skips = []
        for level in range(depth):
            x = self._block(x, f"down.{level}")
            skips.append(x)
            x = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor").output(0)
        x = self._block(x, "middle", second_norm=False)
        for step in range(depth):
            x = self._up(x, f"up.{step}.up")
            x = self._block(_named(ops.concat([skips.pop(), x], 1), f"up.{step}.join"), f"up.{step}.block")
        x = self._convolution(x, "head", 0)
        if patch > 1:
            x = ops.depth_to_space(x, "depth_first", patch)
        if self._config.out_channels == 1:
            return ops.sigmoid(x)
        return ops.slice(ops.softmax(x, 1), [1], [self._config.out_channels], [1], [1])

    def _block(self, x: openvino.Node, name: str, *, second_norm: bool = True) -> openvino.Node:
        x = _named(ops.relu(self._normed(self._convolution(x, f"{name}.0", 1), f"{name}.1")), f"{name}.2")
        x = self._convolution(x, f"{name}.3", 1)
        if second_norm:
            x = self._normed(x, f"{name}.4")
        return _named(ops.relu(x), f"{name}.5")

    def _convolution(self, x: openvino.Node, name: str, pad: int) -> openvino.Node:
        x = ops.convolution(x, self._constant(f"{name}.weight"), [1, 1], [pad, pad], [pad, pad], [1, 1])
        return self._biased(_named(x, name), name)

    def _up(self, x: openvino.Node, name: str) -> openvino.Node:
        return self._biased(_named(ops.convolution_backprop_data(x, self._constant(f"{name}.weight"), [2, 2]), name), name)

    def _biased(self, x: openvino.Node, name: str) -> openvino.Node:
        return _named(ops.add(x, self._per_channel(f"{name}.bias")), f"{name}.bias")

    def _normed(self, x: openvino.Node, name: str) -> openvino.Node:
        kind = self._config.norm
        scale, shift = (np.asarray(self._weights[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
        if kind == "group":
            return _named(ops.group_normalization(x, scale, shift, group_count(len(scale)), EPSILON), name)
        if kind == "instance":
            x = ops.mvn(x, np.array([2, 3], np.int64), True, EPSILON, "inside_sqrt")
            return ops.add(ops.multiply(x, _channels(scale)), _channels(shift))
        mean, variance = (np.asarray(self._weights[f"{name}.running_{part}"], np.float32) for part in ("mean", "var"))
        # OpenVINO merges both into the convolution before.
        factor = scale / np.sqrt(variance + np.float32(EPSILON))
        return ops.add(ops.multiply(x, _channels(factor)), _channels(shift - mean * factor))

    def _constant(self, name: str) -> openvino.Node:
        return ops.constant(np.ascontiguousarray(self._weights[name], dtype=np.float32))

    def _per_channel(self, name: str) -> openvino.Node:
        return ops.constant(_channels(np.asarray(self._weights[name], np.float32)))


def _channels(values: Any) -> Any:
    return values.reshape(1, -1, 1, 1)


def _named(node: openvino.Node, name: str) -> openvino.Node:
    node.set_friendly_name(name)
    return node

"""A U-Net as a graph of OpenVINO, made from plain weights: no torch, and no file but the model's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import EPSILON, UNetConfig, group_count
from napari_lungseg.errors import InputError
from napari_lungseg.int8 import Activation, Int8Network
from napari_lungseg.openvino_quiet import openvino, ops
from napari_lungseg.weights import Weights, batch_scale, fold_batch_norm

#: Steps of 8 bits.
LEVELS = 256
#: Channels that the probe takes.
PROBE_CHANNELS = 32


def make_graph(
    weights: Weights | Int8Network, config: UNetConfig, height: int = -1, width: int = -1, *, whole_norms: bool = False
) -> openvino.Model:
    """Build the network with its sigmoid or softmax.

    Parameters
    ----------
    weights : dict or Int8Network
        As :func:`~napari_lungseg.weights.parse_weights` gives them, or :func:`~napari_lungseg.int8.parse_int8`.
    config : UNetConfig
        Shape of the network.
    height, width : int
        Of the images: multiples of ``config.stride``. -1 for any.
    whole_norms : bool
        Make each norm over groups or instances one node, which can be found by its type and takes less room in a file, but runs slower.

    Returns
    -------
    openvino.Model
        Takes (1, ``config.in_channels``, ``height``, ``width``), and gives probabilities (1, classes, ``height``, ``width``), both float32.
        Each node that has weights is named as they are.

    Raises
    ------
    InputError
        When the network has no nodes of the names by which activations are rounded.
    """
    image = ops.parameter([1, config.in_channels, height, width], np.float32, name="image")
    builder = _BUILDERS[config.convention](weights, config, whole_norms)
    graph = openvino.Model([builder.build(image)], [image], "unet")
    if isinstance(weights, Int8Network):
        nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
        for activation in weights.activations:
            _round(activation, nodes)
    return graph


def wrapped(
    graph: openvino.Model, image: openvino.Node, before: Callable[[openvino.Node], Any], after: Callable[[openvino.Node], Any]
) -> openvino.Model:
    """Put nodes before and after a graph of one input and one output, which is used up; ``image`` is the new input."""
    (source,), (result,) = graph.get_parameters(), graph.get_results()
    given = before(image)
    for target in source.output(0).get_target_inputs():
        target.replace_source_output(given.output(0))
    return openvino.Model([after(result.input_value(0))], [image], graph.get_name())


def make_probe() -> openvino.Model:
    """Build a convolution whose int8 products overflow sums of 16 bits, which some processors have: it takes (1, 32, 8, 8), all 255."""
    image = ops.parameter([1, PROBE_CHANNELS, 8, 8], np.float32, name="image")
    limits = [np.float32(0), np.float32(255)]
    kernel = ops.constant(np.full((16, PROBE_CHANNELS, 1, 1), 127, np.int8))
    kernel = ops.multiply(ops.convert(kernel, np.float32), ops.constant(np.ones((16, 1, 1, 1), np.float32)))
    rounded = ops.fake_quantize(image, *limits, *limits, LEVELS)
    return openvino.Model([ops.convolution(rounded, kernel, [1, 1], [0, 0], [0, 0], [1, 1])], [image], "probe")


#: What it gives for each pixel.
PROBE_SUM = 255.0 * 127.0 * PROBE_CHANNELS


def _round(activation: Activation, nodes: dict[str, openvino.Node]) -> None:
    """Round the values between nodes to 8 bits."""
    source = nodes[activation.after].output(0) if activation.after in nodes else None
    targets = [] if source is None else list(source.get_target_inputs())
    chosen = [target for target in targets if target.get_node().get_friendly_name() in activation.before]
    if source is None or len(chosen) != len(activation.before):
        raise InputError(f"There is nothing between {activation.after} and {', '.join(activation.before)} in the network.")
    limits = [np.float32(activation.low), np.float32(activation.high)]
    rounded = ops.fake_quantize(source, *limits, *limits, LEVELS)
    for target in chosen:
        target.replace_source_output(rounded.output(0))


class _Builder:
    def __init__(self, weights: Weights | Int8Network, config: UNetConfig, whole_norms: bool) -> None:
        self._config, self._whole_norms = config, whole_norms
        if isinstance(weights, Int8Network):
            self._weights, self._scales = weights.weights, weights.scales
        else:
            self._weights, self._scales = fold_batch_norm(weights, config), {}

    def build(self, image: openvino.Node) -> openvino.Node:
        depth, patch = self._config.depth, self._config.patch
        x = _named(ops.space_to_depth(image, "depth_first", patch), "fold") if patch > 1 else image
        skips = []
        for level in range(depth):
            x = self._block(x, f"down.{level}")
            skips.append(x)
            x = _named(self._pool(x), f"down.{level}.pool").output(0)
        x = self._block(x, "middle", second_norm=False)
        for step in range(depth):
            x = self._up(x, f"up.{step}.up")
            x = self._block(_named(ops.concat(self._joined(x, skips.pop()), 1), f"up.{step}.join"), f"up.{step}.block")
        x = self._convolution(x, "head", 0)
        if patch > 1:
            x = ops.depth_to_space(x, "depth_first", patch)
        if self._config.out_channels == 1:
            return ops.sigmoid(x)
        return ops.slice(ops.softmax(x, 1), [1], [self._config.out_channels], [1], [1])

    def _pool(self, x: openvino.Node) -> openvino.Node:
        return ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor")

    def _joined(self, x: openvino.Node, skip: openvino.Node) -> list[openvino.Node]:
        return [skip, x]

    def _block(self, x: openvino.Node, name: str, *, second_norm: bool = True) -> openvino.Node:
        x = _named(ops.relu(self._normed(self._convolution(x, f"{name}.0", 1), f"{name}.1")), f"{name}.2")
        x = self._convolution(x, f"{name}.3", 1)
        if second_norm:
            x = self._normed(x, f"{name}.4")
        return _named(ops.relu(x), f"{name}.5")

    def _convolution(self, x: openvino.Node, name: str, pad: int) -> openvino.Node:
        x = ops.convolution(x, self._kernel(name), [1, 1], [pad, pad], [pad, pad], [1, 1])
        return self._biased(_named(x, name), name)

    def _up(self, x: openvino.Node, name: str) -> openvino.Node:
        return self._biased(_named(ops.convolution_backprop_data(x, self._kernel(name), [2, 2]), name), name)

    def _biased(self, x: openvino.Node, name: str) -> openvino.Node:
        return _named(ops.add(x, self._per_channel(f"{name}.bias")), f"{name}.bias")

    def _normed(self, x: openvino.Node, name: str) -> openvino.Node:
        if self._config.folds_norm:
            return x
        scale, shift = (np.asarray(self._weights[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
        if self._config.norm == "batch":
            scale = batch_scale(self._weights, name)
            x = _named(ops.multiply(x, _channels(scale)), f"{name}.scaled")
            return _named(ops.add(x, _channels(shift - self._weights[f"{name}.running_mean"] * scale)), name)
        groups = group_count(len(scale)) if self._config.norm == "group" else len(scale)
        # Below the two upper levels, turning the small planes takes less than compiling what would spare it.
        if self._whole_norms or len(scale) > 2 * self._config.base_width:
            return _named(ops.group_normalization(x, scale, shift, groups, EPSILON), name)
        return _named(_group_norm(x, scale, shift, groups), name)

    def _kernel(self, name: str) -> openvino.Node:
        values = np.ascontiguousarray(self._weights[f"{name}.weight"])
        if name not in self._scales:
            return ops.constant(values.astype(np.float32))
        return ops.multiply(ops.convert(ops.constant(values), np.float32), ops.constant(self._scales[name]))

    def _per_channel(self, name: str) -> openvino.Node:
        return ops.constant(_channels(np.asarray(self._weights[name], np.float32)))


def _group_norm(x: openvino.Node, scale: npt.NDArray[np.float32], shift: npt.NDArray[np.float32], groups: int) -> openvino.Node:
    """Put the group norm together from means over each channel.

    OpenVINO takes its own apart into MVN over one axis for each group, for which it turns what convolutions give from channels last to
    channels first, and back: a fifth of the network's time.
    """
    axes = np.array([2, 3], np.int64)
    each = len(scale) // groups
    # Gives each channel the mean of those of its group.
    shared = np.kron(np.eye(groups), np.full((each, each), 1.0 / each)).astype(np.float32).reshape(len(scale), len(scale), 1, 1)

    def of_group(of_channel: openvino.Node) -> openvino.Node:
        return ops.convolution(of_channel, ops.constant(shared), [1, 1], [0, 0], [0, 0], [1, 1])

    centred = ops.subtract(x, of_group(ops.reduce_mean(x, axes, True)))
    sides = ops.gather(ops.shape_of(x), ops.constant(axes), ops.constant(np.int64(0)))
    pixels = ops.convert(ops.reduce_prod(sides, ops.constant(np.int64(0)), True), np.float32)
    length = ops.reduce_l2(centred, axes, True)
    variance = of_group(ops.divide(ops.multiply(length, length), pixels))
    factor = ops.divide(ops.constant(_channels(scale)), ops.sqrt(ops.add(variance, np.float32(EPSILON))))
    return ops.add(ops.multiply(centred, factor), ops.constant(_channels(shift)))


class _LungmaskBuilder(_Builder):
    """Layers put together as in lungmask."""

    def _pool(self, x: openvino.Node) -> openvino.Node:
        return ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True, "floor")

    def _joined(self, x: openvino.Node, skip: openvino.Node) -> list[openvino.Node]:
        return [x, skip]

    def _block(self, x: openvino.Node, name: str, *, second_norm: bool = True) -> openvino.Node:
        for convolution, norm in ((0, 2), (3, 5)):
            x = _named(ops.relu(self._convolution(x, f"{name}.{convolution}", 1)), f"{name}.{convolution}.relu")
            x = self._normed(x, f"{name}.{norm}")
        return x

    def _up(self, x: openvino.Node, name: str) -> openvino.Node:
        # The convolution of single pixels gives the same before as after, at a fourth of the price.
        x, double = self._convolution(x, name, 0), np.array([2.0, 2.0], np.float32)
        x = ops.interpolate(x, double, "linear_onnx", "scales", axes=np.array([2, 3]), coordinate_transformation_mode="half_pixel")
        return _named(x, f"{name}.double")


_BUILDERS = {"lungseg": _Builder, "lungmask": _LungmaskBuilder}


def _channels(values: Any) -> Any:
    return values.reshape(1, -1, 1, 1)


def _named(node: openvino.Node, name: str) -> openvino.Node:
    node.set_friendly_name(name)
    return node

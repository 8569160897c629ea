"""Make the network in int8 of a model, and find out how far it differs from the one in float32. Needs NNCF."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from napari_lungseg.agreement import dice, overlap
from napari_lungseg.card import Card, Int8, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.framing import framing_of
from napari_lungseg.int8 import Activation, Int8Network
from napari_lungseg.library import CARD_FILE, INT8_FILE, place_model
from napari_lungseg.model import Model
from napari_lungseg.openvino_graph import make_graph
from napari_lungseg.openvino_runtime import OpenVinoError, OpenVinoRuntime
from napari_lungseg.training.samples import LabelledSlice, spread
from napari_lungseg.weights import Weights, fold_batch_norm, weight_shapes

#: Dice against float32 that a network in int8 must reach, on what it was calibrated with and on other images.
LEAST_DICE = 0.9995
#: They take a small part of the time, and rounding there costs most: what reads the image itself, and the last one.
KEPT = ("down.0.0", "down.0.3", "head")

#: Slices to calibrate with, in all and of one case.
MOST_SLICES, MOST_PER_CASE = 64, 6

Image = npt.NDArray[np.float32]


class QuantiseError(Exception):
    """NNCF or OpenVINO failed at making or comparing a network in int8; in its own words."""


def few(cases: Iterable[Sequence[LabelledSlice]]) -> list[LabelledSlice]:
    """Choose slices to calibrate with: a few of each case, not its ends, and as many as are wanted among all; evenly spaced."""
    found: list[LabelledSlice] = []
    for slices in cases:
        found += spread(slices[1:-1] or slices, MOST_PER_CASE)
    return spread(found, MOST_SLICES)


def network_image(item: LabelledSlice, card: Card) -> Image:
    """A slice (C, H, W) as the network of a card takes it; where it takes neighbours, the slice itself stands for them."""
    plane = framing_of(card.preprocessing).plane(item.image, item.spacing_mm, item.intensity_range, card.unet)
    return np.repeat(plane[None], card.unet.in_channels, axis=0)


def quantise(model: Model, images: Sequence[Image]) -> Int8Network:
    """Round the convolutions of a network to int8 by what images bring about in it (post-training quantisation of NNCF).

    Raises
    ------
    ImportError
        When NNCF is not installed.
    QuantiseError
        When it fails.
    """
    weights, config = model.weights, model.card.unet
    if weights is None:
        raise TypeError("Only a UNet can be rounded to int8.")
    with _quiet_nncf() as nncf:
        try:
            graph = nncf.quantize(
                make_graph(weights, config, whole_norms=True),
                nncf.Dataset([image[None] for image in images]),
                subset_size=len(images),
                preset=nncf.QuantizationPreset.MIXED,
                # The accurate one, layer by layer: twice the time, three quarters of the difference to float32.
                fast_bias_correction=False,
                ignored_scope=nncf.IgnoredScope(names=list(KEPT), types=["GroupNormalization", "MVN"], validate=False),
                # All 8 bits: where the processor's sums would overflow, openvino_runtime.adds_int8_exactly finds it out.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
            )
        except Exception as error:  # its own errors have no common base
            raise QuantiseError(f"{type(error).__name__}: {error}") from error
    return _extract(graph, fold_batch_norm(weights, config), model.card)


def compare(
    model: Model, network: Int8Network, groups: Iterable[tuple[str, Iterable[Image]]]
) -> Generator[None, None, dict[str, tuple[int, int]]]:
    """Hold a network in int8 against the model in float32; yields after each image.

    Returns
    -------
    dict
        Of each group of images the pixels that agree, twice, and those of both. Their quotient is Dice.

    Raises
    ------
    QuantiseError
        When OpenVINO fails.
    """
    weights, config = model.weights, model.card.unet
    assert weights is not None
    counts = {}
    try:
        runtimes = [OpenVinoRuntime(make_graph(one, config), "") for one in (weights, network)]
        for name, images in groups:
            both = total = 0
            # Each is overwritten when the next is asked for, by when it is counted.
            for pair in zip(*(runtime.run(same) for runtime, same in zip(runtimes, tee(images))), strict=True):
                counted = overlap(*pair)
                both, total = both + counted[0], total + counted[1]
                yield
            counts[name] = (both, total)
    except OpenVinoError as error:
        raise QuantiseError(str(error)) from error
    return counts


def facts(network: Int8Network, calibration: str, calibrated: tuple[int, int], others: Mapping[str, tuple[int, int]]) -> tuple[Int8, bytes]:
    """What a card says of a network in int8, and its file, from what :func:`compare` counted."""
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in network.arrays().items()})
    everything = tuple(sum(count[index] for count in others.values()) for index in (0, 1))
    both = {"calibration": dice(*calibrated), "others": dice(*everything)}
    cases = {name: dice(*count) if count[1] else None for name, count in others.items()}
    ranked = dict(sorted(cases.items(), key=lambda item: (item[1] is None, item[1])))
    return Int8(hashlib.sha256(data).hexdigest(), calibration, both, ranked), data


def passes(int8: Int8) -> bool:
    """Whether a network in int8 is as good as the one in float32."""
    return min(int8.dice.values()) >= LEAST_DICE


def add_int8(folder: Path, weights_sha256: str, int8: Int8, data: bytes) -> None:
    """Put a network in int8 beside the weights that it was made of (InputError where that is not possible, or there are others now)."""
    card = read_card(folder / CARD_FILE)
    if card.weights_sha256 != weights_sha256:
        raise InputError(f"The model in {folder} was changed meanwhile.")
    place_model({INT8_FILE: data, CARD_FILE: replace(card, int8=int8).to_json().encode()}, folder)


def _extract(graph: Any, weights: Weights, card: Card) -> Int8Network:
    """Read weights, scales and roundings out of the graph that NNCF has made."""
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    found, scales = {}, {}
    for name in weight_shapes(card.unet, folded=True):
        layer, kind = name.rsplit(".", 1)
        if layer not in nodes or "Convolution" not in nodes[layer].get_type_name():
            found[name] = np.asarray(weights[name], np.float32)  # of a norm layer
        elif kind == "bias":
            found[name] = nodes[name].input_value(1).get_node().get_data().astype(np.float32).ravel()
        else:
            source = nodes[layer].input_value(1).get_node()
            if source.get_type_name() == "Multiply":
                rounded, scale = (source.input_value(index).get_node() for index in (0, 1))
                found[name] = rounded.input_value(0).get_node().get_data().astype(np.int8)
                scales[layer] = scale.get_data().astype(np.float32)
            else:
                found[name] = source.get_data().astype(np.float32)
    return Int8Network(found, scales, tuple(_roundings(graph)))


def _roundings(graph: Any) -> Iterator[Activation]:
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            before = tuple(target.get_node().get_friendly_name() for target in node.output(0).get_target_inputs())
            low, high = (float(node.input_value(index).get_node().get_data().ravel()[0]) for index in (1, 2))
            yield Activation(node.input_value(0).get_node().get_friendly_name(), before, low, high)


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF without its telemetry, progress bars and log."""
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        # Its progress bars go to whatever stdout is.
        with redirect_stdout(io.StringIO()):
            import nncf

            nncf.set_log_level(logging.ERROR)
            yield nncf
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]

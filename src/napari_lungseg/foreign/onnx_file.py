"""A network of any kind in an ONNX file: checked, tried, and given a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_lungseg.architecture import OnnxConfig
from napari_lungseg.card import Card, check_name
from napari_lungseg.classes import LUNG, RIGHT
from napari_lungseg.errors import InputError
from napari_lungseg.files import read_whole
from napari_lungseg.preprocess import Preprocessing

#: No ONNX file is larger; parts of it may lie in other files, which are not read.
MOST_BYTES = 1 << 30
#: Under which a file of this package says what it is (napari_lungseg.export).
OWN_FACTS = "napari-lungseg"

#: Sides that a network must take where it wants none other, and multiples of which prediction gives it unless it is told.
_USUAL_STRIDE = 32
_TRIAL_SIDE = 128
#: How far probabilities may lie outside of 0 to 1.
_SLACK = 1e-3

Activation = Literal["none", "sigmoid", "softmax"]
Size = tuple[int, int]


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file does not say of itself; None for what is not told.

    Attributes
    ----------
    labels : dict, optional
        Name of each label, in the order of the network's channels.
    spacing_mm : float, optional
        Pixel size at which the network reads slices; not for networks that read slices of one size.
    window_hu : tuple of float, optional
        HU range beyond which values are clipped.
    values : tuple of float, optional
        What the network reads for the ends of the window: (0, 1), (-1, 1), or the window itself for HU.
    activation : {"none", "sigmoid", "softmax"}, optional
        What makes probabilities of its output; ``none`` by default.
    stride : int, optional
        Its sides must be multiples of this.
    licence, description : str
        For the card.
    """

    labels: dict[int, str] | None = None
    spacing_mm: float | None = None
    window_hu: tuple[float, float] | None = None
    values: tuple[float, float] | None = None
    activation: Activation | None = None
    stride: int | None = None
    licence: str = ""
    description: str = ""

    def over(self, other: OnnxFacts) -> OnnxFacts:
        """These facts, and of the others what is not told here."""
        return replace(other, **{name: value for name, value in vars(self).items() if value not in (None, "")})


@dataclass(frozen=True)
class _OwnFacts:
    """What this package's own ONNX files say."""

    name: str
    description: str
    convention: str
    spacing_mm: float
    window_hu: tuple[float, float]
    classes: list[str]
    labels: list[int]
    sides: bool
    context_slices: int
    licence: str


def read_onnx_model(path: Path, name: str | None, facts: OnnxFacts) -> tuple[bytes, Card]:
    """Read an ONNX file and make its card.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        Of the model.
    facts : OnnxFacts
        What the file does not say.

    Raises
    ------
    InputError
        When the file cannot be used, or something is not known of it.
    """
    try:
        data = read_whole(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    return data, make_card(data, path, name, facts)


def make_card(data: bytes, path: Path, name: str | None, facts: OnnxFacts, around: OnnxFacts | None = None) -> Card:
    """Check an ONNX file, try it, and say in a card what it is.

    The parameters are those of :func:`read_onnx_model`, and what the package around the file says, which counts least.
    """
    own = _own_facts(_checked(data, path), path)
    size, channels = _shape(data, path)
    if own is not None:
        name = name or own.name
        facts = facts.over(
            OnnxFacts(dict(zip(own.labels, own.classes, strict=True)), own.spacing_mm, own.window_hu, own.window_hu, "none", 1)
        ).over(OnnxFacts(licence=own.licence, description=own.description))
    facts = facts.over(around or OnnxFacts())
    name = name or path.stem
    check_name(name)
    missing = {
        "--window": facts.window_hu is None,
        "--values": facts.values is None,
        "--spacing": size is None and facts.spacing_mm is None,
        "--label": facts.labels is None and channels not in (1, 2),
    }
    if any(missing.values()):
        wanted = ", ".join(option for option, is_missing in missing.items() if is_missing)
        raise InputError(f"{path} does not say all that must be known of it; give {wanted} (its output has {channels} channels).")
    if size is not None and facts.spacing_mm is not None and own is None:
        raise InputError(
            f"{path} reads slices of {size[0]} x {size[1]} pixels only, which whole slices are stretched to; leave out --spacing."
        )
    assert facts.window_hu is not None
    assert facts.values is not None
    labels = facts.labels or {RIGHT: LUNG}
    background = channels == len(labels) + 1
    if channels != len(labels) + background:
        raise InputError(
            f"{path} has {channels} channels, which are neither the {len(labels)} labels nor these after the background; "
            "give --label once for each of its classes."
        )
    activation = facts.activation or "none"
    if (activation == "sigmoid" and len(labels) > 1) or (activation == "softmax" and not background):
        raise InputError(
            f"{path} cannot be used with {activation}: classes that may overlap, or of which one must always be there, have no place in a "
            "mask with one label for each voxel."
        )
    names = tuple(labels.values())
    try:
        config = OnnxConfig(len(labels), background, activation, facts.values, 1 if size is not None else facts.stride or _USUAL_STRIDE)
        card = Card(
            name=name,
            description=facts.description or f"ONNX network {path.name}: {', '.join(names)}. For research.",
            architecture=config,
            preprocessing=Preprocessing(facts.spacing_mm or 1.0, facts.window_hu, size_px=size),
            classes=names,
            labels=tuple(labels),
            sides=(own.sides if own is not None else True) and labels == {RIGHT: LUNG},
            training={"imported_from": path.name, "source_sha256": hashlib.sha256(data).hexdigest()},
            licence=facts.licence or "Not known; ask who made it.",
        )
    except ValueError as error:
        raise InputError(f"{path} cannot be imported: {error}") from error
    _try(data, card, path)
    return card


def _checked(data: bytes, path: Path) -> Any:
    """The file's content, once all of it lies in the file itself."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"{path} cannot be read: the package onnx is not installed; install napari-lungseg[onnx].") from error
    try:
        model = onnx.load_model_from_string(data)
        outside = next((tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL), None)
        if outside is None and not model.functions:
            onnx.checker.check_model(model)
    except Exception as error:  # the checker and protobuf have no common base
        raise InputError(f"{path} is damaged, or no ONNX file ({_first_line(error)}).") from error
    if outside is not None:
        raise InputError(f"{path} keeps weights ({outside.name}) in another file, which is not read; save it with all of them inside.")
    if model.functions:
        raise InputError(f"{path} has functions of its own, which are not looked into; export it without.")
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph and of the graphs in its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)


def _own_facts(model: Any, path: Path) -> _OwnFacts | None:
    text = {item.key: item.value for item in model.metadata_props}.get(OWN_FACTS)
    if text is None:
        return None
    known = _OwnFacts.__dataclass_fields__
    try:
        own = TypeAdapter(_OwnFacts).validate_python({name: value for name, value in json.loads(text).items() if name in known})
    except (ValueError, ValidationError, AttributeError) as error:
        raise InputError(f"{path} says of itself what cannot be understood ({_first_line(error)}); export it again.") from error
    if own.convention != "lungseg" or own.context_slices:
        raise InputError(
            f"{path} reads the body alone or several slices at a time, which an ONNX network cannot here; import the model itself."
        )
    return own


def _shape(data: bytes, path: Path) -> tuple[Size | None, int]:
    """The one size of slices that a network reads, None for any, and the channels that it gives."""
    with openvino_for(path) as network:
        graph = network.read_onnx(data)
    for what, ends in (("input", graph.inputs), ("output", graph.outputs)):
        if len(ends) != 1:
            raise InputError(f"{path} has {len(ends)} {what}s, where one can be used; export it with one.")
        if ends[0].partial_shape.rank.is_dynamic or len(ends[0].partial_shape) != 4:
            raise InputError(
                f"{path} has an {what} of the shape {ends[0].partial_shape}; only networks of slices (N, C, H, W) can be used."
            )
        if ends[0].element_type.get_type_name() != "f32":
            raise InputError(f"{path} has an {what} of the type {ends[0].element_type.get_type_name()}; only float32 can be used.")
    batch, channels, *sides = graph.inputs[0].partial_shape
    if not (batch.is_dynamic or batch.get_length() == 1) or not (channels.is_static and channels.get_length() == 1):
        raise InputError(f"{path} reads {graph.inputs[0].partial_shape}; only networks that take one slice of one channel can be used.")
    found = graph.outputs[0].partial_shape[1]
    if found.is_dynamic:
        raise InputError(f"{path} does not say how many channels it gives; export it with a fixed number.")
    if sides[0].is_static != sides[1].is_static:
        raise InputError(f"{path} leaves only one side of its slices open; export it with both open or both fixed.")
    return ((sides[0].get_length(), sides[1].get_length()) if sides[0].is_static else None), found.get_length()


def _try(data: bytes, card: Card, path: Path) -> None:
    """Run the network on two slices, and refuse what gives no probabilities of each pixel."""
    config = card.architecture
    assert isinstance(config, OnnxConfig)
    side = -(-_TRIAL_SIDE // config.stride) * config.stride
    rows, columns = card.preprocessing.size_px or (side, side + config.stride)
    random = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, rows * columns, dtype=np.float32).reshape(rows, columns)
    images = [ramp[None], random.uniform(-1, 1, (1, rows, columns)).astype(np.float32)]
    with openvino_for(path) as network:
        runtime = network.OpenVinoRuntime(network.probability_graph(data, config, rows, columns), "ONNX")
        found = np.stack([np.array(result) for result in runtime.run(iter(images))])
    if not np.isfinite(found).all():
        raise InputError(f"{path} gives numbers that are not finite; it cannot be used.")
    total = found.sum(axis=1)
    if found.min() < -_SLACK or total.max() > 1 + _SLACK:
        raise InputError(
            f"{path} gives no probabilities: its numbers lie from {found.min():.3g} to {found.max():.3g}, those of all classes together up "
            f"to {total.max():.3g}; give --activation sigmoid or softmax if it gives logits."
        )


@contextmanager
def openvino_for(path: Path) -> Iterator[Any]:
    """What runs ONNX files; its failures in one sentence."""
    try:
        from napari_lungseg import onnx_network
    except (ImportError, OSError) as error:
        raise InputError(f"{path} cannot be tried: OpenVINO, which runs it, is not installed; install napari-lungseg[onnx].") from error
    try:
        yield onnx_network
    except onnx_network.OpenVinoError as error:
        raise InputError(
            f"{path} cannot be run: {_first_line(error)}; its sides may have to be multiples of another number (--stride)."
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__

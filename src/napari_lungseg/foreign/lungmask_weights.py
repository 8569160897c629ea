"""Weights of lungmask, read into this package's own form."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card, check_name
from napari_lungseg.errors import InputError
from napari_lungseg.files import read_whole
from napari_lungseg.foreign.torch_file import unpacked
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.weights import Weights, check_finite, weight_shapes

#: No file of weights is larger; those of lungmask have 125 MB.
MOST_BYTES = 1 << 30

#: Poolings of lungmask's network.
_DEPTH = 4
#: About what a pixel of its square shows of a body, for training.
_PIXEL_MM = 1.4
#: Names of its layers and of ours, in this order.
_LAYERS = (
    (re.compile(rf"down_path\.{_DEPTH}\.block\."), "middle."),
    (re.compile(r"down_path\.(\d+)\.block\."), r"down.\1."),
    (re.compile(r"up_path\.(\d+)\.up\.1\."), r"up.\1.up."),
    (re.compile(r"up_path\.(\d+)\.conv_block\.block\."), r"up.\1.block."),
    (re.compile(r"last\."), "head."),
)
#: Layers that each of its blocks has and none uses.
_UNUSED = re.compile(r"(.*\.)?residual_(input_conv|batchnorm)\.\w+")
_COUNTER = ".num_batches_tracked"

#: Classes of lungmask's weights by how many there are, in the order of their labels from 1 on.
_CLASSES = {
    2: ("right", "left"),
    5: ("left upper lobe", "left lower lobe", "right upper lobe", "right middle lobe", "right lower lobe"),
}
_PAPER = "J. Hofmanninger et al. 2020, doi 10.1186/s41747-020-00173-2"
_LICENCE = f"lungmask's code: Apache-2.0; its paper ({_PAPER}) released the model under GPL-3.0. Cite the paper."
_UNKNOWN_LICENCE = f"Not known: this is none of the files that lungmask has released; ask who made it. Of these: {_LICENCE}"
#: Files that lungmask has released, by the beginning of their SHA-256, as it is in their names.
_RELEASED = {"d5d2fc3d": "R231", "3a07043d": "LTRCLobes", "0de78a7e": "R231CovidWeb"}


@dataclass(frozen=True, eq=False)
class LungmaskModel:
    """A model that was read from a file of lungmask.

    Attributes
    ----------
    weights : dict
        As :func:`~napari_lungseg.weights.parse_weights` gives them.
    card : Card
        What is known of it.
    """

    weights: Weights
    card: Card


def read_lungmask(path: Path, name: str | None = None) -> LungmaskModel:
    """Read the weights of a lungmask model (R231, LTRCLobes, R231CovidWeb, or one that was trained like these). No code in it is run.

    Parameters
    ----------
    path : Path
        The ``.pth`` file.
    name : str, optional
        The model's name; by default lungmask's own for a file that it has released, else the file's.

    Raises
    ------
    InputError
        When it cannot be read, holds anything but tensors, or these are not those of lungmask's network.
    """
    try:
        data = read_whole(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    tensors = _tensors(data, path)
    sha256 = hashlib.sha256(data).hexdigest()
    released = _RELEASED.get(sha256[:8])
    name = name or (f"lungmask-{released}" if released else path.stem)
    check_name(name)
    config = _config(tensors, path)
    weights = _weights(tensors, config, path)
    names = _CLASSES[config.classes]
    card = Card(
        name=name,
        description=f"{'Lobes of the lungs' if config.classes > 2 else 'Right and left lung'} on CT, by lungmask's weights "
        f"{released or path.name}; its pre- and post-processing. For research.",
        architecture=config,
        preprocessing=Preprocessing(_PIXEL_MM, (-1024.0, 600.0), "lungmask"),
        classes=names,
        labels=tuple(range(1, len(names) + 1)),
        sides=False,
        training={"imported_from": path.name, "source_sha256": sha256},
        licence=_LICENCE if released else _UNKNOWN_LICENCE,
    )
    return LungmaskModel(weights, card)


def _tensors(data: bytes, path: Path) -> Mapping[str, Any]:
    import torch

    if unpacked(data) > len(data):  # torch packs nothing
        raise _refusal(path, "it is packed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is told in one sentence
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what it does not admit, or cannot read
        raise InputError(
            f"{path} cannot be imported: it is damaged, or holds more than weights, which is not read for safety; "
            "give a .pth file of lungmask as it was released."
        ) from error
    if not isinstance(found, dict) or not found or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise _refusal(path, "it is no list of tensors with names")
    if sum(one.numel() * one.element_size() for one in found.values()) > len(data):
        raise _refusal(path, "its tensors are larger than the file")
    return found


def _refusal(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a network of lungmask: {why}; only its weights (.pth) and folders of models can be imported.")


def _config(tensors: Mapping[str, Any], path: Path) -> UNetConfig:
    """The shape that the first and the last layer tell."""
    first, last = (tensors.get(name) for name in ("down_path.0.block.0.weight", "last.bias"))
    if first is None or last is None or first.ndim != 4 or last.ndim != 1:
        raise _refusal(path, "its first or last layer is missing")
    classes = len(last) - 1
    if classes not in _CLASSES:
        raise _refusal(path, f"it tells {classes} classes apart, not 2 (right and left lung) or 5 (lobes)")
    try:
        return UNetConfig(classes=classes, base_width=len(first), depth=_DEPTH, convention="lungmask")
    except ValueError as error:
        raise _refusal(path, f"its first layer has {len(first)} channels") from error


def _weights(tensors: Mapping[str, Any], config: UNetConfig, path: Path) -> Weights:
    wanted = weight_shapes(config)
    used = {_our_name(name): tensor for name, tensor in tensors.items() if not _UNUSED.fullmatch(name)}
    weights: Weights = {}
    for name, shape in wanted.items():
        if name not in used and name.endswith(_COUNTER):  # files of early versions of torch lack it, and nothing reads it
            weights[name] = np.zeros((), np.int64)
            continue
        tensor = used.pop(name, None)
        given = None if tensor is None else tuple(tensor.shape)
        if given != shape:
            raise _refusal(path, f"{name} is {given or 'missing'}, but {shape} in its network")
        assert tensor is not None
        if tensor.is_sparse or tensor.is_quantized or not (tensor.is_floating_point() or name.endswith(_COUNTER)):
            raise _refusal(path, f"{name} is of the type {tensor.dtype}")
        weights[name] = tensor.detach().to_dense().numpy().astype(np.int64 if name.endswith(_COUNTER) else np.float32)
    if used:
        raise _refusal(path, f"it has {min(used)}, which is unknown there")
    check_finite(weights, str(path))
    return weights


def _our_name(name: str) -> str:
    for pattern, ours in _LAYERS:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1)
    return f"the layer {name}"

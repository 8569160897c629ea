"""Models on disk: read and write the weights beside a card. Nothing here unpickles."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from napari_lungseg.architecture import DEFAULT_MODEL, NnunetConfig, UNetConfig
from napari_lungseg.card import SCHEMA, Ancestor, Card, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path
from napari_lungseg.int8 import Int8Network, parse_int8
from napari_lungseg.library import (
    CARD_FILE,
    FOLDER_VARIABLE,
    INT8_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
    ModelEntry,
    accept_model,
    bundled_folder,
    copy_model,
    find_model,
    free_folder,
    list_models,
    network_file,
    place_model,
    read_int8,
    read_weights,
    remove_model,
    user_folder,
)
from napari_lungseg.weights import Weights, check_finite, parse_weights

if TYPE_CHECKING:
    from napari_lungseg.foreign.onnx_file import OnnxFacts
    from napari_lungseg.unet import UNet

__all__ = [
    "CARD_FILE",
    "DEFAULT_MODEL",
    "FOLDER_VARIABLE",
    "SCHEMA",
    "WEIGHTS_FILE",
    "Ancestor",
    "Card",
    "Model",
    "ModelEntry",
    "accept_model",
    "bundled_folder",
    "find_model",
    "import_model",
    "list_models",
    "load_model",
    "remove_model",
    "save_model",
    "user_folder",
]


#: Bytes that the names, types and places of weights may take in their file.
MOST_HEADER = 1 << 22


#: An ONNX file takes no more than its format allows for one.
MOST_ONNX_BYTES = (1 << 31) - 1


class Model:
    """A network and its card.

    Parameters
    ----------
    network : UNet
        In evaluation mode, on the CPU, float32. One that :func:`load_model` gives is made when it is first asked for, as it needs torch.
    card : Card
        What is known of it.
    """

    _stored: Weights
    _folder: Path | None = None
    #: The file of an ONNX network, which has no weights here and no network for torch.
    onnx: bytes | None = None

    def __init__(self, network: UNet, card: Card) -> None:
        self.card = card
        self.network = network

    @classmethod
    def of_weights(cls, weights: Weights, card: Card, folder: Path) -> Model:
        """A model, read from a folder, whose network is made when it is first asked for."""
        model = cls.__new__(cls)
        model.card, model._stored, model._folder = card, weights, folder
        return model

    @classmethod
    def of_onnx(cls, onnx: bytes, card: Card) -> Model:
        """A model whose network lies in an ONNX file."""
        model = cls.__new__(cls)
        model.card, model.onnx = card, onnx
        return model

    @property
    def folds(self) -> list[Weights]:
        """Weights of each fold of a network of nnU-Net."""
        assert isinstance(self.card.architecture, NnunetConfig)
        parts = [(*name.partition(".")[::2], array) for name, array in self._stored.items()]
        return [{name: array for place, name, array in parts if place == str(fold)} for fold in range(self.card.architecture.folds)]

    @cached_property
    def network(self) -> UNet:
        """The network, for torch (InputError for one of another program)."""
        config = self.card.unet
        import torch

        from napari_lungseg.unet import UNet

        with torch.random.fork_rng(devices=[]):  # the network's own random weights are of no use here
            network = UNet(config)
        # Copies: torch may change its own.
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self._stored.items()}, assign=True)
        return network.eval()

    @property
    def weights(self) -> Weights | None:
        """The network's weights as arrays, as they are now; None for a network that is no :class:`~napari_lungseg.unet.UNet`."""
        if not isinstance(self.card.architecture, UNetConfig):
            return None
        if "network" not in self.__dict__:
            return self._stored
        from napari_lungseg.unet import UNet

        if type(self.network) is not UNet:
            return None
        tensors = {name: tensor.detach().cpu() for name, tensor in self.network.state_dict().items()}
        return {name: (tensor.float() if tensor.is_floating_point() else tensor).numpy() for name, tensor in tensors.items()}

    def read_int8(self) -> Int8Network | None:
        """Read the network in int8; None where there is none, or none of these weights, as where they were changed.

        Raises
        ------
        InputError
            When it is damaged or missing.
        """
        if self.card.int8 is None or self._folder is None:
            return None
        weights = self.weights
        if weights is None or not all(np.array_equal(array, self._stored[name]) for name, array in weights.items()):
            return None
        data = read_int8(self._folder / INT8_FILE, self.card.int8, MOST_HEADER + 8 * self.card.unet.parameters[1])
        return parse_int8(data, self.card.unet, self._folder)


def save_model(model: Model, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
    """Write a model to a folder.

    A new folder appears complete or not at all. In a folder that is there already, other files stay, and the
    two files are replaced one right after the other.

    Parameters
    ----------
    model : Model
        What to save. The SHA-256 in the saved card is that of the saved weights; its network in int8 is not saved, and one that lies
        there is removed.
    folder : path
        Where to.
    half : bool
        Store weights as float16: half the size, and read back to float32.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        When the folder cannot be written, or a weight is not finite (as stored).
    """
    import safetensors.torch

    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    check_finite({name: tensor.numpy() for name, tensor in tensors.items()}, f"The model {model.card.name!r}")
    weights = safetensors.torch.save(tensors)
    card = replace(model.card, weights_sha256=hashlib.sha256(weights).hexdigest(), int8=None)
    files = {WEIGHTS_FILE: weights, CARD_FILE: card.to_json().encode()}
    place_model(files, folder)
    # Of other weights; the card does not name it, so that one that cannot be removed harms nothing.
    with suppress(OSError):
        (folder / INT8_FILE).unlink(missing_ok=True)
    return folder


def load_model(model: str | os.PathLike[str]) -> Model:
    """Load a model and check all of it.

    Parameters
    ----------
    model : str or path
        A name (looked up in the per-user library, then among the bundled ones) or a model's folder.

    Raises
    ------
    InputError
        When there is no such model, its card is not usable, or its weights are damaged, do not fit the
        architecture, or are not finite.
    """
    folder = find_model(model)
    card = read_card(folder / CARD_FILE)
    if network_file(card) == ONNX_FILE:
        return Model.of_onnx(read_weights(folder / ONNX_FILE, card, MOST_ONNX_BYTES), card)
    if isinstance(card.architecture, NnunetConfig):
        stored = safetensors.numpy.load(read_weights(folder / WEIGHTS_FILE, card))
        check_finite(stored, f"The model in {folder}")
        return Model.of_weights(stored, card, folder)
    data = read_weights(folder / WEIGHTS_FILE, card, MOST_HEADER + 8 * card.unet.parameters[1])
    return Model.of_weights(parse_weights(data, card.unet, folder), card, folder)


def import_model(path: str | os.PathLike[str], name: str | None = None, facts: OnnxFacts | None = None) -> Path:
    """Check a model and copy it into the per-user library.

    Parameters
    ----------
    path : path
        The model's folder, or a file or folder of another program (:func:`~napari_lungseg.foreign.read_foreign`).
    name : str, optional
        Name in the library; the card's name by default, of a file one that is made of its own.
    facts : OnnxFacts, optional
        What an ONNX file does not say of itself.

    Returns
    -------
    Path
        Its folder in the library.

    Raises
    ------
    InputError
        When the model is not sound, or the name is taken.
    """
    source = given_path(path)
    if not source.exists():
        raise InputError(
            f"{source} does not exist; give a folder with {CARD_FILE} and {WEIGHTS_FILE}, weights of lungmask (.pth), an ONNX file or a "
            "package of BioImage.IO."
        )
    if (source / CARD_FILE).exists():
        if facts is not None:
            raise InputError(f"{source} is a model of this package, whose card says all of it; give its folder alone.")
        card = load_model(source).card
        return copy_model(source, replace(card, name=name or card.name))
    from napari_lungseg.foreign import read_foreign

    foreign = read_foreign(source, name, facts)
    folder = free_folder(foreign.card.name)
    card = replace(foreign.card, created=date.today().isoformat(), weights_sha256=hashlib.sha256(foreign.data).hexdigest())
    place_model({network_file(card): foreign.data, CARD_FILE: card.to_json().encode()}, folder)
    return folder

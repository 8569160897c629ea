"""Models on disk: read and write the weights beside a card. Nothing here unpickles."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.card import SCHEMA, Ancestor, Card, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.library import (
    CARD_FILE,
    FOLDER_VARIABLE,
    WEIGHTS_FILE,
    ModelEntry,
    accept_model,
    bundled_folder,
    copy_model,
    find_model,
    list_models,
    place_model,
    read_weights,
    remove_model,
    user_folder,
)
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


@dataclass
class Model:
    """A network and its card.

    Attributes
    ----------
    network : UNet
        In evaluation mode, on the CPU, float32, when it comes from :func:`load_model`.
    card : Card
        What is known of it.
    """

    network: UNet
    card: Card


def save_model(model: Model, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
    """Write a model to a folder.

    A new folder appears complete or not at all. In a folder that is there already, other files stay, and the
    two files are replaced one right after the other.

    Parameters
    ----------
    model : Model
        What to save. The SHA-256 in the saved card is that of the saved weights.
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
    folder = Path(folder)
    tensors = {name: _stored(tensor, half) for name, tensor in model.network.state_dict().items()}
    _check_finite(tensors, f"The model {model.card.name!r}")
    weights = safetensors.torch.save(tensors)
    card = replace(model.card, weights_sha256=hashlib.sha256(weights).hexdigest())
    files = {WEIGHTS_FILE: weights, CARD_FILE: card.to_json().encode()}
    place_model(files, folder)
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
    least, most = card.architecture.parameters
    tensors = _read_weights(folder / WEIGHTS_FILE, card, MOST_HEADER + 8 * most)
    if sum(tensor.numel() for tensor in tensors.values()) < least:
        raise InputError(f"The weights in {folder} do not fit the card's architecture: it has at least {least} numbers.")
    with torch.random.fork_rng(devices=[]):  # the network's own random weights are of no use here
        network = UNet(card.architecture)
    _check_fit(tensors, network, folder)
    _check_types(tensors, network, folder)
    _check_finite(tensors, f"The model in {folder}")
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, assign=True)
    return Model(network.eval(), card)


def import_model(folder: str | os.PathLike[str], name: str | None = None) -> Path:
    """Check a model and copy it into the per-user library.

    Parameters
    ----------
    folder : path
        The model's folder.
    name : str, optional
        Name in the library; the card's name by default.

    Returns
    -------
    Path
        Its folder in the library.

    Raises
    ------
    InputError
        When the model is not sound, or the name is taken.
    """
    source = Path(folder)
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give a folder with {CARD_FILE} and {WEIGHTS_FILE}.")
    card = load_model(source).card
    return copy_model(source, replace(card, name=name or card.name))


def _stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _read_weights(path: Path, card: Card, most: int) -> dict[str, torch.Tensor]:
    data = read_weights(path, card, most)
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"The weights {path} are not a safetensors file ({error}).") from error


def _check_fit(tensors: dict[str, torch.Tensor], network: UNet, folder: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted == given:
        return
    name = min(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    raise InputError(
        f"The weights in {folder} do not fit the card's architecture: {name} is "
        f"{given.get(name, 'missing')} in the weights and {wanted.get(name, 'missing')} in the architecture."
    )


def _check_types(tensors: dict[str, torch.Tensor], network: UNet, folder: Path) -> None:
    """Refuse weights that are no plain real numbers where the network wants such (InputError)."""
    plain = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for name, wanted in network.state_dict().items():
        kind = tensors[name].dtype
        if kind not in plain if wanted.is_floating_point() else kind != wanted.dtype:
            raise InputError(f"The weights in {folder} are of a type that cannot be used ({name} is {str(kind).removeprefix('torch.')}).")


def _check_finite(tensors: dict[str, torch.Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{what} has weights that are not finite numbers ({name}); it cannot be used.")

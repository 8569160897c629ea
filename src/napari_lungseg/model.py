"""Models on disk: a folder with ``card.json`` and ``weights.safetensors``, and the library of such folders.

Nothing here unpickles. torch is loaded only when weights are read or written, so that listing the library stays quick.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.card import SCHEMA, Ancestor, Card, check_name, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder, whole_folder, write_whole
from napari_lungseg.home import user_data
from napari_lungseg.run_files import remove_run

if TYPE_CHECKING:
    import torch

    from napari_lungseg.unet import UNet

__all__ = [
    "DEFAULT_MODEL",
    "SCHEMA",
    "Ancestor",
    "Card",
    "Model",
    "ModelEntry",
    "accept_model",
    "import_model",
    "list_models",
    "load_model",
    "remove_model",
    "save_model",
    "user_folder",
]

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"

#: Environment variable that moves the per-user library, for shared disks and for tests.
FOLDER_VARIABLE = "NAPARI_LUNGSEG_MODELS"
_BUNDLED = Path(__file__).parent / "models"


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


@dataclass(frozen=True)
class ModelEntry:
    """One model of the library.

    Attributes
    ----------
    name : str
        Name by which :func:`load_model` finds it.
    folder : Path
        Where it lies.
    place : {"bundled", "user"}
        Part of the package, or of the per-user library.
    card : Card or None
        Its card; None where that cannot be read.
    problem : str
        Why the card cannot be read, else empty.
    """

    name: str
    folder: Path
    place: Literal["bundled", "user"]
    card: Card | None
    problem: str = ""


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
    import safetensors.torch

    folder = Path(folder)
    tensors = {name: _stored(tensor, half) for name, tensor in model.network.state_dict().items()}
    _check_finite(tensors, f"The model {model.card.name!r}")
    weights = safetensors.torch.save(tensors)
    card = replace(model.card, weights_sha256=hashlib.sha256(weights).hexdigest())
    files = {WEIGHTS_FILE: weights, CARD_FILE: card.to_json().encode()}
    _place(files, folder)
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
    import torch

    from napari_lungseg.unet import UNet

    folder = find_model(model)
    card = read_card(folder / CARD_FILE)
    tensors = _read_weights(folder / WEIGHTS_FILE, card)
    with torch.random.fork_rng(devices=[]):  # the network's own random weights are of no use here
        network = UNet(card.architecture)
    _check_fit(tensors, network, folder)
    _check_types(tensors, network, folder)
    _check_finite(tensors, f"The model in {folder}")
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, assign=True)
    return Model(network.eval(), card)


def find_model(model: str | os.PathLike[str]) -> Path:
    """Folder of a model given by name or by folder (InputError where there is none)."""
    if isinstance(model, str):
        for library in (user_folder(), _BUNDLED):
            if (library / model / CARD_FILE).is_file() and Path(model).name == model:
                return library / model
    folder = Path(model)
    if (folder / CARD_FILE).is_file():
        return folder
    if folder.exists():
        raise InputError(f"{folder} is not a model: it has no {CARD_FILE}; give a model's name or its folder.")
    names = ", ".join(entry.name for entry in list_models()) or "none"
    raise InputError(f"There is no model {os.fspath(model)!r}; known models: {names}; a model's folder can be given as well.")


def list_models(*, candidates: bool = False) -> list[ModelEntry]:
    """Models that can be loaded by name, the default one first. Only cards are read, not weights.

    Parameters
    ----------
    candidates : bool
        List those too that are not :attr:`~napari_lungseg.card.Card.accepted`.
    """
    entries: dict[str, ModelEntry] = {}
    places: tuple[tuple[Literal["bundled", "user"], Path], ...] = (("bundled", _BUNDLED), ("user", user_folder()))
    for place, library in places:
        for path in sorted(library.glob(f"*/{CARD_FILE}")):
            if path.parent.name.startswith("."):
                continue
            try:
                entry = ModelEntry(path.parent.name, path.parent, place, read_card(path))
            except InputError as error:
                entry = ModelEntry(path.parent.name, path.parent, place, None, str(error))
            if candidates or entry.card is None or entry.card.accepted:
                entries[entry.name] = entry
    return sorted(entries.values(), key=lambda entry: (entry.name != DEFAULT_MODEL, entry.name))


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
    name = name or card.name
    check_name(name)
    target = user_folder() / name
    if target.exists() or (_BUNDLED / name).exists():
        raise InputError(f"There is a model {name!r} already; remove it first, or import under another name.")
    try:
        weights = (source / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise InputError(f"The weights {source / WEIGHTS_FILE} cannot be read ({error}).") from error
    _place({WEIGHTS_FILE: weights, CARD_FILE: replace(card, name=name).to_json().encode()}, target)
    return target


def accept_model(name: str) -> None:
    """Make a candidate of the per-user library a model like the others.

    Raises
    ------
    InputError
        When there is no such model, it is bundled, or its card cannot be read or written.
    """
    folder = _own_folder(name, "accepted")
    card = replace(read_card(folder / CARD_FILE), accepted=True)
    _place({CARD_FILE: card.to_json().encode()}, folder)


def remove_model(name: str) -> None:
    """Remove a model from the per-user library, with what is left of its training; other files in its folder stay.

    Raises
    ------
    InputError
        When it is bundled, or a file cannot be removed.
    """
    folder = _own_folder(name, "removed")
    try:
        # The card first: without it the library knows no model here, also if the rest is interrupted.
        for file in (CARD_FILE, WEIGHTS_FILE):
            (folder / file).unlink(missing_ok=True)
        remove_run(folder)
    except OSError as error:
        raise InputError(f"The model {name!r} could not be removed ({error}); remove {folder} yourself.") from error


def bundled_folder(name: str) -> Path:
    """Where a model of that name would lie, were it part of the package."""
    return _BUNDLED / name


def user_folder() -> Path:
    """Folder of the per-user library; it need not exist."""
    moved = os.environ.get(FOLDER_VARIABLE)
    return Path(moved) if moved else user_data() / "models"


def _own_folder(name: str, what: str) -> Path:
    """Folder of a model of the per-user library, which is to be accepted or removed (InputError where it is not there)."""
    folder = user_folder() / name
    if Path(name).name == name and (folder / CARD_FILE).is_file():
        return folder
    if name in {entry.name for entry in list_models()}:
        raise InputError(f"The model {name!r} is part of the package and cannot be {what}.")
    raise InputError(f"There is no model {name!r} in {user_folder()}.")


def _stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _read_weights(path: Path, card: Card) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The weights {path} cannot be read ({error}); copy the model's folder again.") from error
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise InputError(f"The weights {path} are not those that the card names (SHA-256 differs); copy the model's folder again.")
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
    import torch

    plain = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for name, wanted in network.state_dict().items():
        kind = tensors[name].dtype
        if kind not in plain if wanted.is_floating_point() else kind != wanted.dtype:
            raise InputError(f"The weights in {folder} are of a type that cannot be used ({name} is {str(kind).removeprefix('torch.')}).")


def _check_finite(tensors: dict[str, torch.Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{what} has weights that are not finite numbers ({name}); it cannot be used.")


def _place(files: dict[str, bytes], folder: Path) -> None:
    """Write the files of a model (InputError where that is not possible); in a new folder all of them or none."""
    if folder.is_dir():
        for name, data in files.items():
            write_whole(folder / name, data)
        return
    make_folder(folder.parent)
    with whole_folder(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)

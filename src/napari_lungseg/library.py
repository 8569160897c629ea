"""The library of models, of this package and of the user: folders with a card, a network and perhaps one in int8.

Cards alone are read here, so that listing the library needs no torch; :mod:`~napari_lungseg.model` reads and writes weights.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_lungseg.architecture import DEFAULT_MODEL, OnnxConfig
from napari_lungseg.card import Card, Int8, check_name, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder, read_whole, whole_folder, write_whole
from napari_lungseg.home import user_data
from napari_lungseg.run_files import remove_run
from napari_lungseg.translation import mark, say

CARD_FILE = "card.json"
WEIGHTS_FILE, ONNX_FILE = "weights.safetensors", "model.onnx"
INT8_FILE = "int8.safetensors"

#: No weights are larger: the widest network that a card may describe takes less.
MOST_BYTES = 1 << 33
#: Environment variable that moves the per-user library, for shared disks and for tests.
FOLDER_VARIABLE = "NAPARI_LUNGSEG_MODELS"
BUNDLED = Path(__file__).parent / "models"


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


def find_model(model: str | os.PathLike[str]) -> Path:
    """Folder of a model given by name or by folder (InputError where there is none)."""
    if isinstance(model, str):
        for library in (user_folder(), BUNDLED):
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
    places: tuple[tuple[Literal["bundled", "user"], Path], ...] = (("bundled", BUNDLED), ("user", user_folder()))
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


def accept_model(name: str) -> None:
    """Make a candidate of the per-user library a model like the others.

    Raises
    ------
    InputError
        When there is no such model, it is bundled, or its card cannot be read or written.
    """
    folder = _own_folder(name, mark("accepted"))
    card = replace(read_card(folder / CARD_FILE), accepted=True)
    place_model({CARD_FILE: card.to_json().encode()}, folder)


def free_folder(name: str) -> Path:
    """Folder of the per-user library for a new model of a name (InputError when it cannot be one, or is taken)."""
    check_name(name)
    target = user_folder() / name
    if target.exists() or bundled_folder(name).exists():
        raise InputError(say("There is a model {name!r} already; remove it first, or import under another name.", name=name))
    return target


def copy_model(folder: Path, card: Card) -> Path:
    """Copy the weights of a model into the per-user library, under the name in a card that is written beside them, with its int8 network.

    Returns
    -------
    Path
        Its folder in the library.

    Raises
    ------
    InputError
        When the name cannot be one or is taken, or the weights are not those that the card names.
    """
    target = free_folder(card.name)
    weights = network_file(card)
    files = {weights: read_weights(folder / weights, card)}
    if card.int8 is not None:
        files[INT8_FILE] = read_int8(folder / INT8_FILE, card.int8)
    place_model({**files, CARD_FILE: card.to_json().encode()}, target)
    return target


def network_file(card: Card) -> str:
    """Name of the file that a card's network lies in."""
    return ONNX_FILE if isinstance(card.architecture, OnnxConfig) else WEIGHTS_FILE


def read_weights(path: Path, card: Card, most: int = MOST_BYTES) -> bytes:
    """The bytes of a weights file, ``most`` or less (InputError when it cannot be read, or is not the one that the card names)."""
    return _read_named(path, card.weights_sha256, most)


def read_int8(path: Path, int8: Int8, most: int = MOST_BYTES) -> bytes:
    """The bytes of a model's int8 file, as :func:`read_weights` reads weights."""
    return _read_named(path, int8.sha256, most)


def _read_named(path: Path, sha256: str, most: int) -> bytes:
    try:
        data = read_whole(path, most)
    except OSError as error:
        raise InputError(f"The weights {path} cannot be read ({error}); copy the model's folder again.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"The weights {path} are not those that the card names (SHA-256 differs); copy the model's folder again.")
    return data


def remove_model(name: str) -> None:
    """Remove a model from the per-user library, with what is left of its training; other files in its folder stay.

    Raises
    ------
    InputError
        When it is bundled, or a file cannot be removed.
    """
    folder = _own_folder(name, mark("removed"))
    try:
        # The card first: without it the library knows no model here, also if the rest is interrupted.
        for file in (CARD_FILE, WEIGHTS_FILE, ONNX_FILE, INT8_FILE):
            (folder / file).unlink(missing_ok=True)
        remove_run(folder)
    except OSError as error:
        raise InputError(f"The model {name!r} could not be removed ({error}); remove {folder} yourself.") from error


def bundled_folder(name: str) -> Path:
    """Where a model of that name would lie, were it part of the package."""
    return BUNDLED / name


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
        raise InputError(say("The model {name!r} is part of the package and cannot be {what}.", name=name, what=say(what)))
    raise InputError(say("There is no model {name!r} in {folder}.", name=name, folder=user_folder()))


def place_model(files: dict[str, bytes], folder: Path) -> None:
    """Write the files of a model (InputError where that is not possible); in a new folder all of them or none."""
    if folder.is_dir():
        for name, data in files.items():
            write_whole(folder / name, data)
        return
    make_folder(folder.parent)
    with whole_folder(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)

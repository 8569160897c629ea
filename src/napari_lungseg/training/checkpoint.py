"""States of a training run on disk, each whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder, whole_file


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an older state of that name stays until this one is on disk (InputError when it cannot be)."""
    make_folder(path.parent)
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
    except InputError as error:
        raise InputError(f"{error} The state before is kept; make room there, then go on with the run.") from error.__cause__


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; nothing in it is run.

    Raises
    ------
    InputError
        When there is no such file, or it is damaged.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path} to resume from; begin the training anew.") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(f"{path} is not a readable checkpoint; delete it and begin the training anew.") from error

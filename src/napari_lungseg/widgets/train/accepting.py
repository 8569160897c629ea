"""Accept a new model under a name, or remove it."""

from __future__ import annotations

from dataclasses import replace

from napari_lungseg.card import read_card
from napari_lungseg.library import CARD_FILE, accept_model, copy_model, find_model, remove_model


def accept(name: str, wanted: str) -> str:
    """Make a candidate an accepted model under the wanted name, and return that name (InputError where that cannot be)."""
    if wanted == name:
        accept_model(name)
        return name
    folder = find_model(name)
    copy_model(folder, replace(read_card(folder / CARD_FILE), name=wanted, accepted=True))
    remove_model(name)
    return wanted


def roll_back(name: str) -> str:
    """Remove a new model; gives no name (InputError where that cannot be)."""
    remove_model(name)
    return ""

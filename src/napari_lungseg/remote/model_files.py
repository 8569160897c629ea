"""A model as it travels to a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from napari_lungseg.files import whole_folder
from napari_lungseg.library import CARD_FILE, find_model
from napari_lungseg.model import load_model


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """A model as it travels.

    Attributes
    ----------
    name : str
        Of its folder.
    card_sha256 : str
        Of its card, which names the SHA-256 of all else.
    content : mapping of str to bytes
        Its files.
    """

    name: str
    card_sha256: str
    content: Mapping[str, bytes]

    @classmethod
    def read(cls, model: str) -> ModelFiles:
        """Read a model of this computer (InputError where there is none, or its files are not those that its card names)."""
        folder = find_model(model)
        load_model(folder)
        content = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
        return cls(folder.name, hashlib.sha256(content[CARD_FILE]).hexdigest(), content)

    def named(self) -> ModelFiles:
        """Its name alone, to ask for it."""
        return replace(self, content={})

    def folder(self, place: Path) -> Path:
        """Its folder in ``place``, whether it is there or not."""
        return place / self.card_sha256 / self.name

    def put(self, place: Path) -> Path:
        """Write it into a folder of its own in ``place``, unless it is there; gives that folder."""
        folder = self.folder(place)
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(folder) as temporary:
                for name, content in self.content.items():
                    (temporary / name).write_bytes(content)
        return folder

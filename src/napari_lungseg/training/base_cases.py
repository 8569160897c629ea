"""The slices of a bundled model that go with it: some to learn from again, so that nothing is forgotten, and some to prove that it was not.

A folder ``cases`` beside the model's card holds them as PNG, 8-bit images over a window of intensities and masks, with ``cases.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.model import bundled_folder
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.samples import LabelledSlice

CASES = "cases"


@dataclass(frozen=True, eq=False)
class BaseCases:
    """Slices of a bundled model.

    Attributes
    ----------
    model : str
        Its name.
    replay : list of LabelledSlice
        Of patients that it has learnt from.
    frozen : list of LabelledSlice
        Of patients that it has not; never learnt from.
    """

    model: str
    replay: list[LabelledSlice]
    frozen: list[LabelledSlice]

    @property
    def classes(self) -> int:
        """How many classes, from the first on, their labels know."""
        return max(max(item.classes, default=0) for item in (*self.replay, *self.frozen))


def base_cases(card: Card) -> BaseCases | None:
    """Slices of the bundled model that a model is, or whose knowledge it has kept; None where there are none.

    Raises
    ------
    InputError
        When a file of the package is damaged.
    """
    name = card.training.get("base_cases", card.name)
    folder = bundled_folder(str(name)) / CASES
    return _read(str(name), folder, card.preprocessing) if (folder / "cases.json").is_file() else None


def _read(model: str, folder: Path, preprocessing: Preprocessing) -> BaseCases:
    found = BaseCases(model, [], [])
    try:
        for entry in json.loads((folder / "cases.json").read_text(encoding="utf-8"))["slices"]:
            image, label = (np.asarray(Image.open(folder / entry[kind])) for kind in ("image", "label"))
            low, high = entry["window"]
            is_hu = entry["unit"] == "HU"
            values = np.round(image * ((high - low) / 255.0) + low).astype(np.int16) if is_hu else image
            intensity_range = preprocessing.window_hu if is_hu else (0.0, 255.0)
            spacing = (float(entry["spacing_mm"][0]), float(entry["spacing_mm"][1]))
            item = LabelledSlice(entry["case"], int(entry["index"]), values, label.astype(np.uint8), spacing, intensity_range, is_hu)
            (found.frozen if entry["frozen"] else found.replay).append(item)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The slices of the model {model} in {folder} cannot be read ({error}); install napari-lungseg again.") from error
    return found

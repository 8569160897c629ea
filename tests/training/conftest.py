"""A small data set of drawn chests in nnU-Net raw layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.formats import write
from napari_lungseg.volume import Volume, scaling


def chest(rng: np.random.Generator, slices: int = 2, size: int = 96) -> tuple[Volume, Volume]:
    """A body with two lungs (HU) and its mask; about 100 mm wide, so that networks stay small."""
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    image = np.full((slices, size, size), -1000.0)
    mask = np.zeros(image.shape, dtype=np.uint8)
    for z in range(slices):
        image[z][(x / 0.9) ** 2 + (y / 0.7) ** 2 < 1] = 40
        for side in (-1, 1):
            lung = ((x - side * 0.42) / rng.uniform(0.25, 0.32)) ** 2 + (y / rng.uniform(0.35, 0.5)) ** 2 < 1
            image[z][lung], mask[z][lung] = -850, 1
    image += rng.normal(0, 15, image.shape)
    affine = scaling((5.0, 1.05, 1.05))
    return Volume(image.round().astype(np.int16), affine, "HU"), Volume(mask, affine)


@pytest.fixture(scope="session")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of three patients to learn from and one held out."""
    folder = tmp_path_factory.mktemp("chests")
    rng = np.random.default_rng(3)
    for case, end in (("a1", "Tr"), ("a2", "Tr"), ("b", "Tr"), ("c", "Tr"), ("d", "Ts")):
        image, mask = chest(rng)
        for kind, volume, name in (("images", image, f"{case}_0000.nii.gz"), ("labels", mask, f"{case}.nii.gz")):
            (folder / f"{kind}{end}").mkdir(exist_ok=True)
            write(volume, folder / f"{kind}{end}" / name)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lung": 1},
        "file_ending": ".nii.gz",
        "patients": {"a1": "a", "a2": "a"},
        "sources": [{"data": "drawn", "licence": "none"}],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder

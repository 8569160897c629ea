"""A real chest CT that comes with the package, and its lungs."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

from napari_lungseg.classes import LEFT, RIGHT
from napari_lungseg.formats import read
from napari_lungseg.volume import Volume

_FOLDER = files("napari_lungseg") / "samples"
#: Where the sample comes from, and under which licence.
SAMPLE_LICENCE = (_FOLDER / "LICENCE.txt").read_text(encoding="utf-8")


def sample_ct() -> Volume:
    """A chest CT of 30 slices, (30, 256, 256) int16 HU, 8 mm apart, with a tumour in the right lower lobe."""
    return _read("ct.nii.gz")


def sample_lungs() -> Volume:
    """The lungs on the grid of :func:`sample_ct`: uint8, 1 right, 2 left."""
    return replace(_read("lungs.nii.gz"), names={RIGHT: "right", LEFT: "left"})


def _read(name: str) -> Volume:
    with as_file(_FOLDER / name) as path:
        return read(path)

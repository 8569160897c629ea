"""What napari opens through this package: image files, DICOM folders and the sample scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_lungseg.formats import is_readable, read
from napari_lungseg.sample import SAMPLE_LICENCE, sample_ct, sample_lungs
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.layers import volume_to_layer

LayerData = tuple[Any, dict[str, Any], str]
#: Window in which radiologists look at lungs: level -500, width 1500 HU.
LUNG_WINDOW_HU = (-1250.0, 250.0)


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """The reader for a path or several, or None where it is not for this package."""
    return read_layers if all(is_readable(one) for one in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """One image layer for each path.

    Raises
    ------
    InputError
        When a file cannot be read; the message says why.
    """
    return [image_layer(read(one), _name(one)) for one in _paths(path)]


def sample_ct_layers() -> list[LayerData]:
    """A chest CT, with its licence in the layer's metadata."""
    data, keywords, kind = image_layer(sample_ct(), "chest CT")
    keywords["metadata"] |= {"licence": SAMPLE_LICENCE}
    return [(data, keywords, kind)]


def sample_ct_with_mask_layers() -> list[LayerData]:
    """A chest CT and its lungs."""
    data, keywords = volume_to_layer(sample_lungs())
    return [*sample_ct_layers(), (data, keywords | {"name": "lungs", "opacity": 0.5}, "labels")]


def image_layer(volume: Volume, name: str) -> LayerData:
    """Layer data of a volume, HU in the lung window."""
    data, keywords = volume_to_layer(volume)
    window = {"contrast_limits": LUNG_WINDOW_HU} if volume.unit == "HU" else {}
    return data, keywords | window | {"name": name}, "image"


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]


def _name(path: Path) -> str:
    return path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem

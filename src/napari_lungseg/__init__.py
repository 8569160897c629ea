"""Lung masks in CT from a U-Net; for research, not for diagnosis.

The names of the public API are imported when first used, so that ``import napari_lungseg`` stays quick and pulls in
neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_lungseg import native

if TYPE_CHECKING:
    from napari_lungseg.errors import InputError
    from napari_lungseg.formats import SeriesChoiceError, SeriesInfo, UnevenSlicesError, read, write
    from napari_lungseg.library import list_models
    from napari_lungseg.measurement import measure
    from napari_lungseg.metrics import evaluate
    from napari_lungseg.model import load_model
    from napari_lungseg.segmentation import segment
    from napari_lungseg.training.train import train
    from napari_lungseg.volume import Volume

try:
    __version__ = version("napari-lungseg")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

# Before anything can load torch.
native.prepare()

_HOME = {
    "InputError": "errors",
    "SeriesChoiceError": "formats",
    "SeriesInfo": "formats",
    "UnevenSlicesError": "formats",
    "Volume": "volume",
    "evaluate": "metrics",
    "list_models": "library",
    "load_model": "model",
    "measure": "measurement",
    "read": "formats",
    "segment": "segmentation",
    "train": "training.train",
    "write": "formats",
}

__all__ = [
    "InputError",
    "SeriesChoiceError",
    "SeriesInfo",
    "UnevenSlicesError",
    "Volume",
    "__version__",
    "evaluate",
    "list_models",
    "load_model",
    "measure",
    "read",
    "segment",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

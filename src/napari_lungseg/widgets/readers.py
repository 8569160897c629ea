"""What napari opens through this package: image files, DICOM folders and the sample scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_lungseg.errors import InputError
from napari_lungseg.formats import (
    SeriesChoiceError,
    UnevenSlicesError,
    is_dicom_path,
    is_readable,
    is_stack,
    read,
    read_segments,
    read_stack,
)
from napari_lungseg.sample import SAMPLE_LICENCE, sample_ct, sample_lungs
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.appearance import LABEL_COLOURS, label_names
from napari_lungseg.widgets.dialogs import ask_fill_gaps, ask_series
from napari_lungseg.widgets.intensity_windows import window_limits
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import SOURCE, volume_to_layer, volumes_to_layer
from napari_lungseg.widgets.notices import as_text, show_info

LayerData = tuple[Any, dict[str, Any], str]
#: How napari is told that a reader has nothing to show.
_NOTHING: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """The reader for a path or several, or None where it is not for this package."""
    return read_layers if all(is_readable(one) for one in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """An image layer for each path; where there are several images in one, those that the person chooses.

    napari gives several paths where the person opens them as a stack: slices are one volume then.

    Raises
    ------
    InputError
        When a file cannot be read; the message says why.
    """
    try:
        return _layers(_paths(path)) or _NOTHING
    except InputError as error:
        # napari shows it as a notification.
        raise InputError(as_text(tr(str(error)))) from error


def _layers(paths: list[Path]) -> list[LayerData]:
    if is_stack(paths):
        return _opened(paths[0].parent, partial(read_stack, paths))
    layers: list[LayerData] = []
    for one in paths:
        segments = read_segments(one)
        if segments is not None:
            layers.append(_segments(*segments, one))
        else:
            layers += _opened(one, partial(read, one))
    return layers


def _segments(labels: Volume, names: dict[int, str], path: Path) -> LayerData:
    """A segmentation as labels that can be corrected at once, and are written again under their names."""
    data, keywords = volume_to_layer(labels)
    keywords |= {"name": _name(path), "opacity": 0.5, "features": label_names(names)}
    return np.array(data), keywords | {"colormap": DirectLabelColormap(color_dict=LABEL_COLOURS)}, "labels"


def _opened(path: Path, load: Callable[..., Volume]) -> list[LayerData]:
    """Layers of what a reader gives, or of what the person chooses of it."""
    try:
        volume = _read(path, load)
    except SeriesChoiceError as error:
        return _chosen(path, load, error)
    return [] if volume is None else [_layer([volume], path, [None], _name(path))]


def _chosen(path: Path, load: Callable[..., Volume], error: SeriesChoiceError) -> list[LayerData]:
    """Layers of the images that a person chooses."""
    choice = ask_series(path, error)
    infos = [info for info in error.choices if info.key in choice.keys]
    read_ones = [(info, volume) for info in infos if (volume := _read(path, load, info.key)) is not None]
    grids = {(volume.shape, volume.affine.round(4).tobytes()) for _, volume in read_ones}
    if choice.as_time and len(grids) == 1 and len(read_ones) > 1:
        return [_layer([volume for _, volume in read_ones], path, [info.key for info, _ in read_ones], _name(path))]
    return [
        _layer([volume], path, [info.key], " ".join(word for word in (_name(path), info.description, info.part) if word))
        for info, volume in read_ones
    ]


def _read(path: Path, load: Callable[..., Volume], series: str | None = None) -> Volume | None:
    """The volume; None where slices are missing and the person does not want them filled in."""
    try:
        return load(series=series)
    except UnevenSlicesError as error:
        return load(series=series, fill_gaps=True) if ask_fill_gaps(path, error) else None


def _layer(volumes: list[Volume], path: Path, series: Sequence[str | None], name: str) -> LayerData:
    data, keywords = volume_to_layer(volumes[0]) if len(volumes) == 1 else volumes_to_layer(volumes)
    if is_dicom_path(path):
        keywords["metadata"][SOURCE] = {"path": str(path.absolute()), "series": list(series)}
    if notes := list(dict.fromkeys(note for volume in volumes for note in volume.notes)):
        keywords["metadata"]["notes"] = notes
        show_info(f"{name}: {' '.join(map(tr, notes))}")
    return _image(data, keywords, volumes[0], name)


def sample_ct_layers() -> list[LayerData]:
    """A chest CT, with its licence in the layer's metadata."""
    data, keywords, kind = image_layer(sample_ct(), "chest CT")
    keywords["metadata"] |= {"licence": SAMPLE_LICENCE}
    return [(data, keywords, kind)]


def sample_ct_with_mask_layers() -> list[LayerData]:
    """A chest CT and its lungs."""
    lungs = sample_lungs()
    data, keywords = volume_to_layer(lungs)
    keywords |= {"name": "lungs", "opacity": 0.5, "features": label_names(lungs.names or {})}
    return [*sample_ct_layers(), (data, keywords, "labels")]


def image_layer(volume: Volume, name: str) -> LayerData:
    """Layer data of a volume, HU in the lung window."""
    return _image(*volume_to_layer(volume), volume, name)


def _image(data: Any, keywords: dict[str, Any], volume: Volume, name: str) -> LayerData:
    window = {"contrast_limits": window_limits("Lung")} if volume.unit == "HU" else {}
    return data, keywords | window | {"name": name}, "image"


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]


def _name(path: Path) -> str:
    return path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem.removesuffix(".seg")

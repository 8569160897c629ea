"""What napari saves through this package: a layer in its own place, in every format that :func:`napari_lungseg.write` knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image, Labels

from napari_lungseg.classes import spelled_out
from napari_lungseg.errors import InputError
from napari_lungseg.formats import write
from napari_lungseg.formats.dicomseg import SegOrigin, write_dicom_seg
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import check_complete, dicom_source, volume_from_layer
from napari_lungseg.widgets.notices import as_text


class NotSavedError(OSError):
    """Why a layer was not saved: napari takes any ValueError, as an InputError is one, for a sign that no writer was found."""


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer (NotSavedError where it has colours or an axis of time, or the format cannot hold it)."""
    return _saved(Image(data, **attributes), path)


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer (NotSavedError where it has an axis of time, or the format cannot hold it)."""
    return _saved(Labels(data, **attributes), path)


def _saved(layer: Image | Labels, path: str) -> list[str]:
    try:
        return [str(save_layer(layer, Path(path)))]
    except InputError as error:
        raise NotSavedError(as_text(tr(str(error)))) from error


def save_layer(layer: Image | Labels, path: Path, time_index: tuple[int, ...] = ()) -> Path:
    """Write a layer, of an axis of time the point ``time_index``; a DICOM-SEG is made on the slices that the layer comes from.

    Raises
    ------
    InputError
        When it has colours, an axis of time and no time point is given, slices of it are to be read blind, or the format cannot hold it.
    """
    if getattr(layer, "rgb", False):
        raise InputError(tr("The layer '{name}' has colours, which only napari's own writer keeps; choose that one.", name=layer.name))
    if layer.ndim - len(time_index) > 3:
        raise InputError(
            tr("The layer '{name}' has an axis of time; export its mask from the dock, or save one volume of it.", name=layer.name)
        )
    check_complete(layer, time_index)
    source, series = dicom_source(layer, time_index)
    names = None if isinstance(layer, Image) else names_on(layer)
    volume = volume_from_layer(layer, time_index, None if isinstance(layer, Image) else "arbitrary")
    return write(volume, path, None if names is None else spelled_out(names), source=source, series=series)


def save_dicom_seg(lungs: Labels, path: Path, time_index: tuple[int, ...], origin: SegOrigin) -> Path:
    """Write a mask as DICOM-SEG that says where it comes from.

    Raises
    ------
    InputError
        When the mask does not lie on a DICOM series, or slices of it are to be read blind.
    """
    check_complete(lungs, time_index)
    source, series = dicom_source(lungs, time_index)
    if source is None:
        raise InputError(tr("'{name}' does not lie on a DICOM series, to whose study it could be sent.", name=lungs.name))
    names = names_on(lungs)
    volume = volume_from_layer(lungs, time_index, "arbitrary")
    write_dicom_seg(volume, path, source, series, None if names is None else spelled_out(names), origin)
    return path

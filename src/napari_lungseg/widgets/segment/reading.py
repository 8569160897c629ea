"""What is read of an image layer before the engine segments it; runs in a thread."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_lungseg.blind import draw_slices
from napari_lungseg.card import read_card
from napari_lungseg.corrections import MODEL
from napari_lungseg.engine.messages import Kept
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, find_model
from napari_lungseg.volume import Unit, Volume
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.napari_compat import import_pandas
from napari_lungseg.widgets.tasks import Request
from napari_lungseg.workspace import content_hash


@dataclass(frozen=True)
class SegmentJob:
    """One press of the button.

    Attributes
    ----------
    layer : Image
        What to segment.
    time_index : tuple of int
        Index along the layer's time axes; empty for a layer without.
    unit : {"HU", "arbitrary"} or None
        What its numbers mean; None to tell from the numbers.
    model : str
        Name or folder of the model.
    device : str
        As in ``PredictSettings``.
    axis : int or None
        Axis along which slices are stacked; None to tell from the geometry.
    slices : (int, int), "volume" or "slice"
        First and last slice, all, or only the displayed one.
    displayed : tuple of int
        Index of the displayed voxel along each axis of the volume.
    blind_share : float
        Share of the slices that are to be read blind, where all of the volume is segmented for the first time.
    """

    layer: Layer
    time_index: tuple[int, ...]
    unit: Unit | None
    model: str
    device: str
    axis: int | None
    slices: tuple[int, int] | str
    displayed: tuple[int, ...]
    blind_share: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Something that takes a while has begun."""

    text: str


@dataclass(frozen=True)
class DrawnSlices:
    """Slices that are to be read blind."""

    slices: frozenset[int]


@dataclass(frozen=True)
class Look:
    """What can be told of a layer without reading all of it."""

    unit: Unit
    axis: int
    shape: tuple[int, ...]


def look(layer: Layer, time_index: tuple[int, ...]) -> Look:
    """Tell unit, axial axis and shape of a layer."""
    volume = volume_from_layer(layer, time_index)
    return Look(volume.unit, volume.axial_axis, volume.shape)


def request_prediction(job: SegmentJob) -> Generator[Stage | Volume | DrawnSlices, None, Request]:
    """Read the layer, as far as the model needs it at once, and ask the engine to predict from the displayed slice outward."""
    import_pandas()
    yield Stage(tr("Reading the image …"))
    folder = find_model(job.model)
    card = read_card(folder / CARD_FILE)
    if max(card.labels) > MODEL:
        raise InputError(
            tr(
                "The window takes labels up to {highest}, but the model {name!r} writes {label}.",
                highest=MODEL,
                name=card.name,
                label=max(card.labels),
            )
        )
    volume = volume_from_layer(job.layer, job.time_index, job.unit)
    axis = volume.axial_axis if job.axis is None else job.axis
    first = job.displayed[axis] if volume.ndim == 3 else 0
    start, stop = _range(job, volume, first)
    yield volume
    if job.blind_share and start is None:
        count = volume.shape[volume.axial_axis] if volume.ndim == 3 else 1
        yield DrawnSlices(draw_slices(content_hash(volume.array), count, job.blind_share))
    yield Stage(tr("Loading the model …"))
    if start is None and _is_in_memory(volume.array):
        return Request("predict", (volume, folder, job.device, job.axis, first, start, stop))
    # Only what the model needs is read.
    kept: Any = Kept(volume.shape, volume.array.dtype.str)
    return Request("predict", (replace(volume, array=kept), folder, job.device, job.axis, first, start, stop), volume.array)


def _is_in_memory(array: Any) -> bool:
    """Whether an array is neither lazy nor a file that is mapped."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return isinstance(array, np.ndarray)


def _range(job: SegmentJob, volume: Volume, displayed: int) -> tuple[int | None, int | None]:
    """First slice, and the one after the last; None for all."""
    if isinstance(job.slices, tuple):
        return job.slices[0], job.slices[1] + 1
    # Of a single slice, "this slice" is the whole, whichever way it was cut.
    return (displayed, displayed + 1) if job.slices == "slice" and 1 not in volume.shape else (None, None)

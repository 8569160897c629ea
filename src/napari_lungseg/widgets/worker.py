"""What runs off the GUI thread: reading a layer, the network, and making masks. No layer is changed here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from psygnal import EmitLoopError

from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import MODEL
from napari_lungseg.errors import InputError
from napari_lungseg.likeliest import completed
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.volume import Array, Unit, Volume
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.workspace import Source

if TYPE_CHECKING:
    from napari_lungseg.predict import Notice, PredictedSlice

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One press of the button.

    Attributes
    ----------
    layer : Image
        What to segment.
    step : tuple of int
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
    """

    layer: Layer
    step: tuple[int, ...]
    unit: Unit | None
    model: str
    device: str
    axis: int | None
    slices: tuple[int, int] | str
    displayed: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """Something that takes a while has begun."""

    text: str


@dataclass(frozen=True)
class Ready:
    """Image and model have been read."""

    volume: Volume
    made_by: Source
    classes: ClassLabels


@dataclass(frozen=True)
class Failed:
    """The end, with one sentence for the person."""

    text: str


@dataclass(frozen=True)
class Look:
    """What can be told of a layer without reading all of it."""

    unit: Unit
    axis: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Choices:
    """Models (label, name) and devices that can be chosen."""

    models: list[tuple[str, str]]
    devices: list[str]


def segmenting(job: Job) -> Iterator[Stage | Ready | PredictedSlice | Notice | Failed]:
    """Read the layer and the model and predict slice by slice, from the displayed one outward."""
    try:
        yield Stage("Loading the model …")
        # napari takes it for the names of labels, and would halt the window for a second to import it.
        import_module("pandas")
        from napari_lungseg.model import load_model
        from napari_lungseg.predict import PredictSettings, predict

        model = load_model(job.model)
        if max(model.card.labels) > MODEL:
            raise InputError(f"The window takes labels up to {MODEL}, but the model {model.card.name!r} writes {max(model.card.labels)}.")
        yield Stage("Reading the image …")
        volume = volume_from_layer(job.layer, job.step, job.unit)
        axis = volume.axial_axis if job.axis is None else job.axis
        first = job.displayed[axis] if volume.ndim == 3 else 0
        start, stop = _range(job, volume, first)
        yield Ready(volume, Source(model.card.name, model.card.weights_sha256), model.card.class_labels)
        settings = PredictSettings(device=job.device, axis=job.axis, first=first, start=start, stop=stop)
        yield from predict(volume, model, settings)
    except Exception as error:
        yield Failed(sentence(error, "The segmentation"))


def _range(job: Job, volume: Volume, displayed: int) -> tuple[int | None, int | None]:
    """First slice, and the one after the last; None for all."""
    if isinstance(job.slices, tuple):
        return job.slices[0], job.slices[1] + 1
    # Of a single slice, "this slice" is the whole, whichever way it was cut.
    return (displayed, displayed + 1) if job.slices == "slice" and 1 not in volume.shape else (None, None)


def look(layer: Layer, step: tuple[int, ...]) -> Look | Failed:
    """Tell unit, axial axis and shape of a layer."""
    try:
        volume = volume_from_layer(layer, step)
    except Exception as error:
        return Failed(sentence(error, f"Reading {layer.name}"))
    return Look(volume.unit, volume.axial_axis, volume.shape)


def list_choices() -> Choices | Failed:
    """List the library of models and the devices of this machine."""
    try:
        from napari_lungseg.device import list_devices
        from napari_lungseg.library import list_models

        return Choices([(entry.name, entry.name) for entry in list_models()], list_devices())
    except Exception as error:
        return Failed(sentence(error, "Listing models and devices"))


def masking(probability: Volume, settings: MaskSettings, classes: ClassLabels, likeliest: npt.NDArray[np.uint8] | None) -> Array | Failed:
    """The mask of the whole volume."""
    try:
        if likeliest is not None:
            likeliest = completed(likeliest, probability.array, settings.threshold, classes)
        return make_mask(probability, settings, classes, likeliest).array
    except Exception as error:
        return Failed(sentence(error, "Making the mask"))


def attempt(function: Callable[..., Any], *args: Any, what: str) -> Any:
    """What a function gives, or Failed; ``what`` as for :func:`sentence`."""
    try:
        return function(*args)
    except Exception as error:
        return Failed(sentence(error, what))


def sentence(error: Exception, what: str) -> str:
    """Say what went wrong, for a person; the log keeps the traceback of what is not their doing.

    Parameters
    ----------
    error : Exception
        An InputError speaks for itself.
    what : str
        What failed, as the subject of the sentence: "The segmentation", "Saving ct".
    """
    if isinstance(error, EmitLoopError) and isinstance(error.__cause__, Exception):
        # Its own text is that of the code around the error.
        error = error.__cause__
    if isinstance(error, InputError):
        return str(error)
    logger.exception("%s failed", what, exc_info=error)
    if getattr(error, "winerror", None) == 1114 or "WinError 1114" in str(error):
        return (
            "PyTorch could not be loaded after the window (WinError 1114); close napari and start it with "
            'python -c "import torch, napari; napari.Viewer(); napari.run()".'
        )
    if isinstance(error, MemoryError):
        return f"{what} failed: there is not enough memory; close other programs, or take fewer slices or a smaller image."
    reason = f"{error} ({type(error).__name__})" if str(error) else type(error).__name__
    return f"{what} failed: {reason}; the log has the details."

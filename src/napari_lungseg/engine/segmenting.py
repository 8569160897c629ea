"""Jobs of an engine: predict the slices of a volume, and make the mask of a probability."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import ClassLabels
from napari_lungseg.engine.control import Control
from napari_lungseg.likeliest import completed
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.model import load_model
from napari_lungseg.places import is_address
from napari_lungseg.predict import PredictSettings, predict, slices_needed
from napari_lungseg.predicted import ModelLoaded, Notice, OwnGrid, PredictedSlice, Working
from napari_lungseg.remote.model_files import ModelFiles
from napari_lungseg.remote.predicting import predict_remotely
from napari_lungseg.volume import Array, Volume


def predict_slices(
    control: Control,
    volume: Volume,
    model: Path,
    device: str,
    axis: int | None,
    first: int,
    start: int | None,
    stop: int | None,
) -> Generator[ModelLoaded | PredictedSlice | Notice]:
    """Load the model and predict slice by slice; the arguments are as in :class:`~napari_lungseg.predict.PredictSettings`.

    The device may also be the address of a cluster's scheduler.
    """
    if is_address(device):
        settings = PredictSettings(axis=axis, first=first, start=start, stop=stop)
        yield from _predict_remotely(control, volume, model, device, settings)
        return
    settings = PredictSettings(device=device, axis=axis, first=first, start=start, stop=stop)
    loaded = load_model(model)
    slices = predict(control.open(volume), loaded, settings)
    yield ModelLoaded(loaded.card.name, loaded.card.weights_sha256, loaded.card.class_labels)
    for step in slices:
        if isinstance(step, Working):
            control.check()  # a long way to the first slice
        else:
            yield step


def _predict_remotely(
    control: Control, volume: Volume, model: Path, scheduler: str, settings: PredictSettings
) -> Generator[ModelLoaded | PredictedSlice | Notice]:
    card = load_model(model).card
    opened = control.open(volume)
    axis, needed = slices_needed(opened, card, settings)
    if len(needed) == opened.shape[axis]:
        axis, needed, array = 0, list(range(opened.shape[0])), np.asarray(opened.array)
    else:
        array = np.zeros(opened.shape, opened.array.dtype)
        for index in needed:
            place = (slice(None),) * axis + (index,)
            array[place] = opened.array[place]
    read = replace(opened, array=array)
    for step in predict_remotely(scheduler, read, ModelFiles.read(str(model)), settings, control.check, (axis, needed)):
        if step is None:
            yield ModelLoaded(card.name, card.weights_sha256, card.class_labels)
        elif not isinstance(step, Working):
            yield step


def make_whole_mask(
    control: Control,
    probability: Volume,
    settings: MaskSettings,
    classes: ClassLabels,
    likeliest: npt.NDArray[np.uint8] | None,
    own: OwnGrid | None = None,
) -> tuple[Array, int, tuple[str, ...]]:
    """The mask of a volume, its number of labelled voxels, and what a person should know of it."""
    if likeliest is not None:
        likeliest = completed(likeliest, probability.array, settings.threshold, classes)
    control.check()
    mask = make_mask(probability, settings, classes, likeliest, own)
    return mask.array, int(np.count_nonzero(mask.array)), mask.notes

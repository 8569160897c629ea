"""One call from a volume to labels: prediction and mask together, for Python and the terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from napari_lungseg import spill
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.model import DEFAULT_MODEL, Model, load_model
from napari_lungseg.predict import Notice, PredictSettings, predict
from napari_lungseg.predicted import OwnGrid, Working
from napari_lungseg.runtimes import find_device
from napari_lungseg.volume import Volume


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result of :func:`segment`.

    Attributes
    ----------
    labels : Volume
        uint8 on the input's grid: 0 background, else the labels of the model's classes, such as 1 right lung, 2 left lung.
    probability : Volume
        That a voxel belongs to any class, in percent, uint8, on the same grid.
    likeliest : Volume or None
        Label of the most likely class of each voxel, as :func:`napari_lungseg.mask.make_mask` takes it; None for one class.
    names : dict
        Name of each label that the mask may hold.
    model : str
        Name of the model.
    weights_sha256 : str
        SHA-256 of its weights.
    device : str
        Where the last slice was computed.
    runtime : str
        What computed the slices, with version and precision; several where one failed on the way.
    seconds : float
        Time for prediction and mask.
    notices : tuple of str
        What the person should know, such as memory that ran out or that no lung was found.
    """

    labels: Volume
    probability: Volume
    likeliest: Volume | None
    names: dict[int, str]
    model: str
    weights_sha256: str
    device: str
    runtime: str
    seconds: float
    notices: tuple[str, ...]


def segment(
    volume: Volume,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    device: str = "auto",
    threshold: float = 0.5,
    *,
    postprocess: bool = True,
    mask: MaskSettings | None = None,
    axis: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Segment what a model knows: the lungs.

    Parameters
    ----------
    volume : Volume
        From :func:`napari_lungseg.read`.
    model : str, path or Model
        Name of a model, its folder, or one that is loaded already.
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
    threshold : float
        Probability, 0 to 1, from which on a voxel belongs to a class.
    postprocess : bool
        Keep only what may be lung, fill holes, tell right from left; otherwise all lung above the threshold is 1.
    mask : MaskSettings, optional
        All settings of the mask, in place of ``threshold`` and ``postprocess``.
    axis : int, optional
        Array axis along which axial slices are stacked; found from the geometry by default.
    progress : callable, optional
        Called with the number of slices done and of all slices.

    Returns
    -------
    Segmentation
        Labels, probability, and how they came about.

    Raises
    ------
    InputError
        When a setting, the model, the device or the image cannot be used, or memory does not suffice.
    """
    settings = PredictSettings(device=device, axis=axis)
    if mask is None:
        mask = MaskSettings(threshold=threshold) if postprocess else MaskSettings.without_postprocessing(threshold)
    model = model if isinstance(model, Model) else load_model(model)
    classes = model.card.class_labels
    used, notices = find_device(device), []
    runtimes: dict[str, None] = {}
    began = time.perf_counter()
    percent = spill.zeros(volume.shape)
    likeliest = spill.zeros(volume.shape) if len(classes.labels) > 1 else None
    own: OwnGrid | None = None
    for step in predict(volume, model, settings):
        if isinstance(step, Working):
            if progress is not None:
                progress(step.done, step.total)
            continue
        if isinstance(step, Notice):
            notices.append(step.text)
            used = step.device or used
            continue
        where = (..., *_slice(volume.ndim, step.axis, step.index))
        percent[where] = step.probability
        runtimes[step.runtime] = None
        if step.own is not None:
            own = own or OwnGrid.begun_by(step.own)
            own.put(step.index, step.own)
        if likeliest is not None and step.classes is not None:
            likeliest[where] = classes.of(step.classes)
        if progress is not None:
            progress(step.done, step.total)
    probability = volume.with_array(percent)
    labels = make_mask(probability, mask, classes, likeliest, own)
    if not labels.array.any():
        notices.append(f"No {classes.listed} was found.")
    notices += labels.notes
    names = dict(labels.names or {})
    return Segmentation(
        labels=labels,
        probability=probability,
        likeliest=None if likeliest is None else volume.with_array(likeliest),
        names=names,
        model=model.card.name,
        weights_sha256=model.card.weights_sha256,
        device=used,
        runtime=", then ".join(runtimes),
        seconds=time.perf_counter() - began,
        notices=tuple(notices),
    )


def _slice(ndim: int, axis: int, index: int) -> tuple[int | slice, ...]:
    return () if ndim == 2 else tuple(index if a == axis else slice(None) for a in range(3))

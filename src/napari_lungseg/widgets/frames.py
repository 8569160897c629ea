"""One volume of an image layer, how its mask is made, and which class a voxel has where only the mask can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.segmentation import expand_labels

from napari_lungseg.classes import LEFT, RIGHT, ClassLabels
from napari_lungseg.mask import MaskSettings, apply_threshold
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Source

#: How far, in pixels, labels are carried over to voxels that a lower threshold adds; and by how much the slice is thinned for it,
#: as this must not be felt while the slider is dragged.
NEIGHBOUR = 60
THIN = 4

Bytes = npt.NDArray[np.uint8]


@dataclass(eq=False)
class Frame:
    """One volume of an image layer: all of it, or one time step.

    Attributes
    ----------
    step : tuple of int
        Index along the layer's leading (time) axes; empty where it has none.
    probability : Volume
        Percent; its array is part of the probability layer's own.
    classes : ClassLabels
        What the model tells apart that was run last.
    likeliest : array of uint8 or None
        Label of the most likely class of each voxel; 0 where no model has told it. None where no model of several classes was run.
    predicted : bool
        Whether any slice has been predicted.
    made_by : Source or None
        What made the model's mask.
    """

    step: tuple[int, ...]
    probability: Volume
    classes: ClassLabels = field(default_factory=ClassLabels)
    likeliest: Bytes | None = None
    predicted: bool = False
    made_by: Source | None = None


@dataclass(frozen=True)
class Making:
    """How a mask was made: what undo brings back with it."""

    settings: MaskSettings
    made_by: Mapping[tuple[int, ...], Source | None]
    classes: Mapping[tuple[int, ...], ClassLabels]


def to_settings(settings: MaskSettings, classes: ClassLabels) -> dict[str, Any]:
    """The settings of a :class:`Source`, of what JSON gives back as it was."""
    return asdict(settings) | {"classes": classes.to_settings()}


def from_settings(saved: Mapping[str, Any]) -> tuple[MaskSettings, ClassLabels]:
    """Back from :func:`to_settings`; without classes it is lung alone."""
    settings = dict(saved)
    classes = ClassLabels.from_settings(settings.pop("classes", None))
    return MaskSettings(**settings), classes


def told_by_mask(model: Bytes, classes: ClassLabels) -> Bytes:
    """Label of the most likely class of each voxel that the model's mask holds, 0 elsewhere."""
    return np.where(model == LEFT, np.uint8(RIGHT), model) if classes.sides else model


def label_if_above(model: Bytes, likeliest: Bytes | None, classes: ClassLabels) -> Bytes:
    """Label that each voxel of a slice would have, were it above the threshold.

    Parameters
    ----------
    model : (H, W) array of uint8
        The model's mask as it is.
    likeliest : (H, W) array of uint8 or None
        As in :class:`Frame`.
    classes : ClassLabels
        What the model tells apart.
    """
    if likeliest is None:
        return _nearest(model, classes.labels[0])
    label = _nearest(likeliest, _usual(classes))
    if not classes.sides:
        return label
    side = _nearest(np.where(model <= LEFT, model, np.uint8(0)), RIGHT)
    return np.where(label == RIGHT, side, label)


def completed(likeliest: Bytes, percent: Bytes, threshold: float, classes: ClassLabels) -> Bytes:
    """The label of the most likely class also of voxels above the threshold of which it is not known: that of the nearest one.

    All arrays are (Z, Y, X) or (Y, X). Neighbours are looked for in the plane of the last two axes.
    """
    planes, above = likeliest.reshape(-1, *likeliest.shape[-2:]), percent.reshape(-1, *percent.shape[-2:])
    own = planes
    for index, plane in enumerate(planes):
        if ((plane == 0) & apply_threshold(above[index], threshold)).any():
            own = planes.copy() if own is planes else own
            own[index] = _nearest(plane, _usual(classes))
    return own.reshape(likeliest.shape)


def _usual(classes: ClassLabels) -> int:
    return classes.labels[classes.lung or 0]


def _nearest(labels: Bytes, default: int) -> Bytes:
    near = expand_labels(labels[::THIN, ::THIN], NEIGHBOUR / THIN)
    near[near == 0] = default
    rows, columns = labels.shape
    return np.where(labels > 0, labels, near.repeat(THIN, 0).repeat(THIN, 1)[:rows, :columns]).astype(np.uint8)

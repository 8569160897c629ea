"""One volume of an image layer, how its mask is made, and which class a voxel has where only the mask can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import LEFT, RIGHT, ClassLabels
from napari_lungseg.likeliest import nearest_labels, usual_label
from napari_lungseg.mask import MaskSettings
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Source

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
        return nearest_labels(model, classes.labels[0])
    label = nearest_labels(likeliest, usual_label(classes))
    if not classes.sides:
        return label
    side = nearest_labels(np.where(model <= LEFT, model, np.uint8(0)), RIGHT)
    return np.where(label == RIGHT, side, label)

"""How the model's mask of a volume was made, and which class a voxel has where only the mask can tell."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import LEFT, RIGHT, ClassLabels
from napari_lungseg.likeliest import nearest_labels, usual_label
from napari_lungseg.mask import MaskSettings
from napari_lungseg.predicted import OwnGrid
from napari_lungseg.workspace import Source

Bytes = npt.NDArray[np.uint8]


class Making(NamedTuple):
    """How the model's mask was made: its settings, what made it, what that tells apart, and what it gave on its own pixels."""

    settings: MaskSettings = MaskSettings()
    source: Source | None = None
    classes: ClassLabels = ClassLabels()
    own: OwnGrid | None = None

    def saved(self) -> Source | None:
        """What made the mask, with the settings as values that JSON gives back as they were."""
        if self.source is None:
            return None
        return replace(self.source, settings=asdict(self.settings) | {"classes": self.classes.to_settings()})

    @classmethod
    def restored(cls, source: Source) -> Making:
        """Back from :meth:`saved`; without settings they are the default ones, without classes it is lung alone."""
        settings = dict(source.settings)
        classes = ClassLabels.from_settings(settings.pop("classes", None))
        return cls(MaskSettings(**settings), source, classes)


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
        Label of the most likely class of each voxel.
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

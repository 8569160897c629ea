"""What predicting tells while it goes on; plain values without torch, so that they can cross to another process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import ClassLabels


@dataclass(frozen=True)
class Notice:
    """Something the person should know, but that stops nothing.

    Attributes
    ----------
    text : str
        One sentence.
    device : str
        Where the work goes on, if that changed; else empty.
    """

    text: str
    device: str = ""


@dataclass(frozen=True)
class ModelLoaded:
    """The model was read and is sound.

    Attributes
    ----------
    name, weights_sha256 : str
        From its card.
    classes : ClassLabels
        What it tells apart.
    """

    name: str
    weights_sha256: str
    classes: ClassLabels


@dataclass(frozen=True, eq=False)
class PredictedSlice:
    """What a model makes of one slice.

    Attributes
    ----------
    axis, index : int
        Which slice: ``volume.array.take(index, axis)``; 0 and 0 for a two-dimensional image.
    probability : array of uint8
        That a pixel belongs to any class: percent, 0 to 100, of the shape and orientation of that slice.
    done, total : int
        Slices finished, this one included, and slices in all.
    classes : array of uint8 or None
        Which class is the most likely one, as an index into ``card.classes``, on the same pixels; None where the model has one class.
    runtime : str
        What computed it, with version and precision.
    """

    axis: int
    index: int
    probability: npt.NDArray[np.uint8]
    done: int
    total: int
    classes: npt.NDArray[np.uint8] | None = None
    runtime: str = ""

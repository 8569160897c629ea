"""What predicting tells while it goes on; plain values without torch, so that they can cross to another process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_lungseg.classes import ClassLabels
from napari_lungseg.preprocess import Box
from napari_lungseg.volume import Array, Orientation


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
class OwnPlane:
    """What a model makes of one slice, on the network's own pixels; of models whose masks are made there.

    Attributes
    ----------
    percent, classes : (H, W) array of uint8
        As in :class:`PredictedSlice`.
    box : tuple of slice
        What of the upright slice it shows.
    orientation : Orientation
        Turns the volume upright, slices first.
    slices : int
        How many the volume has.
    """

    percent: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    box: Box
    orientation: Orientation
    slices: int


@dataclass(frozen=True, eq=False)
class OwnGrid:
    """Such planes of a volume, feet first.

    Attributes
    ----------
    percent, classes : (N, H, W) array of uint8
        As in :class:`OwnPlane`.
    boxes : (N, 4) array of int
        First and last row, first and last column of each slice that is shown, the last ones excluded; zeros where it is not known.
    orientation : Orientation
        Turns the volume upright, slices first.
    """

    percent: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]
    orientation: Orientation

    @classmethod
    def begun_by(cls, plane: OwnPlane) -> OwnGrid:
        """A grid for planes like one, which knows none yet."""
        shape = (plane.slices, *plane.percent.shape)
        return cls(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros((plane.slices, 4), np.int64), plane.orientation)

    def put(self, index: int, plane: OwnPlane) -> None:
        """Take up the plane of a slice, by its index in the array of the volume."""
        place = self._place(index)
        self.percent[place], self.classes[place] = plane.percent, plane.classes
        self.boxes[place] = [plane.box[0].start, plane.box[0].stop, plane.box[1].start, plane.box[1].stop]

    def copy(self) -> OwnGrid:
        """The same, to go on with."""
        return OwnGrid(self.percent.copy(), self.classes.copy(), self.boxes.copy(), self.orientation)

    def covers(self, percent: Array) -> bool:
        """Whether the planes of all slices are known on which a probability on the grid of the volume is not 0."""
        axis = self.orientation.order[0]
        stack = percent[None] if percent.ndim == 2 else np.moveaxis(percent, axis, 0)
        return all(self.boxes[self._place(index)].any() or not plane.any() for index, plane in enumerate(stack))

    def _place(self, index: int) -> int:
        return len(self.boxes) - 1 - index if 0 in self.orientation.flips else index


@dataclass(frozen=True)
class Working:
    """How far a network of volumes is, which gives no slice before it has seen all.

    Attributes
    ----------
    done, total : int
        Places of its sliding window.
    """

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class PredictedSlice:
    """What a model makes of one slice.

    Attributes
    ----------
    axis, index : int
        Which slice: ``volume.array.take(index, axis)``; 0 and 0 for a two-dimensional image.
    probability : array of uint8
        That a pixel belongs to any class: percent, 0 to 100, of the shape and orientation of that slice. What exactly it is the
        probability of, the model's :mod:`~napari_lungseg.framing` says.
    done, total : int
        Slices finished, this one included, and slices in all.
    classes : array of uint8 or None
        Which class is the most likely one, as an index into ``card.classes``, on the same pixels; None where the model has one class.
    runtime : str
        What computed it, with version and precision.
    own : OwnPlane or None
        The same on the network's own pixels, of models whose masks are made there.
    """

    axis: int
    index: int
    probability: npt.NDArray[np.uint8]
    done: int
    total: int
    classes: npt.NDArray[np.uint8] | None = None
    runtime: str = ""
    own: OwnPlane | None = None

"""The model's mask of slices that are to be read blind, kept where nothing that is shown looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from napari_lungseg.corrections import MODEL, PERSON, Corrections
from napari_lungseg.steps import History, as_box
from napari_lungseg.volume import Array, Box, inside

Bytes = npt.NDArray[np.uint8]


class Withheld:
    """What the model says of some slices of a volume, until a person has read them.

    The arrays have the shape of the whole volume; of other slices no page of them is touched.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    axis : int
        Array axis along which slices are counted.
    history : History
        In which changes of the model's mask are undone.
    time_index : tuple of int
        Time point of the volume.
    allocate : callable
        Makes an array of zeros, given shape and type.

    Attributes
    ----------
    slices : set of int
        Which slices are to be read.
    labels, percent : array of uint8
        The model's mask and probability there.
    corrections : Corrections
        Of these arrays; no person edits them.
    """

    def __init__(
        self, shape: tuple[int, ...], axis: int, history: History, time_index: tuple[int, ...], allocate: Callable[..., Array] = np.zeros
    ) -> None:
        self.slices: set[int] = set()
        self.labels: Bytes = allocate(shape, np.uint8)
        self.percent: Bytes = allocate(shape, np.uint8)
        # No time point has this index: what is undone here is undone nowhere else.
        self.corrections = Corrections(self.labels, self.percent, history=history, time_index=(*time_index, -1))
        self._axis, self._allocate = axis, allocate

    def tell_classes(self) -> None:
        """Keep the most likely class too."""
        if self.corrections.likeliest is None:
            self.corrections.likeliest = self._allocate(self.labels.shape, np.uint8)

    def parts(self, box: Box) -> Iterator[tuple[Box, bool]]:
        """Divide a box into parts that are withheld and parts that are not."""
        if len(box) < 3:
            yield box, 0 in self.slices
            return
        axis, span = self._axis, box[self._axis]
        borders = {span.start, span.stop}
        for index in self.slices:
            borders.update(place for place in (index, index + 1) if span.start < place < span.stop)
        ordered = sorted(borders)
        for start, stop in pairwise(ordered):
            yield (*box[:axis], slice(start, stop), *box[axis + 1 :]), start in self.slices

    def within(self, box: Box) -> Iterator[Box]:
        """The parts of a box that are withheld."""
        return (part for part, withheld in self.parts(box) if withheld)

    def copied_into(self, array: Array, box: Box, own: Array) -> Array:
        """Write what one of these arrays withholds in a box into an array of that box, which is given back."""
        for part in self.within(box):
            array[inside(part, box)] = own[part]
        return array

    def take_out(self, indices: Iterable[int], labels: Array, origin: Bytes, percent: Bytes) -> None:
        """Withhold slices: take the model's part out of arrays of the volume, which then hold there only what a person has set."""
        self.slices.update(indices)
        for part in self.within(as_box((), labels.shape)):
            model = origin[part] & np.uint8(MODEL)
            person = (origin[part] != model) | (labels[part] != model)
            self.percent[part] = percent[part]
            self.corrections.replace(self.labels, part, model, model)
            origin[part] = np.where(person, PERSON, 0)
            labels[part] = np.where(person, labels[part], 0)
            percent[part] = 0

    def copy(self) -> Withheld:
        """Keep it as it is now, without what can be undone."""
        copy = Withheld(self.labels.shape, self._axis, History(), ())
        copy.slices = set(self.slices)
        for own, other in (
            (copy.labels, self.labels),
            (copy.percent, self.percent),
            (copy.corrections.origin, self.corrections.origin),
        ):
            own[...] = other
        return copy

"""From a stroke to the question that the engine answers, and from the answer to a change of the mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_lungseg.corrections import PERSON
from napari_lungseg.edit.region import Mask, Spacing, reach
from napari_lungseg.edit.stroke import REACH_MM, FoundRegion, Stroke
from napari_lungseg.edit.tool import Change
from napari_lungseg.errors import InputError
from napari_lungseg.steps import as_box
from napari_lungseg.volume import Box, Volume, bounding_box, inside, outside, widen
from napari_lungseg.widgets.correct.pen import Point, trace
from napari_lungseg.widgets.correct.proposal import around
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.mask_layer import MaskLayer

if TYPE_CHECKING:
    from napari.layers import Labels

#: Diameter (mm) of the pen; the network has learnt from such strokes.
PEN_MM = 3.0
#: Widest side (mm) of an image of a body. Another one is looked at as if it were as wide as a chest: the network knows no other sizes.
BODY_MM, CHEST_MM = (100.0, 1000.0), 350.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """A stroke.

    Attributes
    ----------
    adding : bool
        Whether the mask lacks something there, or has too much.
    time_index : tuple of int
        At which time point of the layer.
    where : tuple of slice or int
        On which slice of the volume.
    shape : tuple of int
        Of the volume.
    spacing : tuple of float
        Millimetres along each of its axes, as of a body.
    parts : list of (box, array of bool)
        What it has met, in boxes of the volume.
    """

    adding: bool
    time_index: tuple[int, ...]
    where: tuple[slice | int, ...]
    shape: tuple[int, ...]
    spacing: Spacing
    parts: list[tuple[Box, Mask]] = field(default_factory=list)

    def go_on(self, start: Point, end: Point) -> tuple[Box, Mask] | None:
        """Draw on from one voxel's index to another; gives what the pen met, None outside of the slice."""
        hidden = len(self.where) - 1
        axes = [axis for axis in range(len(self.shape)) if axis != hidden]
        spacing, shape = (tuple(values[axis] for axis in axes) for values in (self.spacing, self.shape))
        met = trace(start[axes], end[axes], PEN_MM / 2, spacing, shape)  # type: ignore[arg-type]
        if met is None:
            return None
        box, pixels = met
        if hidden >= 0:
            index = self.where[hidden]
            assert isinstance(index, int)
            box, pixels = (*box[:hidden], slice(index, index + 1), *box[hidden:]), np.expand_dims(pixels, hidden)
        self.parts.append((box, pixels))
        return box, pixels

    def in_box(self, box: Box) -> Mask:
        """The stroke in a box that holds it, and what a loop of it encloses."""
        drawn = np.zeros([part.stop - part.start for part in box], bool)
        for where, met in self.parts:
            drawn[inside(where, box)] |= met
        here = in_box(self.where, box)
        drawn[here] = ndimage.binary_fill_holes(drawn[here])
        return drawn


@dataclass(frozen=True, eq=False)
class Question:
    """What the engine is asked.

    Attributes
    ----------
    stroke : Stroke
        Without its image, which may have to be read first.
    image : Volume
        From which it is read.
    box : tuple of slice
        Part of the volume that the stroke's arrays are.
    becomes : int
        The label that the region gets.
    """

    stroke: Stroke
    image: Volume
    box: Box
    becomes: int


def body_spacing(lungs: Labels, time_index: tuple[int, ...]) -> Spacing:
    """Millimetres along each axis of a mask; of an image that is too small or large for a body, as if it were as wide as a chest."""
    volume = volume_from_layer(lungs, time_index, "arbitrary")
    widest = max(size * step for size, step in zip(volume.shape, volume.spacing, strict=True))
    scale = 1.0 if BODY_MM[0] <= widest <= BODY_MM[1] else CHEST_MM / widest
    return tuple(float(step) * scale for step in volume.spacing)


def ask(result: MaskLayer, drawn: Drawn) -> Question:
    """Gather what is near a stroke.

    Raises
    ------
    InputError
        When there is no image, or nothing under the stroke that may be removed.
    """
    assert result.lungs is not None
    if result.image is result.lungs:
        raise InputError(tr("No image lies on the voxels of '{mask}'; open the one that it belongs to first.", mask=result.image.name))
    if not drawn.parts:
        raise InputError(tr("The stroke lies outside of the image; draw it on the image."))
    result.finish_edits()
    tight = drawn.parts[0][0]
    for box, _ in drawn.parts[1:]:
        tight = around(tight, box)
    box = widen(tight, reach(REACH_MM, drawn.spacing), drawn.shape)
    document = result.document(drawn.time_index)
    if document.blind.intersection(document.slices_in(as_box(drawn.where, drawn.shape))):
        raise InputError(tr("This slice is read blind, and a region is found by the model's mask too; draw with the brush here."))
    labels, voxels, label = document.labels[box].copy(), drawn.in_box(box), 0
    if not drawn.adding:
        under = labels[voxels & (labels > 0)]
        if not under.size:
            raise InputError(tr("The stroke meets nothing that is labelled; draw it where the mask has too much."))
        label = int(np.bincount(under).argmax())
    stroke = Stroke(
        np.zeros(0),
        labels,
        voxels,
        _held(result, drawn.time_index, box),
        document.percent[box].copy() if document.predicted else None,
        drawn.spacing,
        label,
        in_box(drawn.where, box),
    )
    becomes = (int(result.lungs.selected_label) or 1) if drawn.adding else 0
    return Question(stroke, volume_from_layer(result.image, drawn.time_index, "arbitrary"), box, becomes)


def anything() -> Stroke:
    """Some stroke, by which an engine can make itself ready."""
    shape = (1, 9, 9)
    drawn = np.zeros(shape, bool)
    drawn[0, 4, 4] = True
    nothing = np.zeros(shape, np.uint8)
    return Stroke(nothing, nothing, drawn, nothing > 0, None, (1.0, 1.0, 1.0), 0)


def place(question: Question, region: FoundRegion) -> Box:
    """Where a region lies in the volume."""
    return outside(region.box, question.box)


def change(result: MaskLayer, time_index: tuple[int, ...], question: Question, region: FoundRegion, size: float) -> Change | None:
    """What taking a region changes: no voxel that has another label by now, and none that a person has set; None for nothing."""
    result.finish_edits()
    box = place(question, region)
    before = result.document(time_index).labels[box].copy()
    chosen = region.at(size) & (before == question.stroke.label) & ~_held(result, time_index, box)
    tight = bounding_box(chosen)
    if tight is None:
        return None
    after = before.copy()
    after[chosen] = question.becomes
    return Change(outside(tight, box), before[tight], after[tight])


def in_box(where: tuple[slice | int, ...], box: Box) -> tuple[slice | int, ...]:
    """The index of a slice of a volume, within a box of it."""
    return tuple(part if isinstance(part, slice) else part - box[axis].start for axis, part in enumerate(where))


def in_layer(time_index: tuple[int, ...], box: Box, values: np.ndarray) -> tuple[Box, np.ndarray]:
    """A box of a volume, and the values in it, in the axes of the layer."""
    return (*(slice(index, index + 1) for index in time_index), *box), values.reshape((1,) * len(time_index) + values.shape)


def _held(result: MaskLayer, time_index: tuple[int, ...], box: Box) -> Mask:
    """Where a person has set or accepted voxels, or slices are to be read blind."""
    document = result.document(time_index)
    held: Mask = (document.corrections.origin[box] & PERSON) != 0
    for index in document.blind:
        held[document.box_within(index, box)] = True
    return held

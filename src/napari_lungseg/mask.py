"""From the network's probability to labels: threshold and class, and for lung islands, holes, right and left."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cc3d
import fill_voids
import numpy as np
import numpy.typing as npt

from napari_lungseg import spill
from napari_lungseg.classes import LEFT, RIGHT, ClassLabels
from napari_lungseg.errors import InputError
from napari_lungseg.left_right import Spacing, split_sides
from napari_lungseg.pieces import Labels, Mask, Pieces
from napari_lungseg.predicted import OwnGrid
from napari_lungseg.setting import check, setting
from napari_lungseg.translation import mark
from napari_lungseg.volume import Volume, bounding_box

#: A slab thinner than this (mm) shows only a part of each lung: the smallest piece shrinks in proportion. With the default of
#: 2 mL a single slice keeps pieces from 33 mm² on; the smallest real piece in the slices looked at has 70 mm².
SLAB_MM = 60.0
#: In anything thicker, a piece must also have this part of the largest one's volume. Pieces that arise when real lungs are cut
#: by slabs and small fields of view are either above both limits or shreds below 2 mL.
SMALLEST_PART = 0.002
#: Narrower images (animals, phantoms, crops) are measured as if they were as wide as this chest (mm), so that limits in mL and
#: mm do not empty them; so are images without a physical size.
CHEST_MM = 350.0
#: Fields of this width (mm) may show one lung alone; narrower ones show animals or phantoms.
ONE_LUNG_MM = (100.0, 250.0)
#: A field narrower than a chest whose middle lies further (mm) from the middle of the scanner is a part of a chest.
OFF_CENTRE_MM = 60.0
#: One lung is at most about this wide (mm).
ONE_LUNG_WIDE_MM = 170.0
#: What is said of a lone lung whose side cannot be known.
UNKNOWN_SIDE = mark("It is not known which lung this is, as the file does not tell where the patient's middle lies; all of it has label 1.")
#: Holes of one lung on one slice are filled up to this area (mm²): large vessels and nodules in cross-section.
LARGEST_HOLE_MM2 = 300.0


@dataclass(frozen=True)
class MaskSettings:
    """Set how a probability becomes a mask; each field's text says what it does.

    All settings but the threshold are for lung alone. In a slab thinner than 60 mm, the volume of the smallest part shrinks in
    proportion, so that a single slice has a smallest area; in images narrower than a chest it shrinks with the image.

    Raises
    ------
    InputError
        When the threshold or the smallest volume makes no sense.
    """

    threshold: float = setting(
        0.5, "Threshold (%)", "Probability, 0 to 1, from which on a voxel is lung, or another class.", at_least=0, at_most=1
    )
    keep_lungs: bool = setting(True, "Keep the lungs only", "Drop everything but the largest parts.")
    smallest_ml: float = setting(2.0, "Smallest part (mL)", "Parts smaller than this are dropped.", at_least=0)
    fill_holes: bool = setting(True, "Fill holes", "Vessels and nodules become lung; the airways stay out.")
    split_sides: bool = setting(True, "Right and left", "Label the right lung 1 and the left lung 2, also where they touch.")

    def __post_init__(self) -> None:
        check(self, "mask")

    @classmethod
    def without_postprocessing(cls, threshold: float = 0.5) -> MaskSettings:
        """Make settings for the threshold alone."""
        return cls(threshold=threshold, keep_lungs=False, fill_holes=False, split_sides=False)


def apply_threshold(percent: npt.NDArray[np.uint8], threshold: float) -> Mask:
    """Voxels that are foreground at a threshold.

    Parameters
    ----------
    percent : array of uint8
        Probability in percent, of any shape.
    threshold : float
        0 to 1. A voxel is foreground when its percentage is at least ``100 * threshold``; one of 0 % never is.

    Returns
    -------
    array of bool
        Of the same shape.
    """
    # Rounded first: in floating point 100 * 0.07 is a hair above 7.
    lowest = max(1, math.ceil(round(100.0 * threshold, 6)))
    return np.asarray(percent >= np.uint8(lowest))


def make_mask(
    probability: Volume,
    settings: MaskSettings | None = None,
    classes: ClassLabels | None = None,
    likeliest: npt.NDArray[np.uint8] | None = None,
    own: OwnGrid | None = None,
) -> Volume:
    """Turn a probability into labels.

    A voxel belongs to a class where the probability reaches the threshold and the class is the most likely one. Lung is
    post-processed besides; where that fills a hole that belongs to another class, the other class stays. Classes of a model of
    lungmask are post-processed as there (:mod:`~napari_lungseg.lungmask`), in place of that.

    Parameters
    ----------
    probability : Volume
        Of all classes together, in percent (uint8, 0 to 100), (Z, Y, X) or (Y, X), in any orientation.
    settings : MaskSettings, optional
        The steps to take; all of them by default.
    classes : ClassLabels, optional
        What there is and which labels it has; lung alone by default.
    likeliest : array of uint8, optional
        Label of the most likely class of each voxel, in the shape of the probability; needed where there are several classes.
    own : OwnGrid, optional
        What a model of lungmask gave on its own pixels, on which masks are made there. Where it is not known as a whole, as of a mask
        that was saved, the mask is made on the voxels of the volume.

    Returns
    -------
    Volume
        Labels (uint8) on the same grid: 0 background, else those of the classes; of lung with sides 1 right lung, 2 left lung of
        the patient by the volume's geometry, or 1 for all lung where the sides are not split. Of a lone lung in a narrow field whose
        place in the patient is not known, the side is not known either: it is 1, and the notes say so. All zero where nothing reaches
        the threshold. The names are those of the labels.

    Raises
    ------
    InputError
        When the values are not whole percentages from 0 to 100, or the most likely class is missing or on another grid.
    """
    settings, classes = settings or MaskSettings(), classes or ClassLabels()
    percent = np.asarray(probability.array)
    if percent.dtype != np.uint8 or (percent.size and percent.max() > 100):
        raise InputError(
            f"A probability must be given in whole percent (uint8, 0 to 100), not as {percent.dtype} up to "
            f"{percent.max() if percent.size else 0:g}; multiply fractions by 100 and round them."
        )
    if len(classes.labels) > 1 if likeliest is None else likeliest.shape != percent.shape:
        raise InputError("The most likely class must be given for each voxel of the probability.")
    if classes.convention == "lungmask":
        labels = _tidied(probability, settings, classes, likeliest, own)
        return replace(probability.with_array(labels), names=classes.names_by_label())
    labels = spill.zeros(percent.shape)
    notes: tuple[str, ...] = ()
    if classes.lung is not None:
        label = classes.labels[classes.lung]
        lung = percent if likeliest is None else _percent_of(percent, likeliest, label)
        lungs = _lungs(probability.with_array(lung), settings if classes.sides else replace(settings, split_sides=False))
        labels, notes = lungs.array, lungs.notes
        if label != RIGHT:
            labels *= np.uint8(label)
    if likeliest is not None or classes.lung is None:
        others = np.broadcast_to(np.uint8(classes.labels[0]), percent.shape) if likeliest is None else likeliest
        done = 0 if classes.lung is None else classes.labels[classes.lung]
        for plane, of_plane, wanted in zip(labels, percent, others, strict=True):
            np.copyto(plane, wanted, where=apply_threshold(of_plane, settings.threshold) & (wanted != done))
    names = classes.names_by_label(split_sides=settings.split_sides and not notes)
    return replace(probability.with_array(labels), notes=notes, names=names)


def _percent_of(percent: npt.NDArray[np.uint8], likeliest: npt.NDArray[np.uint8], label: int) -> npt.NDArray[np.uint8]:
    """The probability in percent where one class is the most likely one, else 0."""
    result = spill.zeros(percent.shape)
    for plane, of_plane, labels in zip(result, percent, likeliest, strict=True):
        np.copyto(plane, of_plane, where=labels == label)
    return result


def _tidied(
    probability: Volume, settings: MaskSettings, classes: ClassLabels, likeliest: npt.NDArray[np.uint8] | None, own: OwnGrid | None
) -> Labels:
    """The mask as lungmask makes it: on the pixels of the network, from where the nearest are taken, or else on the volume's voxels."""
    from napari_lungseg.lungmask import nearest, tidy

    steps = {"keep_largest": settings.keep_lungs, "fill_holes": settings.fill_holes}
    percent = np.asarray(probability.array)
    if own is None or not own.covers(percent):
        as_volume = replace(probability, array=percent[None] if percent.ndim == 2 else percent)
        labels = np.full(percent.shape, classes.labels[0], np.uint8) if likeliest is None else likeliest
        above = np.where(apply_threshold(percent, settings.threshold), labels, np.uint8(0)).reshape(as_volume.shape)
        _, orientation = as_volume.reorient()
        return np.ascontiguousarray(orientation.restore(tidy(orientation.apply(above), **steps))).reshape(percent.shape)
    made = tidy(np.where(apply_threshold(own.percent, settings.threshold), classes.of(own.classes), np.uint8(0)), **steps)
    result = spill.zeros(percent.shape)
    upright = own.orientation.apply(result.reshape((1, *percent.shape)[-3:]))
    for plane, small, (top, bottom, left, right) in zip(upright, made, own.boxes, strict=True):
        if small.any():
            plane[top:bottom, left:right] = nearest(small, (bottom - top, right - left))
    return result


def _lungs(probability: Volume, settings: MaskSettings) -> Volume:
    """The mask of a probability of lung."""
    percent = np.asarray(probability.array)
    if not (settings.keep_lungs or settings.fill_holes or settings.split_sides):
        return probability.with_array(apply_threshold(percent, settings.threshold).view(np.uint8))
    # A slice is a volume of one slice, so that its own axes are told apart by the patient's directions too.
    notes: tuple[str, ...] = ()
    as_volume = replace(probability, array=percent[None] if percent.ndim == 2 else percent)
    upright, orientation = as_volume.reorient()
    labels = spill.zeros(as_volume.shape)
    box = _box_of_lung(upright.array, settings.threshold)
    if box is not None:
        spacing = _chest_spacing(upright)
        thickness = min(size * step for size, step in zip(upright.shape, spacing, strict=True))
        framed = spill.zeros(tuple(part.stop - part.start + 2 for part in box)).view(bool)
        for plane, percent in zip(framed[1:-1], upright.array[box], strict=True):
            plane[1:-1, 1:-1] = apply_threshold(percent, settings.threshold)
        middle, is_certain = _middle(upright)
        if not is_certain and (box[2].stop - box[2].start) * upright.spacing[2] <= ONE_LUNG_WIDE_MM:
            # So narrow it is one lung, or two that lie apart; a midline would cut through it.
            middle, (dz, dy, dx) = -math.inf, upright.spacing
            spacing = dz, dy, dx
        found = _post_process(framed, spacing, thickness, middle - box[2].start, settings)
        if settings.split_sides and not is_certain and len({RIGHT, LEFT}.intersection(np.unique(found))) == 1:
            found, notes = np.minimum(found, 1, out=found), (UNKNOWN_SIDE,)
        orientation.apply(labels)[box] = found
    return replace(probability.with_array(labels.reshape(probability.shape)), notes=notes)


def _box_of_lung(percent: npt.NDArray[np.uint8], threshold: float) -> tuple[slice, ...] | None:
    """The smallest box around what reaches the threshold in a (Z, Y, X) array; None where nothing does."""
    # From projections, as a mask of the whole volume would take longer to write than they take to read.
    slices = bounding_box(apply_threshold(percent.max(axis=(1, 2), initial=0), threshold))
    plane = bounding_box(apply_threshold(percent.max(axis=0, initial=0), threshold))
    return None if slices is None or plane is None else (*slices, *plane)


def _post_process(framed: Mask, spacing: Spacing, thickness: float, middle: float, settings: MaskSettings) -> Labels:
    """Labels of the tight box around the lung of an upright image.

    ``framed`` is the lung in the box, with a frame of background one voxel thick around it; it is written over. ``thickness`` is
    the whole image's, in mm; ``middle`` the box's column at the patient's midline.
    """
    if settings.fill_holes:
        # Without the frame, fill_voids 2.1 takes some background on the faces of an array for holes.
        framed, _ = _fill(framed)
    pieces = Pieces.of(framed)
    counts = pieces.counts
    if settings.keep_lungs:
        counts[counts < _smallest_count(counts, spacing, thickness, settings.smallest_ml)] = 0
    if not (settings.fill_holes or settings.split_sides):
        return pieces.paint((counts > 0).view(np.uint8))
    labels = split_sides(pieces, spacing, middle)
    if settings.fill_holes:
        _fill_slices(labels, spacing)
    return labels if settings.split_sides else np.minimum(labels, 1, out=labels)


def _smallest_count(counts: npt.NDArray[np.int64], spacing: Spacing, thickness: float, smallest_ml: float) -> float:
    """Voxels that an island must have to be kept."""
    smallest = smallest_ml * 1000.0 / math.prod(spacing)
    if thickness < SLAB_MM:
        return smallest * thickness / SLAB_MM
    return max(smallest, SMALLEST_PART * float(counts.max())) if smallest_ml > 0 else 0.0


def _fill_slices(labels: Labels, spacing: Spacing) -> None:
    """Fill each lung's own holes up to a size, slice by slice, in place.

    Holes are looked for in one lung at a time: what only both together enclose is the mediastinum.
    """
    # A single slice is filled in its own plane, whichever that is.
    axis = labels.shape.index(1) if 1 in labels.shape else 0
    stack = np.moveaxis(labels, axis, 0)
    largest = LARGEST_HOLE_MM2 * spacing[axis] / math.prod(spacing)
    for plane in stack:
        for side in (RIGHT, LEFT):
            box = bounding_box(plane == side)
            if box is None:
                continue
            part = plane[box]
            filled, count = _fill(part == side)
            if count > 0:
                numbers = cc3d.connected_components(filled & (part == 0), connectivity=4, binary_image=True)
                small = np.bincount(numbers.ravel()) <= largest
                small[0] = False
                part[small[numbers]] = side


def _fill(mask: Mask) -> tuple[Mask, int]:
    """The mask without holes, and how many voxels these had; the given array, in C order, is written over."""
    # fill_voids works in Fortran order; of any other it makes a copy, which takes as long as filling.
    filled, count = fill_voids.fill(mask.T, in_place=True, return_fill_count=True)
    return filled.T, count


def _chest_spacing(upright: Volume) -> Spacing:
    """Spacing (mm) of the axes, enlarged or made up where the image is no chest's width."""
    dz, dy, dx = upright.spacing
    width = max(upright.shape[1] * dy, upright.shape[2] * dx)
    if upright.spacing_known and width >= CHEST_MM:
        return dz, dy, dx
    factor = CHEST_MM / width
    return dz * factor, dy * factor, dx * factor


def _middle(upright: Volume) -> tuple[float, bool]:
    """Column of the patient's midline, and whether it is certain on which side of it a lone lung lies.

    The middle of an image that shows the whole chest. A narrow field, as of one lung alone, may lie anywhere beside the midline: there
    it is x = 0 of the scanner, in whose middle patients lie, if the file tells where that is. So it is for a single sagittal plane.
    """
    columns, dx = upright.shape[2], upright.spacing[2]
    centre = upright.affine @ [(upright.shape[0] - 1) / 2.0, (upright.shape[1] - 1) / 2.0, 0.0, 1.0]
    if columns == 1:
        return 1.0 if centre[0] < 0 else -1.0, True
    middle, zero = (columns - 1) / 2.0, -float(centre[0]) / dx
    width, beside = columns * dx, abs(zero - middle) * dx
    is_known = upright.spacing_known and upright.oriented
    # Files that lost their place begin or end at 0.
    is_placed = min(abs(zero), abs(zero - (columns - 1))) > 1.0
    is_narrow = upright.spacing_known and ONE_LUNG_MM[0] <= width < ONE_LUNG_MM[1]
    if not (is_known and is_placed):
        return middle, not is_narrow
    is_part = is_narrow or (ONE_LUNG_MM[0] <= width < CHEST_MM and beside > OFF_CENTRE_MM)
    return zero if is_part else middle, True

"""Measuring every region of a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.grid import on_same_grid, upright, with_geometry, with_segmentation_whole
from napari_lungseg.labels import NEARLY, label_name, labels_of, lung_labels
from napari_lungseg.measurement.density import density
from napari_lungseg.measurement.shape import extremes, feret, hull_corners, oriented_box, placed, point
from napari_lungseg.measurement.values import Density, Measurements, Profile, Region
from napari_lungseg.mesh import MeshSettings, mask_surface
from napari_lungseg.translation import capitalised, mark, say, say_all
from napari_lungseg.volume import Array, Volume, bounding_box, labels_in, outside

TOGETHER = mark("together")
#: More labels than this are no mask, but an image in its place.
MOST_LABELS = 255
#: Borders of an upright image, at the start and the end of each axis.
_BORDERS = ((mark("feet"), mark("head")), (mark("front"), mark("back")), (mark("right"), mark("left")))


def measure(
    labels: Volume,
    image: Volume | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    names: Mapping[int, str] | None = None,
) -> Measurements:
    """Measure every label of a mask, and all together.

    Parameters
    ----------
    labels : Volume
        (Z, Y, X) or (Y, X): any labels above 0.
    image : Volume, optional
        The image on the same grid; where its unit is HU, densities are measured too.
    progress : callable, optional
        Called with regions done and regions in all.
    names : mapping of int to str, optional
        What the labels are; by default the volume's own names. A label without a name is called by its number.

    Returns
    -------
    Measurements
        Sizes, shapes and places in physical space, whatever the grid; densities where there are HU.

    Raises
    ------
    InputError
        When the labels are empty or no labels, or lie on another grid than the image.
    """
    names = labels.names if names is None else names
    if image is not None:
        labels, _ = with_segmentation_whole(labels, image)
    given = with_geometry(labels, image)
    if image is None:
        turned, values = upright(given), None
    else:
        turned, upright_image = on_same_grid(
            given, image, (mark("labels"), mark("image")), mark("give the image that the mask was made on.")
        )
        values = upright_image.array if image.unit == "HU" else None
    array = np.asarray(turned.array)
    # Labels that are nearly whole are nearly 0, too.
    box = bounding_box(np.abs(array) > NEARLY if array.dtype.kind == "f" else array != 0)
    if box is None:
        raise InputError(say("The labels are empty, so there is nothing to measure; segment the image first or choose another mask."))
    # Of a big scan the lungs are a fourth.
    inside = labels_of(array[box], mark("The mask"))
    found = labels_in(inside)
    if len(found) > MOST_LABELS:
        raise InputError(say("The mask holds {count} different labels, as an image does; choose a mask.", count=len(found)))
    wanted: list[int | None] = [*found, None] if len(found) > 1 else [*found]
    regions = []
    for done, label in enumerate(wanted, start=1):
        mask = inside > 0 if label is None else inside == label
        within = bounding_box(mask)
        assert within is not None
        place = outside(within, box)
        name = TOGETHER if label is None else label_name(label, names)
        regions.append(_Region(mask[within], place, turned, given, None if values is None else values[place]).measured(label, name))
        if progress is not None:
            progress(done, len(wanted))
    return Measurements(tuple(regions), _left_right_ratio(regions, lung_labels(names)), _notes(regions, turned, image))


def _left_right_ratio(regions: list[Region], lungs: Mapping[int, str]) -> float | None:
    """Volume of the left lung by that of the right one, where the names tell which they are."""
    sizes: dict[str, int] = {}
    for region in regions:
        if region.label is not None and region.label in lungs:
            side = lungs[region.label]
            sizes[side] = sizes.get(side, 0) + region.voxels
    return sizes["left"] / sizes["right"] if {"left", "right"} <= sizes.keys() else None


@dataclass(frozen=True, eq=False)
class _Region:
    """The voxels of a region.

    Attributes
    ----------
    mask : (Z, Y, X) array of bool
        As large as the region.
    place : 3 slices
        Where that is in the upright volume.
    turned, given : Volume
        The labels upright, and as they were given.
    values : (Z, Y, X) array or None
        HU.
    """

    mask: npt.NDArray[np.bool_]
    place: tuple[slice, ...]
    turned: Volume
    given: Volume
    values: Array | None

    def measured(self, label: int | None, name: str) -> Region:
        known = self.turned.spacing_known
        voxels = int(np.count_nonzero(self.mask))
        voxel_ml = self.turned.voxel_ml if known else None
        centroid = self._centroid(voxels)
        inner = self.turned.crop(self.place)
        flat = 1 in self.turned.shape
        corners = None
        if known:
            axes = tuple(axis for axis in range(3) if self.turned.shape[axis] > 1)
            corners = hull_corners(placed(extremes(self.mask, axes), inner.affine))
        smooth = None if flat or not known else mask_surface(self.mask, inner.affine, MeshSettings(most_faces=None))
        return Region(
            label=label,
            name=name,
            voxels=voxels,
            volume_ml=None if voxel_ml is None else voxels * voxel_ml,
            surface_cm2=None if smooth is None else float(smooth.area) / 100.0,
            feret_mm=None if corners is None else feret(corners),
            centroid_index=self._given_index(centroid),
            centroid_mm=point(placed(centroid, self.turned.affine)) if known else None,
            box_index=self._given_box(),
            box_mm=None if corners is None else (point(corners.min(axis=0)), point(corners.max(axis=0))),
            oriented_box=None if flat or corners is None else oriented_box(corners),
            cut_off=self._cut_off(),
            profile=self._profile(),
            density=None if self.values is None else _density(self.values[self.mask], voxel_ml),
        )

    def _centroid(self, voxels: int) -> npt.NDArray[np.float64]:
        """Mean upright index."""
        mean = []
        for axis, part in enumerate(self.place):
            along = np.count_nonzero(self.mask, axis=tuple(other for other in range(3) if other != axis))
            mean.append(float(along @ np.arange(part.start, part.stop)) / voxels)
        return np.array(mean)

    def _given_index(self, index: npt.NDArray[np.float64]) -> tuple[float, ...]:
        """An upright index along the axes of the labels as they were given."""
        place = np.linalg.solve(self.given.affine, self.turned.affine @ np.append(index, 1.0))
        return tuple(float(value) for value in place[3 - self.given.ndim : 3])

    def _given_box(self) -> tuple[tuple[int, int], ...]:
        ends = [self._given_index(np.array([get(part) for part in self.place])) for get in (lambda p: p.start, lambda p: p.stop - 1)]
        return tuple((round(min(pair)), round(max(pair)) + 1) for pair in zip(*ends))

    def _cut_off(self) -> tuple[str, ...]:
        touched = []
        for axis, (part, size) in enumerate(zip(self.place, self.turned.shape)):
            names = (
                _BORDERS[axis]
                if self.turned.spacing_known
                else (say("start of axis {axis}", axis=axis), say("end of axis {axis}", axis=axis))
            )
            # Of a single slice, that axis has no border.
            reached = (part.start == 0, part.stop == size) if size > 1 else (False, False)
            touched += [name for name, there in zip(names, reached) if there]
        return tuple(touched)

    def _profile(self) -> Profile:
        axis = self.turned.axial_axis
        rest = tuple(other for other in range(3) if other != axis)
        voxels = np.count_nonzero(self.mask, axis=rest).astype(np.int64)
        if not self.turned.spacing_known:
            return Profile(voxels, None, None)
        steps = self.turned.affine[:3, :3]
        area_mm2 = float(np.linalg.norm(np.cross(steps[:, rest[0]], steps[:, rest[1]])))
        middles = np.tile((np.array(self.turned.shape) - 1) / 2, (len(voxels), 1))
        middles[:, axis] = np.arange(self.place[axis].start, self.place[axis].stop)
        return Profile(voxels, voxels * (area_mm2 / 100.0), placed(middles, self.turned.affine)[:, 2])


def _density(values: Array, voxel_ml: float | None) -> Density | None:
    """None where no voxel has a number."""
    if np.issubdtype(values.dtype, np.floating):
        values = values[np.isfinite(values)]
    return density(values, voxel_ml) if values.size else None


def _notes(regions: list[Region], turned: Volume, image: Volume | None) -> tuple[str, ...]:
    notes = []
    if image is not None and image.unit != "HU":
        notes.append(say("The numbers of the image are not Hounsfield units, so no densities were measured."))
    if not turned.spacing_known:
        notes.append(say("The voxels have no known size, so nothing was measured in mm, cm², mL or g."))
    notes += [
        say(
            "{region}: cut off by the border of the image ({borders}); all is of the part inside.",
            region=capitalised(region.name),
            borders=say_all(map(say, region.cut_off)),
        )
        for region in regions
        if region.cut_off and (region.label is not None)
    ]
    return tuple(notes)

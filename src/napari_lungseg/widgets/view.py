"""Which part of a layer the person is looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

from napari_lungseg.translation import mark

if TYPE_CHECKING:
    import napari.viewer

#: Which volume of a layer: an index for each of the (time) axes before its last three.
TimeIndex = tuple[int, ...]

#: What a person is told who wants to change a slice that is not shown.
OUTSIDE = mark("The place that is shown lies outside '{name}'; move to one of its slices.")


def voxel_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of an image layer at full resolution, time included, colours not."""
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    return tuple(int(size) for size in (shape[:-1] if getattr(layer, "rgb", False) else shape))


def displayed_time_index(viewer: napari.viewer.Viewer, layer: Layer) -> TimeIndex:
    """Displayed index along the (time) axes that a layer has before its last three; empty where there are none."""
    return _voxel(viewer, layer)[:-3]


def displayed_voxel(viewer: napari.viewer.Viewer, layer: Layer) -> tuple[int, ...]:
    """Index, along each of a layer's last three axes, of the voxel at the viewer's current point; clipped to the layer."""
    return _voxel(viewer, layer)[-3:]


def displayed_slice(viewer: napari.viewer.Viewer, layer: Layer) -> tuple[slice | int, ...] | None:
    """Where the slice on the canvas lies in a volume of the layer; None in 3-D, and where the canvas shows time."""
    voxel = displayed_voxel(viewer, layer)
    if len(voxel) == 2:
        return ()
    hidden = [axis for axis in range(3) if not _is_on_canvas(viewer, axis)]
    return (slice(None),) * hidden[0] + (voxel[hidden[0]],) if len(hidden) == 1 else None


def is_outside(viewer: napari.viewer.Viewer, layer: Layer) -> bool:
    """Whether a layer has no slice at the place on the canvas, as where another image reaches farther."""
    point, shape = _point(viewer, layer), voxel_shape(layer)
    leading = viewer.dims.ndim - len(shape)
    return any(not 0 <= point[axis] < size for axis, size in enumerate(shape) if axis + leading not in viewer.dims.displayed)


def is_shown(viewer: napari.viewer.Viewer, layer: Layer, axis: int, index: int) -> bool:
    """Whether the slice at ``index`` along an axis of the layer's volume can be seen."""
    voxel = displayed_voxel(viewer, layer)
    return len(voxel) == 2 or _is_on_canvas(viewer, axis) or voxel[axis] == index


def show_slice(viewer: napari.viewer.Viewer, layer: Layer, axis: int, index: int) -> None:
    """Go to a slice along an axis of the layer's volume; the canvas is turned to it if it shows the volume another way."""
    if layer.ndim < 3:
        return
    axis += viewer.dims.ndim - 3
    if axis in viewer.dims.displayed:
        viewer.dims.ndisplay = 2
        rest = [dim for dim in range(viewer.dims.ndim) if dim != axis]
        viewer.dims.order = (*rest[:-2], axis, *rest[-2:])
    voxel = np.array(layer.world_to_data(viewer.dims.point))
    voxel[axis - viewer.dims.ndim] = index
    viewer.dims.set_point(axis, layer.data_to_world(voxel)[axis - viewer.dims.ndim])


def _is_on_canvas(viewer: napari.viewer.Viewer, axis: int) -> bool:
    return viewer.dims.ndim - 3 + axis in viewer.dims.displayed


def _voxel(viewer: napari.viewer.Viewer, layer: Layer) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(_point(viewer, layer), 0, np.asarray(voxel_shape(layer)) - 1))


def _point(viewer: napari.viewer.Viewer, layer: Layer) -> npt.NDArray[np.int_]:
    return np.rint(np.asarray(layer.world_to_data(viewer.dims.point))).astype(int)

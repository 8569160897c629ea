"""What a tool is given, gathered from the viewer: labels, image, another layer, a rectangle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Shapes

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.edit.tool import Scope, Tool, Work, visible
from napari_lungseg.errors import InputError
from napari_lungseg.grid import grid_difference
from napari_lungseg.volume import Box, Volume
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import check_complete, volume_from_layer
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.view import OUTSIDE, TimeIndex, displayed_slice, displayed_time_index, displayed_voxel, is_outside, voxel_shape

if TYPE_CHECKING:
    import napari.viewer


def gather(
    viewer: napari.viewer.Viewer,
    result: MaskLayer,
    tool: Tool,
    scope: Scope,
    label: int,
    values: Mapping[str, Any],
    at: tuple[int, ...] | None,
) -> tuple[Work, MaskDocument]:
    """What a tool is given on the displayed slice or time point.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is displayed.
    result : MaskLayer
        Whose mask is corrected.
    tool : Tool
        Which.
    scope : {"slice", "volume"}
        Where.
    label : int
        On which label.
    values : mapping
        The tool's parameters.
    at : tuple of int or None
        Index of the clicked voxel in the layer.

    Returns
    -------
    work : Work
        Views on the layers, not copies.
    document : MaskDocument
        Of the displayed time point.

    Raises
    ------
    InputError
        When what the tool needs is not there.
    """
    lungs = result.lungs
    assert lungs is not None
    if label == 0:
        raise InputError(tr("Label 0 is the background; choose a label to work on."))
    time_index, shown = displayed_time_index(viewer, lungs), displayed_slice(viewer, lungs)
    if shown is None and (scope == "slice" or tool.picks):
        raise InputError(tr("The canvas shows the volume in 3-D; show slices, so that it is clear which one is meant."))
    if shown is not None and (scope == "slice" or tool.picks) and is_outside(viewer, lungs):
        raise InputError(tr(OUTSIDE, name=lungs.name))
    volume = volume_from_layer(lungs, time_index, "arbitrary")
    where = shown if scope == "slice" and shown is not None else ()
    axis = len(shown) - 1 if shown else volume.axial_axis
    if not where:
        # A tool would take what is withheld for background.
        check_complete(lungs, time_index)
    work = Work(
        volume=volume,
        where=where,
        labels=volume.array[where] if where else volume.array,
        axis=axis,
        index=displayed_voxel(viewer, lungs)[axis] if shown else None,
        label=label,
        values={name: value for name, value in values.items() if not isinstance(value, Layer)},
        image=_image(result, lungs, time_index).array[where] if tool.needs_image else None,
        other=_on_the_same_grid(lungs, volume, values["other"], time_index).array[where] if values.get("other") is not None else None,
        at=None if at is None else visible(where, at[-volume.ndim :]),
        region=_rectangle(viewer, lungs, shown, values["shapes"], where) if values.get("shapes") is not None else None,
    )
    return work, result.document(time_index)


def _image(result: MaskLayer, lungs: Labels, time_index: TimeIndex) -> Volume:
    if result.image is lungs:
        raise InputError(tr("No image lies on the voxels of '{mask}'; open the one that it belongs to first.", mask=lungs.name))
    return volume_from_layer(result.image, time_index, "arbitrary")


def _on_the_same_grid(lungs: Labels, volume: Volume, other: Layer, time_index: TimeIndex) -> Volume:
    check_complete(other, time_index)
    theirs, difference = None, tr("shape {one} against {other}", one=voxel_shape(other), other=lungs.data.shape)
    if voxel_shape(other) == lungs.data.shape:
        theirs = volume_from_layer(other, time_index, "arbitrary")
        difference = grid_difference(theirs, volume) or ""
    if theirs is None or difference:
        raise InputError(
            tr(
                "'{layer}' does not lie on the same voxels as '{mask}' ({difference}); choose a layer of the same image.",
                layer=other.name,
                mask=lungs.name,
                difference=difference,
            )
        )
    return theirs


def _rectangle(
    viewer: napari.viewer.Viewer, lungs: Labels, shown: tuple[Any, ...] | None, shapes: Shapes, where: tuple[Any, ...]
) -> Box | None:
    """The box that a shape encloses, over all slices where the part to work on has more than one; None without a shape."""
    if not shapes.data:
        return None
    number = max(shapes.selected_data) if shapes.selected_data else len(shapes.data) - 1
    # A shape of fewer axes lies on whichever slice is shown.
    point = np.tile(viewer.dims.point, (len(shapes.data[number]), 1))
    point[:, viewer.dims.ndim - shapes.ndim :] = [shapes.data_to_world(corner) for corner in shapes.data[number]]
    corners = np.array([lungs.world_to_data(corner) for corner in point])[:, -3:]
    shape = lungs.data.shape[-3:]
    lower, upper = np.ceil(corners.min(axis=0)).astype(int), np.floor(corners.max(axis=0)).astype(int) + 1
    hidden = len(shown) - 1 if shown else None
    box = tuple(
        slice(0, size) if axis == hidden else slice(int(low), int(high)) for axis, (size, low, high) in enumerate(zip(shape, lower, upper))
    )
    return visible(where, box)

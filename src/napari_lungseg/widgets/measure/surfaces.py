"""Masks as napari's surface layers: smooth, one for each label, in its colour and the mask's own place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Surface

from napari_lungseg.mesh import label_name
from napari_lungseg.widgets.measure.work import Shown

if TYPE_CHECKING:
    import napari.viewer

#: Key of a surface layer's metadata: the mask layer and the label that it shows.
KEY = "napari-lungseg surface of"


def show_surfaces(viewer: napari.viewer.Viewer, mask: Labels, shown: list[Shown]) -> None:
    """Add the surfaces, in place of those of an earlier time, and look at them in 3-D."""
    before = {layer.metadata[KEY][1]: layer for layer in viewer.layers if isinstance(layer, Surface) and _shows(layer, mask)}
    labels = [surface.label for surface in shown]
    for label in before.keys() - set(labels):
        viewer.layers.remove(before[label])
    for surface in shown:
        data = surface.vertices, surface.faces
        colours = np.tile(mask.get_color(surface.label), (len(surface.vertices), 1))
        colours[:, :3] *= surface.light[:, None]
        if surface.label in before:
            before[surface.label].data = data
            before[surface.label].vertex_colors = colours
            continue
        viewer.add_surface(
            data,
            name=f"{mask.name} surface {label_name(surface.label, labels)}",
            vertex_colors=colours,
            # napari's own light (0.9) comes from behind when the camera's axes are turned over, as below.
            shading="none",
            opacity=1.0,
            units=mask.units[-3:],
            axis_labels=mask.axis_labels[-3:],
            metadata={KEY: (mask, surface.label)},
        )
    viewer.layers.selection.active = mask
    if not before or viewer.dims.ndisplay == 2:
        _go_to_3d(viewer)


def _shows(layer: Surface, mask: Labels) -> bool:
    return layer.metadata.get(KEY, (None,))[0] == mask


def _go_to_3d(viewer: napari.viewer.Viewer) -> None:
    """Look at the surfaces alone, from the front; back in 2-D all is seen as before."""
    hidden = [layer for layer in viewer.layers if layer.visible and not isinstance(layer, Surface)]
    for layer in hidden:
        layer.visible = False

    def back() -> None:
        if viewer.dims.ndisplay == 2:
            viewer.dims.events.ndisplay.disconnect(back)
            for layer in hidden:
                layer.visible = True

    viewer.dims.ndisplay = 3
    viewer.dims.events.ndisplay.connect(back)
    # The world (z, y, x) is LPS turned over: napari's own orientation would show right and left as in a mirror.
    viewer.scene.camera.orientation = ("away", "down", "right")
    viewer.reset_view()
    # World (z, y, x): towards the back, with the head up.
    viewer.scene.camera.set_view_direction((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

"""A layer that shows what would be added to a mask, or removed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_lungseg.edit.region import Mask
from napari_lungseg.volume import Box
from napari_lungseg.widgets.correct.changes import COLOURS
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import ROLE, layer_geometry

if TYPE_CHECKING:
    import napari.viewer

ADDED, REMOVED = 1, 2


class Proposal:
    """What is proposed for a mask.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    mask : Labels
        For which mask.
    """

    def __init__(self, viewer: napari.viewer.Viewer, mask: Labels) -> None:
        self._viewer = viewer
        self._box: Box | None = None
        geometry = layer_geometry(mask)
        active = viewer.layers.selection.active
        self.layer: Labels = viewer.add_labels(
            np.zeros(mask.data.shape, np.uint8),
            name=tr("{mask} proposal", mask=mask.name),
            colormap=DirectLabelColormap(color_dict=COLOURS),
            opacity=0.7,
            **geometry | {"metadata": geometry.get("metadata", {}) | {ROLE: "proposal"}},
        )
        self.layer.editable = False
        viewer.layers.selection.active = active

    def show(self, box: Box, where: Mask, what: int) -> None:
        """Show a region in a box of the layer, in place of what was shown before."""
        self._empty()
        self.layer.data[box] = where * np.uint8(what)
        self._box = box
        self.layer.refresh(extent=False)

    def add(self, box: Box, where: Mask, what: int) -> None:
        """Show more, within what is shown."""
        part = self.layer.data[box]
        part[where] = what
        self._box = box if self._box is None else around(self._box, box)
        self.layer.refresh(extent=False)

    def clear(self) -> None:
        """Show nothing."""
        if self._empty():
            self.layer.refresh(extent=False)

    def close(self) -> None:
        """Take the layer away."""
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _empty(self) -> bool:
        box, self._box = self._box, None
        if box is not None:
            self.layer.data[box] = 0
        return box is not None


def around(first: Box, second: Box) -> Box:
    """The smallest box that holds both."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))

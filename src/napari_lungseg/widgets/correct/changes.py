"""The overlay "what I changed": where the mask differs from the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal
from superqt.utils import qthrottled

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.steps import as_box
from napari_lungseg.translation import mark
from napari_lungseg.volume import Box
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import ROLE, layer_geometry
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.view import displayed_slice, displayed_time_index

if TYPE_CHECKING:
    import napari.viewer

COLOURS = {0: "transparent", 1: "#ffff3e", 2: "#e8263c", 3: "#e1ffff", None: "transparent"}
#: What has happened to voxels with the numbers 1, 2 and 3.
MEANINGS = (mark("added"), mark("removed"), mark("relabelled"))


class Changes(QObject):
    """A layer that shows one result's changes, for as long as it is wanted.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    result : MaskLayer
        Whose changes.
    parent : QObject
        With which it ends.
    """

    #: The layer was removed by the person.
    removed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, result: MaskLayer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._result = viewer, result
        self._filling = Stretches(self)
        self._refresh = qthrottled(self._show, timeout=0, leading=False, parent=self)
        assert result.lungs is not None
        geometry = layer_geometry(result.lungs)
        active = viewer.layers.selection.active
        self._layer: Labels = viewer.add_labels(
            np.zeros(result.shape, np.uint8),
            name=tr("{image} changes", image=result.image.name),
            colormap=DirectLabelColormap(color_dict=COLOURS),
            features={"index": [0, 1, 2, 3], tr("change"): [None, *map(tr, MEANINGS)]},
            opacity=0.8,
            **geometry | {"metadata": geometry.get("metadata", {}) | {ROLE: "changes"}},
        )
        self._layer.editable = False
        viewer.layers.selection.active = active
        viewer.layers.events.removed.connect(self._check)
        result.changed.connect(self._update)
        self.fill()

    def fill(self) -> None:
        """Compare everything, the displayed slice at once."""
        where = displayed_slice(self._viewer, self._layer)
        if where is not None:
            document = self._result.document(displayed_time_index(self._viewer, self._layer))
            self._update(as_box(where, document.labels.shape), "", document)
        self._filling.start(self._compare(), self._show)

    def close(self) -> None:
        """Take the layer away."""
        self._filling.stop()
        self._refresh.cancel()
        self._result.changed.disconnect(self._update)
        self._viewer.layers.events.removed.disconnect(self._check)
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self.deleteLater()

    def _compare(self) -> Iterator[None]:
        for document in self._result.documents.values():
            for index in range(document.slices):
                self._update(document.box(index), "", document)
                yield

    def _update(self, box: Box, _: str, document: MaskDocument) -> None:
        lungs = self._result.lungs
        if lungs is None or lungs.data.shape != self._layer.data.shape:
            return
        self._layer.data[document.time_index][box] = document.difference(box)
        self._refresh()

    def _show(self) -> None:
        self._layer.refresh(extent=False)

    def _check(self, _: Any = None) -> None:
        if self._layer not in self._viewer.layers:
            self.removed.emit()

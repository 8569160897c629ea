"""The editable range at work: only voxels of some intensities, or inside a label, can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_lungseg import edit
from napari_lungseg.annotation import MaskDocument
from napari_lungseg.steps import as_box
from napari_lungseg.volume import Array, Box
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.view import displayed_slice, displayed_time_index

if TYPE_CHECKING:
    import napari.viewer


class EditableRange:
    """Keeps one result's mask within limits while it is painted.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is painted.
    result : MaskLayer
        Whose mask.
    limits : Limits
        What a voxel must be like to be changed.
    """

    def __init__(self, viewer: napari.viewer.Viewer, result: MaskLayer, limits: edit.Limits) -> None:
        self._viewer, self._result, self._limits = viewer, result, limits
        assert result.lungs is not None
        self._lungs: Labels = result.lungs

    def attach(self) -> None:
        """Begin."""
        self._result.allowed = self.allowed
        self._lungs.events.mode.connect(self._come_last)
        self._come_last()

    def detach(self) -> None:
        """End."""
        if self._result.allowed == self.allowed:
            self._result.allowed = None
        self._lungs.events.mode.disconnect(self._come_last)
        if self._while_dragging in self._lungs.mouse_drag_callbacks:
            self._lungs.mouse_drag_callbacks.remove(self._while_dragging)

    def allowed(self, document: MaskDocument, box: Box, labels: Array) -> npt.NDArray[np.bool_]:
        """Where the limits allow edits, in a box that holds ``labels`` before the edit."""
        return edit.allowed(self._limits, self._intensities(document, box), labels)

    def _intensities(self, document: MaskDocument, box: Box) -> Array | None:
        if self._result.image is self._lungs or (self._limits.low is None and self._limits.high is None):
            return None
        return np.asarray(volume_from_layer(self._result.image, document.time_index, "arbitrary").array[box])

    def _come_last(self) -> None:
        """After napari's own brush, which is added anew with every change of the mode."""
        callbacks = self._lungs.mouse_drag_callbacks
        if self._while_dragging in callbacks:
            callbacks.remove(self._while_dragging)
        callbacks.append(self._while_dragging)

    def _while_dragging(self, lungs: Labels, event: Any) -> Iterator[None]:
        """Put back on the displayed slice, at each move of the mouse, what may not be changed."""
        where = displayed_slice(self._viewer, lungs)
        if where is None:
            return
        document = self._result.document(displayed_time_index(self._viewer, lungs))
        box = as_box(where, document.labels.shape)
        refused = ~self.allowed(document, box, document.corrections.seen(box))
        while True:
            # Not kept from the first move, as the model's mask may change meanwhile.
            before, now = document.corrections.seen(box), document.labels[box]
            wrong = refused & (now != before)
            if wrong.any():
                now[wrong] = before[wrong]
                lungs.refresh(extent=False)
            yield
            if event.type != "mouse_move":
                return

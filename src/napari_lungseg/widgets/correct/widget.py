"""The Correct module: mend a mask by brush and by tools, and see what was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Shapes
from qtpy.QtCore import Signal
from superqt.utils import qthrottled

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.errors import InputError
from napari_lungseg.steps import as_box
from napari_lungseg.translation import say
from napari_lungseg.volume import Box, labels_in
from napari_lungseg.widgets.correct.applying import Applying
from napari_lungseg.widgets.correct.brush import Brush
from napari_lungseg.widgets.correct.changes import MEANINGS, Changes
from napari_lungseg.widgets.correct.controls import BACKGROUND, NEW, CorrectControls
from napari_lungseg.widgets.correct.limits import EditableRange
from napari_lungseg.widgets.correct.region_strokes import RegionStrokes
from napari_lungseg.widgets.forms import fill_module
from napari_lungseg.widgets.language import tr, tr_all
from napari_lungseg.widgets.layers import UNIT, volume_from_layer
from napari_lungseg.widgets.lookup import is_mask, result_with
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.view import displayed_slice, displayed_time_index, is_outside

if TYPE_CHECKING:
    import napari.viewer

#: What a person did with a voxel, by the numbers of ``Corrections.difference`` from 1 on.


class CorrectWidget(Panel):
    """Correct a label layer, slice by slice or as a whole.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: A tool has ended. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        # From now on all masks are saved.
        session_of(viewer, self)
        self.controls = CorrectControls(self._masks, self._others, self._shapes)
        self._result: MaskLayer | None = None
        self._lungs: Labels | None = None
        self._labels = {1, 2}
        self._range: EditableRange | None = None
        self._changes: Changes | None = None
        self._brush = Brush(viewer, self.controls.modes, self.controls.diameter, self.controls.sphere, self.controls.region)
        self._region = RegionStrokes(viewer, self.controls.region, self.controls.strokes)
        self._applying = Applying(viewer, self.controls)
        self._listing = Task(self, say("Looking for labels"))
        self._listing.returned.connect(self._labels_listed)
        self._listing.failed.connect(self.controls.tools.tell)
        # Many slices change at once: look when there is time.
        self._state_changed = qthrottled(self._show_state, timeout=0, leading=False, parent=self)
        fill_module(self, self.controls)
        self._connect()
        self._follow()
        self._mask_changed()

    def _connect(self) -> None:
        controls, dims = self.controls, self.viewer.dims
        controls.mask.changed.connect(self._mask_changed)
        for button in controls.modes.values():
            button.clicked.connect(self._region.leave)
        controls.label.changed.connect(self._choose_label)
        for control in (controls.limited, controls.low, controls.high, controls.inside):
            control.changed.connect(self._limit)
        controls.show_changes.changed.connect(self._toggle_changes)
        controls.give_back.changed.connect(self._give_back)
        controls.undo.changed.connect(lambda: self._lungs is not None and self._lungs.undo())
        controls.redo.changed.connect(lambda: self._lungs is not None and self._lungs.redo())
        self._applying.ended.connect(self._tool_ended)
        self.listen_to_layers(self._layers_changed, self._begun)
        self.listen(self.viewer.layers.selection.events.active, self._follow)
        for event in (dims.events.current_step, dims.events.order, dims.events.ndisplay):
            self.listen(event, self._state_changed)

    # ---- which mask

    def _masks(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if is_mask(layer)]

    def _others(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if is_mask(layer) and layer is not self._lungs]

    def _shapes(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]

    def _layers_changed(self) -> None:
        before = self.controls.mask.value
        self.controls.reset_layers()
        if self.controls.mask.value is not before:
            self._mask_changed()

    def _follow(self) -> None:
        active = self.viewer.layers.selection.active
        if not self._applying.busy and active is not None and active in self.controls.mask.choices:
            self.controls.mask.value = active

    def _mask_changed(self) -> None:
        """Let go of one mask and take up another."""
        self._drop_mask()
        layer, text = self.controls.mask.value, ""
        if layer is None:
            text = tr("Segment an image first, or add a labels layer.")
        else:
            try:
                self._take(result_with(self.viewer, layer), layer)
            except InputError as error:
                text = tr(str(error))
        self.controls.show_mask(self._lungs is not None)
        self.controls.tools.tell(text)
        self._show_state()

    def _take(self, result: MaskLayer, lungs: Labels) -> None:
        self._result, self._lungs, self._labels = result, lungs, {1, 2}
        result.changed.connect(self._state_changed)
        lungs.events.selected_label.connect(self._show_labels)
        self._brush.hold(lungs)
        self._region.hold(result)
        self._applying.hold(result)
        self.controls.tools.reset_layers()
        self._show_image(result)
        self._limit()
        self._toggle_changes()
        self._list_labels()

    def _drop_mask(self) -> None:
        self._brush.hold(None)
        self._region.hold(None)
        self._applying.hold(None)
        self._listing.forget()
        if self._result is None:
            return
        assert self._lungs is not None
        self._result.changed.disconnect(self._state_changed)
        self._lungs.events.selected_label.disconnect(self._show_labels)
        if self._range is not None:
            self._range.detach()
        if self._changes is not None:
            self._changes.close()
        self._result = self._lungs = self._range = self._changes = None

    def _begun(self, result: MaskLayer) -> None:
        """A mask has been taken up anew, with other labels in it."""
        if result is self._result and self._changes is not None:
            self._changes.fill()

    # ---- which label

    def _list_labels(self) -> None:
        """Look in the background for labels other than those of the displayed slice."""
        assert self._lungs is not None
        self._listing.run(labels_in, self._lungs.data)

    def _labels_listed(self, found: list[int]) -> None:
        self._labels.update(found)
        self._show_labels()

    def _show_labels(self) -> None:
        if self._lungs is not None:
            assert self._result is not None
            chosen, names = int(self._lungs.selected_label), {0: BACKGROUND} | self._result.names
            self.controls.show_labels({label: names.get(label, "") for label in self._labels | {chosen}}, chosen)

    def _choose_label(self, label: int) -> None:
        if self._lungs is None or label is None:
            return
        highest = np.iinfo(self._lungs.data.dtype).max
        if label == NEW:
            label = min(set(range(1, min(len(self._labels) + 2, highest + 1))) - self._labels, default=int(highest))
            self._labels.add(label)
        self._lungs.selected_label = label
        self._show_labels()

    # ---- the editable range

    def _show_image(self, result: MaskLayer) -> None:
        if result.image is result.lungs:
            self.controls.show_image("arbitrary", whole=True, window=None)
            return
        data = result.image.data[0] if result.image.multiscale else result.image.data
        low, high = result.image.contrast_limits or (0, 255)
        # To tell the unit from the numbers, lazy ones would be read here, on the GUI thread.
        told = None if isinstance(data, np.ndarray) else result.image.metadata.get(UNIT, "arbitrary")
        unit = volume_from_layer(result.image, unit=told).unit
        self.controls.show_image(unit, whole=np.issubdtype(data.dtype, np.integer), window=(float(low), float(high)))

    def _limit(self) -> None:
        try:
            limits = self.controls.limits()
        except InputError as error:
            # What was set before holds on.
            self.controls.tools.tell(tr(str(error)))
            return
        if self._range is not None:
            self._range.detach()
            self._range = None
        if limits is not None and self._result is not None:
            self._range = EditableRange(self.viewer, self._result, limits)
            self._range.attach()
        self.controls.show_limited(limits is not None)

    # ---- what I changed

    def _toggle_changes(self) -> None:
        if self.controls.show_changes.value and self._changes is None and self._result is not None:
            self._changes = Changes(self.viewer, self._result, self)
            self._changes.removed.connect(lambda: setattr(self.controls.show_changes, "value", False))
        elif not self.controls.show_changes.value and self._changes is not None:
            self._changes.close()
            self._changes = None

    def _displayed(self) -> tuple[MaskDocument, Box] | None:
        """The displayed slice as a box of a document; None in 3-D, without one, and beyond its ends."""
        if self._lungs is None or self._result is None or not self._result.has_lungs(self.viewer):
            return None
        if is_outside(self.viewer, self._lungs):
            return None
        where = displayed_slice(self.viewer, self._lungs)
        document = self._result.document(displayed_time_index(self.viewer, self._lungs))
        return None if where is None else (document, as_box(where, document.labels.shape))

    def _give_back(self) -> None:
        if (displayed := self._displayed()) is None:
            return
        document, box = displayed
        given = document.give_back(box)
        assert self._result is not None
        self._result.refresh()
        if given:
            self.controls.tools.tell(tr("The slice is the model's again; Undo brings your changes back."))

    # ---- what is shown

    def _tool_ended(self, why: str) -> None:
        # Those of the displayed slice are looked for with every change.
        if self._lungs is not None and self.controls.tools.where.value == "volume":
            self._list_labels()
        self.idle.emit(why)

    def _show_state(self) -> None:
        result, displayed, controls = self._result, self._displayed(), self.controls
        corrections = result.corrections if result else None
        controls.show_history(corrections.undo_cause if corrections else None, corrections.redo_cause if corrections else None)
        if displayed is None:
            controls.show_numbers("", given=False)
            return
        document, box = displayed
        self._labels.update(labels_in(document.labels[box]))
        self._show_labels()
        counts = np.bincount(document.difference(box).ravel(), minlength=4)
        volume = volume_from_layer(self._lungs, (), "arbitrary")
        amounts = [f"{count * volume.voxel_ml:.2f} mL" if volume.spacing_known else tr("{count} voxels", count=count) for count in counts]
        parts = [f"{tr(what)} {amounts[number]}" for number, what in enumerate(MEANINGS, start=1) if counts[number]]
        controls.show_numbers(
            tr("This slice: {changes}.", changes=tr_all(parts)) if parts else tr("This slice: as the model left it."),
            given=document.is_touched(box),
        )

    def let_go(self) -> None:
        """Let go of the mask with the window or the dock."""
        self._drop_mask()

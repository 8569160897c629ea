"""The Evaluate module: how well one mask agrees with another, in figures, by slice, and on the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, FloatSpinBox
from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QVBoxLayout, QWidget

from napari_lungseg.metrics import TOLERANCE_MM
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.appearance import label_names
from napari_lungseg.widgets.evaluate.display import Display, slice_dice
from napari_lungseg.widgets.evaluate.error_layer import show_errors
from napari_lungseg.widgets.evaluate.work import Comparison, LayerPair, compare, read_reference
from napari_lungseg.widgets.forms import emphasise, fill_module, folded, form, make_button, scrolled
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import layer_geometry
from napari_lungseg.widgets.lookup import is_mask, result_holding
from napari_lungseg.widgets.notices import show_error, show_info
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.saving.bar import MASK_FILES
from napari_lungseg.widgets.tasks import Task, run_once
from napari_lungseg.widgets.texts import plain_label, show_status
from napari_lungseg.widgets.view import displayed_time_index, displayed_voxel, show_slice
from napari_lungseg.widgets.watch import MaskWatch

if TYPE_CHECKING:
    import napari.viewer

NO_MASK = mark("Segment an image first, or open a mask of it.")
NO_TWO = mark("Open the reference from a file, or choose another label layer.")
CHANGED = mark("The masks have changed since: evaluate again.")


class EvaluateWidget(Panel):
    """Compare a label layer with a reference.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: A comparison has ended. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.compared: Comparison | None = None
        self.prediction = ComboBox(label=tr("Prediction"), choices=self._masks, tooltip=tr("The mask that is judged."))
        self.reference = ComboBox(label=tr("Reference"), choices=self._masks, tooltip=tr("The mask that is taken as true."))
        self.open = make_button(tr("Reference from a file …"), tr("Add a mask from a file on the same voxels, and take it as true."))
        self.run = make_button(tr("Evaluate"), tr("Score the prediction against the reference, and mark where they differ."))
        self.status = plain_label()
        self.display = Display()
        self.tolerance = FloatSpinBox(
            label=tr("Tolerance (mm)"),
            value=TOLERANCE_MM,
            min=0.0,
            max=100.0,
            step=0.5,
            tooltip=tr("Distance up to which two surfaces count as one in the surface Dice."),
        )
        self._pair: LayerPair | None = None
        self._task = Task(self, say("The evaluation"))
        self._task.yielded.connect(self._read)
        self._task.returned.connect(self._ended)
        self._task.failed.connect(self._failed)
        self._running = False
        #: What the status says, in English.
        self._said = ""
        self._watched: list[MaskWatch] = []
        self._lay_out()
        self._connect()
        self._suggest()
        self._chosen()

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(6)
        layout.addWidget(form(self.prediction, self.reference))
        for box in (self.prediction, self.reference):
            # Long names are cut, rather than widen the dock.
            box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        layout.addWidget(self.open)
        emphasise(self.run)
        layout.addWidget(self.run)
        self.status.setWordWrap(True)
        self.status.setMinimumWidth(1)
        layout.addWidget(self.status)
        layout.addWidget(self.display)
        layout.addWidget(folded(tr("Settings"), form(self.tolerance)))
        layout.addStretch()
        fill_module(self, scrolled(inner))

    def _connect(self) -> None:
        self.prediction.changed.connect(self._chosen)
        self.reference.changed.connect(self._chosen)
        self.open.clicked.connect(self._open_reference)
        self.run.clicked.connect(self._pressed)
        self.display.clicked.connect(self.go)
        self.display.turned.connect(self._show_here)
        self.listen_to_layers(self._layers_changed)
        self.listen(self.viewer.dims.events.current_step, self._show_here)

    # ---- which masks

    def _masks(self, _: Any = None) -> list[Labels]:
        return [layer for layer in self.viewer.layers if is_mask(layer)]

    def _layers_changed(self, _: Any = None) -> None:
        two = self.prediction.value is not None and self.reference.value != self.prediction.value
        self.prediction.reset_choices()
        self.reference.reset_choices()
        if not two:
            self._suggest()
        self._chosen()

    def _suggest(self) -> None:
        """The mask that was made here against another one."""
        masks = self._masks()
        made = [mask for mask in masks if result_holding(self.viewer, mask) is not None]
        if masks:
            self.prediction.value = prediction = (made or masks)[0]
            self.reference.value = next((mask for mask in masks if mask != prediction), prediction)

    def _chosen(self, _: Any = None) -> None:
        one, other = self.prediction.value, self.reference.value
        if self.compared is not None and (one != self.compared.prediction or other != self.compared.reference):
            self._forget()
            self._tell("")
        ready = one is not None and one != other
        self.run.setEnabled(ready and not self._running)
        self.open.setEnabled(one is not None)
        if not ready:
            self._tell(NO_MASK if one is None else NO_TWO)
        elif self._said in (NO_MASK, NO_TWO):
            self._tell("")

    def _open_reference(self) -> None:
        layer = self.prediction.value
        path, _ = QFileDialog.getOpenFileName(self, tr("The reference for {name}", name=layer.name), "", tr(MASK_FILES))
        if path:
            self.open_reference(Path(path))

    def open_reference(self, path: Path) -> None:
        """Open a mask from a file, on the voxels of the prediction, and make it the reference."""
        layer = self.prediction.value

        def opened(read: tuple[Array, Volume]) -> None:
            if layer in self.viewer.layers:
                active = self.viewer.layers.selection.active
                labels, mask = read
                if mask.notes:
                    show_info(f"{path.name}: {' '.join(map(tr, mask.notes))}")
                features = None if mask.names is None else label_names(mask.names)
                options = {"name": path.name, "opacity": 0.5, "features": features}
                self.reference.value = self.viewer.add_labels(labels, **options, **layer_geometry(layer))
                self.viewer.layers.selection.active = active

        where = displayed_time_index(self.viewer, layer)
        run_once(self, say("Reading {name}", name=path.name), read_reference, path, layer, where, done=opened, failed=show_error)

    # ---- comparing

    def _pressed(self) -> None:
        self._running = True
        self.run.setEnabled(False)
        self._tell(say("Comparing …"))
        pair = [(layer, displayed_time_index(self.viewer, layer)) for layer in (self.prediction.value, self.reference.value)]
        self._unwatch()
        self._task.run(compare, *pair, self.tolerance.value)
        self._watch()

    def _read(self, pair: LayerPair) -> None:
        self._pair = pair

    def _failed(self, text: str) -> None:
        self._running = False
        self._forget()
        self._chosen()
        self._tell(text)
        show_error(text)
        self.idle.emit(text)

    def _ended(self, outcome: Any) -> None:
        assert self._pair is not None
        self._running = False
        compared, self._pair = self._pair.comparison(*outcome), None
        if compared.prediction != self.prediction.value or compared.reference != self.reference.value:
            # Others were chosen meanwhile.
            self._tell("")
            self._chosen()
            self.idle.emit("")
            return
        self._chosen()
        self.compared = compared
        self.display.show_comparison(compared)
        show_errors(self.viewer, compared)
        if self._said != CHANGED:
            self._tell(self._summary())
        self.idle.emit("")

    def _summary(self) -> str:
        assert self.compared is not None
        values = slice_dice(self.compared, next(iter(self.compared.scores)))
        text = "" if self.compared.in_mm else tr("Neither layer says how large a voxel is; it is taken as 1 mm.") + " "
        if len(values) > 1 and np.isfinite(values).any():
            worst = int(np.nanargmin(values))
            text += tr("Lowest Dice of a slice: {dice:.3f}, in slice {index}.", dice=values[worst], index=worst)
        return text

    def _forget(self) -> None:
        self.compared = None
        self._unwatch()
        self.display.show_comparison(None)

    def _watch(self) -> None:
        """Hear when one of the masks changes, so that old scores are not taken for those of the new mask."""
        layers = (self.prediction.value, self.reference.value)
        self._watched = [MaskWatch(self.viewer, layer, self._outdated) for layer in layers]

    def _unwatch(self) -> None:
        for watch in self._watched:
            watch.end()
        self._watched = []

    def _outdated(self) -> None:
        self._tell(CHANGED)

    # ---- what is shown

    def go(self, index: int) -> None:
        """Go to a slice."""
        if self.compared is not None and self.compared.reference in self.viewer.layers:
            show_slice(self.viewer, self.compared.reference, self.compared.axis, index)

    def _show_here(self, _: Any = None) -> None:
        compared = self.compared
        if compared is not None and compared.reference.ndim > 2:
            self.display.show_here(displayed_voxel(self.viewer, compared.reference)[compared.axis])

    def _tell(self, text: str) -> None:
        self._said = text
        show_status(self.status, tr(text))

    def let_go(self) -> None:
        """Hear of the masks no more."""
        self._unwatch()

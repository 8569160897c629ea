"""The Evaluate module: how well one mask agrees with another, in figures, by slice, and on the image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, FloatSpinBox
from napari.layers import Labels, Layer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_lungseg.comparison import as_csv, as_json, case_rows, slice_rows, write_text
from napari_lungseg.metrics import TOLERANCE_MM
from napari_lungseg.widgets.evaluate.errors import COLOURS, MEANINGS, show_errors
from napari_lungseg.widgets.evaluate.table import ScoreTable
from napari_lungseg.widgets.evaluate.work import Comparison, compare
from napari_lungseg.widgets.forms import emphasise, folded, form, scrolled
from napari_lungseg.widgets.lookup import is_mask, result_of
from napari_lungseg.widgets.results import RESULTS, Result
from napari_lungseg.widgets.view import displayed_step, displayed_voxel, show_slice
from napari_lungseg.widgets.worker import Failed, attempt

if TYPE_CHECKING:
    import napari.viewer

    from napari_lungseg.widgets.evaluate.plot import SlicePlot

NO_TWO = "Open two masks of one image: drop a file with the reference into the window."
NO_PLOT = "The curve over the slices needs pyqtgraph; install it with: pip install pyqtgraph"
CHANGED = "The masks have changed since: evaluate again."


class EvaluateWidget(QWidget):
    """Compare a label layer with a reference.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: A comparison has ended. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.compared: Comparison | None = None
        self.prediction = ComboBox(label="Prediction", choices=self._masks, tooltip="The mask that is judged.")
        self.reference = ComboBox(label="Reference", choices=self._masks, tooltip="The mask that is taken as true.")
        self.run = QPushButton("Evaluate")
        self.status = QLabel()
        self.table = ScoreTable()
        self.plot = _make_plot()
        self.copy, self.csv, self.json = QPushButton("Copy"), QPushButton("CSV …"), QPushButton("JSON …")
        self.tolerance = FloatSpinBox(
            label="Tolerance (mm)",
            value=TOLERANCE_MM,
            min=0.0,
            max=100.0,
            step=0.5,
            tooltip="Distance up to which two surfaces count as one in the surface Dice.",
        )
        self._results: QWidget = QWidget()
        self._watched: list[tuple[Any, Any]] = []
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
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
        emphasise(self.run)
        layout.addWidget(self.run)
        self.status.setWordWrap(True)
        self.status.setMinimumWidth(1)
        layout.addWidget(self.status)
        below = QVBoxLayout(self._results)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(self.table)
        below.addWidget(self.plot or QLabel(NO_PLOT, wordWrap=True))
        legend = " ".join(f'<span style="color:{COLOURS[number]}">■</span> {name}' for number, name in MEANINGS.items())
        below.addWidget(QLabel(legend))
        buttons = QHBoxLayout()
        for button in (self.copy, self.csv, self.json):
            buttons.addWidget(button)
        below.addLayout(buttons)
        layout.addWidget(self._results)
        self._results.hide()
        layout.addWidget(folded("Settings", form(self.tolerance)))
        layout.addStretch()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(inner))

    def _connect(self) -> None:
        self.prediction.changed.connect(self._chosen)
        self.reference.changed.connect(self._chosen)
        self.run.clicked.connect(self._pressed)
        self.table.chosen.connect(self._plot_label)
        self.copy.clicked.connect(self.table.copy)
        self.csv.clicked.connect(partial(self._save, "csv"))
        self.json.clicked.connect(partial(self._save, "json"))
        if self.plot is not None:
            self.plot.clicked.connect(self.go)
        layers = self.viewer.layers
        self._events: list[tuple[Any, Any]] = [
            *((getattr(layers.events, name), self._layers_changed) for name in ("inserted", "removed", "reordered", "renamed")),
            (self.viewer.dims.events.current_step, self._show_here),
        ]
        for event, callback in self._events:
            event.connect(callback)
        RESULTS.begun.connect(self._layers_changed)
        self.destroyed.connect(partial(_release, self))

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
        made = [mask for mask in masks if self._result_of(mask) is not None]
        if masks:
            self.prediction.value = prediction = (made or masks)[0]
            self.reference.value = next((mask for mask in masks if mask != prediction), prediction)

    def _chosen(self, _: Any = None) -> None:
        one, other = self.prediction.value, self.reference.value
        ready = one is not None and one != other
        self.run.setEnabled(ready)
        if not ready:
            self._tell(NO_TWO if len(self._masks()) < 2 else "Choose two different masks.")
        elif self.status.text() in (NO_TWO, "Choose two different masks."):
            self._tell("")
        if self.compared is not None and (one != self.compared.prediction or other != self.compared.reference):
            self._forget()

    def _result_of(self, mask: Layer) -> Result | None:
        results = (result_of(layer) for layer in self.viewer.layers)
        return next((result for result in results if result is not None and result.lungs == mask), None)

    # ---- comparing

    def _pressed(self) -> None:
        self.run.setEnabled(False)
        self._tell("Comparing …")
        pair = [(layer, displayed_step(self.viewer, layer)) for layer in (self.prediction.value, self.reference.value)]
        self._unwatch()
        worker = create_worker(attempt, compare, *pair, self.tolerance.value, what="evaluation", _start_thread=False)
        worker.returned.connect(self._ended)
        self._watch()
        worker.start()

    def _ended(self, compared: Comparison | Failed) -> None:
        self.run.setEnabled(True)
        if isinstance(compared, Failed):
            self._forget()
            self._tell(compared.text)
            show_error(compared.text)
            self.idle.emit(compared.text)
            return
        if compared.prediction != self.prediction.value or compared.reference != self.reference.value:
            # Others were chosen meanwhile.
            self._chosen()
            self.idle.emit("")
            return
        self.compared = compared
        self.table.show_scores(compared.scores)
        self._fit_table()
        self._results.show()
        show_errors(self.viewer, compared)
        if self.status.text() != CHANGED:
            self._tell(self._summary())
        self.idle.emit("")

    def _summary(self) -> str:
        assert self.compared is not None
        values = self._dice(next(iter(self.compared.scores)))
        text = "" if self.compared.in_mm else "Neither layer says how large a voxel is; it is taken as 1 mm. "
        if len(values) > 1 and np.isfinite(values).any():
            worst = int(np.nanargmin(values))
            text += f"Lowest Dice of a slice: {values[worst]:.3f}, in slice {worst}."
        return text

    def _forget(self) -> None:
        self.compared = None
        self._unwatch()
        self._results.hide()

    def _watch(self) -> None:
        """Hear when one of the masks changes, so that old scores are not taken for those of the new mask."""
        for layer in (self.prediction.value, self.reference.value):
            result = self._result_of(layer)
            signals = [layer.events.paint, layer.events.data, *([result.changed] if result is not None else [])]
            self._watched += [(signal, self._outdated) for signal in signals]
        for signal, slot in self._watched:
            signal.connect(slot)

    def _unwatch(self) -> None:
        for signal, slot in self._watched:
            signal.disconnect(slot)
        self._watched = []

    def _outdated(self, *_: Any) -> None:
        self._tell(CHANGED)

    # ---- what is shown

    def go(self, index: int) -> None:
        """Go to a slice."""
        if self.compared is not None and self.compared.reference in self.viewer.layers:
            show_slice(self.viewer, self.compared.reference, self.compared.axis, index)

    def _plot_label(self, label: str) -> None:
        if self.plot is None or self.compared is None:
            return
        values = self._dice(label)
        self.plot.setVisible(len(values) > 1)
        self.plot.show_slices(label, values)
        self._show_here()

    def _dice(self, label: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Dice of each slice; NaN where neither mask has the label, which is no feat."""
        assert self.compared is not None
        return np.array([score.dice if score.volume_ml or score.reference_ml else np.nan for score in self.compared.slices[label]])

    def _show_here(self, _: Any = None) -> None:
        compared = self.compared
        if compared is not None and self.plot is not None and compared.reference.ndim > 2:
            self.plot.show_here(displayed_voxel(self.viewer, compared.reference)[compared.axis])

    def _fit_table(self) -> None:
        """As high as its rows, up to eight of them."""
        rows = min(8, self.table.rowCount())
        heights = sum(self.table.rowHeight(row) for row in range(rows))
        bar = self.table.horizontalScrollBar().sizeHint().height()
        self.table.setFixedHeight(heights + self.table.horizontalHeader().sizeHint().height() + bar + 4)

    def _tell(self, text: str) -> None:
        self.status.setText(text)
        self.status.setToolTip(text)
        self.status.setVisible(bool(text))

    # ---- files

    def _save(self, ending: str) -> None:
        if self.compared is None:
            return
        name = self.compared.prediction.name
        path, _ = QFileDialog.getSaveFileName(self, "Save the scores", f"{name} scores.{ending}", f"{ending.upper()} (*.{ending})")
        if path:
            worker = create_worker(attempt, _write, Path(path), self.compared, ending, what="saving", _start_thread=False)
            worker.returned.connect(_saved)
            worker.start()


def _write(path: Path, compared: Comparison, ending: str) -> str:
    rows = case_rows(compared.prediction.name, compared.scores)
    slices = slice_rows(compared.prediction.name, compared.slices)
    write_text(path, as_csv(rows) if ending == "csv" else as_json(rows, slices))
    return f"Saved {path}."


def _saved(outcome: str | Failed) -> None:
    if isinstance(outcome, Failed):
        show_error(outcome.text)
    else:
        show_info(outcome)


def _make_plot() -> SlicePlot | None:
    try:
        from napari_lungseg.widgets.evaluate.plot import SlicePlot
    except ImportError:
        return None
    return SlicePlot()


def _release(widget: EvaluateWidget, *_: Any) -> None:
    """Let go of the viewer once the window or the dock is closed."""
    for event, callback in widget._events:
        event.disconnect(callback)
    RESULTS.begun.disconnect(widget._layers_changed)
    widget._unwatch()

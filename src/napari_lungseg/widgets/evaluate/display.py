"""What came out of a comparison: the table, the curve, the legend of the layer with the errors, and the files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_lungseg.comparison import as_csv, as_json, case_rows, slice_rows
from napari_lungseg.files import write_whole
from napari_lungseg.translation import say
from napari_lungseg.widgets.evaluate.error_layer import COLOURS, MEANINGS
from napari_lungseg.widgets.evaluate.table import ScoreTable
from napari_lungseg.widgets.evaluate.work import Comparison
from napari_lungseg.widgets.forms import NO_CURVES, make_button, wrapped
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.notices import show_error, show_info
from napari_lungseg.widgets.tasks import Task

if TYPE_CHECKING:
    from napari_lungseg.widgets.evaluate.plot import SlicePlot


class Display(QWidget):
    """Hidden until there is something to show."""

    #: A slice was clicked.
    clicked = Signal(int)
    #: Another row, and with it another curve, is shown.
    turned = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._compared: Comparison | None = None
        self.table = ScoreTable()
        self.plot = _make_plot()
        self.copy = make_button(tr("Copy"), tr("Copy the table, to be pasted into a spreadsheet."))
        self.csv = make_button(tr("CSV …"), tr("Save the table of the volume."))
        self.json = make_button(tr("JSON …"), tr("Save the scores of the volume and of each slice."))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.plot or wrapped(tr(NO_CURVES)))
        legend = " ".join(f'<span style="color:{COLOURS[number]}">■</span> {tr(name)}' for number, name in MEANINGS.items())
        layout.addWidget(QLabel(legend))
        buttons = QHBoxLayout()
        for button in (self.copy, self.csv, self.json):
            buttons.addWidget(button)
        layout.addLayout(buttons)
        self._saving = Task(self, say("Saving the comparison"))
        self._saving.returned.connect(show_info)
        self._saving.failed.connect(show_error)
        self.hide()
        self.table.chosen.connect(self._turn)
        self.copy.clicked.connect(self.table.copy)
        self.csv.clicked.connect(partial(self._save, "csv"))
        self.json.clicked.connect(partial(self._save, "json"))
        if self.plot is not None:
            self.plot.clicked.connect(self.clicked)

    def show_comparison(self, compared: Comparison | None) -> None:
        """Show a comparison, or nothing."""
        self._compared = compared
        self.setVisible(compared is not None)
        if compared is not None:
            self.table.show_scores(compared.scores)

    def show_here(self, index: int) -> None:
        """Mark the slice that is displayed."""
        if self.plot is not None:
            self.plot.show_here(index)

    def _turn(self, label: str) -> None:
        if self.plot is not None and self._compared is not None:
            values = slice_dice(self._compared, label)
            self.plot.setVisible(len(values) > 1)
            self.plot.show_slices(label, values)
            self.turned.emit()

    def _save(self, ending: str) -> None:
        if self._compared is None:
            return
        name = f"{self._compared.prediction.name} scores.{ending}"
        path, _ = QFileDialog.getSaveFileName(self, tr("Save the scores"), name, f"{ending.upper()} (*.{ending})")
        if path:
            self._saving.run(_write, Path(path), self._compared, ending)


def slice_dice(compared: Comparison, label: str) -> npt.NDArray[np.float64]:
    """Return the Dice of each slice; NaN where neither mask has the label, as there is nothing to agree on."""
    return np.array([score.dice if score.volume_ml or score.reference_ml else np.nan for score in compared.slices[label]])


def _write(path: Path, compared: Comparison, ending: str) -> str:
    rows = case_rows(compared.prediction.name, compared.scores)
    slices = slice_rows(compared.prediction.name, compared.slices)
    write_whole(path, as_csv(rows) if ending == "csv" else as_json(rows, slices))
    return tr("Saved {path}.", path=path)


def _make_plot() -> SlicePlot | None:
    try:
        from napari_lungseg.widgets.evaluate.plot import SlicePlot
    except ImportError:
        return None
    return SlicePlot()

"""The form of the Measure module: what can be chosen and pressed, and where the measures are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGridLayout,
    QHeaderView,
    QProgressBar,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_lungseg.measurement import HINTS, Measurements, summary
from napari_lungseg.translation import capitalised
from napari_lungseg.widgets.forms import emphasise, fill, folded, form, make_button, scrolled
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.measure.plots import Plot
from napari_lungseg.widgets.texts import plain_label


class MeasureControls(QWidget):
    """Every control of the Measure module.

    Parameters
    ----------
    masks, images : callable
        Give the layers that can be chosen.
    """

    def __init__(self, masks: Callable[[Any], list[Any]], images: Callable[[Any], list[Any]]) -> None:
        super().__init__()
        self.mask = ComboBox(label=tr("Mask"), choices=masks, tooltip=tr("The labels to measure; follows the layer that is selected."))
        self.image = ComboBox(
            label=tr("Image"), choices=images, nullable=True, tooltip=tr("For densities and mass; the mask's own by itself.")
        )
        self.run = make_button(tr("Measure"), tr("Volume (mL), surface (cm²), densities (HU) and more of each label."))
        self.progress = QProgressBar()
        self.status = plain_label()
        self.table = QTableWidget()
        self.notes = plain_label()
        self.areas = Plot(tr("height z (mm), towards the head"), tr("area (cm²)"))
        self.densities = Plot(tr("density (HU)"), tr("part of the voxels (%)"))
        self.csv = make_button(tr("Save as CSV …"), tr("Save the table."))
        self.report = make_button(tr("Save a report …"), tr("Save one page (HTML) with the table, curves and pictures."))
        self.show_surfaces = make_button(tr("Show surfaces"), tr("Add a smooth surface of each label, and show them in 3-D."))
        self.save_surfaces = make_button(tr("Save surfaces …"), tr("Save them as STL, OBJ, PLY or GLB, in mm."))
        self._lay_out()

    def tell(self, text: str) -> None:
        """Show a line of status."""
        self.status.setText(tr(text))
        self.status.setVisible(bool(text))

    def show_running(self, running: bool, ready: bool) -> None:
        """Let nothing be pressed while something runs, or while there is no mask."""
        self.progress.setVisible(running)
        for button in (self.run, self.report, self.show_surfaces, self.save_surfaces):
            button.setEnabled(ready and not running)

    def show_table(self, measured: Measurements | None) -> None:
        """Show the measures, a line for each; None empties the table."""
        self.csv.setEnabled(measured is not None)
        self.table.setVisible(measured is not None)
        self.notes.setVisible(measured is not None and bool(measured.notes))
        self.table.clear()
        if measured is None:
            return
        made = summary(measured)
        self.notes.setText("\n".join(map(tr, measured.notes)))
        self.table.setColumnCount(len(made.columns))
        self.table.setRowCount(len(made.lines))
        self.table.setHorizontalHeaderLabels([tr(capitalised(name)) for name in made.columns])
        self.table.setVerticalHeaderLabels([tr(title) for title, _ in made.lines])
        for line, (title, cells) in enumerate(made.lines):
            self.table.verticalHeaderItem(line).setToolTip(tr(HINTS.get(title, "")))
            for column, cell in enumerate(cells):
                item = QTableWidgetItem(tr(cell))
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                item.setToolTip(tr(cell))
                self.table.setItem(line, column, item)
        self.table.resizeRowsToContents()
        # It is scrolled with the module, not by itself.
        rows = sum(self.table.rowHeight(line) for line in range(len(made.lines)))
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + rows + 2 * self.table.frameWidth() + 2)

    def _lay_out(self) -> None:
        for combo in (self.mask, self.image):
            # Long names are cut, rather than widen the dock.
            combo.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        emphasise(self.run)
        self.progress.setRange(0, 0)
        for label in (self.status, self.notes):
            label.setWordWrap(True)
            label.setMinimumWidth(1)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setMinimumWidth(1)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(6)
        for part in (form(self.mask, self.image), self.run, self.progress, self.status):
            layout.addWidget(part)
        buttons = QGridLayout()
        for place, button in enumerate((self.show_surfaces, self.save_surfaces, self.csv, self.report)):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button, *divmod(place, 2))
        layout.addLayout(buttons)
        layout.addWidget(self.table)
        layout.addWidget(self.notes)
        layout.addWidget(folded(tr("Area along the body"), self.areas))
        layout.addWidget(folded(tr("Densities"), self.densities))
        layout.addStretch()
        fill(self, scrolled(inner))

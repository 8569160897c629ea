"""The table of scores: a row for each label."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QTableWidget, QTableWidgetItem

from napari_lungseg.metrics import Scores
from napari_lungseg.translation import mark
from napari_lungseg.widgets.language import tr

#: Heading, digits and meaning of each score, those first that say most.
COLUMNS = {
    "dice": (mark("Dice"), 4, mark("Overlap, 0 to 1; for masks the same as F1.")),
    "nsd": (mark("Surface\nDice"), 4, mark("Part of both surfaces that lies within the tolerance of the other.")),
    "hd95_mm": (mark("HD95\n(mm)"), 2, mark("Hausdorff distance at 95 %: nearly the largest distance between the surfaces.")),
    "assd_mm": (mark("ASSD\n(mm)"), 2, mark("Average distance between the surfaces.")),
    "volume_error_ml": (mark("Error\n(mL)"), 1, mark("Volume of the prediction less that of the reference.")),
    "volume_error_percent": (mark("Error\n(%)"), 1, mark("That in percent of the reference.")),
    "iou": (mark("IoU"), 4, mark("Intersection over union.")),
    "precision": (mark("Precision"), 4, mark("Part of the prediction that is right.")),
    "recall": (mark("Recall"), 4, mark("Part of the reference that was found.")),
    "specificity": (mark("Specificity"), 5, mark("Part of the rest of the image that was left out rightly.")),
    "volume_ml": (mark("Volume\n(mL)"), 1, mark("Volume of the prediction.")),
    "reference_ml": (mark("Reference\n(mL)"), 1, mark("Volume of the reference.")),
}


class ScoreTable(QTableWidget):
    """Scores by label; a row can be chosen, and all of it copied."""

    #: The label of another row was chosen.
    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self._labels: list[str] = []
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        for column, (heading, _, meaning) in enumerate(COLUMNS.values()):
            item = QTableWidgetItem(tr(heading))
            item.setToolTip(tr(meaning))
            self.setHorizontalHeaderItem(column, item)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)
        self.itemSelectionChanged.connect(self._tell)

    def show_scores(self, scores: Mapping[str, Scores]) -> None:
        """Show these; the row of the first label is chosen."""
        self.clearSelection()
        self.setRowCount(len(scores))
        self._labels = list(scores)
        self.setVerticalHeaderLabels([tr(label) for label in self._labels])
        for row, values in enumerate(scores.values()):
            for column, (name, (_, digits, _)) in enumerate(COLUMNS.items()):
                item = QTableWidgetItem(f"{getattr(values, name):.{digits}f}".replace("inf", "∞"))
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
        if scores:
            self.selectRow(0)
        # As high as its rows, up to eight of them.
        heights = sum(self.rowHeight(row) for row in range(min(8, len(scores))))
        self.setFixedHeight(heights + self.horizontalHeader().sizeHint().height() + self.horizontalScrollBar().sizeHint().height() + 4)

    def copy(self) -> None:
        """Put the whole table into the clipboard, as tabs and lines for a spreadsheet."""
        lines = ["\t".join([tr("label"), *(tr(heading).replace("\n", " ") for heading, _, _ in COLUMNS.values())])]
        for row in range(self.rowCount()):
            cells = (self.item(row, column).text() for column in range(self.columnCount()))
            lines.append("\t".join([self.verticalHeaderItem(row).text(), *cells]))
        QApplication.clipboard().setText("\n".join(lines))

    def _tell(self) -> None:
        rows = self.selectionModel().selectedRows()
        if rows:
            self.chosen.emit(self._labels[rows[0].row()])

"""Slices that are read without the model's mask: how many are wanted, which are left, and what came of the others."""

from __future__ import annotations

import math

from magicgui.widgets import SpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QListWidget, QVBoxLayout, QWidget

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.blind import BlindReading, add_up
from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import form, make_button, wrapped
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.review.reviewing import Reviewing

HINT = mark(
    "Of these slices, drawn by chance when an image is segmented for the first time, the model's mask is not shown until you have drawn "
    "and accepted them. How much closer to the model you are where you see its mask tells how far it leads you."
)
HERE = mark("Read this slice blind: draw what you see with the brush, then accept it. Until then the model's mask is withheld here.")


class Blind(QWidget):
    """Sets the share of slices that are read blind, and tells the difference that the model's mask makes."""

    #: A slice was chosen in the list.
    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.percent = SpinBox(
            label=tr("Slices to read blind (%)"),
            min=0,
            max=100,
            value=preferences().blind.percent,
            tooltip=tr("For images that are segmented from now on; 0 for none. Kept for the next time."),
        )
        self.status = wrapped(tr(HINT))
        self.list = QListWidget()
        self.list.setMaximumHeight(110)
        self.list.setToolTip(tr("Slices that you have read blind, and how far you were from the model."))
        self.end = make_button(
            tr("End blind reading"), tr("Show the model's mask on all slices that are not read yet. This cannot be undone.")
        )
        self._reviewing: Reviewing | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (form(self.percent), self.status, self.list, self.end):
            layout.addWidget(widget)
        self.percent.changed.connect(self._set)
        self.end.clicked.connect(self._end)
        self.list.itemClicked.connect(lambda item: self.chosen.emit(self._order[self.list.row(item)]))
        self.follow(None)

    def follow(self, reviewing: Reviewing | None) -> None:
        """Tell of the mask that is reviewed, as it is now."""
        self._reviewing = reviewing
        document = None if reviewing is None else reviewing.document
        self.status.setText(tr(HINT) if document is None or not (document.blind or document.readings) else told(document))
        rows = [] if document is None else [_row(index, document.readings[index]) for index in self._order]
        if rows != [self.list.item(row).text() for row in range(self.list.count())]:
            self.list.clear()
            self.list.addItems(rows)
        self.list.setVisible(bool(rows))
        self.end.setVisible(document is not None and bool(document.blind))

    @property
    def _order(self) -> list[int]:
        return [] if self._reviewing is None else sorted(self._reviewing.document.readings)

    def _set(self, percent: int) -> None:
        preferences().blind.percent = percent

    def _end(self) -> None:
        if self._reviewing is not None:
            self._reviewing.result.finish_edits()
            self._reviewing.document.reveal()


def told(document: MaskDocument) -> str:
    """How far a person is from the model where its mask was not seen, and where it was, in words."""
    lines = [tr("{count} slices are still to be read blind.", count=len(document.blind))] if document.blind else []
    seen = [index for index in document.reviewed if index not in document.readings]
    for what, readings in (
        (tr("Read blind"), list(document.readings.values())),
        (tr("With the mask shown"), [document.compare_with_model(index) for index in seen]),
    ):
        if readings:
            figures = _figures(add_up(readings))
            lines.append(tr("{what}, {count} slices: {figures}.", what=what, count=len(readings), figures=figures))
    return "\n".join(lines)


def _row(index: int, reading: BlindReading) -> str:
    return tr("Slice {index}: {figures}", index=index, figures=_figures(reading))


def _figures(reading: BlindReading) -> str:
    if math.isnan(reading.dice):
        return tr("no lung, as the model")
    difference = reading.volume_difference_percent
    if math.isnan(difference):
        return tr("Dice {dice:.3f} against the model", dice=reading.dice)
    return tr("Dice {dice:.3f}, volume {difference:+.1f} % against the model", dice=reading.dice, difference=difference)

"""What came of a run: the scores before and after, pictures, and the choice between the two models."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import emphasise, make_button, wrapped
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import html_label
from napari_lungseg.widgets.train.pictures import Picture, Pictures

if TYPE_CHECKING:
    from napari_lungseg.training.updates import BeforeAfter, Finished, SlicePicture, Verdict

METRICS = {"dice": mark("Dice"), "iou": mark("IoU"), "precision": mark("Precision"), "recall": mark("Recall")}
BETTER, WORSE = "#3ddc97", "#ff6b6b"
BOLD = "font-weight: bold"
#: Smallest change that is coloured.
CHANGE = 0.0005


class VerdictBox(QWidget):
    """The end of a run."""

    #: Use the new model, under the name that is set.
    accepted = Signal(str)
    #: Keep to the model before.
    rolled_back = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.why = wrapped()
        self.table = html_label()
        self.pictures = Pictures(columns=2)
        self.name = QLineEdit()
        self.name.setToolTip(tr("What the new model is called; letters, digits, dots, dashes and underscores."))
        self.accept = make_button("", tr("Keep the new model under this name; Segment offers it first."))
        self.roll_back = make_button(tr("Roll back"), tr("Remove the new model, and go on with the one before."))
        self._previous, self._next = QToolButton(), QToolButton()
        self._previous.setToolTip(tr("The pictures before."))
        self._next.setToolTip(tr("The next pictures."))
        self._of = wrapped()
        self._pairs: list[list[Picture]] = []
        self._shown = 0
        self._lay_out()
        self.accept.clicked.connect(lambda: self.accepted.emit(self.name.text().strip()))
        self.roll_back.clicked.connect(self.rolled_back)

    def show_end(self, end: Finished) -> None:
        """Show what came of a run."""
        verdict = end.verdict
        self.why.setText(tr(verdict.why))
        self.table.setText(_table(verdict))
        self.name.setText(end.name)
        self.accept.setText(tr("Accept") if verdict.accepted else tr("Accept all the same"))
        # The one that is recommended stands out.
        self.accept.setStyleSheet(BOLD if verdict.accepted else "")
        self.roll_back.setStyleSheet("" if verdict.accepted else BOLD)
        self._pairs = [
            [
                Picture(tr("Person"), after.image, after.reference) if before is None else _model(tr("Before"), before),
                _model(tr("After"), after),
            ]
            for before, after in verdict.pictures
        ]
        for button in (self._previous, self._next):
            button.setVisible(len(self._pairs) > 1)
        self._of.setVisible(bool(self._pairs))
        self._turn(-self._shown)

    def _turn(self, pages: int) -> None:
        if self._pairs:
            self._shown = (self._shown + pages) % len(self._pairs)
        self._of.setText(tr("Slice {number} of {total}; yellow: the person's outline", number=self._shown + 1, total=len(self._pairs)))
        self.pictures.show_pictures(self._pairs[self._shown] if self._pairs else [])

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        pages = QHBoxLayout()
        for button, text, step in ((self._previous, "◂", -1), (self._next, "▸", 1)):
            button.setText(text)
            button.clicked.connect(partial(self._turn, step))
        pages.addWidget(self._previous)
        pages.addWidget(self._next)
        pages.addWidget(self._of, stretch=1)
        named = QHBoxLayout()
        named.addWidget(QLabel(tr("Name")))
        named.addWidget(self.name)
        answers = QHBoxLayout()
        answers.addWidget(self.accept, stretch=3)
        answers.addWidget(self.roll_back, stretch=2)
        for button in (self.accept, self.roll_back):
            emphasise(button)
        for part in (self.why, self.table, self.pictures):
            layout.addWidget(part)
        for row in (pages, named, answers):
            layout.addLayout(row)


def _model(when: str, picture: SlicePicture) -> Picture:
    return Picture(tr("{when}: Dice {dice:.3f}", when=when, dice=picture.dice), picture.image, picture.prediction, picture.reference)


def _table(verdict: Verdict) -> str:
    """Scores before and after, as HTML."""
    rows = f"<tr><td></td><td align=right>{tr('before')}</td><td align=right>{tr('after')}</td></tr>"
    for title, compared in ((mark("New slices ({count})"), verdict.new), (mark("Old slices ({count})"), verdict.old)):
        if compared is not None:
            rows += f"<tr><td colspan=3><b>{tr(title, count=compared.slices)}</b></td></tr>" + _rows(compared)
    return f"<table cellpadding=1 width='100%'>{rows}</table>"


def _rows(compared: BeforeAfter) -> str:
    rows = ""
    for name in compared.after.dice:
        for metric, text in METRICS.items():
            after = getattr(compared.after, metric)[name]
            before = None if compared.before is None else getattr(compared.before, metric).get(name)
            colour = ""
            if before is not None and abs(after - before) >= CHANGE:
                colour = f" style='color:{BETTER if after > before else WORSE}'"
            label = f"{tr(text)}, {escape(tr(name), quote=False)}" if len(compared.after.dice) > 1 else tr(text)
            rows += f"<tr><td>{label}</td><td align=right>{_number(before)}</td><td align=right{colour}>{_number(after)}</td></tr>"
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"

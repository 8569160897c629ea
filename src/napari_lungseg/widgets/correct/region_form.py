"""The part of the Correct module's form for strokes that find a region: the mode's button, the size, take it or drop it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_lungseg.edit.stroke import LIMIT
from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import make_button
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import plain_label

#: Steps of the slider for each unit of size.
STEPS = 10
HINT = mark("Left button: draw where the mask lacks something. Right button: where it has too much.")
FOUND = mark("Take the region with Enter or the next stroke, drop it with Escape; Shift and the wheel change its size.")


class RegionForm(QWidget):
    """Controls of a proposed region; shown while strokes find regions."""

    #: The size of the region was changed: from -6 to 6.
    resized = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.size = QSlider(Qt.Orientation.Horizontal)
        self.size.setRange(round(-LIMIT * STEPS), round(LIMIT * STEPS) - 1)
        self.size.setToolTip(tr("Larger or smaller; the middle is what is most likely meant."))
        self.take = make_button(tr("Take"), tr("Change the mask: Enter, or the next stroke."))
        self.drop = make_button(tr("Drop"), tr("Leave the mask as it is: Escape."))
        self._what = plain_label()
        self._what.setWordWrap(True)
        self._what.setMinimumWidth(1)
        self._found = QWidget()
        row = QHBoxLayout(self._found)
        row.addWidget(QLabel(tr("Size")))
        row.addWidget(self.size, stretch=1)
        for part in (self.drop, self.take):
            row.addWidget(part)
        layout = QVBoxLayout(self)
        for box in (row, layout):
            box.setContentsMargins(0, 0, 0, 0)
            box.setSpacing(4)
        layout.addWidget(self._what)
        layout.addWidget(self._found)
        self.size.valueChanged.connect(lambda _: self.resized.emit(self.value))
        self.show_found(False)
        self.setVisible(False)

    @property
    def value(self) -> float:
        """The chosen size."""
        return self.size.value() / STEPS

    def resize_by(self, steps: int) -> None:
        """Make the region larger or smaller by so many notches of a wheel."""
        self.size.setValue(self.size.value() + steps * STEPS // 2)

    def show_found(self, found: bool) -> None:
        """Offer what can be done with a region, at its most likely size, or say how to find one."""
        self.size.blockSignals(True)
        self.size.setValue(0)
        self.size.blockSignals(False)
        self._found.setEnabled(found)
        self.tell(tr(FOUND) if found else tr(HINT))

    @property
    def text(self) -> str:
        """What is told."""
        return self._what.text()

    def tell(self, text: str) -> None:
        """Show a line of text."""
        self._what.setText(text)

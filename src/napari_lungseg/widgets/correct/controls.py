"""The form of the Correct module: what can be chosen, and nothing of what happens then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, PushButton
from qtpy.QtWidgets import QAbstractSpinBox, QFormLayout, QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_lungseg.edit import Limits
from napari_lungseg.translation import mark
from napari_lungseg.volume import Unit
from napari_lungseg.widgets.causes import shown_cause
from napari_lungseg.widgets.correct.region_form import RegionForm
from napari_lungseg.widgets.correct.tool_form import ToolForm
from napari_lungseg.widgets.forms import (
    LABEL_WIDTH,
    MODULE_WIDTH,
    add_row,
    fill,
    folded,
    form,
    labelled_form,
    make_button,
    replace_choices,
    scrolled,
    shorten,
)
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import plain_label

#: napari's modes that are offered, and what their buttons say.
MODES = {
    "paint": (mark("Paint"), mark("Paint the label; with the right button draw round what is then filled.")),
    "erase": (mark("Erase"), mark("Paint background.")),
    "fill": (mark("Fill"), mark("Give the label to the connected part that is clicked.")),
    "polygon": (mark("Polygon"), mark("Click the corners; a double click closes the polygon and fills it.")),
    "pan_zoom": (mark("Move"), mark("Move the image, and look.")),
}
#: Ranges by name, in HU.
PRESETS_HU = {
    mark("lung"): (-1024.0, -300.0),
    mark("soft tissue"): (-200.0, 200.0),
    mark("bone"): (200.0, 3071.0),
    mark("air"): (-1024.0, -950.0),
}
AS_SHOWN, OWN = mark("contrast limits"), mark("own numbers")
#: Values of entries that are no label.
ANYWHERE = NEW = -1
#: Name of label 0.
BACKGROUND = mark("background")


class CorrectControls(QWidget):
    """Every control of the Correct module.

    Parameters
    ----------
    masks, others, shapes : callable
        Give the layers that can be chosen: to correct, to combine with, and to find rectangles in.
    """

    def __init__(
        self,
        masks: Callable[[Any], list[Any]],
        others: Callable[[Any], list[Any]],
        shapes: Callable[[Any], list[Any]],
    ) -> None:
        super().__init__()
        self._window: tuple[float, float] | None = None
        self.mask = ComboBox(label=tr("Mask"), choices=masks, tooltip=tr("The labels to correct; follows the layer that is selected."))
        self.label = ComboBox(label=tr("Label"), choices=[], tooltip=tr("What brush and tools work on."))
        self.modes = {mode: _mode_button(*map(tr, texts)) for mode, texts in MODES.items()}
        self.diameter = FloatSpinBox(
            value=8.0, min=0.1, max=500.0, step=0.5, tooltip=tr("Diameter; the brush is round in the image's spacing.")
        )
        self.region = _mode_button(tr("Region"), tr("Draw a short stroke into what is missing or too much; the region round it is found."))
        self.strokes = RegionForm()
        self.sphere = CheckBox(text=tr("Sphere"), tooltip=tr("Paint the neighbouring slices too."))
        self.limited = CheckBox(text=tr("Only from"), tooltip=tr("Brush and tools change only voxels with these intensities."))
        low, high = PRESETS_HU["lung"]
        self.low = FloatSpinBox(value=low, min=-1e6, max=1e6, step=10.0, tooltip=tr("Lowest intensity that may be changed (HU in a CT)."))
        self.high = FloatSpinBox(
            value=high, min=-1e6, max=1e6, step=10.0, tooltip=tr("Highest intensity that may be changed (HU in a CT).")
        )
        self.preset = ComboBox(label=tr("Range"), choices=[(tr(OWN), OWN)], tooltip=tr("Ranges by name."))
        self.inside = ComboBox(
            label=tr("Only inside"),
            choices=[(tr("anywhere"), ANYWHERE)],
            tooltip=tr("Brush and tools change only voxels that have this label."),
        )
        self.tools = ToolForm({"other": others, "shapes": shapes})
        self.show_changes = CheckBox(text=tr("Show what I changed"), tooltip=tr("Yellow: added; red: removed; white: another label."))
        self.numbers = plain_label()
        self.give_back = PushButton(
            text=tr("Give this slice back to the model"), tooltip=tr("The slice becomes what the model made of it.")
        )
        self.undo, self.redo = PushButton(text=tr("Undo")), PushButton(text=tr("Redo"))
        self._unit = plain_label()
        self._named: dict[int, str] = {}
        self._lay_out()
        self.preset.changed.connect(self._take_preset)
        for control in (self.low, self.high):
            control.changed.connect(self._own_numbers)

    def limits(self) -> Limits | None:
        """The editable range; None while nothing is limited.

        Raises
        ------
        InputError
            When no intensity lies in it.
        """
        inside = None if self.inside.value == ANYWHERE else self.inside.value
        if self.limited.value:
            return Limits(self.low.value, self.high.value, inside)
        return None if inside is None else Limits(inside_label=inside)

    def reset_layers(self) -> None:
        """Offer the layers that there are now."""
        self.mask.reset_choices()
        self.tools.reset_layers()

    def show_mask(self, there: bool) -> None:
        """Let be done what can be done with a mask, or without one."""
        for control in (self.label, self.inside, self.tools.apply, self.show_changes):
            control.enabled = there

    def show_labels(self, named: dict[int, str], chosen: int) -> None:
        """Offer labels with their names, one of them chosen, without emitting ``changed``."""
        if self._named != named:
            self._named = named
            replace_choices(self.label, [*_choices(named), (tr("new"), NEW)], chosen)
            places = {0: BACKGROUND} | named
            inside = self.inside.value if self.inside.value in places else ANYWHERE
            replace_choices(self.inside, [(tr("anywhere"), ANYWHERE), *_choices(places)], inside)
        with self.label.changed.blocked():
            self.label.value = chosen

    def show_image(self, unit: Unit, *, whole: bool, window: tuple[float, float] | None) -> None:
        """Offer the ranges that make sense for an image.

        Parameters
        ----------
        unit : {"HU", "arbitrary"}
            What its numbers mean.
        whole : bool
            Whether they are whole numbers.
        window : (float, float) or None
            Its contrast limits; None if there is no image.
        """
        self._window = window
        for control in (self.limited, self.low, self.high, self.preset):
            control.enabled = window is not None
        if window is None:
            self.limited.value = False
            return
        presets = list(PRESETS_HU) if unit == "HU" else []
        self._unit.setText("HU" if unit == "HU" else "")
        offered = [(tr(name), name) for name in (*presets, AS_SHOWN, OWN)]
        replace_choices(self.preset, offered, self.preset.value if self.preset.value in presets else OWN)
        for control in (self.low, self.high):
            control.native.setDecimals(0 if whole else 3)
            control.step = 10.0 if whole else (window[1] - window[0]) / 100
        if unit != "HU" and not self.limited.value:
            self._set_range(window)

    def show_limited(self, limited: bool) -> None:
        """Say, also while it is folded, whether anything is limited."""
        self._range.setText(tr("Editable range (on)") if limited else tr("Editable range"))

    def show_numbers(self, text: str, *, given: bool) -> None:
        """Show what was changed on the slice, and whether any of it can be given back."""
        self.numbers.setText(text)
        self.give_back.enabled = given

    def show_history(self, undo: str | None, redo: str | None) -> None:
        """Show what can be undone and done again."""
        self.undo.enabled, self.redo.enabled = undo is not None, redo is not None
        self.undo.tooltip = tr("Undo: {step}", step=shown_cause(undo)) if undo else tr("There is nothing to undo.")
        self.redo.tooltip = tr("Redo: {step}", step=shown_cause(redo)) if redo else tr("There is nothing to redo.")

    def _take_preset(self, name: str) -> None:
        values = self._window if name == AS_SHOWN else PRESETS_HU.get(name)
        if values is not None:
            self._set_range(values)
            self.limited.value = True
            self.high.changed.emit(values[1])

    def _set_range(self, values: tuple[float, float]) -> None:
        with self.low.changed.blocked(), self.high.changed.blocked():
            self.low.value, self.high.value = values

    def _own_numbers(self) -> None:
        values = self._window if self.preset.value == AS_SHOWN else PRESETS_HU.get(self.preset.value)
        if values != (self.low.value, self.high.value):
            with self.preset.changed.blocked():
                self.preset.value = OWN

    def _lay_out(self) -> None:
        for combo in (self.mask, self.label, self.preset, self.inside):
            shorten(combo)
        self.diameter.native.setDecimals(1)
        for number in (self.low.native, self.high.native):
            number.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            number.setStyleSheet("min-width: 40px")  # napari's is too wide for two in a row
        self.numbers.setWordWrap(True)
        brush = labelled_form()
        label = QLabel(tr("Brush (mm)"))
        label.setMinimumWidth(LABEL_WIDTH)
        brush.addRow(label, _holding(_row(self.diameter.native, self.sphere.native)))
        span = labelled_form()
        span.addRow(self.limited.native, _holding(_row(self.low.native, QLabel(tr("to")), self.high.native, self._unit)))
        add_row(span, self.preset)
        add_row(span, self.inside)
        self._range = folded(tr("Editable range"), _holding(span))

        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(6)
        layout.addWidget(form(self.mask, self.label))
        layout.addLayout(_row(*self.modes.values(), self.region))
        layout.addWidget(self.strokes)
        layout.addLayout(brush)
        for part in (self._range, _line(), self.tools, _line(), self.show_changes.native, self.numbers, self.give_back.native):
            layout.addWidget(part)
        layout.addLayout(_row(self.undo.native, self.redo.native))
        layout.addStretch()
        fill(self, scrolled(inner))
        self.setMinimumWidth(MODULE_WIDTH)


def _choices(named: dict[int, str]) -> list[tuple[str, int]]:
    return [(f"{label} {tr(name)}".strip(), label) for label, name in sorted(named.items())]


def _mode_button(text: str, tooltip: str) -> QPushButton:
    made = make_button(text, tooltip)
    made.setCheckable(True)
    made.setMinimumWidth(1)
    made.setStyleSheet("padding: 4px 2px")
    return made


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    for widget in widgets:
        row.addWidget(widget, stretch=not isinstance(widget, QLabel))
    return row


def _holding(layout: QHBoxLayout | QFormLayout) -> QWidget:
    widget = QWidget()
    widget.setLayout(layout)
    return widget


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line

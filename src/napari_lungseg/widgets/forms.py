"""How forms are laid out in all modules."""

from __future__ import annotations

import math
from typing import Any

from magicgui.widgets import CheckBox, ComboBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QFrame, QLabel, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_lungseg.translation import mark
from napari_lungseg.widgets.texts import plain_label

LABEL_WIDTH = 116
#: Pixels that a module of the dock takes at least.
MODULE_WIDTH = 350

#: Said in place of curves: pyqtgraph, which draws them, is not among the dependencies of the package without extras.
NO_CURVES = mark("For curves, install pyqtgraph: pip install pyqtgraph")


def labelled_form() -> QFormLayout:
    """Rows of a label and a control, as in the whole dock."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(6)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def add_row(form: QFormLayout, widget: ValueWidget) -> None:
    """Add a control under its label."""
    # A check box says itself what it is for.
    label = QLabel("" if isinstance(widget, CheckBox) else widget.label)
    label.setToolTip(widget.tooltip)
    label.setMinimumWidth(LABEL_WIDTH)
    form.addRow(label, widget.native)


def form(*widgets: ValueWidget) -> QWidget:
    """Controls below each other, each with its label."""
    content = QWidget()
    layout = labelled_form()
    for widget in widgets:
        add_row(layout, widget)
    content.setLayout(layout)
    return content


def folded(title: str, content: QWidget) -> QCollapsible:
    """A part of a module that is closed until it is wanted."""
    section = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    section.setDuration(0)
    section.layout().setContentsMargins(0, 0, 0, 0)
    section.addWidget(content)
    section.content().layout().setContentsMargins(0, 0, 0, 4)
    return section


def scrolled(content: QWidget) -> QScrollArea:
    """A module that is scrolled up and down where the window is too low for it."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    return area


def make_button(text: str, tooltip: str) -> QPushButton:
    """Make a button that says what it does."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    return made


def emphasise(button: QPushButton) -> None:
    """Make a button the module's main one."""
    button.setMinimumHeight(34)
    button.setStyleSheet("font-weight: bold")


def replace_choices(combo: ComboBox, choices: list[Any], value: Any) -> None:
    """Replace the choices of a combo box, in the order given, without emitting ``changed``."""
    with combo.changed.blocked():
        combo.choices = []  # else those that stay come first
        combo.choices = choices
        combo.value = value


def shorten(combo: ComboBox) -> None:
    """Let long names be cut, rather than widen the dock."""
    combo.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)


def wrapped(text: str = "") -> QLabel:
    """A text of several lines, which does not widen the dock however long its words are."""
    label = plain_label(text)
    label.setWordWrap(True)
    label.setMinimumWidth(1)
    return label


def clock(seconds: float) -> str:
    """A time as minutes and seconds."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def fill(widget: QWidget, content: QWidget) -> None:
    """Give a widget one content that takes all of its room."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(content)


def fill_module(module: QWidget, content: QWidget) -> None:
    """As :func:`fill`, for a widget that napari docks."""
    # Else napari puts a stretch below, which takes most of the height from the second dock on.
    module.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
    fill(module, content)

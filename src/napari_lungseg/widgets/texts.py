"""Texts that may hold names from files, shown as they are: nothing in them is taken for HTML."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QMessageBox, QWidget


def plain_label(text: str = "") -> QLabel:
    """Make a label that shows its text letter by letter."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def html_label() -> QLabel:
    """Make a label for HTML; names in it go through :func:`html.escape`."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.RichText)
    return label


def set_plain_tooltip(widget: QWidget, text: str) -> None:
    """Show a text letter by letter under the pointer; Qt guesses whether a tooltip is HTML, and cannot be told."""
    widget.setToolTip(f"<span>{escape(text)}</span>" if text else "")


def show_status(label: QLabel, text: str) -> None:
    """Show a line of status, which may be cut short, and all of it under the pointer; hide the label where there is none."""
    label.setText(text)
    set_plain_tooltip(label, text)
    label.setVisible(bool(text))


def plain_box(box: QMessageBox) -> QMessageBox:
    """Make a question show its text letter by letter."""
    box.setTextFormat(Qt.TextFormat.PlainText)
    return box

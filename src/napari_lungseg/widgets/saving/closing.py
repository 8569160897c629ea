"""The question before a window closes with work that is not saved."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import plain_box


def ask_unsaved(parent: QWidget | None, why: str) -> bool | Path:
    """Ask whether to close: True to close without saving, False to stay, or a folder to save in first."""
    box = plain_box(QMessageBox(parent))
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle(tr("Not saved"))
    box.setText(tr("Some of your corrections are not on disk."))
    box.setInformativeText(why)
    elsewhere = box.addButton(tr("Save in another folder …"), QMessageBox.ButtonRole.AcceptRole)
    leave = box.addButton(tr("Close without saving"), QMessageBox.ButtonRole.DestructiveRole)
    box.addButton(tr("Cancel"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(elsewhere)
    box.exec()
    if box.clickedButton() is elsewhere:
        folder = QFileDialog.getExistingDirectory(parent, tr("A folder to save the work in"))
        return Path(folder) if folder else False
    return box.clickedButton() is leave

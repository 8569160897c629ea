"""What is asked when a file is opened: which of several images, and whether to fill gaps between slices.

Where nobody can be asked (a reader called from a script or another thread) what is to be asked is raised instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from qtpy.QtCore import Qt, QThread
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QMessageBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_lungseg.formats import SeriesChoiceError, SeriesInfo, UnevenSlicesError
from napari_lungseg.translation import mark
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import plain_box, plain_label

_HEADINGS = (mark("Number"), mark("Description"), mark("Part"), mark("Columns x rows x slices"), "mm")


class Choice(NamedTuple):
    """What a person chose.

    Attributes
    ----------
    keys : set of str
        Keys of the images; none where the dialog was cancelled.
    as_time : bool
        Whether they are to be one layer with an axis of time.
    """

    keys: set[str]
    as_time: bool


class SeriesDialog(QDialog):
    """A list of images to choose one or several from.

    Parameters
    ----------
    name : str
        What holds them.
    choices : sequence of SeriesInfo
        The images; the largest is selected, or all of them where they are the points of time of one.
    parent : QWidget, optional
        Window to lie over.
    """

    def __init__(self, name: str, choices: tuple[SeriesInfo, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Which images?"))
        self.list = QTreeWidget()
        self.list.setHeaderLabels([tr(heading) for heading in _HEADINGS])
        self.list.setRootIsDecorated(False)
        self.list.setSelectionMode(QTreeWidget.SelectionMode.ExtendedSelection)
        self.list.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for info in choices:
            size, steps = " x ".join(map(str, info.shape[::-1])), " x ".join(f"{step:.3g}" for step in info.spacing[::-1] if step)
            item = QTreeWidgetItem([info.key, info.description, info.part, size, steps])
            item.setData(0, Qt.ItemDataRole.UserRole, info.key)
            self.list.addTopLevelItem(item)
        alike = len({(info.description, info.shape, info.spacing, bool(info.part)) for info in choices}) == 1
        self.as_time = QCheckBox(tr("One layer with an axis of time"))
        self.as_time.setToolTip(tr("For images of one size and place: the phases of a breath or a heart beat."))
        self.as_time.setChecked(alike)
        largest = max(range(len(choices)), key=lambda index: choices[index].shape[0])
        for index in range(len(choices)):
            item = self.list.topLevelItem(index)
            assert item is not None
            item.setSelected(alike or index == largest)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        # Qt has words of its own for them only where its translations are installed.
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setText(tr("Open"))
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setText(tr("Cancel"))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.list.itemDoubleClicked.connect(lambda *_: self.accept())
        self.list.itemSelectionChanged.connect(self._selected)
        layout = QVBoxLayout(self)
        layout.addWidget(plain_label(tr("{name} holds {count} images:", name=name, count=len(choices))))
        for widget in (self.list, self.as_time, self.buttons):
            layout.addWidget(widget)
        self.resize(640, 320)
        self._selected()

    def keys(self) -> set[str]:
        """Keys of what is selected."""
        return {item.data(0, Qt.ItemDataRole.UserRole) for item in self.list.selectedItems()}

    def _selected(self) -> None:
        count = len(self.keys())
        self.as_time.setEnabled(count > 1)
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(count > 0)


def ask_series(path: Path, error: SeriesChoiceError) -> Choice:
    """Which of the images of a path to open; raises the error where nobody can be asked."""
    if not _can_ask():
        raise error
    dialog = SeriesDialog(path.name, error.choices, QApplication.activeWindow())
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    return Choice(dialog.keys() if accepted else set(), dialog.as_time.isChecked())


def ask_fill_gaps(path: Path, error: UnevenSlicesError) -> bool:
    """Whether to fill in missing slices; raises the error where nobody can be asked."""
    if not _can_ask():
        raise error
    text = tr("Slices of {name} are missing or unevenly spaced. Fill them in between their neighbours?", name=path.name)
    box = plain_box(QMessageBox(QMessageBox.Icon.Question, tr("Slices are missing"), text, parent=QApplication.activeWindow()))
    box.setInformativeText(tr("{problem}. What is filled in is no measurement.", problem=str(error).partition("; export")[0]))
    fill = box.addButton(tr("Fill in"), QMessageBox.ButtonRole.AcceptRole)
    box.addButton(tr("Cancel"), QMessageBox.ButtonRole.RejectRole)
    box.exec()
    return bool(box.clickedButton() is fill)


def _can_ask() -> bool:
    application = QApplication.instance()
    return application is not None and QThread.currentThread() == application.thread()

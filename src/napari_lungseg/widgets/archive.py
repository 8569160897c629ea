"""A DICOM archive in the window: open a series of it, and send a mask back to the study of its series."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_lungseg.archive.client import Archive, ArchiveSeries
from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder
from napari_lungseg.formats.dicomseg import SegOrigin
from napari_lungseg.home import user_data
from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.notices import show_error, show_info
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.tasks import Task, run_once
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.widgets.writers import save_dicom_seg

_HEADINGS = (mark("Date"), mark("Patient"), mark("Series"), mark("Images"))
#: Folder, in this user's data, of series that came from archives.
SERIES_FOLDER = "archive"


class ArchiveDialog(QDialog):
    """Find CT series in an archive and get one of them.

    Parameters
    ----------
    parent : QWidget or None
        Window to lie over.
    """

    #: The folder of a series that is here, and its description.
    got = Signal(object, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Open from an archive"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.url, self.patient, self.date = _url_line(), QLineEdit(), QLineEdit()
        self.patient.setPlaceholderText(tr("PatientID; * stands for anything"))
        self.date.setPlaceholderText(tr("20260101, or 20260101-20261231"))
        self.list = QTreeWidget()
        self.list.setHeaderLabels([tr(heading) for heading in _HEADINGS])
        self.list.setRootIsDecorated(False)
        self.list.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.status = plain_label()
        self.status.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Cancel).setText(tr("Cancel"))
        self.find = buttons.addButton(tr("Find"), QDialogButtonBox.ButtonRole.ActionRole)
        self.open = buttons.addButton(tr("Open"), QDialogButtonBox.ButtonRole.AcceptRole)
        form = QFormLayout()
        for label, line in ((tr("Address"), self.url), (tr("Patient"), self.patient), (tr("Date of study"), self.date)):
            form.addRow(label, line)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for part in (self.list, self.status, buttons):
            layout.addWidget(part)
        self.resize(720, 420)
        self._found: list[ArchiveSeries] = []
        self._chosen: ArchiveSeries | None = None
        self._task = Task(self, say("The archive"))
        self._task.yielded.connect(self._came)
        self._task.returned.connect(self._returned)
        self._task.failed.connect(self._failed)
        self.find.clicked.connect(self._find)
        self.open.clicked.connect(self._open)
        buttons.rejected.connect(self.reject)
        self.list.itemSelectionChanged.connect(self._allow)
        self.list.itemDoubleClicked.connect(lambda *_: self._open())
        self.finished.connect(lambda _: self._task.cancel())
        self._allow()

    def _find(self) -> None:
        preferences().archive.url = self.url.text().strip()
        self.status.setText(tr("Asking the archive …"))
        self.list.clear()
        self._task.run(_find, *(line.text().strip() for line in (self.url, self.patient, self.date)))
        self._allow()

    def _open(self) -> None:
        chosen = self.list.selectedItems()
        if chosen and not self._task.busy:
            self._chosen = self._found[self.list.indexOfTopLevelItem(chosen[0])]
            self._task.run(_get, self.url.text().strip(), self._chosen)
            self._allow()

    def _came(self, done: tuple[int, int]) -> None:
        self.status.setText(tr("Image {done} of {all} has come …", done=done[0], all=done[1]))

    def _returned(self, value: list[ArchiveSeries] | Path) -> None:
        if isinstance(value, Path):
            assert self._chosen is not None
            self.got.emit(value, self._chosen.description or self._chosen.modality)
            self.accept()
            return
        self._found = value
        for one in value:
            item = QTreeWidgetItem([one.date, one.patient, one.description, str(one.images or "?")])
            self.list.addTopLevelItem(item)
        self.status.setText("" if value else tr("There is no such CT series."))
        self._allow()

    def _failed(self, text: str) -> None:
        self.status.setText(tr(text))
        self._allow()

    def _allow(self) -> None:
        self.find.setEnabled(not self._task.busy)
        self.open.setEnabled(not self._task.busy and bool(self.list.selectedItems()))


class SendDialog(QDialog):
    """Ask where a mask is to be sent, and send it.

    Parameters
    ----------
    lungs : Labels
        The mask.
    time_index : tuple of int
        Of its layer.
    origin : SegOrigin
        What made it.
    parent : QWidget or None
        Window to lie over.
    """

    def __init__(self, lungs: Labels, time_index: tuple[int, ...], origin: SegOrigin, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Send {name}", name=lungs.name))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._lungs, self._time_index, self._origin = lungs, time_index, origin
        self.url = _url_line()
        self.with_patient = QCheckBox(tr("Copy patient and study from the series"))
        self.with_patient.setToolTip(tr("Without them, archives such as Orthanc file the mask under a patient of its own."))
        self.with_patient.setChecked(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Cancel).setText(tr("Cancel"))
        self.send = buttons.addButton(tr("Send"), QDialogButtonBox.ButtonRole.AcceptRole)
        form = QFormLayout(self)
        form.addRow(tr("Address"), self.url)
        form.addRow(self.with_patient)
        form.addRow(buttons)
        self.resize(520, self.sizeHint().height())
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.accepted.connect(self._send)

    def _send(self) -> None:
        url = preferences().archive.url = self.url.text().strip()
        origin = replace(self._origin, with_patient=self.with_patient.isChecked())
        what = say("Sending {name}", name=self._lungs.name)
        run_once(self.parent(), what, _send, url, self._lungs, self._time_index, origin, done=show_info, failed=show_error)


def _url_line() -> QLineEdit:
    line = QLineEdit(preferences().archive.url)
    line.setPlaceholderText("https://pacs.example.org/dicom-web")
    return line


def _find(url: str, patient: str, date: str) -> list[ArchiveSeries]:
    found = Archive(url).find(Modality="CT", PatientID=patient, StudyDate=date)
    return sorted(found, key=lambda one: (one.date, one.patient, one.description, one.uid))


def _get(url: str, series: ArchiveSeries) -> Generator[tuple[int, int], None, Path]:
    """Get a series, unless all of its images are here; the folder has its name only when it is whole."""
    archive, folder = Archive(url), user_data() / SERIES_FOLDER / series.uid
    images = archive.images(series)
    if folder.is_dir() and sorted(file.stem for file in folder.iterdir()) == images:
        return folder
    make_folder(folder.parent)
    done = 0
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as scratch:
        for done in archive.fetch(series, Path(scratch, "series")):
            yield done, len(images)
        if done < len(images):
            raise InputError(say("Of {all} images only {done} came; try again.", all=len(images), done=done))
        shutil.rmtree(folder, ignore_errors=True)
        Path(scratch, "series").rename(folder)
    return folder


def _send(url: str, lungs: Labels, time_index: tuple[int, ...], origin: SegOrigin) -> str:
    archive = Archive(url)
    with tempfile.TemporaryDirectory(prefix="lungseg-") as scratch:
        archive.store(save_dicom_seg(lungs, Path(scratch, "mask.dcm"), time_index, origin))
    return tr("{name} is in the archive.", name=lungs.name)

"""The line below the modules: whether all is saved, what was found again, and what can be done with the workspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Labels, Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_lungseg.formats.dicomseg import SegOrigin
from napari_lungseg.translation import mark, say, say_n
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.archive import ArchiveDialog, SendDialog
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.lookup import is_image, result_for, result_of, results_in
from napari_lungseg.widgets.notices import show_error, show_info, show_warning
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.saving.recognition import Offer, describe
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.saving.waiting import Status
from napari_lungseg.widgets.tasks import run_once
from napari_lungseg.widgets.texts import plain_label, set_plain_tooltip
from napari_lungseg.widgets.view import TimeIndex, displayed_time_index, voxel_shape
from napari_lungseg.widgets.writers import save_layer
from napari_lungseg.workspace import Workspace, export_nnunet, export_record, read_mask

UNSAVED = "color: #ff6b6b; font-weight: bold"
MASK_FILES = mark("Masks (*.nii.gz *.nii *.nrrd *.seg.nrrd *.mha *.tif *.png);;All files (*)")
LABEL_FILES = mark(
    "3D Slicer segmentation (*.seg.nrrd);;NIfTI (*.nii.gz);;NRRD (*.nrrd);;MetaImage (*.mha);;DICOM-SEG (*.dcm);;OME-TIFF (*.tif);;"
    "PNG, a folder of slices (*.png)"
)


class WorkspaceBar(QWidget):
    """How saving stands, and the workspace's menu.

    Parameters
    ----------
    session : Session
        Of the viewer.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.status = plain_label()
        self.offer_text = plain_label()
        self.restore = QPushButton(tr("Restore"))
        self.leave = QPushButton(tr("Not now"))
        self.menu = QMenu(self)
        for text, slot in (
            (tr("Choose another workspace …"), self._choose),
            (tr("Export the mask …"), self._export),
            (tr("Export all as an nnU-Net data set …"), self._export_all),
            (tr("Start from a mask in a file …"), self._import),
            (tr("Save the record as a table …"), self._export_record),
            (tr("Open from an archive …"), self._open_from_archive),
            (tr("Send the mask to an archive …"), self._send),
        ):
            self.menu.addAction(text, slot)
        self._offer_box = QWidget()
        self._lay_out()
        self.restore.clicked.connect(self._take_up)
        self.leave.clicked.connect(self._leave)
        session.told.connect(self._tell)
        session.recognition.changed.connect(self._show_offer)
        self._tell(session.status)
        self._show_offer()

    def _lay_out(self) -> None:
        for label in (self.status, self.offer_text):
            label.setWordWrap(True)
            label.setMinimumWidth(1)
        button = QToolButton()
        button.setText(tr("Workspace"))
        # Room for the arrow, which napari's style sheet draws over the text.
        button.setStyleSheet("QToolButton { padding-right: 12px; }")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setMenu(self.menu)
        answers = QHBoxLayout()
        answers.addWidget(self.restore)
        answers.addWidget(self.leave)
        answers.addStretch()
        offer = QVBoxLayout(self._offer_box)
        offer.setContentsMargins(0, 0, 0, 0)
        offer.addWidget(self.offer_text)
        offer.addLayout(answers)
        line = QHBoxLayout()
        line.addWidget(self.status, stretch=1)
        line.addWidget(button, alignment=Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 2, 8, 6)
        layout.addWidget(self._offer_box)
        layout.addLayout(line)

    # ---- what is shown

    def _tell(self, status: Status) -> None:
        style = "" if status.safe else UNSAVED
        if status.text != self.status.text():
            self.status.setText(status.text)
            set_plain_tooltip(self.status, status.text)
        # Even the same one would be laid out and drawn anew.
        if style != self.status.styleSheet():
            self.status.setStyleSheet(style)

    def _show_offer(self) -> None:
        offers, unfinished = self.session.offers, self.session.unfinished
        self._offer_box.setVisible(bool(offers or unfinished))
        if offers:
            self.offer_text.setText(tr("{found} Restore it?", found=describe(self._offered)))
        elif unfinished:
            self.offer_text.setText(tr("napari ended unexpectedly. Your work on {name} is saved; open it again?", name=unfinished[0].name))
        self.restore.setText(tr("Restore") if offers else tr("Open"))

    @property
    def _offered(self) -> list[Offer]:
        """What is offered now: the work on one image, at all time points."""
        offers = self.session.offers
        return [offer for offer in offers if offer.layer == offers[0].layer]

    def _take_up(self) -> None:
        if self.session.offers:
            for offer in self._offered:
                self.session.recognition.accept(offer)
        elif self.session.unfinished and self.session.unfinished[0].path is not None:
            self.session.recognition.go_on(self.session.unfinished[0].path)

    def _leave(self) -> None:
        if self.session.offers:
            for offer in self._offered:
                self.session.recognition.decline(offer)
        else:
            self.session.recognition.pass_over()

    # ---- the menu

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("A folder to keep the work in"))
        if folder:
            preferences().workspace.folder = folder
            self.session.choose(Path(folder))

    def _export(self) -> None:
        lungs = self._mask()
        if lungs is None:
            return
        path, _ = QFileDialog.getSaveFileName(self, tr("Export {name}", name=lungs.name), f"{lungs.name}.seg.nrrd", tr(LABEL_FILES))
        if path:
            self._do(
                _export, Path(path), lungs, displayed_time_index(self.session.viewer, lungs), what=say("Exporting {name}", name=lungs.name)
            )

    def _export_all(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("An empty folder for the data set"))
        workspace = self.session.workspace
        if folder and workspace is not None:
            self._do(_export_all, workspace, Path(folder), self.session.tracks, what=say("Exporting the data set"))

    def _export_record(self) -> None:
        workspace = self.session.workspace
        if workspace is None:
            return
        path, _ = QFileDialog.getSaveFileName(self, tr("Who did what when"), "record.csv", "CSV (*.csv)")
        if path:
            self._do(_export_record, workspace, Path(path), what=say("Saving the record"))

    def _open_from_archive(self) -> None:
        dialog = ArchiveDialog(self.window())
        dialog.got.connect(lambda folder, name: self.session.viewer.open(str(folder), plugin="napari-lungseg", name=name))
        dialog.show()

    def _send(self) -> None:
        lungs = self._mask()
        if lungs is None:
            return
        time_index = displayed_time_index(self.session.viewer, lungs)
        result = next(result for result in results_in(self.session.viewer) if result.lungs == lungs)
        source = result.document(time_index).source
        origin = SegOrigin() if source is None else SegOrigin(model=source.model, weights_sha256=source.weights_sha256)
        SendDialog(lungs, time_index, origin, self.window()).show()

    def _import(self) -> None:
        viewer = self.session.viewer
        active = viewer.layers.selection.active
        images = [layer for layer in viewer.layers if is_image(layer)]
        image = active if active in images else images[-1] if images else None
        if image is None:
            show_warning(tr("Open the image first that the mask belongs to."))
            return
        path, _ = QFileDialog.getOpenFileName(self, tr("A mask of {name}", name=image.name), "", tr(MASK_FILES))
        if path:
            self.start_from(Path(path), image)

    def start_from(self, path: Path, image: Layer) -> None:
        """Make the mask in a file the mask of an image."""
        time_index = displayed_time_index(self.session.viewer, image)
        self._do(
            _read_mask, path, image, time_index, what=say("Reading {name}", name=path.name), done=partial(self._imported, image, time_index)
        )

    def _imported(self, image: Layer, time_index: TimeIndex, read: tuple[Volume, Volume, str]) -> None:
        volume, mask, name = read
        viewer = self.session.viewer
        if image not in viewer.layers:
            return
        result = result_of(image)
        if voxel_shape(image)[len(time_index) :] != volume.shape:
            show_warning(tr("{name} has changed its shape meanwhile; choose the file again.", name=image.name))
            return
        shown = image.name
        if time_index:
            point = "/".join(map(str, time_index))
            shown = say_n("{image} at time point {time}", "{image} at time points {time}", 1, image=image.name, time=point)
        if result is not None and result.has_lungs(viewer) and (not time_index or result.holds(time_index)):
            show_warning(tr("{image} has a mask already; remove it first. The file was not taken.", image=shown))
            return
        result_for(viewer, image, voxel_shape(image)).start_from(viewer, time_index, volume, mask.array, name)
        show_info(" ".join((tr("{name} is the mask of {image} now.", name=name, image=shown), *map(tr, mask.notes))))

    def _mask(self) -> Labels | None:
        viewer = self.session.viewer
        active = viewer.layers.selection.active
        masks = [result.lungs for result in results_in(viewer)]
        if active in masks:
            return active
        if not masks:
            show_warning(tr("There is no mask yet: segment an image first."))
            return None
        return masks[-1]

    def _do(self, function: Callable[..., Any], *args: Any, what: str, done: Callable[[Any], None] | None = None) -> None:
        """Work on files in the background."""
        run_once(self, what, function, *args, done=done or show_info, failed=show_error)


def _export(path: Path, lungs: Labels, time_index: TimeIndex) -> str:
    return tr("Saved {path}.", path=save_layer(lungs, path, time_index))


def _export_all(workspace: Workspace, folder: Path, targets: list[SaveTarget]) -> str:
    # Images that are open; the files of the others are read.
    images = {
        target.case.image: replace(target.volume, unit=target.unit)
        for target in targets
        if target.case is not None and target.unit is not None and target.has_image
    }
    return export_nnunet(workspace, folder, images=images).text


def _export_record(workspace: Workspace, path: Path) -> str:
    return tr("Saved {path}.", path=export_record(workspace, path))


def _read_mask(path: Path, image: Layer, time_index: TimeIndex) -> tuple[Volume, Volume, str]:
    volume = volume_from_layer(image, time_index)
    return volume, read_mask(path, volume), path.name

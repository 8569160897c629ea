"""Choose what to learn from, in a part of the form of Train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, SpinBox
from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_lungseg.annotation.document import MODEL_CAUSES
from napari_lungseg.errors import InputError
from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import folded, form, make_button, shorten
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import is_image, is_mask, result_holding
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.texts import set_plain_tooltip
from napari_lungseg.widgets.train.chosen_input import ChosenFolder, ChosenInput, ChosenLayers, ChosenWorkspace
from napari_lungseg.widgets.view import displayed_time_index

if TYPE_CHECKING:
    import napari.viewer

KINDS = ((mark("These layers"), "layers"), (mark("This workspace"), "workspace"), (mark("A folder"), "folder"))
#: Pixels for the name of a folder.
NAME_WIDTH = 260


class ChooseForm(Panel):
    """What to learn from: an image and its labels, the workspace, or a data set folder.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers can be chosen.
    session : Session
        Of the viewer.
    """

    #: Something else is chosen, or what is chosen has changed.
    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, session: Session) -> None:
        super().__init__(viewer)
        self._session = session
        self._path: Path | None = None
        #: What tells of strokes on the chosen labels, and who hears it.
        self._heard: tuple[Any, Any] | None = None
        self.kind = ComboBox(
            label=tr("Learn from"), choices=[(tr(text), kind) for text, kind in KINDS], tooltip=tr("Where corrected slices are taken from.")
        )
        self.labels = ComboBox(label=tr("Labels"), choices=self._masks, tooltip=tr("The corrected mask."))
        self.image = ComboBox(label=tr("Image"), choices=self._images, tooltip=tr("The image that the labels belong to."))
        self.folder = make_button(tr("Choose a folder …"), tr("An nnU-Net data set, or images and masks of the same names in two folders."))
        self.scribbles = CheckBox(
            text=tr("Unpainted is unknown"), tooltip=tr("Learn only from voxels that have a label, as from scribbles.")
        )
        self.background = SpinBox(
            label=tr("Background label"), value=3, min=1, max=254, tooltip=tr("The label with which you have painted what is no structure.")
        )
        self._layers = QWidget()
        self._lay_out()
        self.kind.changed.connect(self._show)
        self.labels.changed.connect(self._labels_chosen)
        for control in (self.image, self.scribbles, self.background):
            control.changed.connect(lambda _: self.changed.emit())
        self.folder.clicked.connect(self._choose_folder)
        session.saved.connect(self._saved)
        session.opened.connect(self._saved)
        self.listen_to_layers(self._layers_changed)
        self._show()
        self._labels_chosen()

    def chosen(self) -> ChosenInput:
        """What is chosen.

        Raises
        ------
        InputError
            When that is not enough.
        """
        session = self._session
        if self.kind.value == "workspace":
            if session.workspace is None:
                raise InputError(tr("There is no workspace: choose one below."))
            kept = [target for target in session.tracks if target.has_image]
            known = {target.case.image: (target.layer, target.document.time_index) for target in kept if target.case is not None}
            return ChosenWorkspace(session.workspace, known)
        if self.kind.value == "folder":
            if self._path is None:
                raise InputError(tr("Choose the folder of a data set."))
            return ChosenFolder(self._path)
        labels, image = self.labels.value, self.image.value
        if labels is None or image is None:
            raise InputError(tr("Open an image, segment it and correct some slices, or open labels beside it."))
        result, time_index = result_holding(self.viewer, labels), displayed_time_index(self.viewer, labels)
        target = session.tracking.known(result, time_index)
        case = None if target is None else target.case
        background = int(self.background.value) if self.scribbles.value else None
        return ChosenLayers(image, labels, time_index, result, session.workspace, case, background)

    def take_folder(self, folder: Path) -> None:
        """Learn from a data set folder."""
        self._path = folder
        self.folder.setText(self.folder.fontMetrics().elidedText(folder.name, Qt.TextElideMode.ElideMiddle, NAME_WIDTH))
        set_plain_tooltip(self.folder, str(folder))
        self.kind.value = "folder"
        self.changed.emit()

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("A data set folder"))
        if folder:
            self.take_folder(Path(folder))

    def _masks(self, _: Any = None) -> list[Layer]:
        return [layer for layer in reversed(self.viewer.layers) if is_mask(layer)]

    def _images(self, _: Any = None) -> list[Layer]:
        return [layer for layer in reversed(self.viewer.layers) if is_image(layer)]

    def _layers_changed(self, _: Any = None) -> None:
        self.labels.reset_choices()
        self.image.reset_choices()
        self._labels_chosen()

    def _labels_chosen(self, _: Any = None) -> None:
        labels = self.labels.value
        self._hear_no_more()
        if labels is not None:
            result = result_holding(self.viewer, labels)
            self._heard = (labels.events.paint, self._painted) if result is None else (result.changed, self._edited)
            self._heard[0].connect(self._heard[1])
            if result is not None and is_image(result.image) and result.image in self.viewer.layers:
                self.image.value = result.image
        self.changed.emit()

    def _hear_no_more(self) -> None:
        if self._heard is not None:
            signal, heard = self._heard
            signal.disconnect(heard)
        self._heard = None

    def _painted(self, _: Any = None) -> None:
        self.changed.emit()

    def _edited(self, _: Any, cause: str) -> None:
        if cause not in MODEL_CAUSES:
            self.changed.emit()

    def _saved(self, *_: Any) -> None:
        self.changed.emit()

    def _show(self, _: Any = None) -> None:
        self._layers.setVisible(self.kind.value == "layers")
        self.folder.setVisible(self.kind.value == "folder")
        self.changed.emit()

    def _lay_out(self) -> None:
        for combo in (self.kind, self.labels, self.image):
            shorten(combo)
        inner = QVBoxLayout(self._layers)
        inner.addWidget(form(self.labels, self.image))
        inner.addWidget(folded(tr("Scribbles"), form(self.scribbles, self.background)))
        layout = QVBoxLayout(self)
        for box in (inner, layout):
            box.setContentsMargins(0, 0, 0, 0)
            box.setSpacing(6)
        for part in (form(self.kind), self._layers, self.folder):
            layout.addWidget(part)

    def let_go(self) -> None:
        """Hear of strokes no more."""
        self._hear_no_more()

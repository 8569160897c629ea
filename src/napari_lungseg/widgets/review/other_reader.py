"""The mask of another reader: how far it agrees, where it differs most, and what of it is taken."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.errors import InputError
from napari_lungseg.metrics import Scores
from napari_lungseg.readers import Reading, check_names, find_reading
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Box, Volume
from napari_lungseg.widgets.forms import make_button
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import ROLE, layer_geometry
from napari_lungseg.widgets.review.reviewing import Reviewing
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.workspace import Case, Workspace

if TYPE_CHECKING:
    import napari.viewer

HINT = mark(
    "Another person has reviewed this image in a workspace of their own. Review it yourself before you compare: "
    "who has seen another's mask reads no longer for themselves."
)
COLOUR = "#00e5ff"
ROLE_NAME = "other reader"


class OtherReader(QWidget):
    """Compares a mask with another reader's.

    Parameters
    ----------
    session : Session
        Whose workspace this reader's is.
    """

    #: A slice was chosen in the list.
    chosen = Signal(int)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.choose = make_button(tr("Compare with a workspace …"), tr("Choose the folder of another person's workspace; it is only read."))
        self.status = plain_label(tr(HINT))
        self.status.setWordWrap(True)
        self.status.setMinimumWidth(1)
        self.list = QListWidget()
        self.list.setMaximumHeight(130)
        self.list.setToolTip(tr("Slices that the other reader has reviewed, by the area on which your masks differ (mm²)."))
        self.take = make_button(
            tr("Take theirs on this slice"), tr("The slice becomes the other reader's; undo takes that back. Accept it if you agree.")
        )
        self._session = session
        self._reviewing: Reviewing | None = None
        self._index = 0
        self._theirs: Reading | None = None
        self._layer: Labels | None = None
        self._areas: dict[int, float] = {}
        self._task = Task(self, say("Comparing the readers"))
        self._task.yielded.connect(self._arrived)
        self._task.returned.connect(self._compared)
        self._task.failed.connect(self.status.setText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.status, self.list, self.take, self.choose):
            layout.addWidget(widget)
        self.choose.clicked.connect(self._choose)
        self.take.clicked.connect(self._take)
        self.list.itemClicked.connect(lambda item: self.chosen.emit(self._order[self.list.row(item)]))
        self._show()

    @property
    def _order(self) -> list[int]:
        """Slices that differ, the most first."""
        return sorted((index for index, area in self._areas.items() if area), key=lambda index: -self._areas[index])

    def show_slice(self, reviewing: Reviewing | None, index: int) -> None:
        """Follow the mask that is reviewed, and the slice that is shown."""
        if reviewing is not self._reviewing:
            self._let_go()
            self._reviewing = reviewing
            if reviewing is not None:
                reviewing.document.changed.connect(self._mask_changed)
        self._index = index
        self._mark()

    def _let_go(self) -> None:
        self._task.forget()
        if self._reviewing is not None:
            self._reviewing.document.changed.disconnect(self._mask_changed)
        self._put_away()
        self.status.setText(tr(HINT))
        self._show()

    def _put_away(self) -> None:
        """Forget the other mask."""
        layer, self._layer, self._theirs, self._areas = self._layer, None, None, {}
        if layer is not None and layer in self._session.viewer.layers:
            self._session.viewer.layers.remove(layer)

    # ---- compare

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("The workspace of another reader"))
        if folder:
            self.compare(Path(folder))

    def compare(self, folder: Path) -> None:
        """Read another reader's mask of this image, and compare."""
        reviewing, workspace = self._reviewing, self._session.workspace
        if reviewing is None or workspace is None or reviewing.target.case is None:
            self.status.setText(tr("This mask is not in your workspace yet: review a slice first."))
            return
        if folder.resolve() == workspace.folder.resolve():
            self.status.setText(tr("This is your own workspace; choose the other reader's."))
            return
        reviewing.result.finish_edits()
        self.status.setText(tr("Reading the other mask …"))
        self._task.run(_read_other, folder, reviewing.target.case, reviewing.document)

    def _arrived(self, theirs: Reading) -> None:
        assert self._reviewing is not None
        self._put_away()
        self._theirs = theirs
        self._layer = _show_mask(self._session.viewer, self._reviewing, theirs)

    def _compared(self, found: tuple[dict[str, Scores], list[int]]) -> None:
        scores, voxels = found
        assert self._theirs is not None
        assert self._reviewing is not None
        area = self._pixel_mm2
        self._areas = {index: count * area for index, count in zip(sorted(self._theirs.reviewed), voxels, strict=True)}
        self.status.setText(_summary(self._theirs, scores, self._reviewing.document))
        self._show()

    @property
    def _pixel_mm2(self) -> float:
        assert self._reviewing is not None
        document = self._reviewing.document
        spacing = document.probability.spacing
        return float(np.prod([size for axis, size in enumerate(spacing) if len(spacing) == 2 or axis != document.axis]))

    def _mask_changed(self, box: Box, _: str) -> None:
        if self._theirs is None or not self._areas:
            return
        assert self._reviewing is not None
        document, theirs = self._reviewing.document, self._theirs.saved.labels
        for index in document.slices_in(box):
            if index in self._areas:
                where = document.box(index)
                self._areas[index] = float(np.count_nonzero(document.labels[where] != theirs[where])) * self._pixel_mm2
        self._show()

    # ---- what is shown

    def _show(self) -> None:
        self.list.clear()
        for index in self._order:
            self.list.addItem(QListWidgetItem(tr("Slice {index}: {area:.0f} mm² differ", index=index, area=self._areas[index])))
        for widget in (self.list, self.take):
            widget.setVisible(self._theirs is not None)
        self._mark()

    def _mark(self) -> None:
        order = self._order
        self.list.setCurrentRow(order.index(self._index) if self._index in order else -1)
        self.take.setEnabled(bool(self._areas.get(self._index)))

    # ---- decide

    def _take(self) -> None:
        """Make the displayed slice the other reader's."""
        reviewing, theirs = self._reviewing, self._theirs
        if reviewing is None or theirs is None or self._index not in theirs.reviewed:
            return
        box = reviewing.document.box(self._index)
        before = reviewing.document.labels[box].copy()
        after = theirs.saved.labels[box].astype(before.dtype)
        reviewing.result.edit_now(reviewing.document, box, before, after, f"taken from {theirs.reader}")


def _read_other(folder: Path, case: Case, document: MaskDocument) -> Generator[Reading, None, Request]:
    """Read another reader's mask, and ask the engine to compare."""
    with Workspace(folder, for_reading=True) as workspace:
        theirs = find_reading(workspace, case.content)
    if theirs is None:
        raise InputError(tr("The workspace {folder} holds no mask of {name}.", folder=folder, name=case.name))
    # What waits to be read blind is read without another person's mask too.
    theirs = replace(theirs, reviewed=theirs.reviewed - document.blind)
    for index in document.blind:
        theirs.saved.labels[document.box(index)] = 0
    if not theirs.reviewed:
        raise InputError(tr("In the workspace {folder} no slice of {name} has been reviewed yet.", folder=folder, name=case.name))
    check_names(document.names, theirs.names, case.name)
    if theirs.saved.labels.max(initial=0) > np.iinfo(document.labels.dtype).max:
        raise InputError(
            tr(
                "In the workspace {folder} the mask of {name} has labels above {highest}.",
                folder=folder,
                name=case.name,
                highest=np.iinfo(document.labels.dtype).max,
            )
        )
    yield theirs
    ours = replace(document.probability, array=np.array(document.labels), names=document.names)
    other: Volume = replace(ours, array=theirs.saved.labels)
    both = sorted(theirs.reviewed.intersection(document.reviewed))
    return Request("compare readers", (ours, other, document.axis, sorted(theirs.reviewed), both))


def _show_mask(viewer: napari.viewer.Viewer, reviewing: Reviewing, theirs: Reading) -> Labels:
    """Show the outlines of another mask on top of this one."""
    lungs, active = reviewing.result.lungs, viewer.layers.selection.active
    assert lungs is not None
    whole = np.zeros(reviewing.result.shape, theirs.saved.labels.dtype)
    whole[reviewing.document.time_index] = theirs.saved.labels
    geometry = layer_geometry(lungs)
    layer = viewer.add_labels(
        whole,
        name=f"{theirs.reader}: {reviewing.result.image.name}",
        colormap=DirectLabelColormap(color_dict={0: "transparent", None: COLOUR}),
        **geometry | {"metadata": geometry.get("metadata", {}) | {ROLE: ROLE_NAME}},
    )
    layer.contour = 2
    layer.editable = False
    viewer.layers.selection.active = active
    return layer


def _summary(theirs: Reading, scores: dict[str, Scores], document: MaskDocument) -> str:
    """How far the two agree, in words."""
    both = len(theirs.reviewed.intersection(document.reviewed))
    head = tr(
        "{reader} has reviewed {done} of {total} slices, and you {both} of these",
        reader=theirs.reader,
        done=len(theirs.reviewed),
        total=document.slices,
        both=both,
    )
    if not scores:
        return tr("{head}: there is no agreement to tell yet.", head=head)
    return tr("{head}.", head=head) + "\n" + "\n".join(_agreement(label, score) for label, score in scores.items())


def _agreement(label: str, score: Scores) -> str:
    return tr(
        "{label}: Dice {dice:.3f}, surface Dice {nsd:.3f}, {one:.0f} mL against {other:.0f} mL",
        label=tr(label),
        dice=score.dice,
        nsd=score.nsd,
        one=score.volume_ml,
        other=score.reference_ml,
    )

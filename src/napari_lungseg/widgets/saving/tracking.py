"""The masks of one viewer on their way to the workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QApplication

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.volume import Box
from napari_lungseg.widgets.documents import documents_of
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.saving.autosave import Autosave
from napari_lungseg.widgets.saving.states import SliceStates
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.saving.waiting import Note
from napari_lungseg.widgets.view import TimeIndex, voxel_shape
from napari_lungseg.workspace import Case, Workspace

if TYPE_CHECKING:
    import napari.viewer


class Tracking(QObject):
    """Hears what changes in the documents of a viewer, and gives it to the autosave.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose masks are saved.

    Attributes
    ----------
    workspace : Workspace or None
        Where they are saved.
    watched : dict
        Masks that are heard, with what ends that.
    restoring : dict
        Cases of the masks that are being restored.
    """

    #: Slices are on disk: where they are saved, and their indices.
    saved = Signal(object, list)
    #: Something of a mask is to be saved: where.
    begun = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace: Workspace | None = None
        self.watched: dict[MaskLayer, Callable[[], None]] = {}
        self.restoring: dict[tuple[MaskLayer, TimeIndex], Case] = {}
        self._viewer = viewer
        self._targets: dict[MaskDocument, SaveTarget] = {}
        self._states: dict[SaveTarget, SliceStates] = {}
        self._autosave: Autosave
        self.saved.connect(self._read_states)
        viewer.layers.events.removed.connect(self._forget_gone)
        documents_of(viewer).begun.connect(self._watch)

    def save_by(self, autosave: Autosave) -> None:
        """Give what changes from now on to this autosave, which is still opening its workspace."""
        self.workspace, self._autosave = None, autosave
        autosave.saved.connect(self.saved)
        autosave.unseen.connect(self._unseen)

    def save_again(self, others: Iterable[SaveTarget]) -> None:
        """Save all masks, and others of which something still waited, in another workspace."""
        targets = self.targets
        for target in targets + [target for target in others if target not in targets]:
            target.case = None
            self._autosave.watch(target)
            self._autosave.put(target, range(target.document.slices), "another workspace")
            if target in targets:
                self._states[target].tell_again()
            else:
                self._autosave.forget(target)

    def close(self) -> None:
        """Hear of nothing any more."""
        documents_of(self._viewer).begun.disconnect(self._watch, missing_ok=True)
        self._viewer.layers.events.removed.disconnect(self._forget_gone)
        while self.watched:
            self.watched.popitem()[1]()

    def known(self, result: MaskLayer | None, time_index: TimeIndex) -> SaveTarget | None:
        """Where a mask is saved, if something of it was to be saved."""
        return None if result is None or time_index not in result.documents else self._targets.get(result.document(time_index))

    def pending(self, target: SaveTarget) -> bool:
        """Whether something waits to be saved."""
        return self._autosave.pending(target)

    def give_image(self, result: MaskLayer, targets: Iterable[SaveTarget], image: Any) -> None:
        """Give a mask whose image was removed another layer of the same image."""
        self.watched.pop(result)()
        for target in targets:
            target.layer = image
        documents_of(self._viewer).give_image(result, image)

    def target(self, result: MaskLayer, time_index: TimeIndex) -> SaveTarget:
        """Where the mask of a time point is saved."""
        document = result.document(time_index)
        if document not in self._targets:
            target = self._targets[document] = SaveTarget.of(result, document)
            if (result, time_index) in self.restoring:
                target.belong(self.restoring[result, time_index])
            self._autosave.watch(target)
            self._states[target] = SliceStates(target, self._note, lambda: self.workspace)
        return self._targets[document]

    def states(self, target: SaveTarget) -> SliceStates:
        """How far the work on the slices has come."""
        return self._states[target]

    def _read_states(self, target: SaveTarget, _: list[int]) -> None:
        if target in self._states:
            self._states[target].read()

    def _note(self, target: SaveTarget, note: Note) -> None:
        self._autosave.note(target, note)

    @property
    def targets(self) -> list[SaveTarget]:
        """Where all masks that are watched are saved."""
        return list(self._targets.values())

    def _watch(self, result: MaskLayer) -> None:
        """Hear of a mask."""
        self._forget_gone()
        if result.lungs is None or result.lungs not in self._viewer.layers or result in self.watched:
            return
        image, changed, replaced = result.image, partial(self._changed, result), partial(self._image_replaced, result)
        result.changed.connect(changed)
        image.events.data.connect(replaced)

        def end() -> None:
            result.changed.disconnect(changed)
            image.events.data.disconnect(replaced)

        self.watched[result] = end

    def _forget_gone(self, _: Any = None) -> None:
        """Hear no longer of masks whose layers have gone; what still waits to be saved of them is with the autosave."""
        layers = self._viewer.layers
        for result in [result for result in self.watched if result.lungs is None or result.lungs not in layers]:
            self.watched.pop(result)()
        masks = [*self.watched, *(mask for mask in documents_of(self._viewer).masks if mask.lungs in layers)]
        kept = {document for mask in masks for document in mask.documents.values()}
        for document in [document for document in self._targets if document not in kept]:
            self._forget(document)

    def _forget(self, document: MaskDocument) -> None:
        target = self._targets.pop(document)
        self._autosave.forget(target)
        self._states.pop(target).end()

    def _changed(self, result: MaskLayer, box: Box, cause: str, document: MaskDocument) -> None:
        if cause == "restored":
            return  # from the workspace
        # A mask that was begun empty is no work yet, so that a time series is kept only where there is some.
        if cause != "import" or document in self._targets or document.labels.any():
            target = self.target(result, document.time_index)
            self._autosave.put(target, document.slices_in(box), cause)
            self.begun.emit(target)

    def _image_replaced(self, result: MaskLayer, _: Any = None) -> None:
        """Keep a mask under what its image shows now; what it was before stays under the old one."""
        if result.lungs is None or voxel_shape(result.image) != result.shape:
            return
        for document in result.documents.values():
            if (target := self._targets.get(document)) is None:
                continue
            if self._autosave.pending(target):
                # What is painted from now on belongs to the new image.
                target.document = document.copy()
            self._forget(document)
            self._autosave.put(self.target(result, document.time_index), range(document.slices), "image replaced")
        documents_of(self._viewer).begun.emit(result)

    def _unseen(self, target: SaveTarget) -> None:
        # A stroke that is on its way will be told of when it ends.
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton:
            for result in self.watched:
                if target.document in result.documents.values():
                    result.sync()

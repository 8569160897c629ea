"""Between the documents of one image's mask, one for each time point, and the layers that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_lungseg.annotation import Making, MaskDocument
from napari_lungseg.annotation.document import IMPORT
from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import Corrections
from napari_lungseg.steps import Step, as_box
from napari_lungseg.volume import Array, Box, Volume
from napari_lungseg.widgets.appearance import add_probability_image, add_probability_labels, label_names, make_lungs
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import BLIND, ROLE, layer_geometry, volume_from_layer
from napari_lungseg.widgets.napari_compat import Strokes, replace_undo
from napari_lungseg.widgets.notices import show_error, show_info
from napari_lungseg.widgets.remask import Remasker
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.view import OUTSIDE, TimeIndex
from napari_lungseg.widgets.worker import sentence
from napari_lungseg.workspace import Saved

if TYPE_CHECKING:
    import napari.viewer


class MaskLayer:
    """The mask of one image layer: its documents, the layer of labels, and that of the probability.

    A stroke on the layer goes into the document of its time point; what a document changes is shown.
    All methods run on the GUI thread; none does more than copy slices.

    Parameters
    ----------
    image : Image or Labels
        The layer that is segmented; the mask itself where it lies on no image.
    shape : tuple of int
        Shape of its voxels, time axes included, colours not.
    """

    #: Labels have changed: a box of a document, why, and the document.
    changed = Signal(tuple, str, MaskDocument)
    #: A step was undone (False) or done again (True).
    stepped = Signal(Step, bool)
    #: There is a layer of the mask now, or labels were restored.
    begun = Signal()

    def __init__(self, image: Layer, shape: tuple[int, ...]) -> None:
        self.image, self.shape = image, shape
        self.lungs: Labels | None = None
        self.probability: Layer | None = None
        self.documents: dict[TimeIndex, MaskDocument] = {}
        #: Where brush, fill and polygon may change labels, given a document, a box, and the labels in it; None for everywhere.
        self.allowed: Callable[[MaskDocument, Box, Array], npt.NDArray[np.bool_]] | None = None
        self._percent = np.zeros(shape, np.uint8)
        self.remasker = Remasker()
        self.remasker.written.connect(self.refresh)
        self._editing = Stretches(self.remasker)
        self._edit: Step | None = None
        self._named: dict[int, str] = {}
        self._strokes: Strokes | None = None

    # ---- documents

    def document(self, time_index: TimeIndex) -> MaskDocument:
        """The document of a time point."""
        return self.documents[time_index]

    def predicted(self, time_index: TimeIndex) -> MaskDocument | None:
        """The document of a time point of which some has been predicted."""
        document = self.documents.get(time_index)
        return document if document is not None and document.predicted else None

    @property
    def corrections(self) -> Corrections:
        """Who set what, at the first time point; what can be undone is the same for all."""
        return next(iter(self.documents.values())).corrections

    @property
    def names(self) -> dict[int, str]:
        """What the labels of the mask are called."""
        return {label: name for document in self.documents.values() for label, name in document.names.items()}

    def _begin(self, labels: Array) -> None:
        """Make a document for each time point of the labels."""
        self.remasker.forget()
        self.documents = {}
        known: MaskDocument | None = None
        for time_index in np.ndindex(self.shape[:-3]):
            grid = volume_from_layer(self.image, time_index, "arbitrary")
            known = MaskDocument(labels[time_index], grid, percent=self._percent[time_index], beside=known, time_index=time_index)
            known.changed.connect(partial(self._changed, known))
            known.remade.connect(self._name_labels)
            known.blinded.connect(self._mark_blind)
            self.documents[time_index] = known
        # All of them are told of each step; the last one when all have made it.
        assert known is not None
        known.stepped.connect(self._stepped)

    def _changed(self, document: MaskDocument, box: Box, cause: str) -> None:
        self.changed.emit(box, cause, document)

    def parts(self, box: Box | None) -> Iterator[tuple[MaskDocument, Box | None]]:
        """The documents that a box of the layer reaches, and where in each."""
        leading = max(0, len(self.shape) - 3)
        for time_index, document in self.documents.items():
            if box is None:
                yield document, None
            elif all(part.start <= index < part.stop for part, index in zip(box, time_index)):
                yield document, box[leading:]

    # ---- layers

    def complete(self, viewer: napari.viewer.Viewer) -> bool:
        """Whether the image and both result layers are still in the viewer, with voxels of the right shape."""
        return self.image in viewer.layers and self.has_lungs(viewer) and self.probability in viewer.layers

    def has_lungs(self, viewer: napari.viewer.Viewer) -> bool:
        """Whether the mask is still in the viewer, with voxels of the right shape."""
        return self.lungs is not None and self.lungs in viewer.layers and self._fits()

    def _fits(self) -> bool:
        return self.lungs is not None and isinstance(self.lungs.data, np.ndarray) and self.lungs.data.shape == self.shape

    def show(self, viewer: napari.viewer.Viewer, classes: ClassLabels) -> None:
        """Add the mask of such classes, if it is not there (any more), above the image, and put it in the image's own place."""
        geometry = layer_geometry(self.image)
        if not self.has_lungs(viewer):
            name = f"{self.image.name} {'labels' if classes.lung is None else 'lungs'}"
            self._named = classes.names_by_label()
            lungs = make_lungs(np.zeros(self.shape, np.uint8), name, geometry, names=self._named)
            # Before others hear of the layer, who would take it for one that is nobody's.
            self._take(lungs)
            viewer.add_layer(lungs)
            self.begun.emit()
        _place(self.lungs, geometry)
        viewer.layers.selection.active = self.lungs

    def show_probability(self, viewer: napari.viewer.Viewer, *, as_image: bool) -> None:
        """Add the probability, if it is not there (any more), below the mask, and put it in the image's own place."""
        geometry = layer_geometry(self.image)
        name = f"{self.image.name} probability"
        before, selected = self.probability, viewer.layers.selection.active
        if before not in viewer.layers or isinstance(before, Image) is not as_image:
            add = add_probability_image if as_image else add_probability_labels
            self.probability = add(viewer, self._percent, name, geometry)
            self.probability.metadata[ROLE] = "probability"
            self._mark_blind()
            if before in viewer.layers:
                # Only now, as whoever hears of it looks whether the layers are there.
                viewer.layers.remove(before)
                self.probability.name = name
        _place(self.probability, geometry)
        here, above = viewer.layers.index(self.probability), viewer.layers.index(self.lungs)
        if here > above:
            viewer.layers.move(here, above)
        viewer.layers.selection.active = selected

    def restore(self, viewer: napari.viewer.Viewer, time_index: TimeIndex, volume: Volume, saved: Saved) -> None:
        """Show a mask, and its probability if there is one, as they were saved.

        What is undone and done again at other time points stays as it is.
        """
        classes = ClassLabels() if saved.source is None else Making.restored(saved.source).classes
        self._ready_for(viewer, time_index, volume, saved.labels, classes).restore(saved)
        if saved.percent is not None:
            self.show_probability(viewer, as_image=False)
        self.begun.emit()
        self.refresh()
        self.offer_painting(viewer)

    def start_from(self, viewer: napari.viewer.Viewer, time_index: TimeIndex, volume: Volume, mask: Array, name: str) -> None:
        """Show a mask that was made elsewhere, to be corrected."""
        self._ready_for(viewer, time_index, volume, mask, ClassLabels()).start_from(mask, name)
        self.begun.emit()
        self.refresh()
        self.offer_painting(viewer)

    def _ready_for(
        self, viewer: napari.viewer.Viewer, time_index: TimeIndex, volume: Volume, labels: Array, classes: ClassLabels
    ) -> MaskDocument:
        self.show(viewer, classes)
        assert self.lungs is not None
        if labels.max(initial=0) > np.iinfo(self.lungs.data.dtype).max:
            self.lungs.data = self.lungs.data.astype(labels.dtype)
        document = self.document(time_index)
        document.place(volume)
        return document

    def holds(self, time_index: TimeIndex) -> bool:
        """Whether the mask of one time point has any labels."""
        return self.lungs is not None and bool(self.lungs.data[time_index].any())

    def adopt(self, lungs: Labels) -> None:
        """Make a label layer that came from elsewhere the mask of this image, to start from."""
        self._named = ClassLabels().names_by_label()
        self._take(lungs)
        self.begun.emit()
        for document in self.documents.values():
            document.changed.emit(as_box((), document.labels.shape), IMPORT)

    def _take(self, lungs: Labels) -> None:
        self.let_go()
        self.lungs = lungs
        self._begin(lungs.data)
        replace_undo(lungs, self.undo, self.redo)
        self._strokes = Strokes(lungs, self.take_up, lambda: show_info(tr(OUTSIDE, name=lungs.name)))
        lungs.events.data.connect(self._data_replaced)

    def let_go(self) -> None:
        """Leave the layer: each stroke has one owner."""
        if self.lungs is not None and self._strokes is not None:
            self._strokes.close()
            self.lungs.events.data.disconnect(self._data_replaced)
        self.lungs = self._strokes = None

    def _data_replaced(self, _: Any = None) -> None:
        if self._fits():
            assert self.lungs is not None
            for time_index, document in self.documents.items():
                document.labels = self.lungs.data[time_index]
            self.sync("data replaced")

    def _mark_blind(self) -> None:
        """Note on the layers how many slices lack the model's part."""
        counts = {at: len(document.blind) for at, document in self.documents.items() if document.blind}
        for layer in (self.lungs, self.probability):
            if layer is not None:
                layer.metadata[BLIND] = counts
        self.refresh()

    def _name_labels(self) -> None:
        if self.lungs is not None and self.names != self._named:
            self._named = self.names
            self.lungs.features = label_names(self._named)

    # ---- a person's edits

    def sync(self, cause: str = "edit", box: Box | None = None) -> None:
        """Take up what was changed in the labels, in a box of the layer or anywhere, by whatever tool."""
        if self._fits():
            step = Step(cause)
            for document, here in self.parts(box):
                document.take_up(here, cause, step=step)

    def edit_now(self, document: MaskDocument, box: Box, before: Array, after: Array, cause: str) -> None:
        """As :meth:`edit`, at once: for a slice."""
        document.edit(box, before, after, Step(cause))
        self.refresh()

    def edit(
        self,
        document: MaskDocument,
        box: Box,
        before: Array,
        after: Array,
        cause: str,
        done: Callable[[], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> Step:
        """Write what a tool made of the labels in a box, as a person's, without halting the window; one step to undo.

        ``done`` is called when all is written, or ``failed`` when only a part could be (by default the person is told); none of
        them if the step is undone before.
        """
        step = self._edit = Step(cause)

        def written() -> None:
            self.refresh()
            done()

        def broken(error: Exception) -> None:
            self.refresh()
            if failed is not None:
                failed(error)
            else:
                show_error(tr("{problem} Undo takes back what was written.", problem=sentence(error, cause.capitalize())))

        self._editing.start(document.edit_by_slices(box, before, after, step), written, broken)
        return step

    def finish_edits(self) -> None:
        """Take up all that was done, and write the rest of a tool's work, so that what comes now is a later step."""
        self._editing.finish()
        self.sync()

    def undo(self) -> None:
        """Take back the last edit, threshold, run, or what was said of a slice, at whichever time point it was."""
        if self._fits():
            next(iter(self.documents.values())).undo()

    def redo(self) -> None:
        """Do again what was undone last."""
        if self._fits():
            next(iter(self.documents.values())).redo()

    def _stepped(self, step: Step, forward: bool) -> None:
        self.remasker.forget(step)
        if step is self._edit and self._editing.stop():
            self.corrections.forget_undone()
        self.stepped.emit(step, forward)
        self.refresh()

    def take_up(self, box: Box | None) -> bool:
        """Take up what was painted in a box of the layer, where that is allowed; tells whether there was anything."""
        if not self._fits():
            return False
        assert self.lungs is not None
        found, step = False, Step("paint")
        for document, here in self.parts(box):
            allowed = None if self.allowed is None else partial(self._is_allowed, self.allowed, document)
            found |= bool(document.take_up(here, "paint", allowed=allowed, step=step))
        if self.allowed is not None:
            self.lungs.refresh(extent=False)
        return found

    @staticmethod
    def _is_allowed(allowed: Callable[..., npt.NDArray[np.bool_]], document: MaskDocument, box: Box) -> npt.NDArray[np.bool_]:
        return allowed(document, box, document.corrections.seen(box))

    # ---- the window

    def refresh(self) -> None:
        """Show what was written."""
        for layer in (self.probability, self.lungs):
            if layer is not None:
                layer.refresh(extent=False)

    def offer_painting(self, viewer: napari.viewer.Viewer) -> None:
        """Select the mask with the brush in hand."""
        if self.lungs is None:
            return
        viewer.layers.selection.active = self.lungs
        if viewer.dims.ndisplay == 2:
            self.lungs.selected_label = 1
            self.lungs.mode = "paint"


def _place(layer: Any, geometry: dict[str, Any]) -> None:
    """Move a layer to where the image is by now."""
    for name, value in geometry.items():
        if name == "metadata":
            layer.metadata.update(value)
        # Whatever is set, napari slices the layer anew.
        elif not np.array_equal(getattr(layer, name), value):
            setattr(layer, name, value)

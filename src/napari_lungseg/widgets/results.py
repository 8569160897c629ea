"""What was made from one image layer: its label layers, and who set which voxel of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import MODEL, PERSON, Corrections, as_box
from napari_lungseg.mask import MaskSettings, apply_threshold
from napari_lungseg.predicted import PredictedSlice
from napari_lungseg.steps import Box, Step
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.appearance import add_probability_image, add_probability_labels, label_names, make_lungs
from napari_lungseg.widgets.frames import Frame, Making, from_settings, label_if_above, to_settings, told_by_mask
from napari_lungseg.widgets.layers import layer_geometry
from napari_lungseg.widgets.notices import show_error
from napari_lungseg.widgets.remask import Remasker
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.worker import sentence
from napari_lungseg.workspace import Saved, Source

if TYPE_CHECKING:
    import napari.viewer

#: Key of the metadata of an image layer and of its mask under which the result is found again, by any of the plugin's widgets.
KEY = "napari-lungseg result"


class _Results:
    """All results of this process."""

    #: A result has a mask now, or another one.
    begun = Signal(object)


RESULTS = _Results()


def owner_of(lungs: Layer) -> Result | None:
    """The result whose mask a layer is, if there is one."""
    result = lungs.metadata.get(KEY)
    # A duplicated layer shares the metadata of its model.
    return result if isinstance(result, Result) and result.lungs == lungs else None


class Result:
    """What was made from one image layer.

    All methods run on the GUI thread; none does more than copy slices.

    Parameters
    ----------
    image : Image
        The layer that is segmented.
    shape : tuple of int
        Shape of its voxels, time axes included, colours not.
    """

    #: Labels have changed: the box, in the layer's own axes, and why.
    changed = Signal(tuple, str)
    #: A step was undone (False) or done again (True).
    stepped = Signal(Step, bool)

    def __init__(self, image: Layer, shape: tuple[int, ...]) -> None:
        self.image = image
        self.shape = shape
        self.lungs: Labels | None = None
        self.probability: Layer | None = None
        self.settings = MaskSettings()
        #: Where brush, fill and polygon may change labels, given a box and the labels in it; None for everywhere.
        self.allowed: Callable[[Box, Array], npt.NDArray[np.bool_]] | None = None
        self._percent = np.zeros(shape, np.uint8)
        self._likeliest: npt.NDArray[np.uint8] | None = None
        self.corrections = Corrections(self._percent)
        self.remasker = Remasker(self)
        self._editing = Stretches(self.remasker)
        self._edit: Step | None = None
        self._announced: tuple[Box | None] | None = None
        self._frames: dict[tuple[int, ...], Frame] = {}

    # ---- frames and layers

    def frame(self, step: tuple[int, ...], volume: Volume) -> Frame:
        """The part of the result that belongs to one volume of the image, with the geometry that this has now."""
        probability = Volume(self._percent[step], volume.affine, spacing_known=volume.spacing_known)
        frame = self._frames.setdefault(step, Frame(step, probability))
        frame.probability = probability
        frame.likeliest = None if self._likeliest is None else self._likeliest[step]
        return frame

    def find_frame(self, step: tuple[int, ...]) -> Frame | None:
        """As :meth:`frame`, but only if some of it has been predicted."""
        frame = self._frames.get(step)
        return frame if frame is not None and frame.predicted else None

    def complete(self, viewer: napari.viewer.Viewer) -> bool:
        """Whether the image and both result layers are still in the viewer, with voxels of the right shape."""
        return self.image in viewer.layers and self.has_lungs(viewer) and self.probability in viewer.layers

    def has_lungs(self, viewer: napari.viewer.Viewer) -> bool:
        """Whether the mask is still in the viewer, with voxels of the right shape."""
        return self.lungs is not None and self.lungs in viewer.layers and self._fits()

    def show(self, viewer: napari.viewer.Viewer) -> None:
        """Add the mask, if it is not there (any more), above the image, and put it in the image's own place."""
        geometry = layer_geometry(self.image)
        if not self.has_lungs(viewer):
            kind = "lungs" if any(frame.classes.lung is not None for frame in self._frames.values()) else "labels"
            lungs = make_lungs(np.zeros(self.shape, np.uint8), f"{self.image.name} {kind}", geometry, names=self.names)
            # Before others hear of the layer, who would take it for one that is nobody's.
            self._own(lungs, Corrections(lungs.data, self._percent, likeliest=self._likeliest))
            viewer.add_layer(lungs)
            RESULTS.begun.emit(self)
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
            self.probability.metadata[KEY] = "probability"
            if before in viewer.layers:
                # Only now, as whoever hears of it looks whether the layers are there.
                viewer.layers.remove(before)
                self.probability.name = name
        _place(self.probability, geometry)
        here, above = viewer.layers.index(self.probability), viewer.layers.index(self.lungs)
        if here > above:
            viewer.layers.move(here, above)
        viewer.layers.selection.active = selected

    def restore(self, viewer: napari.viewer.Viewer, step: tuple[int, ...], volume: Volume, saved: Saved) -> None:
        """Show a mask, and its probability if there is one, as they were saved.

        What is undone and done again at other time points stays as it is.
        """
        frame = self.frame(step, volume)
        frame.made_by = saved.source
        if saved.source is not None and saved.source.settings:
            self.settings, frame.classes = from_settings(saved.source.settings)
        if saved.percent is not None:
            self._percent[step] = saved.percent
            frame.predicted = True
        self.show(viewer)
        if saved.percent is not None:
            self.show_probability(viewer, as_image=False)
        assert self.lungs is not None
        if saved.labels.max(initial=0) > np.iinfo(self.lungs.data.dtype).max:
            self.lungs.data = self.lungs.data.astype(saved.labels.dtype)
        self.corrections.replace(self.lungs.data, as_box(step, self.shape), saved.labels, saved.origin)
        self.tell_apart(frame, frame.classes)
        self._tell_by_mask(frame)
        RESULTS.begun.emit(self)
        self.refresh()
        self.offer_painting(viewer)

    def tell_apart(self, frame: Frame, classes: ClassLabels) -> None:
        """From now on a model with these classes is the one that makes the mask of a frame."""
        if self._likeliest is None and len(classes.labels) > 1:
            self._likeliest = self.corrections.likeliest = np.zeros(self.shape, np.uint8)
            for other in self._frames.values():
                other.likeliest = self._likeliest[other.step]
                self._tell_by_mask(other)
        self._set_classes({frame.step: classes})

    def _tell_by_mask(self, frame: Frame) -> None:
        """Where the most likely class was not kept, the model's own mask tells it.

        It is not kept for a model of one class, nor in the workspace. A voxel that a lower threshold adds later then has the class of the
        nearest one that is labelled.
        """
        if frame.likeliest is not None:
            frame.likeliest[...] = told_by_mask(self.corrections.origin[frame.step] & MODEL, frame.classes)

    def _set_classes(self, classes: Mapping[tuple[int, ...], ClassLabels]) -> None:
        before = self.names
        for step, those in classes.items():
            self._frames[step].classes = those
        if self.lungs is not None and self.names != before:
            self.lungs.features = label_names(self.names)

    @property
    def names(self) -> dict[int, str]:
        """What the labels of the mask are called."""
        known = [frame.classes for frame in self._frames.values()] or [ClassLabels()]
        return {label: name for classes in known for label, name in classes.names_by_label().items()}

    def source_of(self, step: tuple[int, ...]) -> Source | None:
        """What made the model's mask of a frame as it is now."""
        frame = self._frames.get(step)
        if frame is None or frame.made_by is None:
            return None
        return replace(frame.made_by, settings=to_settings(self.settings, frame.classes))

    def start_from(self, viewer: napari.viewer.Viewer, step: tuple[int, ...], volume: Volume, mask: Array, name: str) -> None:
        """Show a mask that was made elsewhere, to be corrected."""
        foreign = (mask < 0) | (mask > MODEL)
        origin = np.where(foreign, PERSON, mask).astype(np.uint8)
        self.restore(viewer, step, volume, Saved(mask, origin, None, Source(name, kind="imported")))
        self.changed.emit(as_box(step, self.shape), "import")

    def holds(self, step: tuple[int, ...]) -> bool:
        """Whether the mask of one volume has any labels."""
        return self.lungs is not None and bool(self.lungs.data[step].any())

    def adopt(self, lungs: Labels) -> None:
        """Make a label layer that came from elsewhere the mask of this image, to start from."""
        self.take(lungs, Corrections(lungs.data, self._percent))
        self.changed.emit(as_box((), self.shape), "import")

    def take(self, lungs: Labels, corrections: Corrections) -> None:
        """Make a label layer the mask of this image.

        Undo and redo of the layer become this result's: napari's own history knows nothing of masks made anew, and would
        write back voxels that are no longer true.
        """
        self._own(lungs, corrections)
        RESULTS.begun.emit(self)

    def _own(self, lungs: Labels, corrections: Corrections) -> None:
        before = owner_of(lungs)
        if before is not None and before is not self:
            before._let_go()
        self.lungs, self.corrections = lungs, corrections
        corrections.changed = self.changed.emit
        if before is not self:
            lungs.metadata[KEY] = self
            lungs.undo, lungs.redo = self.undo, self.redo
            for event, heard in self._heard(lungs):
                event.connect(heard)

    def _heard(self, lungs: Labels) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (lungs.events.paint, self._painted),
            (lungs.events.labels_update, self._written),
            (lungs.events.data, self._data_replaced),
        ]

    def _let_go(self) -> None:
        """Leave the mask to another result: each stroke has one owner."""
        for event, heard in self._heard(self.lungs):
            event.disconnect(heard)
        self.lungs = None
        self.corrections.changed = None

    def _data_replaced(self, _: Any = None) -> None:
        self.sync("data replaced")

    # ---- a person's edits

    def sync(self, cause: str = "edit", box: Box | None = None) -> None:
        """Take up what was changed in the labels, by whatever tool."""
        if self.lungs is not None and self._fits():
            self.corrections.sync(self.lungs.data, box, cause)

    def edit_now(self, box: Box, before: Array, after: Array, cause: str) -> None:
        """As :meth:`edit`, at once: for a slice."""
        assert self.lungs is not None
        self.corrections.edit(self.lungs.data, box, before, after, Step(cause))
        self.refresh()

    def edit(
        self,
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
        # Of a time series the first axis has one step only.
        axis = next((axis for axis, part in enumerate(box) if part.stop - part.start > 1), 0)

        def write() -> Iterator[None]:
            assert self.lungs is not None
            for index in range(box[axis].start, box[axis].stop):
                here = (slice(None),) * axis + (slice(index - box[axis].start, index + 1 - box[axis].start),)
                part = (*box[:axis], slice(index, index + 1), *box[axis + 1 :])
                self.corrections.edit(self.lungs.data, part, before[here], after[here], step)
                yield

        def written() -> None:
            self.refresh()
            done()

        def broken(error: Exception) -> None:
            self.refresh()
            if failed is not None:
                failed(error)
            else:
                show_error(f"{sentence(error, cause.capitalize())} Undo takes back what was written.")

        self._editing.start(write(), written, broken)
        return step

    def give_back(self, box: Box) -> bool:
        """Make a person's voxels in a box the model's again; tells whether there were any."""
        if self.lungs is None or not self._fits():
            return False
        given = self.corrections.give_back(self.lungs.data, box)
        self.refresh()
        return given

    def accept(self, box: Box, step: Step) -> None:
        """Let a person stand for all voxels of a box as they are."""
        self._finish_edits()
        self.corrections.accept(box, step)

    def reopen(self, box: Box, step: Step) -> None:
        """Make what was accepted in a box the model's again; what a person set stays."""
        self._finish_edits()
        if self.lungs is not None and self._fits():
            self.corrections.reopen(self.lungs.data, box, step)
            self.refresh()

    def _finish_edits(self) -> None:
        """Take up all that was done, and write the rest of a tool's work, so that what comes now is a later step."""
        self._editing.finish()
        self.sync()

    def undo(self) -> None:
        """Take back the last edit, threshold, run, or what was said of a slice."""
        self._step(forward=False)

    def redo(self) -> None:
        """Do again what was undone last."""
        self._step(forward=True)

    def _step(self, *, forward: bool) -> None:
        if self.lungs is None or not self._fits():
            return
        move = self.corrections.redo if forward else self.corrections.undo
        step = move(self.lungs.data)
        if step is None:
            return
        if (making := step.after if forward else step.before) is not None:
            self._make_as(making)
        self.remasker.forget(step)
        if step is self._edit and self._editing.stop():
            self.corrections.forget_undone()
        self.stepped.emit(step, forward)
        self.refresh()

    def _painted(self, event: Any) -> None:
        box = _box_of(event.value, self.shape)
        # Of strokes napari tells when they are over, of polygons and of calls of its functions before it writes them.
        self._announced = None if self._take_up(box) else (box,)

    def _written(self) -> None:
        if self._announced is not None:
            (box,), self._announced = self._announced, None
            self._take_up(box)

    def _take_up(self, box: Box | None) -> bool:
        """Take up what was painted in a box, where that is allowed; tells whether there was anything."""
        if self.lungs is None or not self._fits():
            return False
        limit = self.allowed
        if limit is None:
            return bool(self.corrections.sync(self.lungs.data, box, "paint"))
        found = self.corrections.sync(self.lungs.data, box, "paint", allowed=lambda part: limit(part, self.corrections.seen(part)))
        self.lungs.refresh(extent=False)
        return bool(found)

    def _fits(self) -> bool:
        return self.lungs is not None and isinstance(self.lungs.data, np.ndarray) and self.lungs.data.shape == self.shape

    # ---- the model's mask

    def begin(self, cause: str) -> Step:
        """A change of the model's mask that can be undone as one."""
        return Step(cause, before=self.making)

    @property
    def making(self) -> Making:
        """How the model's mask was made as it is now."""
        frames = self._frames.items()
        return Making(self.settings, {step: frame.made_by for step, frame in frames}, {step: frame.classes for step, frame in frames})

    def _make_as(self, making: Making) -> None:
        self.settings = making.settings
        for step, frame in self._frames.items():
            frame.made_by = making.made_by.get(step)
        self._set_classes(making.classes)

    def put_predicted(self, frame: Frame, where: tuple[Any, ...], predicted: PredictedSlice, threshold: float, step: Step | None) -> None:
        """Write a predicted slice and its plain threshold."""
        frame.predicted = True
        percent, classes = predicted.probability, predicted.classes
        label = np.uint8(frame.classes.labels[0]) if classes is None else frame.classes.of(classes)
        likeliest = None if frame.likeliest is None else (percent > 0) * label
        self._put(frame, where, apply_threshold(percent, threshold) * label, step, percent, likeliest)

    def put_labels(self, frame: Frame, where: tuple[Any, ...], labels: Array, step: Step | None) -> None:
        """Write part of a mask, around a person's voxels."""
        self._put(frame, where, labels, step)

    def label_if_above(self, frame: Frame, where: tuple[Any, ...]) -> Array:
        """Label that each voxel of a slice would have, were it above the threshold."""
        likeliest = None if frame.likeliest is None else frame.likeliest[where]
        return label_if_above(self.corrections.origin[frame.step][where] & MODEL, likeliest, frame.classes)

    def preview(self, frame: Frame, where: tuple[Any, ...], threshold: float, label: Array, step: Step) -> None:
        """Show the plain threshold on one slice, with the labels told by :meth:`label_if_above`."""
        self._put(frame, where, apply_threshold(frame.probability.array[where], threshold) * label, step)

    def _put(
        self,
        frame: Frame,
        where: tuple[Any, ...],
        labels: Array,
        step: Step | None,
        percent: Array | None = None,
        likeliest: Array | None = None,
    ) -> None:
        assert self.lungs is not None
        box = as_box((*frame.step, *where), self.shape)
        shape = tuple(part.stop - part.start for part in box)
        predicted = (None if array is None else array.reshape(shape) for array in (percent, likeliest))
        self.corrections.set_model(self.lungs.data, box, labels.reshape(shape), step, *predicted)

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


def _box_of(atoms: Any, shape: tuple[int, ...]) -> Box | None:
    """The box that a stroke reached; None where napari does not tell in a way that is known.

    Each of the atoms begins with the place: a slice or an array of indices for every axis.
    """
    box: list[slice] = []
    try:
        for axis, size in enumerate(shape):
            places = [atom[0][axis] for atom in atoms]
            spans = [part.indices(size)[:2] if isinstance(part, slice) else (int(np.min(part)), int(np.max(part)) + 1) for part in places]
            box.append(slice(min(start for start, _ in spans), max(stop for _, stop in spans)))
    except (TypeError, IndexError, ValueError):
        return None
    return tuple(box)


def _place(layer: Any, geometry: dict[str, Any]) -> None:
    """Move a layer to where the image is by now."""
    for name, value in geometry.items():
        if name == "metadata":
            layer.metadata.update(value)
        else:
            setattr(layer, name, value)

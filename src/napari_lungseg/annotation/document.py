"""The document of one mask: its labels, who set them, how the model's were made, what was said of each slice, and undo of all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_lungseg.annotation.making import Making, label_if_above, told_by_mask
from napari_lungseg.annotation.withheld import Withheld
from napari_lungseg.blind import BlindReading, compare_masks
from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import MODEL, PERSON, Allowed, Corrections
from napari_lungseg.mask import MaskSettings, apply_threshold
from napari_lungseg.predicted import OwnGrid, PredictedSlice
from napari_lungseg.steps import History, Step, as_box
from napari_lungseg.volume import Array, Box, Volume, inside
from napari_lungseg.workspace import SAID, Accepted, Saved, SliceState, Source, State

ACCEPT, FLAG, REJECT, REOPEN = "accept", "flag", "reject", "open again"
GIVE_BACK, IMPORT, RESTORED = "give back to the model", "import", "restored"
#: Changes of the model's mask.
MODEL_CAUSES = frozenset({"segment", "segment again", "threshold", "post-processing"})
_SAID = frozenset({ACCEPT, FLAG, REJECT, REOPEN})

Bytes = npt.NDArray[np.uint8]


class _Mark(NamedTuple):
    """What a person said of a slice: "reviewed", "flagged", "rejected" or nothing, and the note."""

    state: State | None
    note: str


class MaskDocument:
    """All that is known of the mask of one volume: one image at one time point.

    Every change is a method. Those that a person makes, or asks for, can be undone. Listeners are told by the signals.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) array of int
        The mask, which is changed in place. What is in it counts as the model's, except values above 127.
    grid : Volume
        Where the mask lies; of its voxels nothing but the shape is looked at.
    percent : array of uint8, optional
        Where the model's probability is kept; made by ``allocate`` by default.
    beside : MaskDocument, optional
        The document of another time point of the same image. Both have one history: undo takes back what was done last at any of them.
    time_index : tuple of int
        Which time point; empty where there is one only.
    allocate : callable
        Makes an array of zeros, given shape and type.

    Attributes
    ----------
    labels : array of int
        The mask. Whoever shows it sets this to another array when that is what is shown.
    corrections : Corrections
        Who set what.
    percent, likeliest : array of uint8
        The model's probability in percent, and the label of each voxel's most likely class; the latter is None where no model of several
        classes was run.
    predicted : bool
        Whether any slice has been predicted.
    making : Making
        How the model's mask was made.
    affine : (4, 4) array
        From voxel indices to LPS in mm.
    axis : int
        Array axis along which slices are counted.
    states, notes : dict
        What is known of each slice; one that is not in it is "unseen".
    readings : dict
        How slices were read blind.
    """

    #: Labels have changed, or whose they are: the box, and the cause.
    changed = Signal(tuple, str)
    #: A step of the history was undone (False) or done again (True).
    stepped = Signal(Step, bool)
    #: A person said something of a slice, or it was undone: its index.
    said = Signal(int)
    #: The mask is made by another model, or with other settings.
    remade = Signal()
    #: Other slices are to be read blind now.
    blinded = Signal()

    def __init__(
        self,
        labels: Array,
        grid: Volume,
        *,
        percent: Bytes | None = None,
        beside: MaskDocument | None = None,
        time_index: tuple[int, ...] = (),
        allocate: Callable[..., Array] = np.zeros,
    ) -> None:
        self.labels, self.time_index = labels, time_index
        self.place(grid)
        self.axis = grid.axial_axis
        self.percent = allocate(labels.shape, np.uint8) if percent is None else percent
        self.history: History = History() if beside is None else beside.history
        self.corrections = Corrections(labels, self.percent, history=self.history, time_index=time_index)
        self.corrections.changed = self._voxels_changed
        self.predicted = False
        self.making = Making()
        self.states: dict[int, State] = {}
        self.notes: dict[int, str] = {}
        self.readings: dict[int, BlindReading] = {}
        self._withheld: Withheld | None = None
        self._allocate = allocate
        #: Slices of which something was said since the document was begun.
        self._said: set[int] = set()
        self._all: list[MaskDocument] = [] if beside is None else beside._all
        self._all.append(self)

    # ---- geometry and slices

    def place(self, grid: Volume) -> None:
        """Take the geometry of a volume on the same voxels."""
        self.affine, self.spacing_known, self.oriented = grid.affine, grid.spacing_known, grid.oriented

    @property
    def likeliest(self) -> Bytes | None:
        """Label of each voxel's most likely class."""
        return self.corrections.likeliest

    @property
    def probability(self) -> Volume:
        """The model's percent, with their geometry."""
        return Volume(self.percent, self.affine, spacing_known=self.spacing_known, oriented=self.oriented)

    @property
    def names(self) -> dict[int, str]:
        """What the labels are called."""
        return self.making.classes.names_by_label(split_sides=self.making.settings.split_sides)

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return self.labels.shape[self.axis] if self.labels.ndim == 3 else 1

    def box(self, index: int) -> Box:
        """The box of a slice."""
        where = (slice(None),) * self.axis + (index,) if self.labels.ndim == 3 else ()
        return as_box(where, self.labels.shape)

    def box_within(self, index: int, box: Box) -> Box:
        """Where a slice lies within a box, in the indices of an array of that box; empty where it does not."""
        spans = zip(self.box(index), box, strict=True)
        return tuple(slice(max(own.start - whole.start, 0), max(own.stop - whole.start, 0)) for own, whole in spans)

    def slices_in(self, box: Box) -> range:
        """The slices that a box reaches."""
        return range(box[self.axis].start, box[self.axis].stop) if len(box) == 3 else range(1)

    def plane(self, array: Array, index: int) -> Array:
        """Copy one slice of an array on the grid of the mask."""
        return array.copy() if array.ndim == 2 else array.take(index, self.axis)

    def planes(self, index: int) -> tuple[Array, Array]:
        """Copy the labels of one slice, and whose they are; the model's too where they are withheld."""
        return self._whole_plane("labels", index), self._whole_plane("origin", index)

    def percent_plane(self, index: int) -> Array:
        """Copy the probability of one slice, also where it is withheld."""
        return self._whole_plane("percent", index)

    def _whole_plane(self, what: Literal["labels", "origin", "percent"], index: int) -> Array:
        found = self.whole(what, self.box(index))
        return found if found.ndim == 2 else found.take(0, self.axis)

    def whole(self, what: Literal["labels", "origin", "percent"], box: Box | None = None) -> Array:
        """Copy a part of the mask, of whose it is, or of the probability, the model's part too where that is withheld.

        Parameters
        ----------
        what : {"labels", "origin", "percent"}
            Of which array.
        box : tuple of slice, optional
            Which part; all of it by default.
        """
        box = as_box((), self.labels.shape) if box is None else box
        origin, hidden = self.corrections.origin[box], self._withheld
        found = {"labels": self.labels[box], "origin": origin, "percent": self.percent[box]}[what].copy()
        if hidden is not None and hidden.slices:
            # What is shown holds no more than a person's part there.
            model = hidden.copied_into(np.zeros_like(found), box, hidden.percent if what == "percent" else hidden.labels)
            found |= np.where(origin & PERSON, 0, model).astype(found.dtype) if what == "labels" else model
        return found

    def whole_likeliest(self) -> Bytes | None:
        """As :meth:`whole`, of each voxel's most likely class."""
        likeliest, hidden = self.likeliest, self._withheld
        if likeliest is None or hidden is None or hidden.corrections.likeliest is None:
            return likeliest
        return hidden.copied_into(likeliest.copy(), as_box((), likeliest.shape), hidden.corrections.likeliest)

    def copy(self) -> MaskDocument:
        """Keep the mask as it is now in a document of its own, without what can be undone."""
        copy = MaskDocument(self.labels.copy(), self.probability, percent=self.percent.copy(), time_index=self.time_index)
        copy.corrections.origin[...] = self.corrections.origin
        copy.axis, copy.predicted, copy.making = self.axis, self.predicted, self.making
        copy._withheld = None if self._withheld is None else self._withheld.copy()
        return copy

    # ---- what a person set

    def take_up(
        self, box: Box | None = None, cause: str = "edit", *, allowed: Allowed | None = None, step: Step | None = None
    ) -> list[Box]:
        """Take up what was changed in the labels, by whatever tool; gives where.

        Parameters
        ----------
        box : tuple of slice, optional
            Where to look; everywhere by default.
        cause : str
            What the edit was.
        allowed : callable, optional
            Where edits may be; elsewhere the labels are put back.
        step : Step, optional
            To what this belongs; one of its own by default.
        """
        return self.corrections.sync(self.labels, box, cause, allowed=allowed, step=step)

    def has_unseen(self) -> bool:
        """Whether labels were changed that :meth:`take_up` has not taken up; may be asked from any thread."""
        return self.corrections.has_unseen(self.labels)

    def edit(self, box: Box, before: Array, after: Array, step: Step) -> None:
        """Write what a tool made of the labels in a box; voxels that have changed meanwhile stay."""
        self.corrections.edit(self.labels, box, before, after, step)

    def edit_by_slices(self, box: Box, before: Array, after: Array, step: Step) -> Iterator[None]:
        """As :meth:`edit`, one slice each time the iterator is asked for its next."""
        for index in range(box[0].stop - box[0].start):
            here = slice(index, index + 1)
            self.edit((slice(box[0].start + index, box[0].start + index + 1), *box[1:]), before[here], after[here], step)
            yield

    def give_back(self, box: Box) -> bool:
        """Make a person's voxels in a box the model's again; tells whether there were any.

        Of an accepted slice nobody stands for the rest either.
        """
        step = Step(GIVE_BACK)
        given = self.corrections.give_back(self.labels, box, step=step)
        for index in self.slices_in(box):
            if given and self.state(index) == "reviewed" and any(self._overlaps(patch.box, index) for patch in step.patches):
                self.corrections.reopen(self.labels, self.box(index), step)
                self._say(index, None, self.notes.get(index, ""), step)
        return given

    def _overlaps(self, box: Box, index: int) -> bool:
        return index in self.slices_in(box)

    def is_touched(self, box: Box) -> bool:
        """Whether a person set any voxel in a box."""
        return self.corrections.is_touched(box)

    def difference(self, box: Box) -> Bytes:
        """What a person changed in a box: 1 added, 2 removed, 3 given another label; 0 elsewhere."""
        return self.corrections.difference(self.labels, box)

    # ---- slices that are read blind

    @property
    def blind(self) -> frozenset[int]:
        """Slices that a person is to read without the model's mask, which is withheld there."""
        return frozenset() if self._withheld is None else frozenset(self._withheld.slices)

    def withhold(self, indices: Iterable[int]) -> None:
        """Keep the model's mask of slices, of which nothing has been predicted yet, from sight until they are read or revealed."""
        chosen = sorted(set(indices) - self.blind)
        if chosen:
            self._keep_withheld().slices.update(chosen)
            self._tell_blind(chosen)

    def reveal(self, indices: Iterable[int] | None = None) -> None:
        """Show the model's mask of slices, by default of all, that were to be read blind; what a person has set stays.

        This cannot be undone: what was seen was seen.
        """
        revealed = sorted(self.blind if indices is None else self.blind.intersection(indices))
        for index in revealed:
            self._reveal(index)
        if revealed:
            self._tell_blind(revealed)

    def compare_with_model(self, index: int) -> BlindReading:
        """Compare a slice as it is with the model's mask of it."""
        return compare_masks(self.plane(self.labels, index), self.plane(self.corrections.origin, index) & MODEL)

    def _keep_withheld(self) -> Withheld:
        if self._withheld is None:
            self._withheld = Withheld(self.labels.shape, self.axis, self.history, self.time_index, self._allocate)
            self._withheld.corrections.changed = self._voxels_changed
        if self.likeliest is not None:
            self._withheld.tell_classes()
        return self._withheld

    def _reveal(self, index: int) -> None:
        hidden = self._withheld
        assert hidden is not None
        # Shown before it is let go of: at no moment is it in neither place, where it is saved from.
        self._show_withheld(hidden, self.box(index))
        hidden.slices.discard(index)

    def _show_withheld(self, hidden: Withheld, box: Box) -> None:
        likeliest = None if hidden.corrections.likeliest is None else hidden.corrections.likeliest[box]
        self.corrections.set_model(self.labels, box, hidden.labels[box], None, hidden.percent[box], likeliest)

    def _tell_blind(self, indices: Iterable[int]) -> None:
        self.blinded.emit()
        for index in indices:
            self.said.emit(index)

    # ---- what a person says of slices

    def state(self, index: int) -> State:
        """State of a slice."""
        return self.states.get(index, "unseen")

    @property
    def reviewed(self) -> list[int]:
        """Slices that a person stands for."""
        return [index for index, state in self.states.items() if state == "reviewed"]

    @property
    def rejected(self) -> list[int]:
        """Slices of which a person said that they are of no use."""
        return [index for index, state in self.states.items() if state == "rejected"]

    def accept(self, index: int) -> None:
        """Stand for a slice as it is: no model changes it any more.

        One that was read blind is a person's as a whole; the model's mask is known from now on, also when this is undone.
        """
        self.take_up()
        step = Step(ACCEPT)
        blind = index in self.blind
        self.corrections.accept(self.box(index), step, drawn=blind)
        if blind:
            assert self._withheld is not None
            self.readings[index] = compare_masks(self.plane(self.labels, index), self.plane(self._withheld.labels, index))
            self._reveal(index)
            self.blinded.emit()
        if step.patches or self.state(index) != "reviewed":
            self._say(index, "reviewed", self.notes.get(index, ""), step)

    def flag(self, index: int, note: str) -> None:
        """Leave a slice for later, with a note; it is open again if it was accepted."""
        self._set_aside(index, "flagged", note, FLAG)

    def reject(self, index: int, note: str) -> None:
        """Say that a slice is of no use, with a note; nothing is learnt from it, and it is open again if it was accepted.

        It is not to be read blind any more.
        """
        self.reveal([index])
        self._set_aside(index, "rejected", note, REJECT)

    def _set_aside(self, index: int, state: State, note: str, cause: str) -> None:
        step = self._reopened(index, cause)
        if step.patches or (self.state(index), self.notes.get(index, "")) != (state, note):
            self._say(index, state, note, step)

    def reopen(self, index: int) -> None:
        """Stand for a slice no longer: what was the model's is its again, what a person set stays."""
        if self.state(index) in SAID:
            self._say(index, None, self.notes.get(index, ""), self._reopened(index, REOPEN))

    def know(self, states: Mapping[int, SliceState], accepted: Mapping[int, Accepted]) -> None:
        """Take up what was said of slices in earlier sessions; what was said in this one stays."""
        for index, known in states.items():
            if index in self._said:
                continue
            self.notes[index] = known.note
            if isinstance(known.blind, BlindReading):
                self.readings[index] = known.blind
            if known.state in SAID or index not in self.states:
                self.states[index] = known.state
            if index in accepted:
                which, labels = accepted[index]
                box = self.box(index)
                now = self.labels[box]
                # What was painted since it was saved is the person's.
                self.corrections.know_accepted(box, which.reshape(now.shape) & (now == labels.reshape(now.shape)))

    def _reopened(self, index: int, cause: str) -> Step:
        self.take_up()
        step = Step(cause)
        self.corrections.reopen(self.labels, self.box(index), step)
        return step

    def _say(self, index: int, state: State | None, note: str, step: Step) -> None:
        self.corrections.record(step)
        key = self.time_index, index
        step.before.setdefault(key, self._mark(index))
        step.after[key] = _Mark(state, note)
        self._set_mark(index, step.after[key])

    def _mark(self, index: int) -> _Mark:
        state = self.state(index)
        return _Mark(state if state in SAID else None, self.notes.get(index, ""))

    def _set_mark(self, index: int, mark: _Mark) -> None:
        self.states[index] = mark.state or self._derived(index)
        self.notes[index] = mark.note
        self._said.add(index)
        self.said.emit(index)

    def _derived(self, index: int) -> State:
        return "corrected" if self.is_touched(self.box(index)) else "unseen"

    def _voxels_changed(self, box: Box, cause: str) -> None:
        if cause == RESTORED:
            # What was said of it comes from where it was saved.
            self.states, self.notes, self.readings = {}, {}, {}
            self._said.clear()
        if cause not in MODEL_CAUSES and cause not in _SAID:
            for index in self.slices_in(box):
                if self.state(index) in ("unseen", "corrected"):
                    self.states[index] = self._derived(index)
        self.changed.emit(box, cause)

    # ---- the model's mask

    def begin(self, cause: str) -> Step:
        """A change of the model's mask that can be undone as one."""
        return Step(cause, before={(self.time_index, "making"): self.making})

    def make_by(self, source: Source | None, classes: ClassLabels) -> None:
        """From now on a model with these classes is the one that makes the mask."""
        if self.likeliest is None and len(classes.labels) > 1:
            self.corrections.likeliest = self._allocate(self.labels.shape, np.uint8)
            if self._withheld is not None:
                self._withheld.tell_classes()
            self._tell_by_mask()
        own = self.making.own
        # Another model knows nothing of what this one gave; that of the same one is gone on with, and stays as it is for undo.
        own = own.copy() if own is not None and source is not None and self.making.source == source else None
        self._set_making(self.making._replace(source=source, classes=classes, own=own))

    def put_predicted(self, where: tuple[Any, ...], predicted: PredictedSlice, threshold: float, step: Step | None) -> None:
        """Write a predicted slice and its plain threshold; ``step`` is None for a first mask, which cannot be undone."""
        self.predicted = True
        if predicted.own is not None:
            own = self.making.own or OwnGrid.begun_by(predicted.own)
            own.put(predicted.index, predicted.own)
            self.making = self.making._replace(own=own)
        percent, classes = predicted.probability, predicted.classes
        label = np.uint8(self.making.classes.labels[0]) if classes is None else self.making.classes.of(classes)
        likeliest = None if self.likeliest is None else (percent > 0) * label
        self._put(where, apply_threshold(percent, threshold) * label, step, percent, likeliest)

    def put_mask(self, mask: Array, first: int, step: Step | None) -> Iterator[None]:
        """Write a mask around a person's voxels, one slice each time the iterator is asked for its next, from a slice outward."""
        places: list[tuple[int, ...]] = [()] if mask.ndim == 2 else [(index,) for index in range(len(mask))]
        for where in sorted(places, key=lambda place: abs(place[0] - first) if place else 0):
            self._put(where, mask[where], step)
            yield

    def made(self, settings: MaskSettings, step: Step | None) -> None:
        """Note that the whole mask was made with these settings."""
        self._set_making(self.making._replace(settings=settings))
        if step is not None:
            step.after[self.time_index, "making"] = self.making

    def label_if_above(self, where: tuple[Any, ...]) -> Array:
        """Label that each voxel of a slice would have, were it above the threshold."""
        likeliest = None if self.likeliest is None else self.likeliest[where]
        return label_if_above(self.corrections.origin[where] & MODEL, likeliest, self.making.classes)

    def preview(self, where: tuple[Any, ...], threshold: float, label: Array, step: Step) -> None:
        """Write the plain threshold on one slice, with the labels told by :meth:`label_if_above`; not where it is withheld."""
        self._put(where, apply_threshold(self.percent[where], threshold) * label, step, shown_only=True)

    @property
    def source(self) -> Source | None:
        """What made the model's mask as it is now, with the settings."""
        return self.making.saved()

    # ---- masks that were made before

    def restore(self, saved: Saved) -> None:
        """Take a mask, and its probability if there is one, as they were saved; what could be undone here is forgotten."""
        making = self.making._replace(source=saved.source, own=None)
        if saved.source is not None and saved.source.settings:
            making = Making.restored(saved.source)
        if saved.percent is not None:
            self.percent[...] = saved.percent
            self.predicted = True
        labels, origin, everywhere = saved.labels, saved.origin, as_box((), self.labels.shape)
        self._withheld = None
        if saved.blind:
            labels, origin = labels.copy(), origin.copy()
            self._keep_withheld().take_out(saved.blind, labels, origin, self.percent)
        self.corrections.replace(self.labels, everywhere, labels, origin)
        self.make_by(saved.source, making.classes)
        self._set_making(making)
        self._tell_by_mask()
        self.blinded.emit()

    def start_from(self, mask: Array, name: str) -> None:
        """Take a mask that was made elsewhere, to be corrected."""
        foreign = (mask < 0) | (mask > MODEL)
        origin = np.where(foreign, PERSON, mask).astype(np.uint8)
        self.restore(Saved(mask, origin, None, Source(name, kind="imported")))
        self.changed.emit(as_box((), self.labels.shape), IMPORT)

    # ---- undo

    def undo(self) -> Step | None:
        """Take back what was done last, at any time point that shares the history; None if there was nothing."""
        return self._move(forward=False)

    def redo(self) -> Step | None:
        """Do again what was undone last; None if there is nothing, or an edit was made since."""
        return self._move(forward=True)

    def _move(self, *, forward: bool) -> Step | None:
        unseen = Step("edit")
        for document in self._all:
            document.take_up(step=unseen)
        step = self.history.forth() if forward else self.history.back()
        if step is not None:
            for document in self._all:
                document._apply(step, forward)
            for document in self._all:
                document.stepped.emit(step, forward)
        return step

    def _apply(self, step: Step, forward: bool) -> None:
        self.corrections.apply(step, self.labels, forward=forward)
        if self._withheld is not None:
            self._withheld.corrections.apply(step, self._withheld.labels, forward=forward)
            self._catch_up(self._withheld, step)
        for (time_index, what), value in (step.after if forward else step.before).items():
            if time_index != self.time_index:
                continue
            if what == "making":
                self._set_making(value)
            else:
                self._set_mark(what, value)

    def _catch_up(self, hidden: Withheld, step: Step) -> None:
        """Show what undo has changed of the model's mask on slices that have been read since."""
        for patch in step.patches:
            if patch.time_index == (*self.time_index, -1):
                for box, withheld in hidden.parts(patch.box):
                    if not withheld:
                        self._show_withheld(hidden, box)

    def _set_making(self, making: Making) -> None:
        if making != self.making:
            self.making = making
            self.remade.emit()

    def _tell_by_mask(self) -> None:
        """Where the most likely class was not kept, the model's own mask tells it.

        It is not kept for a model of one class, nor in the workspace. A voxel that a lower threshold adds later then has the class of the
        nearest one that is labelled.
        """
        if self.likeliest is not None:
            self.likeliest[...] = told_by_mask(self.corrections.origin & np.uint8(MODEL), self.making.classes)
            if self._withheld is not None and self._withheld.corrections.likeliest is not None:
                self._withheld.corrections.likeliest[...] = told_by_mask(self._withheld.labels, self.making.classes)

    def _put(
        self,
        where: tuple[Any, ...],
        labels: Array,
        step: Step | None,
        percent: Array | None = None,
        likeliest: Array | None = None,
        *,
        shown_only: bool = False,
    ) -> None:
        box = as_box(where, self.labels.shape)
        shape = tuple(part.stop - part.start for part in box)
        given = [array.reshape(shape) for array in (labels, percent, likeliest) if array is not None]
        hidden = self._withheld
        for part, withheld in [(box, False)] if hidden is None else hidden.parts(box):
            mask, *predicted = (array[inside(part, box)] for array in given)
            if not withheld:
                self.corrections.set_model(self.labels, part, mask, step, *predicted)
            elif not shown_only:
                assert hidden is not None
                hidden.corrections.set_model(hidden.labels, part, mask, step, *predicted)

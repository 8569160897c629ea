"""A mask as the model and a person left it, voxel by voxel, with undo and redo.

Two layers of truth lie over each other: the model's own label of every voxel, and the voxels that a person has set. A
changed threshold or another run of the network changes the first, an edit the second, and the labels that are shown
follow: the person's where there is one, else the model's. As the two never write into each other, any order of edits,
undo and redo leaves both right.

A person may also accept a part as it is: its voxels are then a person's too, but those that were the model's can be opened
again. Accepting and opening again are steps as edits are.

Edits are found by comparing the labels with how they were last seen, so that it does not matter which tool made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.steps import LIMIT, History, Labels, Patch, Step, as_box, slabs, whole
from napari_lungseg.volume import Box, bounding_box, inside

#: Bit of :attr:`Corrections.origin` that says a person set the voxel; the others are the model's own label.
PERSON = 0x80
MODEL = 0x7F
#: In a patch, beside :data:`PERSON`: the voxel is a person's only because it was accepted.
_ACCEPTED = 0x01

__all__ = ["LIMIT", "MODEL", "PERSON", "Corrections", "as_box"]

Origin = npt.NDArray[np.uint8]
#: Tells, for a part of the labels, where edits are allowed.
Allowed = Callable[[Box], npt.NDArray[np.bool_]]


class Corrections:
    """Who set which voxel of a label array, and what can be undone.

    The label array itself belongs to the caller, who gives it with every call; it is changed in place.

    Parameters
    ----------
    labels : array of int
        The labels, of any shape. What is in them counts as the model's, except values above 127: those count as a person's.
    percent : array of uint8, optional
        The model's probability, changed and restored with its mask.
    origin : array of uint8, optional
        As :attr:`origin`, where it is known.
    likeliest : array of uint8, optional
        As :attr:`likeliest`.
    history : History, optional
        What can be undone, if it is shared with the corrections of other time points.
    time_index : tuple of int
        Which time point this is, where the history is shared.

    Attributes
    ----------
    origin : array of uint8
        The model's own label (low 7 bits), and :data:`PERSON` where a person set or accepted the voxel.
    accepted : array of bool
        Voxels that are a person's only because they were accepted as the model left them; :meth:`reopen` gives them back.
    likeliest : array of uint8 or None
        Label of each voxel's most likely class, changed and restored with the probability; may be given later too.
    changed : callable or None
        Called with a box and the cause whenever labels in it have changed.
    """

    def __init__(
        self,
        labels: Labels,
        percent: npt.NDArray[np.uint8] | None = None,
        origin: Origin | None = None,
        likeliest: npt.NDArray[np.uint8] | None = None,
        *,
        history: History | None = None,
        time_index: tuple[int, ...] = (),
    ) -> None:
        self.percent, self.likeliest = percent, likeliest
        # Of a new mask no page is touched, which takes neither time nor memory.
        is_new = origin is None and not labels.any()
        self._seen = np.zeros(labels.shape, labels.dtype) if is_new else labels.copy()
        if is_new:
            origin = np.zeros(labels.shape, np.uint8)
        elif origin is None:
            foreign = (labels < 0) | (labels > MODEL)
            origin = np.where(foreign, PERSON, labels).astype(np.uint8)
        else:
            # A voxel that is not the model's is a person's, also where it was saved before it was marked.
            origin |= np.where(labels != (origin & MODEL), np.uint8(PERSON), np.uint8(0))
        if origin.shape != labels.shape:
            raise InputError(f"Labels of shape {labels.shape} cannot have their origin in an array of shape {origin.shape}.")
        self.origin = origin
        # Takes no memory before something is accepted, as no page of it is touched.
        self.accepted = np.zeros(labels.shape, bool)
        self.changed: Callable[[Box, str], None] | None = None
        self._history = history if history is not None else History()
        self._time_index = time_index
        self._stroke: Step | None = None

    @property
    def steps(self) -> int:
        """How many steps can be undone."""
        return len(self._history.done)

    @property
    def newest(self) -> Step | None:
        """The step that :meth:`undo` would take back."""
        return self._history.done[-1] if self._history.done else None

    @property
    def undo_cause(self) -> str | None:
        """What :meth:`undo` would take back."""
        return self.newest.cause if self.newest else None

    @property
    def redo_cause(self) -> str | None:
        """What :meth:`redo` would do again."""
        return self._history.undone[-1].cause if self._history.undone else None

    @property
    def nbytes(self) -> int:
        """Memory that undo and redo take."""
        return self._history.nbytes

    # ---- a person's edits

    def sync(
        self,
        labels: Labels,
        box: Box | None = None,
        cause: str = "edit",
        *,
        allowed: Allowed | None = None,
        ended: bool = True,
        step: Step | None = None,
    ) -> list[Box]:
        """Take up what was changed in the labels, by whatever tool, since they were last seen.

        Parameters
        ----------
        labels : array of int
            The labels as they are now.
        box : tuple of slice, optional
            Where to look; everywhere by default.
        cause : str
            What the edit was.
        allowed : callable, optional
            Where edits may be; elsewhere the labels are put back to what they were.
        ended : bool
            Whether the edit is over; else what follows belongs to the same step.
        step : Step, optional
            To what this belongs, if it is not the rest of an edit; one of its own by default.

        Returns
        -------
        list of box
            Where something had changed, allowed or not.
        """
        if self._seen.dtype != labels.dtype:
            self._seen = self._seen.astype(labels.dtype)
        touched = []
        for part in self._differing(labels, box):
            now, seen = labels[part], self._seen[part]
            changed = now != seen
            touched.append(part)
            if allowed is not None:
                refused = changed & ~allowed(part)
                now[refused] = seen[refused]
                changed &= ~refused
                if not changed.any():
                    continue
            patch = self._by_person(part, changed, seen, now)
            if self._stroke is None:
                self._stroke = step or Step(cause)
            self._history.add(self._stroke, patch)
            self._stroke.cause = cause
            seen[...] = now
            self._tell(patch.box, cause)
        if ended:
            self._stroke = None
        return touched

    def seen(self, box: Box) -> Labels:
        """The labels in a box as they were last taken up; a view, not to be changed."""
        return self._seen[box]

    def has_unseen(self, labels: Labels) -> bool:
        """Whether the labels hold changes that :meth:`sync` has not taken up; may be asked from any thread."""
        return labels.shape == self.origin.shape and any(True for _ in self._differing(labels, None))

    def edit(self, labels: Labels, box: Box, before: Labels, after: Labels, step: Step) -> None:
        """Write what a tool made of the labels, as a person's.

        Parameters
        ----------
        labels : array of int
            The labels as they are now; changed in place.
        box : tuple of slice
            Where.
        before, after : array of int
            The labels in the box that the tool was given, and what it made of them. Voxels that have changed meanwhile stay.
        step : Step
            To what this belongs.
        """
        self.sync(labels, box, ended=False)
        for part in slabs(box, labels.ndim):
            here = inside(part, box)
            now, old, new = labels[part], before[here], after[here]
            changed = (old != new) & (now == old)
            if not changed.any():
                continue
            then = now.copy()
            now[changed] = new[changed]
            patch = self._by_person(part, changed, then, now)
            self._seen[part] = now
            self._history.add(step, patch)
            self._tell(patch.box, step.cause)

    def give_back(self, labels: Labels, box: Box | None = None, cause: str = "give back to the model", *, step: Step | None = None) -> bool:
        """Make a person's voxels the model's again; tells whether there were any."""
        self.sync(labels, box)
        step = step or Step(cause)
        for part in slabs(box or whole(labels), labels.ndim):
            self._release(labels, part, (self.origin[part] & PERSON) != 0, step)
        return bool(step.patches)

    def replace(self, labels: Labels, box: Box, after: Labels, origin: Origin) -> None:
        """Write what a box holds as it was saved elsewhere.

        What could be undone in the box is forgotten; what was done in other boxes can still be undone.

        Parameters
        ----------
        labels : array of int
            The labels; changed in place.
        box : tuple of slice
            Where.
        after : array of int
            The labels in the box.
        origin : array of uint8
            Their origin, as :attr:`origin`.
        """
        self.sync(labels)
        shape = labels[box].shape
        labels[box] = after.reshape(shape)
        # A voxel that is not the model's is a person's, also where it was saved before it was marked.
        foreign = labels[box] != (origin.reshape(shape) & MODEL)
        self.origin[box] = origin.reshape(shape) | np.where(foreign, np.uint8(PERSON), np.uint8(0))
        self.accepted[box] = False
        self._seen[box] = labels[box]
        self._history.forget(box, self._time_index)
        self._tell(box, "restored")

    def accept(self, box: Box, step: Step | None = None, *, drawn: bool = False) -> None:
        """Let a person stand for all voxels of a box as they are: no model changes them from now on.

        Parameters
        ----------
        box : tuple of slice
            Where.
        step : Step, optional
            To what this belongs; one of its own by default.
        drawn : bool
            Whether the person has told all of them, without a mask to go by: then :meth:`reopen` gives none of them back.
        """
        step = step or Step("accept")
        # A stroke that goes on after this is another one.
        self._stroke = None
        for part in slabs(box, self.origin.ndim):
            free = (self.origin[part] & PERSON) == 0
            if free.any():
                seen = self._seen[part]
                patch = self._by_person(part, free, seen, seen, PERSON if drawn else PERSON | _ACCEPTED)
                self._history.add(step, patch)
        self._tell(box, step.cause)

    def reopen(self, labels: Labels, box: Box, step: Step | None = None) -> None:
        """Make what was accepted in a box the model's again, as its mask is now; what a person set stays.

        Parameters
        ----------
        labels : array of int
            The labels; changed in place.
        box : tuple of slice
            Where.
        step : Step, optional
            To what this belongs; one of its own by default.
        """
        self.sync(labels, box)
        step = step or Step("open again")
        for part in slabs(box, labels.ndim):
            self._release(labels, part, (self._whose(part) & _ACCEPTED) != 0, step)

    def know_accepted(self, box: Box, which: npt.NDArray[np.bool_]) -> None:
        """Tell which of a person's voxels in a box were only accepted, as it is known from an earlier session."""
        self.accepted[box] = which & ((self.origin[box] & PERSON) != 0)

    def record(self, step: Step) -> None:
        """Make something a step that may change no voxel, such as what a person says of a slice."""
        self._history.add(step)

    def is_touched(self, box: Box) -> bool:
        """Whether a person set any voxel in a box."""
        return bool((self.origin[box] & PERSON).any())

    def difference(self, labels: Labels, box: Box) -> npt.NDArray[np.uint8]:
        """What a person changed in a box: 1 added, 2 removed, 3 given another label; 0 where the model would say the same."""
        now, model = labels[box], self.origin[box] & MODEL
        changed = np.where(model == 0, 1, np.where(now == 0, 2, 3))
        return np.where(now != model, changed, 0).astype(np.uint8)

    # ---- the model's mask

    def set_model(
        self,
        labels: Labels,
        box: Box,
        mask: npt.NDArray[np.uint8],
        step: Step | None,
        percent: npt.NDArray[np.uint8] | None = None,
        likeliest: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Write another mask of the model, around a person's voxels.

        Parameters
        ----------
        labels : array of int
            The labels; changed in place.
        box : tuple of slice
            Where.
        mask : array of uint8
            The model's labels in the box, up to 127.
        step : Step or None
            To what this belongs; None if it is the first mask, which cannot be undone.
        percent : array of uint8, optional
            The probability in the box, if it changes too.
        likeliest : array of uint8, optional
            The label of the most likely class in the box, if that changes with the probability.
        """
        self.sync(labels, box, ended=False)
        origin, now = self.origin[box], labels[box]
        model = origin & MODEL
        pairs: list[tuple[Labels, Labels]] = [(model, mask)]
        changed = model != mask
        for stored, new in zip(self._predicted(), (percent, likeliest)):
            if new is None:
                break
            pairs.append((stored[box].copy(), new))
            changed |= pairs[-1][0] != new
            stored[box] = new
        if (tight := bounding_box(changed)) is None:
            return
        if step is not None:
            self._history.add(step, Patch.between(box, changed, pairs, by_person=False, time_index=self._time_index))
        origin, now, new = origin[tight], now[tight], mask[tight]
        person = origin & PERSON
        np.bitwise_or(person, new, out=origin)
        np.copyto(now, new, where=person == 0, casting="unsafe")
        self._seen[box][tight] = now
        self._tell(box, step.cause if step is not None else "segment")

    # ---- undo and redo

    def undo(self, labels: Labels) -> Step | None:
        """Take back the last step; None if there is none."""
        self.sync(labels)
        step = self._history.back()
        if step is not None:
            self.apply(step, labels, forward=False)
        return step

    def redo(self, labels: Labels) -> Step | None:
        """Do again what was undone last; None if there is nothing, or an edit was made since."""
        self.sync(labels)
        step = self._history.forth()
        if step is not None:
            self.apply(step, labels, forward=True)
        return step

    def forget_undone(self) -> None:
        """There is nothing to redo any more."""
        self._history.undone.clear()

    def _whose(self, box: Box) -> Origin:
        """Who set each voxel, as it lies in a patch: 0 the model, :data:`PERSON`, or that with :data:`_ACCEPTED`."""
        person = self.origin[box] & PERSON
        return person | (self.accepted[box] & (person != 0))

    def _by_person(self, part: Box, which: npt.NDArray[np.bool_], before: Labels, after: Labels, whose: int = PERSON) -> Patch:
        """Note that voxels have changed hands, and give the patch of it."""
        then = self._whose(part)
        pairs = [(before, after), (then, np.full_like(then, whose))]
        patch = Patch.between(part, which, pairs, by_person=True, time_index=self._time_index)
        self.origin[part][which] = (self.origin[part][which] & MODEL) | (whose & PERSON)
        self.accepted[part][which] = bool(whose & _ACCEPTED)
        return patch

    def _release(self, labels: Labels, part: Box, which: npt.NDArray[np.bool_], step: Step) -> None:
        """Make some of a person's voxels the model's again."""
        if not which.any():
            return
        now = labels[part]
        before = now.copy()
        now[which] = (self.origin[part] & MODEL)[which]
        patch = self._by_person(part, which, before, now, 0)
        self._seen[part] = now
        self._history.add(step, patch)
        self._tell(patch.box, step.cause)

    def apply(self, step: Step, labels: Labels, *, forward: bool) -> None:
        """Change the labels, of this time point, as a step of the history did, or take that back."""
        for patch in step.patches if forward else reversed(step.patches):
            if patch.time_index != self._time_index:
                continue
            changed, now, origin = patch.changed(), labels[patch.box], self.origin[patch.box]
            if patch.by_person:
                whose = patch.after(1, forward)
                model = origin[changed] & MODEL
                origin[changed] = model | (whose & PERSON)
                self.accepted[patch.box][changed] = (whose & _ACCEPTED) != 0
                # What was not a person's follows the model, whose mask may be another one by now.
                now[changed] = np.where(whose != 0, patch.after(0, forward), model)
            else:
                model = patch.after(0, forward)
                person = origin[changed] & PERSON
                origin[changed] = person | model
                now[changed] = np.where(person != 0, now[changed], model)
                for number, stored in enumerate(self._predicted()[: len(patch.values) - 1], start=1):
                    stored[patch.box][changed] = patch.after(number, forward)
            self._seen[patch.box] = now
            self._tell(patch.box, "redo" if forward else "undo")

    def _predicted(self) -> list[npt.NDArray[np.uint8]]:
        """What is kept of a prediction, in the order in which it lies in a patch behind the mask."""
        return [array for array in (self.percent, self.likeliest) if array is not None]

    def _differing(self, labels: Labels, box: Box | None) -> Iterator[Box]:
        for part in slabs(box or whole(labels), labels.ndim):
            if not np.array_equal(labels[part], self._seen[part]):
                yield part

    def _tell(self, box: Box, cause: str) -> None:
        if self.changed is not None:
            self.changed(box, cause)

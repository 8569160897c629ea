"""What undo takes back: changes of arrays, kept small, and the history of them."""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.volume import Box, bounding_box, outside

#: How many steps can be undone; as many as napari keeps.
LIMIT = 100
#: Memory that all steps together may take. Masks of a large CT made anew take some MB each as steps, so a hundred of them fit; painting by
#: scripts, with noise that cannot be compressed, would otherwise fill the memory of a common computer.
LIMIT_BYTES = 512 * 2**20

Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class Patch:
    """What changed in a box of some arrays of one shape, compressed.

    Attributes
    ----------
    box : tuple of slice
        The smallest box around what changed.
    which : bytes
        Packed bits: which voxels of the box changed.
    values : tuple of (bytes, bytes, dtype)
        Of each array, the values of those voxels before and after.
    by_person : bool
        Whether the arrays are (labels, who set them), or else (model's label, percent, label of the likeliest class), or the first
        of these.
    time_index : tuple of int
        Time point of the arrays, where several share a history.
    """

    box: Box
    which: bytes
    values: tuple[tuple[bytes, bytes, np.dtype[Any]], ...]
    by_person: bool
    time_index: tuple[int, ...] = ()

    @classmethod
    def between(
        cls,
        box: Box,
        changed: npt.NDArray[np.bool_],
        pairs: Sequence[tuple[Labels, Labels]],
        *,
        by_person: bool,
        time_index: tuple[int, ...] = (),
    ) -> Patch:
        """The change from the first to the second of each pair of arrays, at the voxels of the box that are marked in ``changed``."""
        tight = bounding_box(changed)
        assert tight is not None
        which = changed[tight]
        values = tuple((_squeeze(old[tight][which]), _squeeze(new[tight][which]), old.dtype) for old, new in pairs)
        return cls(outside(tight, box), _squeeze(np.packbits(which)), values, by_person, time_index)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return len(self.which) + sum(len(old) + len(new) for old, new, _ in self.values)

    def changed(self) -> npt.NDArray[np.bool_]:
        """Which voxels of the box changed."""
        shape = tuple(part.stop - part.start for part in self.box)
        bits = np.frombuffer(zlib.decompress(self.which), np.uint8)
        return np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)

    def after(self, number: int, forward: bool) -> npt.NDArray[Any]:
        """Values of those voxels in one of the arrays after a step forward or back."""
        old, new, dtype = self.values[number]
        return np.frombuffer(zlib.decompress(new if forward else old), dtype)


@dataclass(eq=False)
class Step:
    """What one Ctrl+Z takes back.

    Attributes
    ----------
    cause : str
        What was done, for a person to read.
    before, after : dict
        What else the step changes, such as the settings of the mask, with its values before and after.
    patches : list of Patch
        The changes, in their order.
    nbytes : int
        Memory that these take.
    dropped : bool
        Whether it cannot be undone any more.
    """

    cause: str
    before: dict[Any, Any] = field(default_factory=dict)
    after: dict[Any, Any] = field(default_factory=dict)
    patches: list[Patch] = field(default_factory=list)
    nbytes: int = field(default=0, init=False)
    dropped: bool = field(default=False, init=False)

    def add(self, patch: Patch) -> None:
        """Make a change part of this."""
        self.patches.append(patch)
        self.nbytes += patch.nbytes


class History:
    """Steps that can be undone, and those that can be done again: no more than :data:`LIMIT`, in no more than :data:`LIMIT_BYTES`.

    The oldest are dropped first. The newest always stays, whatever it takes.

    Attributes
    ----------
    done : deque of Step
        What can be undone, the newest last.
    undone : list of Step
        What can be done again, the next one last.
    """

    def __init__(self) -> None:
        self.done: deque[Step] = deque()
        self.undone: list[Step] = []

    @property
    def nbytes(self) -> int:
        """Memory that all of it takes."""
        return sum(step.nbytes for step in (*self.done, *self.undone))

    def add(self, step: Step, patch: Patch | None = None) -> None:
        """Make a change part of a step, which becomes the newest if it is not known yet; nothing can be done again then."""
        self.undone.clear()
        if step.dropped:
            # Without its beginning, the rest of it cannot be undone either.
            return
        if step not in self.done:
            self.done.append(step)
        if patch is not None:
            step.add(patch)
        while len(self.done) > LIMIT or (len(self.done) > 1 and self.nbytes > LIMIT_BYTES):
            oldest = self.done.popleft()
            oldest.dropped = True
            oldest.patches.clear()

    def back(self) -> Step | None:
        """Move the newest step to those that can be done again; None if there is none."""
        if not self.done:
            return None
        self.undone.append(self.done.pop())
        return self.undone[-1]

    def forth(self) -> Step | None:
        """Move the step that was undone last back to those that can be undone; None if there is none."""
        if not self.undone:
            return None
        self.done.append(self.undone.pop())
        return self.done[-1]

    def forget(self, box: Box, time_index: tuple[int, ...] = ()) -> None:
        """Nothing in a box of a time point can be undone or done again any more."""
        for step in (*self.done, *self.undone):
            kept = [patch for patch in step.patches if patch.time_index != time_index or not _overlap(patch.box, box)]
            step.dropped = step.dropped or bool(step.patches and not kept)
            step.patches, step.nbytes = kept, sum(patch.nbytes for patch in kept)
        self.done = deque(step for step in self.done if not step.dropped)
        self.undone = [step for step in self.undone if not step.dropped]


def as_box(index: tuple[Any, ...], shape: tuple[int, ...]) -> Box:
    """Index of integers and slices as a box of slices, one for every axis."""
    full = (*index, *(slice(None),) * (len(shape) - len(index)))
    spans = (part if isinstance(part, slice) else slice(int(part), int(part) + 1) for part in full)
    return tuple(slice(*span.indices(size)[:2]) for span, size in zip(spans, shape, strict=True))


def whole(labels: Labels) -> Box:
    """Box of all of an array."""
    return tuple(slice(0, size) for size in labels.shape)


def slabs(box: Box, axes: int) -> Iterator[Box]:
    """The box in slices along the third axis from the end, so that no large temporary array is made."""
    if axes < 3:
        yield box
        return
    *leading, rows, columns = box
    ranges = [range(part.start, part.stop) for part in leading]
    for number in range(math.prod(len(span) for span in ranges)):
        index = np.unravel_index(number, [len(span) for span in ranges])
        yield (*(slice(span[int(i)], span[int(i)] + 1) for span, i in zip(ranges, index, strict=True)), rows, columns)


def _overlap(one: Box, other: Box) -> bool:
    return all(max(a.start, b.start) < min(a.stop, b.stop) for a, b in zip(one, other, strict=True))


def _squeeze(array: Labels) -> bytes:
    return zlib.compress(np.ascontiguousarray(array).data, 1)

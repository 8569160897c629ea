"""What one undo takes back: changes of arrays, kept small."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.volume import bounding_box

Box = tuple[slice, ...]
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
        Whether the arrays are (labels, person's bit), or else (model's label, percent, label of the likeliest class), or the first
        of these.
    """

    box: Box
    which: bytes
    values: tuple[tuple[bytes, bytes, np.dtype[Any]], ...]
    by_person: bool

    @classmethod
    def between(cls, box: Box, changed: npt.NDArray[np.bool_], pairs: Sequence[tuple[Labels, Labels]], *, by_person: bool) -> Patch:
        """The change from the first to the second of each pair of arrays, at the voxels of the box that are marked in ``changed``."""
        tight = bounding_box(changed)
        assert tight is not None
        which = changed[tight]
        values = tuple((_squeeze(old[tight][which]), _squeeze(new[tight][which]), old.dtype) for old, new in pairs)
        place = tuple(slice(whole.start + part.start, whole.start + part.stop) for whole, part in zip(box, tight, strict=True))
        return cls(place, _squeeze(np.packbits(which)), values, by_person)

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
    before, after : object
        What the caller wants to have again with the labels, such as the settings of the mask.
    """

    cause: str
    before: Any = None
    after: Any = None
    patches: list[Patch] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(patch.nbytes for patch in self.patches)


def _squeeze(array: Labels) -> bytes:
    return zlib.compress(np.ascontiguousarray(array).data, 1)

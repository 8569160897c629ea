"""Connected pieces of a mask, found slab by slab in the memory of the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cc3d
import numpy as np
import numpy.typing as npt

#: Voxels of a slab in which pieces are looked for at a time.
SLAB_VOXELS = 1 << 21

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of lung in an upright volume (axes feet-head, front-back, right-left).

    Attributes
    ----------
    labels : (Z, Y, X) array of uint8
        Room for the labels of the pieces; until they are painted, numbers of ``slabs`` may lie there.
    slabs : list of (array, array)
        Of each slab of the volume, from the feet on: numbers of the parts of pieces in it, 0 in the background; and the piece that
        each part belongs to.
    counts : (N + 1,) array of int
        Voxels of each piece; 0 for the background and for pieces to leave out.
    columns : (N + 1,) array of float
        Mean x index of each piece.
    low, high : (N + 1,) array of int
        First and last x index of each piece.
    """

    labels: Labels
    slabs: list[tuple[Numbers, Integers]]
    counts: Integers
    columns: Floats
    low: Integers
    high: Integers

    @classmethod
    def of(cls, framed: Mask) -> Pieces:
        """Find the pieces of a mask; voxels that share a face, an edge or a corner hang together.

        Parameters
        ----------
        framed : (Z + 2, Y + 2, X + 2) array of bool
            The mask, in C order, in a frame of background one voxel thick, which is cut off again; it is written over. Without the
            frame, runs could go on from one row to the next, and ``cc3d`` 4.1 fails on some single rows.
        """
        # Slab by slab, as numbers take 4 bytes a voxel where they are found.
        mask, labels = framed[1:-1], framed[1:-1].view(np.uint8)
        thick = max(1, SLAB_VOXELS // mask[0].size)
        slabs, measures, pairs = [], [], [np.empty((2, 0), np.int64)]
        parts, below = 0, np.zeros((0, 0), np.int64)
        for start in range(0, len(mask), thick):
            # With the first slice of the next slab, where the same parts have numbers in both.
            numbers, count = cc3d.connected_components(mask[start : start + thick + 1], connectivity=26, return_N=True, binary_image=True)
            if start:
                lung = mask[start]
                pairs.append(_pairs(below[lung], numbers[0][lung] + np.int64(parts)))
            below, own = numbers[-1] + np.int64(parts), cast(Numbers, numbers[:thick])
            measures.append(_measured(mask[start : start + thick], own, count))
            if count < 256:
                labels[start : start + thick] = own
                own = labels[start : start + thick]
            slabs.append((own[:, 1:-1, 1:-1], slice(parts + 1, parts + count + 1)))
            parts += count
        piece = _joined(parts, np.hstack(pairs))
        number = int(piece.max()) + 1
        voxels, sums, first, last = np.hstack(measures)
        counts = np.bincount(piece[1:], voxels, number)
        low, high = np.full(number, framed.shape[2]), np.zeros(number, np.int64)
        np.minimum.at(low, piece[1:], first.astype(np.int64))
        np.maximum.at(high, piece[1:], last.astype(np.int64))
        return cls(
            labels[:, 1:-1, 1:-1],
            [(own, np.concatenate(([0], piece[here]))) for own, here in slabs],
            counts.astype(np.int64),
            np.bincount(piece[1:], sums, number) / np.maximum(1, counts),
            low,
            high,
        )

    def paint(self, values: Labels) -> Labels:
        """Give each voxel the label of its piece, from an array of (N + 1,); for once, as the labels take the place of the numbers."""
        # Slice by slice, as take makes 8-byte indices of all numbers it is given.
        planes = iter(self.labels)
        for numbers, piece in self.slabs:
            for plane, painted in zip(numbers, planes, strict=False):
                painted[...] = values[piece].take(plane)
        return self.labels

    def voxels_of(self, wanted: Mask) -> tuple[tuple[Integers, ...], Integers]:
        """Indices of the voxels of pieces that are marked in an array of (N + 1,), and the piece of each."""
        found, start = [], 0
        for numbers, piece in self.slabs:
            here = wanted[piece]
            if here.any():
                z, y, x = np.nonzero(here[numbers])
                found.append((z + start, y, x, piece[numbers[z, y, x]]))
            start += len(numbers)
        z, y, x, owners = (np.concatenate(part) for part in zip(*found, strict=True))
        return (z, y, x), owners

    def mask_of(self, number: int) -> Mask:
        """Where one piece is."""
        return np.concatenate([(piece == number)[numbers] for numbers, piece in self.slabs])


def _pairs(one: Integers, other: Integers) -> Integers:
    """What stands beside each other in two arrays, each pair once."""
    highest = int(other.max(initial=0)) + 1
    return np.stack(np.divmod(np.unique(one * highest + other), highest))


def _measured(mask: Mask, numbers: Numbers, count: int) -> Floats:
    """Voxels, sum of the x indices, lowest and highest x index of each part in a slab, x counted without the frame."""
    # Runs along x are counted in place of voxels, which takes a fifth of the time of cc3d.statistics.
    voxels = mask.ravel()
    edges = np.flatnonzero(voxels[1:] != voxels[:-1])
    before, last = edges[::2], edges[1::2]
    part, length = numbers.ravel()[last], last - before
    # The column before the run in the frame is the run's first without.
    start = before % mask.shape[2]
    low, high = np.full(count + 1, mask.shape[2]), np.zeros(count + 1, np.int64)
    np.minimum.at(low, part, start)
    np.maximum.at(high, part, start + length - 1)
    sums = np.bincount(part, length * (start + (length - 1) / 2), count + 1)
    return np.stack([np.bincount(part, length, count + 1), sums, low, high])[:, 1:]


def _joined(parts: int, pairs: Integers) -> Integers:
    """Number the pieces that parts make up, in the order of their first parts; a pair of parts is of one piece."""
    root: dict[int, int] = {}

    def root_of(part: int) -> int:
        while (above := root.setdefault(part, part)) != part:
            root[part] = part = root[above]
        return part

    for one, other in pairs.T.tolist():
        one, other = sorted((root_of(one), root_of(other)))
        root[other] = one
    first = np.arange(parts + 1)
    first[list(root)] = [root_of(part) for part in root]
    return (np.cumsum(first == np.arange(parts + 1)) - 1)[first]

"""What a person accepted of a slice as the model had left it, told from the slice's revisions.

A slice that is accepted is saved with every voxel a person's. Which of these the person had set before shows in the revision
before that one.
"""

from __future__ import annotations

import math
import sqlite3
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_lungseg.corrections import MODEL, PERSON
from napari_lungseg.volume import Array
from napari_lungseg.workspace import damage, stored
from napari_lungseg.workspace.records import Case
from napari_lungseg.workspace.stored import RevisionRow


class Accepted(NamedTuple):
    """What of a slice is a person's only because it was accepted.

    Attributes
    ----------
    which : (H, W) array of bool
        Those voxels.
    labels : (H, W) array of int
        The slice as it was saved last.
    """

    which: npt.NDArray[np.bool_]
    labels: Array


def accepted_in(db: sqlite3.Connection, number: int, case: Case, index: int) -> Accepted | None:
    """What of a slice was only accepted; None where it is not accepted as a whole, or its revisions cannot be read."""
    rows = "FROM revisions WHERE case_id = ? AND slice = ? ORDER BY id"
    known = db.execute(f"SELECT id, by_person {rows}", (number, index)).fetchall()
    whole = math.prod(case.plane_shape)
    first = len(known)
    while first and known[first - 1][1] == whole:
        first -= 1
    if first == len(known):
        return None
    planes = [_planes(db, case, known[number][0]) for number in (first, max(first - 1, 0), len(known) - 1)]
    if not all(planes):
        # Without a revision that is damaged, all of the slice counts as the person's.
        return None
    (labels, origin), (_, before), (last, _) = planes
    # The model's then, and as it said: a person's own stroke may be in the same revision.
    which = labels == (origin & MODEL)
    if first:
        which &= (before & PERSON) == 0
    return Accepted(which & (last == labels), last)


def _planes(db: sqlite3.Connection, case: Case, revision: int) -> tuple[Array, ...]:
    row = stored.fetch(db, RevisionRow, revision)
    return () if row is None else damage.planes_of(row, case)

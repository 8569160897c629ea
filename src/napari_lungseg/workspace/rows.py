"""From the journal's rows to values and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_lungseg.corrections import PERSON
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array
from napari_lungseg.workspace.content import pack, plain_labels
from napari_lungseg.workspace.journal import Entry
from napari_lungseg.workspace.records import Case, SliceState, Source, State
from napari_lungseg.workspace.trouble import WorkspaceError

#: Each case with its last place; SQLite takes the other columns from the row that has the maximum.
CASES = """
SELECT c.id, c.content, c.shape, c.axis, e.details, max(e.id) FROM cases c
JOIN events e ON e.case_id = c.id AND e.kind IN ('added', 'moved')
"""


class PackedSlice(NamedTuple):
    """A slice as it is stored."""

    at: int
    dtype: str
    labels: bytes
    origin: bytes
    by_person: int


def moment(text: str) -> datetime:
    """A stored time in this computer's time zone."""
    return datetime.fromisoformat(text).astimezone()


def case_of(row: Sequence[Any]) -> Case:
    """From a row of :data:`CASES`."""
    number, content, shape, axis, details, _ = row
    place = json.loads(details)
    path = None if place["path"] is None else Path(place["path"])
    return Case(number, content, place["name"], path, tuple(json.loads(shape)), np.array(place["affine"]), axis, place["unit"])


def case_id(db: sqlite3.Connection, case: Case) -> int:
    """The number of a case in this journal; WorkspaceError if it is not in it."""
    row = db.execute("SELECT id FROM cases WHERE content = ?", (case.content,)).fetchone()
    if row is None:
        raise WorkspaceError(f"{case.name} is not in this workspace; add it first.")
    return int(row[0])


def last_source(db: sqlite3.Connection, number: int) -> Source | None:
    """What made a case's mask last."""
    row = db.execute("SELECT details FROM events WHERE case_id = ? AND kind = 'made' ORDER BY id DESC LIMIT 1", (number,)).fetchone()
    return None if row is None else Source(**json.loads(row[0]))


def states(db: sqlite3.Connection, number: int) -> dict[int, SliceState]:
    """States of all slices of a case that were saved or given one."""
    saved = db.execute("SELECT slice, by_person, event_id, max(id) FROM revisions WHERE case_id = ? GROUP BY slice", (number,))
    last: dict[int, tuple[int, State]] = {index: (event, "corrected" if person else "unseen") for index, person, event, _ in saved}
    found = {index: SliceState(state) for index, (_, state) in last.items()}
    given = db.execute("SELECT slice, id, details FROM events WHERE case_id = ? AND kind = 'state' ORDER BY id", (number,))
    for index, event, text in given:
        details = json.loads(text)
        spent = found[index].seconds if index in found else 0.0
        changed_at, derived = last.get(index, (0, details["state"]))
        # What a person said of a slice stands; whether it is corrected shows in what was saved later.
        state = derived if changed_at > event and details["state"] in ("unseen", "corrected") else details["state"]
        found[index] = SliceState(state, details["note"], spent + details["seconds"])
    return dict(sorted(found.items()))


def plane_of(case: Case, index: int, plane: Array) -> Array:
    """A slice as given; InputError if it is none of the case."""
    plane = np.asarray(plane)
    if not 0 <= index < case.slices or plane.shape != case.plane_shape:
        raise InputError(
            f"A slice {index} of shape {plane.shape} is none of {case.name}, which has {case.slices} of shape {case.plane_shape} "
            f"along axis {case.axis}."
        )
    return plane


def pack_slice(case: Case, index: int, labels: Array, origin: Array) -> PackedSlice:
    """A slice as it is stored."""
    labels = plain_labels(plane_of(case, index, labels))
    origin = plane_of(case, index, origin).astype(np.uint8, copy=False)
    dtype = labels.dtype.newbyteorder("<").str
    return PackedSlice(int(index), dtype, pack(labels), pack(origin), int(np.count_nonzero(origin & PERSON)))


def add_slices(entry: Entry, number: int, cause: str, packed: Iterable[PackedSlice], percents: Iterable[tuple[int, bytes]]) -> None:
    """Add a revision of each slice that is not as it was saved last."""
    db = entry.db
    new = [one for one in packed if _last(db, "dtype, labels, origin", "revisions", number, one.at) != one[1:4]]
    new_percents = [(index, blob) for index, blob in percents if _last(db, "percent", "percents", number, index) != (blob,)]
    if not (new or new_percents):
        return
    changed = sorted({one.at for one in new} | {index for index, _ in new_percents})
    event = entry.event("saved", {"cause": cause, "slices": changed}, number)
    db.executemany(
        "INSERT INTO revisions (event_id, case_id, slice, by_person, dtype, labels, origin) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(event, number, one.at, one.by_person, one.dtype, one.labels, one.origin) for one in new],
    )
    db.executemany(
        "INSERT INTO percents (event_id, case_id, slice, percent) VALUES (?, ?, ?, ?)",
        [(event, number, index, blob) for index, blob in new_percents],
    )


def _last(db: sqlite3.Connection, columns: str, table: str, number: int, index: int) -> Any:
    query = f"SELECT {columns} FROM {table} WHERE case_id = ? AND slice = ? ORDER BY id DESC LIMIT 1"
    return db.execute(query, (number, index)).fetchone()

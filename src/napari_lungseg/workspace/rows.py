"""From the journal's rows to values and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_lungseg.content import pack, plain_labels
from napari_lungseg.corrections import PERSON
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array
from napari_lungseg.workspace import stored
from napari_lungseg.workspace.failures import WorkspaceError
from napari_lungseg.workspace.records import Case, Source
from napari_lungseg.workspace.stored import CaseRow, Entry, EventRow, PercentRow, RevisionRow, SessionRow

#: Who worked, where the journal does not tell any more.
UNKNOWN = "unknown"
#: Details of entries by which damage is found; the record does not show them.
CHECKS = frozenset({"content", "shape", "axis", "masks", "probabilities"})


class PackedSlice(NamedTuple):
    """A slice as it is stored."""

    at: int
    by_person: int
    dtype: str
    labels: bytes
    origin: bytes


# ---- cases


def cases(db: sqlite3.Connection) -> list[Case]:
    """All cases, in the order in which they were added."""
    known: dict[int, CaseRow | None] = stored.fetch_all(db, CaseRow)
    last: dict[int | None, EventRow] = {}
    for event in stored.fetch_all(db, EventRow, "kind IN ('added', 'moved')").values():
        if event is not None:
            last[event.case_id] = event
    rows = [row or case_row(db, number) for number, row in known.items()]
    return [_placed(row, last[row.id].details if row.id in last else row.place) for row in rows if row is not None]


def find(db: sqlite3.Connection, content: str) -> CaseRow | None:
    """The case of an image's content, if it is known."""
    number = db.execute("SELECT id FROM cases WHERE content = ?", (content,)).fetchone()
    row = None if number is None else stored.fetch(db, CaseRow, *number)
    if row is None:
        # Unknown, or its row is damaged.
        rows = (case_row(db, number) for (number,) in db.execute("SELECT id FROM cases NOT INDEXED").fetchall())
        row = next((one for one in rows if one is not None and one.content == content), None)
    return row if row is not None and row.content == content else None


def case_row(db: sqlite3.Connection, number: int) -> CaseRow | None:
    """A case by its number, from the entry of the record that added it if its own row is damaged."""
    row = stored.fetch(db, CaseRow, number)
    return row if row is not None else added(number, next(events(db, number, "added"), None))


def added(number: int, event: EventRow | None) -> CaseRow | None:
    """A case from the entry of the record that added it; None if there is none, or an older version wrote it."""
    if event is None or "content" not in event.details:
        return None
    return CaseRow(number, event.details["content"], tuple(event.details["shape"]), event.details["axis"], event.details)


def case_of(db: sqlite3.Connection, row: CaseRow) -> Case:
    """A case with its last place and geometry."""
    event = next(events(db, row.id, "added", "moved"), None)
    return _placed(row, row.place if event is None else event.details)


def _placed(row: CaseRow, place: dict[str, Any] | None) -> Case:
    if place is None:
        # The journal does not tell any more.
        place = {"name": f"image {row.content[:8]}", "path": None, "affine": np.eye(4), "unit": "arbitrary"}
    path = None if place["path"] is None else Path(place["path"])
    affine = np.array(place["affine"])
    return Case(row.id, row.content, place["name"], path, row.shape, affine, row.axis, place["unit"], place.get("dtype", ""))


def known(db: sqlite3.Connection, case: Case) -> Case:
    """A case as this journal has it; WorkspaceError if it is not in it."""
    return case_of(db, _row(db, case))


def case_id(db: sqlite3.Connection, case: Case) -> int:
    """The number of a case in this journal; WorkspaceError if it is not in it."""
    return _row(db, case).id


def _row(db: sqlite3.Connection, case: Case) -> CaseRow:
    row = find(db, case.content)
    if row is None:
        raise WorkspaceError(f"{case.name} is not in this workspace; add it first.")
    return row


# ---- the record


def events(db: sqlite3.Connection, number: int, *kinds: str) -> Iterator[EventRow]:
    """The sound entries of some kinds about a case, the last one first."""
    marks = ", ".join("?" * len(kinds))
    found = db.execute(f"SELECT id FROM events WHERE case_id = ? AND kind IN ({marks}) ORDER BY id DESC", (number, *kinds)).fetchall()
    for (event,) in found:
        row = stored.fetch(db, EventRow, event)
        if row is not None and (row.case_id, row.kind in kinds) == (number, True):
            yield row


def moment(db: sqlite3.Connection, event: int) -> datetime:
    """When an entry of the record was written; where it is damaged, when the one before was."""
    before = db.execute("SELECT id FROM events NOT INDEXED WHERE id <= ? ORDER BY id DESC LIMIT 20", (event,)).fetchall()
    rows = (stored.fetch(db, EventRow, number) for (number,) in before)
    return next((row.at for row in rows if row is not None), datetime.fromtimestamp(0, UTC))


def user_of(db: sqlite3.Connection, session_id: int) -> str:
    """Who worked in a session."""
    session = stored.fetch(db, SessionRow, session_id)
    return UNKNOWN if session is None else session.user


def who(db: sqlite3.Connection, event: int) -> tuple[datetime, str, str]:
    """When something was saved, by whom, and what had changed it."""
    row = stored.fetch(db, EventRow, event)
    if row is None or row.kind != "saved":
        return moment(db, event), UNKNOWN, UNKNOWN
    return row.at, user_of(db, row.session_id), row.details["cause"]


def last_source(db: sqlite3.Connection, number: int) -> Source | None:
    """What made a case's mask last."""
    event = next(events(db, number, "made"), None)
    return None if event is None else Source(**event.details)


# ---- slices


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
    return PackedSlice(int(index), int(np.count_nonzero(origin & PERSON)), dtype, pack(labels), pack(origin))


def add_slices(entry: Entry, number: int, cause: str, packed: Iterable[PackedSlice], percents: Iterable[tuple[int, bytes]]) -> None:
    """Add a revision of each slice that is not as it was saved last, or whose last revision is damaged."""
    db = entry.db
    new = []
    for one in packed:
        last = stored.fetch(db, RevisionRow, _last(db, "revisions", number, one.at))
        if last is None or (last.case_id, *last[3:]) != (number, *one):
            new.append(one)
    new_percents = []
    for index, blob in percents:
        last_percent = stored.fetch(db, PercentRow, _last(db, "percents", number, index))
        if last_percent is None or last_percent[2:] != (number, index, blob):
            new_percents.append((index, blob))
    if not (new or new_percents):
        return
    changed = sorted({one.at for one in new} | {index for index, _ in new_percents})
    masks, probabilities = [one.at for one in new], [index for index, _ in new_percents]
    event = entry.event("saved", {"cause": cause, "slices": changed, "masks": masks, "probabilities": probabilities}, number)
    for one in new:
        stored.insert(db, RevisionRow, event, number, *one)
    for index, blob in new_percents:
        stored.insert(db, PercentRow, event, number, index, blob)


def _last(db: sqlite3.Connection, table: str, number: int, index: int) -> int:
    """Number of the last row of a slice; 0 if there is none."""
    found = db.execute(f"SELECT max(id) FROM {table} WHERE case_id = ? AND slice = ?", (number, index)).fetchone()
    return int(found[0] or 0)

"""Rows of the journal with their checksums: each is read as it was written, or is known to be damaged."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar, cast, get_args

import numpy as np

from napari_lungseg.blind import UNREAD, BlindReading
from napari_lungseg.workspace import failures
from napari_lungseg.workspace.records import STATES, Blind, EventKind, Source

#: Bytes of a row's checksum.
SUM_BYTES = 8
_KINDS = frozenset(get_args(EventKind)) - {"damaged"}
_DTYPES = ("|u1", "<u2", "<u4", "<u8")

#: All that the reading of a damaged value can raise.
_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


class SessionRow(NamedTuple):
    """Who worked, and where."""

    id: int
    key: str
    user: str
    host: str


class CaseRow(NamedTuple):
    """An image, with the place and geometry that it was added with (None where an older version wrote it)."""

    id: int
    content: str
    shape: tuple[int, ...]
    axis: int
    place: dict[str, Any] | None


class EventRow(NamedTuple):
    """An entry of the record."""

    id: int
    session_id: int
    at: datetime
    kind: EventKind
    case_id: int | None
    slice: int | None
    details: dict[str, Any]


class RevisionRow(NamedTuple):
    """A state of a slice, packed."""

    id: int
    event_id: int
    case_id: int
    slice: int
    by_person: int
    dtype: str
    labels: bytes
    origin: bytes


class PercentRow(NamedTuple):
    """The probability of a slice, packed."""

    id: int
    event_id: int
    case_id: int
    slice: int
    percent: bytes


AnyRow = SessionRow | CaseRow | EventRow | RevisionRow | PercentRow
Row = TypeVar("Row", bound=AnyRow)

#: Table of each kind of row; each has one more column, the checksum.
TABLES: dict[type[Any], str] = {
    SessionRow: "sessions",
    CaseRow: "cases",
    EventRow: "events",
    RevisionRow: "revisions",
    PercentRow: "percents",
}


def checksum(table: str, values: Sequence[Any]) -> bytes:
    """Checksum of a row: of its table, and the type, length and bytes of each value, its number among them."""
    digest = blake2b(table.encode(), digest_size=SUM_BYTES)
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        digest.update(f" {type(value).__name__} {len(data)} ".encode())
        digest.update(data)
    return digest.digest()


def insert(db: sqlite3.Connection, kind: type[AnyRow], *values: Any) -> int:
    """Add a row with its checksum; gives its number. To be called within a transaction."""
    (number,) = db.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {TABLES[kind]}").fetchone()
    put(db, kind, (number, *values, checksum(TABLES[kind], (number, *values))))
    return int(number)


def put(db: sqlite3.Connection, kind: type[AnyRow], values: Sequence[Any]) -> None:
    """Add a row as it is, its number first and its checksum last; in place of one that has its number."""
    marks = ", ".join("?" * len(values))
    db.execute(f"INSERT OR REPLACE INTO {TABLES[kind]} ({', '.join(kind._fields)}, checksum) VALUES ({marks})", values)


@dataclass(frozen=True)
class Entry:
    """What is being written in one transaction.

    Attributes
    ----------
    db : Connection
        For all that is not an event.
    session_id : int
        Who writes.
    at : datetime
        When it happened.
    """

    db: sqlite3.Connection
    session_id: int
    at: datetime

    def event(self, kind: EventKind, details: dict[str, Any], case_id: int | None = None, index: int | None = None) -> int:
        """Add to the record; gives the event's number."""
        at = self.at.astimezone(UTC).isoformat(timespec="milliseconds")
        return insert(self.db, EventRow, self.session_id, at, kind, case_id, index, json.dumps(details))


def fetch(db: sqlite3.Connection, kind: type[Row], number: int) -> Row | None:
    """A row by its number; None where it is damaged or missing."""
    try:
        # All columns, as journals of an older version have fewer.
        found = db.execute(f"SELECT * FROM {TABLES[kind]} NOT INDEXED WHERE id = ?", (number,)).fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not failures.is_damage(error):
            raise
        return None
    return None if found is None else sound(kind, found)


def fetch_all(db: sqlite3.Connection, kind: type[Row], where: str = "1", values: Sequence[Any] = ()) -> dict[int, Row | None]:
    """Rows by their number, the first one first; None where one is damaged. One query, unless a page of the file is damaged."""
    return {number: row for number, row, _ in scan(db, kind, where, values)}


def scan(db: sqlite3.Connection, kind: type[Row], where: str = "1", values: Sequence[Any] = ()) -> Iterator[tuple[int, Row | None, bool]]:
    """As :func:`fetch_all`, one row after the other, each with whether its checksum was there to agree."""
    last = -1
    try:
        for found in db.execute(f"SELECT * FROM {TABLES[kind]} WHERE {where} ORDER BY id", values):
            last = found[0]
            yield last, sound(kind, found), found[-1] is not None and len(found) > len(kind._fields)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not failures.is_damage(error):
            raise
        numbers = db.execute(f"SELECT id FROM {TABLES[kind]} WHERE {where} ORDER BY id", values).fetchall()
        yield from ((number, fetch(db, kind, number), False) for (number,) in numbers if number > last)


def sound(kind: type[Row], found: Sequence[Any]) -> Row | None:
    """A row from all its stored columns, if it is what was written; one without a checksum if its values can be true."""
    width: int = len(kind._fields)
    values, given = (*found, *(None,) * width)[:width], found[width] if len(found) > width else None
    if given is not None and given != checksum(TABLES[kind], values):
        return None
    try:
        return cast("Row", _PARSERS[kind](values))
    except _WRONG:
        return None


def _require(true: bool) -> None:
    if not true:
        raise ValueError


def _number(value: Any) -> int:
    _require(isinstance(value, int) and value >= 0)
    return int(value)


def _text(value: Any) -> str:
    _require(isinstance(value, str))
    value.encode()  # fails where the bytes are not UTF-8
    return str(value)


def _place(details: dict[str, Any]) -> dict[str, Any]:
    """Name, path and geometry of a case."""
    # Names of files need not be UTF-8; JSON holds them all the same.
    _require(isinstance(details["name"], str))
    _require(details["path"] is None or (isinstance(details["path"], str) and "\0" not in details["path"]))
    affine = np.array(details["affine"], dtype=np.float64)
    _require(affine.shape == (4, 4) and bool(np.isfinite(affine).all()))
    _require(details["unit"] in ("HU", "arbitrary"))
    return details


def blind_of(details: dict[str, Any]) -> Blind | None:
    """What an entry about a slice says of reading it blind."""
    found = details.get("blind")
    if found is None:
        return None
    return UNREAD if found == UNREAD else BlindReading(**{name: _number(value) for name, value in found.items()})


def _session(values: Sequence[Any]) -> SessionRow:
    number, *texts = values
    return SessionRow(_number(number), *map(_text, texts))


def _case(values: Sequence[Any]) -> CaseRow:
    number, content, shape, axis, place = values
    sizes = tuple(_number(size) for size in json.loads(_text(shape)))
    _require(len(sizes) in (2, 3) and 0 not in sizes and _number(axis) < len(sizes))
    return CaseRow(_number(number), _text(content), sizes, axis, None if place is None else _place(json.loads(_text(place))))


def _event(values: Sequence[Any]) -> EventRow:
    number, session, at, kind, case, index, text = values
    _require(kind in _KINDS)
    details = json.loads(_text(text))
    _require(isinstance(details, dict))
    if kind in ("added", "moved"):
        _place(details)
    elif kind == "made":
        source = Source(**details)
        _require(isinstance(source.model, str) and isinstance(source.weights_sha256, str))
        _require(isinstance(source.settings, dict) and source.kind in ("model", "imported") and bool(source.names))
    elif kind == "saved":
        _require(isinstance(details["cause"], str))
        for name in ("slices", "masks", "probabilities"):
            # Older versions told only which slices.
            _require(all(isinstance(one, int) and one >= 0 for one in (details[name] if name == "slices" else details.get(name, ()))))
    elif kind == "state":
        _require(isinstance(details["note"], str))
        _require(details["state"] in STATES and math.isfinite(details["seconds"]) and index is not None)
        blind_of(details)
    about = (None if case is None else _number(case), None if index is None else _number(index))
    _require(kind in ("began", "ended") or about[0] is not None)
    return EventRow(_number(number), _number(session), datetime.fromisoformat(_text(at)).astimezone(), kind, *about, details)


def _revision(values: Sequence[Any]) -> RevisionRow:
    number, event, case, index, by_person, dtype, labels, origin = values
    _require(dtype in _DTYPES and isinstance(labels, bytes) and isinstance(origin, bytes))
    numbers = _number(number), _number(event), _number(case), _number(index), _number(by_person)
    return RevisionRow(*numbers, dtype, labels, origin)


def _percent(values: Sequence[Any]) -> PercentRow:
    number, event, case, index, percent = values
    _require(isinstance(percent, bytes))
    return PercentRow(_number(number), _number(event), _number(case), _number(index), percent)


_PARSERS: dict[type[Any], Callable[[Sequence[Any]], Any]] = {
    SessionRow: _session,
    CaseRow: _case,
    EventRow: _event,
    RevisionRow: _revision,
    PercentRow: _percent,
}

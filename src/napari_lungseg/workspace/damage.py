"""What of a journal is sound, and what is not: nothing that is damaged is taken for what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from napari_lungseg.content import unpack
from napari_lungseg.corrections import PERSON
from napari_lungseg.volume import Array
from napari_lungseg.workspace import rows, stored
from napari_lungseg.workspace.records import Case, Damage
from napari_lungseg.workspace.stored import EventRow, PercentRow, RevisionRow, SessionRow

#: Cases of damage that one sentence names; the rest is counted.
_NAMED = 4


@dataclass(frozen=True)
class StoredSlice:
    """What there is of one slice: a sound state, if any, and what is told of newer ones that are damaged."""

    index: int
    planes: tuple[Array, ...]
    damage: Damage | None


def masks(db: sqlite3.Connection, case: Case) -> Iterator[StoredSlice]:
    """The newest sound labels and origin of each slice that was saved."""
    return _newest(db, RevisionRow, case, "mask")


def percents(db: sqlite3.Connection, case: Case) -> Iterator[StoredSlice]:
    """The newest sound probability of each slice that has one."""
    return _newest(db, PercentRow, case, "probability")


def planes_of(row: RevisionRow | PercentRow | None, case: Case) -> tuple[Array, ...]:
    """Labels and origin, or the probability; empty where they are not those of a slice of the case."""
    if row is None or row.case_id != case.id or row.slice >= case.slices:
        return ()
    try:
        if isinstance(row, PercentRow):
            return (unpack(row.percent, np.uint8, case.plane_shape),)
        labels, origin = unpack(row.labels, row.dtype, case.plane_shape), unpack(row.origin, np.uint8, case.plane_shape)
    except ValueError:
        return ()
    return (labels, origin) if np.count_nonzero(origin & PERSON) == row.by_person else ()


def _newest(
    db: sqlite3.Connection, kind: type[RevisionRow] | type[PercentRow], case: Case, what: Literal["mask", "probability"]
) -> Iterator[StoredSlice]:
    query = f"SELECT slice, id FROM {stored.TABLES[kind]} WHERE case_id = ? ORDER BY slice, id DESC"
    for index, group in groupby(db.execute(query, (case.id,)).fetchall(), itemgetter(0)):
        lost = []
        for _, number in group:
            row = stored.fetch(db, kind, number)
            planes = planes_of(row, case)
            if row is not None and planes and row.slice == index:
                used = f"that of {rows.moment(db, row.event_id):%d %b %Y %H:%M} is used"
                break
            lost.append(number)
        else:
            planes, used = (), "no other is left"
        if planes or 0 <= index < case.slices:
            name = f"{what} of slice {index} of {case.name}"
            told = Damage(what, index, f"{name} (revision {lost[0]}; {used})") if lost else None
            yield StoredSlice(index, planes, told)


def missing(db: sqlite3.Connection, case: Case) -> list[Damage]:
    """Slices whose last save left nothing in the journal: what was saved is gone with a damaged part of the file."""
    lost = []
    for key, what in (("masks", "mask"), ("probabilities", "probability")):
        for (_, index), (number, newest) in sorted(_gone(db, key, "case_id = ?", (case.id,)).items()):
            left = "what is left is older" if newest else "no other is left"
            text = f"{what} of slice {index} of {case.name} (saved {rows.moment(db, number):%d %b %Y %H:%M}; {left})"
            lost.append(Damage("mask" if key == "masks" else "probability", index, text))
    return lost


def _gone(db: sqlite3.Connection, key: str, where: str, values: Sequence[Any]) -> dict[tuple[int, int], tuple[int, int]]:
    """Cases and slices whose last save left nothing: its entry of the record, and that of the newest save of which something is left."""
    last: dict[tuple[int, int], int] = {}
    older: set[int] = set()
    saved = stored.fetch_all(db, EventRow, f"{where} AND kind = 'saved'", values)
    for event in reversed(list(saved.values())):
        if event is None or event.case_id is None:
            continue
        # Older versions did not say what was saved of a slice.
        if "masks" not in event.details:
            older.add(event.case_id)
        for index in () if event.case_id in older else event.details[key]:
            last.setdefault((event.case_id, index), event.id)
    table = "revisions" if key == "masks" else "percents"
    query = f"SELECT case_id, slice, event_id, max(id) FROM {table} WHERE {where} GROUP BY case_id, slice"
    newest = {(case, index): event for case, index, event, _ in db.execute(query, values).fetchall()}
    return {place: (number, newest.get(place, 0)) for place, number in last.items() if newest.get(place, 0) < number}


def lost_masks(db: sqlite3.Connection, cases: Mapping[int, Case], where: str, values: Sequence[Any]) -> set[tuple[int, int]]:
    """Cases and slices of some cases whose last mask is damaged or missing, by as many queries for many as for one."""
    newest = f"SELECT max(id) FROM revisions WHERE {where} GROUP BY case_id, slice"
    query = f"SELECT case_id, slice, max(id) FROM revisions WHERE {where} GROUP BY case_id, slice"
    places = {number: (case, index) for case, index, number in db.execute(query, values).fetchall() if case in cases}
    lost = set(places.values())
    for number, row, is_checked in stored.scan(db, RevisionRow, f"id IN ({newest})", values):
        # What has its checksum is as it was written; to unpack it too would take twenty times as long.
        if row is not None and (row.case_id, row.slice) == places.get(number) and (is_checked or planes_of(row, cases[row.case_id])):
            lost.discard((row.case_id, row.slice))
    return lost | set(_gone(db, "masks", where, values))


def of_entries(db: sqlite3.Connection, case: Case) -> list[Damage]:
    """Entries of the record about a case, other than of what was saved, that cannot be read."""
    lost = []
    query = "SELECT kind, slice, id FROM events WHERE case_id = ? AND kind NOT IN ('saved') ORDER BY id"
    for kind, index, number in db.execute(query, (case.id,)).fetchall():
        row = stored.fetch(db, EventRow, number)
        if row is not None and (row.case_id, row.kind, row.slice) == (case.id, kind, index):
            continue
        if kind == "state":
            lost.append(Damage("state", index, f"state of slice {index} of {case.name} (entry {number} of the record)"))
        elif kind == "made":
            lost.append(Damage("source", None, f"what made the mask of {case.name} (entry {number} of the record)"))
        else:
            lost.append(Damage("image", None, f"name, place and geometry of {case.name} (entry {number} of the record)"))
    return lost


def check(db: sqlite3.Connection, go_on: Callable[[], bool] = lambda: True, *, left_out: bool = False) -> list[Damage]:
    """All that is damaged of what a person would miss: the last state of each slice, and the record.

    Parameters
    ----------
    db : Connection
        For reading.
    go_on : callable
        Asked now and then; the check ends early where it says no.
    left_out : bool
        Also what the damaged parts of a file have left nothing of, which is to be known once.
    """
    found: list[Damage] = []
    known = rows.cases(db)
    numbers = [number for (number,) in db.execute("SELECT id FROM cases NOT INDEXED").fetchall()]
    for number in sorted(set(numbers) - {case.id for case in known}):
        (count,) = db.execute("SELECT count(DISTINCT slice) FROM revisions WHERE case_id = ?", (number,)).fetchone()
        found.append(Damage("image", None, f"image {number} of the workspace, with {count} slices"))
    # What was worked on last comes first, should there be no time for all.
    for case in reversed(known):
        for check_ in (masks, percents):
            for slice_ in check_(db, case):
                if slice_.damage is not None:
                    found.append(slice_.damage)
                if not go_on():
                    return found
        found += of_entries(db, case)
        if left_out:
            found += missing(db, case)
        if stored.fetch(db, stored.CaseRow, case.id) is None:
            found.append(Damage("image", None, f"row of {case.name} (it is known from the record)"))
    for kind, what in ((SessionRow, "session"), (EventRow, "entry")):
        query = f"SELECT id FROM {stored.TABLES[kind]} {'' if kind is SessionRow else 'WHERE case_id IS NULL OR kind = ' + repr('saved')}"
        for (number,) in db.execute(f"{query} ORDER BY id DESC").fetchall():
            if stored.fetch(db, kind, number) is None:
                found.append(Damage("record", None, f"{what} {number} of the record"))
            if not go_on():
                return found
    return found + (_gaps(db, numbers) if left_out else [])


def _gaps(db: sqlite3.Connection, cases: list[int]) -> list[Damage]:
    """What is not even there as a damaged row: numbers of the record are given one after the other."""
    found = []
    for kind, what in ((SessionRow, "session"), (EventRow, "entry")):
        kept = {number for (number,) in db.execute(f"SELECT id FROM {stored.TABLES[kind]}")}
        gone = sorted(set(range(1, max(kept, default=0))) - kept) if max(kept, default=0) < 2 * len(kept) + 1000 else []
        found += [Damage("record", None, f"{what} {number} of the record") for number in gone]
    for number, count in db.execute("SELECT case_id, count(DISTINCT slice) FROM revisions GROUP BY case_id").fetchall():
        if number not in cases:
            found.append(Damage("image", None, f"image {number} of the workspace, with {count} slices"))
    return found


def damaged(found: Sequence[Damage]) -> str:
    """What is damaged, in short; "" if nothing is."""
    texts = [one.text for one in found]
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{'; '.join(texts[:_NAMED])}{more}" if texts else ""

"""How far the work on cases has come: the states of their slices, of which nobody has reviewed what stands in for a damaged one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_lungseg.workspace import damage, rows, stored
from napari_lungseg.workspace.records import Case, CaseSummary, SliceState, State
from napari_lungseg.workspace.stored import EventRow

#: Case and slice.
Place = tuple[int, int]


def states(db: sqlite3.Connection, case: Case) -> dict[int, SliceState]:
    """States of all slices of a case that were saved or given one."""
    return {index: state for (_, index), state in sorted(_states(db, {case.id: case}, "case_id = ?", (case.id,)).items())}


def summaries(db: sqlite3.Connection) -> list[CaseSummary]:
    """All cases with how far the work on them has come, by as many queries for a thousand as for one."""
    saved = dict(db.execute("SELECT case_id, count(DISTINCT slice) FROM revisions GROUP BY case_id").fetchall())
    last = dict(db.execute("SELECT case_id, max(id) FROM events GROUP BY case_id").fetchall())
    entries: dict[int, EventRow | None] = stored.fetch_all(db, EventRow, "id IN (SELECT max(id) FROM events GROUP BY case_id)")
    cases = rows.cases(db)
    given: dict[int, list[State]] = {case.id: [] for case in cases}
    for (number, _), known in _states(db, {case.id: case for case in cases}).items():
        given.setdefault(number, []).append(known.state)
    found = []
    for case in cases:
        counts = Counter(given[case.id])
        number = last.get(case.id, 0)
        entry = entries.get(number)
        at = rows.moment(db, number) if entry is None else entry.at
        found.append(
            CaseSummary(case, saved.get(case.id, 0), counts["corrected"], counts["reviewed"], counts["flagged"], counts["rejected"], at)
        )
    return found


def _states(db: sqlite3.Connection, cases: Mapping[int, Case], where: str = "1", values: Sequence[Any] = ()) -> dict[Place, SliceState]:
    """States of the slices of some cases."""
    found = _given(db, where, values)
    reviewed = {place for place, known in found.items() if known.state == "reviewed"}
    if reviewed:
        for place in reviewed & damage.lost_masks(db, cases, where, values):
            found[place] = replace(found[place], state="corrected")
    return found


def _given(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> dict[Place, SliceState]:
    """States of slices as the record has them."""
    query = f"SELECT case_id, slice, by_person, event_id, max(id) FROM revisions WHERE {where} GROUP BY case_id, slice"
    last: dict[Place, tuple[int, State]] = {
        (case, index): (event, "corrected" if person else "unseen") for case, index, person, event, _ in db.execute(query, values)
    }
    found = {place: SliceState(state) for place, (_, state) in last.items()}
    # Where an entry is damaged the index still tells which slice it was about.
    query = f"SELECT case_id, slice, id FROM events WHERE {where} AND kind = 'state' AND slice NOT NULL ORDER BY id"
    given: list[tuple[int, int, int]] = db.execute(query, values).fetchall()
    entries: dict[int, EventRow | None] = stored.fetch_all(db, EventRow, f"{where} AND kind = 'state'", values)
    for case, index, event in given:
        place = case, index
        before, row = found.get(place, SliceState("unseen")), entries.get(event)
        if row is None or (row.case_id, row.slice) != (case, index):
            # It may have taken back what a person stood for.
            found[place] = replace(before, state="corrected") if before.state == "reviewed" else before
            continue
        changed_at, derived = last.get(place, (0, row.details["state"]))
        # What a person said of a slice stands; whether it is corrected shows in what was saved later.
        # Earlier versions know no rejected slices: for them it is a flag.
        said: State = "rejected" if row.details.get("rejected") is True else row.details["state"]
        state = derived if changed_at > event and said in ("unseen", "corrected") else said
        found[place] = SliceState(state, row.details["note"], before.seconds + row.details["seconds"], stored.blind_of(row.details))
    return found

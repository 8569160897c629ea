"""Earlier states of slices that nobody needs any more, deleted so that the journal does not grow for ever."""

from __future__ import annotations

import sqlite3
from itertools import groupby

from napari_lungseg.workspace import damage, rows, stored
from napari_lungseg.workspace.stored import PercentRow, RevisionRow

#: States that are looked at, and pages given back to the disk, in one transaction: it must not take long.
STATES, PAGES = 2000, 4096

# The last state of a slice in each session stays, and with it the last of all; so does what somebody has accepted.
_SPARE = """
SELECT r.case_id, r.slice, r.id FROM {0} r JOIN events e ON e.id = r.event_id
WHERE e.session_id != ?
AND r.id NOT IN (SELECT max(o.id) FROM {0} o JOIN events f ON f.id = o.event_id GROUP BY o.case_id, o.slice, f.session_id)
AND r.id NOT IN (
    SELECT coalesce((SELECT max(a.id) FROM revisions a WHERE a.case_id = s.case_id AND a.slice = s.slice AND a.event_id < s.id), 0)
    FROM events s WHERE '{0}' = 'revisions' AND s.kind = 'state' AND s.details LIKE '%"reviewed"%'
)
ORDER BY r.case_id, r.slice, r.id
"""


def prune(db: sqlite3.Connection, session_id: int) -> bool:
    """Delete some earlier states, within a transaction of the caller.

    Kept are all states of this session, the last one of each earlier session, each that was accepted, and all of a slice whose last
    state is damaged. The record is kept whole.

    Parameters
    ----------
    db : Connection
        For writing.
    session_id : int
        The session that goes on.

    Returns
    -------
    bool
        Whether there may be more to delete.
    """
    gone = 0
    known = {case.id: case for case in rows.cases(db)}
    kinds: tuple[type[RevisionRow | PercentRow], ...] = (RevisionRow, PercentRow)
    for kind in kinds:
        table = stored.TABLES[kind]
        found = db.execute(_SPARE.format(table), (session_id,)).fetchmany(STATES)
        for (number, index), group in groupby(found, lambda row: row[:2]):
            newest = f"SELECT max(id) FROM {table} WHERE case_id = ? AND slice = ?"
            row = stored.fetch(db, kind, db.execute(newest, (number, index)).fetchone()[0])
            if number in known and row is not None and row.slice == index and damage.planes_of(row, known[number]):
                spare = [(one,) for *_, one in group]
                db.executemany(f"DELETE FROM {table} WHERE id = ?", spare)
                gone += len(spare)
    # Journals that were begun by older versions cannot; they use the room again.
    if db.execute("PRAGMA auto_vacuum").fetchone() == (2,):
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        for _ in range(min(free, PAGES)):
            # One at a time, as Python's sqlite3 takes no more than one step of it.
            db.execute("PRAGMA incremental_vacuum(1)")
    return gone > 0

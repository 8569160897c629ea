"""What a damaged journal holds, in a new one."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_lungseg.workspace import damage, pages, rows, schema, stored
from napari_lungseg.workspace.connection import log_of
from napari_lungseg.workspace.records import Damage
from napari_lungseg.workspace.stored import CaseRow, EventRow

#: Columns of cases in the first version, where the row ended with them.
_OLD_CASE = 4


def recover(source: Path, target: Path) -> list[Damage]:
    """Write all sound rows of a damaged journal into a new one.

    Parameters
    ----------
    source : Path
        The damaged one, which is only read; nobody may write to it meanwhile.
    target : Path
        The new one; there is nothing yet.

    Returns
    -------
    list of Damage
        What is lost, or not as it was last.

    Raises
    ------
    OSError, sqlite3.Error
        When one cannot be read or the other not be written.
    """
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        schema.create(db)
        db.execute("BEGIN IMMEDIATE")

        def take(values: list[Any], listed: bool) -> bool:
            for kind in stored.TABLES:
                width = len(kind._fields)
                checked = len(values) == width + 1 and values[width] is not None
                # Without a checksum there must be a page that says so: what was deleted may still lie about.
                if not checked and not (listed and len(values) in (_OLD_CASE if kind is CaseRow else width, width + 1)):
                    continue
                if stored.sound(kind, values) is not None:
                    stored.put(db, kind, (*values, *(None,) * (width + 1))[: width + 1])
                    return True
            return False

        whole = pages.each_row(source, take)
        _restore_cases(db)
        db.execute("COMMIT")
        lost = damage.check(db, left_out=True)
        # Of what came last nothing else tells that it was there.
        has_log = log_of(source).exists() and log_of(source).stat().st_size > 0
        return lost if whole and (has_log or _has_ended(db)) else [*lost, Damage("record", None, "perhaps what was saved last")]


def _has_ended(db: sqlite3.Connection) -> bool:
    """Whether the last entry of the record is the end of the last session."""
    last = "SELECT kind, session_id FROM events ORDER BY id DESC LIMIT 1"
    return db.execute(last).fetchone() == ("ended", *db.execute("SELECT max(id) FROM sessions").fetchone())


def _restore_cases(db: sqlite3.Connection) -> None:
    """Make the rows of cases anew that are known only from the record."""
    query = "SELECT id, case_id FROM events WHERE kind = 'added' AND case_id NOT IN (SELECT id FROM cases)"
    for event, number in db.execute(query).fetchall():
        row = rows.added(number, stored.fetch(db, EventRow, event))
        if row is not None:
            values = (number, row.content, json.dumps(row.shape), row.axis, json.dumps(row.place))
            stored.put(db, CaseRow, (*values, stored.checksum("cases", values)))


def mend(path: Path) -> tuple[Path, str]:
    """Put a damaged journal aside, with what is sound of it in its place.

    Returns
    -------
    aside : Path
        The damaged one.
    lost : str
        What is lost, in short, or "".

    Raises
    ------
    OSError, sqlite3.Error
        When that cannot be done; the damaged one is where it was.
    """
    new = path.with_name("journal.mending")
    for end in ("", "-journal"):
        with suppress(FileNotFoundError):
            path.with_name(f"{new.name}{end}").unlink()
    lost = recover(path, new)
    stem = f"journal.damaged-{datetime.now():%Y%m%d-%H%M%S}"
    names = (path.with_name(f"{stem}{f'-{count}' if count else ''}.sqlite") for count in itertools.count())
    aside = next(name for name in names if not name.exists())
    # There is a journal at any moment, should the process end here.
    try:
        os.link(path, aside)
    except OSError:  # no links on this disk
        shutil.copy2(path, aside)
    with suppress(FileNotFoundError):
        os.rename(f"{path}-wal", f"{aside}-wal")
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")
    os.replace(new, path)
    return aside, damage.damaged(lost)

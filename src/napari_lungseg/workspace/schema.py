"""The journal's tables. Rows are added and never changed; only earlier states of slices are deleted in time."""

from __future__ import annotations

import sqlite3

from napari_lungseg.workspace.failures import DamagedError

#: Raised whenever the tables change so that older versions cannot use them; a journal with a higher one is refused.
VERSION = 1
#: Marks an SQLite file as a journal of this package: "lung" in ASCII.
APPLICATION = 0x6C756E67

# Blobs come last in a row, so that what stands before them is read without them.
_TABLES = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    host TEXT NOT NULL
);
CREATE TABLE cases (
    id INTEGER PRIMARY KEY,
    content TEXT NOT NULL UNIQUE,
    shape TEXT NOT NULL,
    axis INTEGER NOT NULL
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    case_id INTEGER REFERENCES cases,
    slice INTEGER,
    details TEXT NOT NULL
);
CREATE INDEX events_of_case ON events (case_id, kind, slice, id);
CREATE TABLE revisions (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events,
    case_id INTEGER NOT NULL REFERENCES cases,
    slice INTEGER NOT NULL,
    by_person INTEGER NOT NULL,
    dtype TEXT NOT NULL,
    labels BLOB NOT NULL,
    origin BLOB NOT NULL
);
CREATE INDEX revisions_of_slice ON revisions (case_id, slice, id, event_id, by_person);
CREATE TABLE percents (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events,
    case_id INTEGER NOT NULL REFERENCES cases,
    slice INTEGER NOT NULL,
    percent BLOB NOT NULL
);
CREATE INDEX percents_of_slice ON percents (case_id, slice, id);
"""

# Added later, and always so: older versions of this package name the columns that they read and write, and so can use the tables
# all the same. Their rows have no checksum.
_LATER = """
ALTER TABLE cases ADD COLUMN place TEXT;
ALTER TABLE sessions ADD COLUMN checksum BLOB;
ALTER TABLE cases ADD COLUMN checksum BLOB;
ALTER TABLE events ADD COLUMN checksum BLOB;
ALTER TABLE revisions ADD COLUMN checksum BLOB;
ALTER TABLE percents ADD COLUMN checksum BLOB;
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables, all or none."""
    # The file gives room back to the disk when states are deleted; this can only be said before the first table.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; {_TABLES}{_LATER} PRAGMA user_version = {VERSION}; COMMIT;")


def migrate(db: sqlite3.Connection) -> None:
    """Add the columns that an older version did not know.

    Raises
    ------
    DamagedError
        When the tables are not as any version has made them.
    """
    tables = _tables(db)
    if tables.items() >= _made(_TABLES + _LATER).items():
        return
    if not tables.items() >= _made(_TABLES).items():
        raise DamagedError
    db.executescript(f"BEGIN IMMEDIATE; {_LATER} COMMIT;")


def version(db: sqlite3.Connection) -> int:
    """Version of the journal's tables: 0 in an empty file, -1 in the database of another program.

    Raises
    ------
    DamagedError
        When the tables are ours and the file's header is not.
    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION and (found or not tables):
        return int(found)
    if tables and _tables(db).keys() >= _made(_TABLES).keys():
        raise DamagedError
    return -1 if tables or found or application else 0


def _tables(db: sqlite3.Connection) -> dict[str, str]:
    return {name: "".join(str(sql).split()) for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL")}


def _made(script: str) -> dict[str, str]:
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(script)
        return _tables(db)
    finally:
        db.close()

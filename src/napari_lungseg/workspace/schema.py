"""The journal's tables. Rows are added and never changed or deleted."""

from __future__ import annotations

import sqlite3

#: Raised whenever the tables change; a journal with a higher one is refused.
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


def create(db: sqlite3.Connection) -> None:
    """Make the tables, all or none."""
    db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")


def version(db: sqlite3.Connection) -> int:
    """Version of the journal's tables: 0 in an empty file, -1 in the database of another program."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION:
        return int(found)
    return -1 if tables or found or application else 0

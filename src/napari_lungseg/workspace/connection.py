"""Connections to a journal: for writing, where it is checked and made as safe as the disk allows, and for reading."""

from __future__ import annotations

import sqlite3
import struct
import threading
from pathlib import Path
from urllib.parse import quote

from napari_lungseg.workspace import failures, schema
from napari_lungseg.workspace.failures import DamagedError
from napari_lungseg.workspace.log import read_log

#: Seconds that a connection waits for another one, where there is no write-ahead log.
_BUSY_S = 5.0
#: Seconds for which a journal that was closed as it should be is checked when it is opened.
CHECK_S = 2.0


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection that any thread may use; transactions are the caller's."""
    # As SQLite wants it, also for drive letters and network shares.
    name = quote(path.absolute().as_posix())
    uri = f"file://{name if name.startswith('/') else '/' + name}?{options}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.text_factory = _text
    return db


def _text(data: bytes) -> str:
    """A text from the file, also a damaged one: its checksum will tell."""
    return data.decode("utf-8", "surrogateescape")


def log_of(path: Path) -> Path:
    """The write-ahead log of a journal."""
    return path.with_name(f"{path.name}-wal")


def has_damaged_log(path: Path) -> bool:
    """Whether the write-ahead log of a journal lacks what was saved.

    Raises
    ------
    OSError
        When it cannot be read.
    WorkspaceError
        When the journal is of a later version, which alone can mend it: SQLite would remove the log.
    """
    log = read_log(path)
    if not log.is_damaged:
        return False
    with path.open("rb") as file:
        head = log.pages.get(1) or file.read(100)
    version, application = struct.unpack_from(">I4xI", head.ljust(100, b"\0"), 60)
    if application == schema.APPLICATION:
        _check(version, path)
    return application == schema.APPLICATION


def place(path: Path) -> tuple[int, int] | None:
    """Which file lies there; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def empty() -> sqlite3.Connection:
    """A journal in which nothing was written yet."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.create(db)
    return db


def prepare_for_writing(db: sqlite3.Connection, path: Path) -> None:
    """Check a journal, begin it if it is new, and make sure that it can be written.

    Raises
    ------
    DamagedError, sqlite3.Error
        When it is damaged, or cannot be used.
    WorkspaceError
        When it is of a later version or not ours.
    """
    try:
        version = schema.version(db)
    except sqlite3.OperationalError:
        # Where the disk cannot share memory, as many network drives, a write-ahead log opens only for one alone.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA locking_mode=NORMAL")
        version = schema.version(db)
    _check(version, path)
    if version == 0:
        schema.create(db)
    # It stays a rollback journal, which is as safe and slower, where the disk can do no better.
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA fullfsync=ON")
    if version:
        schema.migrate(db)
        check(db)
    # Fails here where the file may be read but not written, as opening it does not.
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"PRAGMA user_version = {schema.VERSION}")
    db.execute("ROLLBACK")


def check(db: sqlite3.Connection) -> None:
    """Look through the whole file, or, after a session that ended as it should, for no longer than ``CHECK_S``.

    Raises
    ------
    DamagedError, sqlite3.Error
        When it is damaged.
    """
    timer = threading.Timer(CHECK_S, db.interrupt)
    ended = db.execute("SELECT kind FROM events ORDER BY id DESC LIMIT 1").fetchone() in (None, ("ended",))
    if ended:
        timer.start()
    try:
        # Unlike quick_check, this also finds an index that leads to other rows.
        if db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise DamagedError
    except sqlite3.OperationalError as error:
        if not failures.is_interrupted(error):
            raise
    finally:
        timer.cancel()
        if ended:
            # It interrupts nothing that comes later.
            timer.join()


def for_reading(path: Path) -> sqlite3.Connection:
    """A connection that sees the journal as it is now, whatever is written later.

    Raises
    ------
    sqlite3.Error
        When it cannot be read.
    WorkspaceError
        When it is of a later version or not ours.
    """
    try:
        db, version = _snapshot(path, "mode=ro")
    except sqlite3.OperationalError:
        log = log_of(path)
        if log.exists() and log.stat().st_size:
            raise
        # A folder in which nothing can be written, not even what readers share; the file is complete without its log.
        db, version = _snapshot(path, "mode=ro&immutable=1")
    if version > 0:
        return db
    db.close()
    return empty()


def _snapshot(path: Path, options: str) -> tuple[sqlite3.Connection, int]:
    db = connect(path, options)
    try:
        db.execute("BEGIN")
        version = schema.version(db)
        _check(version, path)
    except BaseException:
        db.close()
        raise
    return db, version


def _check(version: int, path: Path) -> None:
    if version > schema.VERSION:
        raise failures.later(path.parent)
    if version < 0:
        raise failures.foreign(path)

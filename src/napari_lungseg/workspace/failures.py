"""What can go wrong with a journal, as sentences for a person."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from datetime import datetime
from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.translation import say

#: Bytes below which a disk that refuses to write is taken for full.
_FULL_BYTES = 1 << 20


class WorkspaceError(InputError):
    """Something was not saved, or cannot be read; the message says what and what to do."""


class DiskFullError(WorkspaceError):
    """There is no room; it can be tried again."""


class DamagedError(Exception):
    """The journal's file is not what was written."""


def is_damage(error: Exception) -> bool:
    """Whether the file is at fault."""
    # The latter where SQLite quotes a damaged text.
    return isinstance(error, DamagedError | UnicodeDecodeError) or _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_refusal(error: sqlite3.Error, folder: Path) -> bool:
    """Whether the file may not be written, now or later."""
    refused = _code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
    return refused and not _is_full(folder)


def is_passing(error: Exception) -> bool:
    """Whether the connection is still good."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def full(folder: Path, since: datetime) -> DiskFullError:
    """There is no room for more."""
    return DiskFullError(
        say(
            "The disk of {folder} is full; {what}; free some space or choose another workspace.",
            folder=folder,
            what=_in_memory(since),
        )
    )


def is_no_room(error: Exception) -> bool:
    """Whether a file could not be made for want of room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def damaged(folder: Path, since: datetime) -> WorkspaceError:
    """The journal broke while it was open."""
    return WorkspaceError(
        say(
            "The journal in {folder} is damaged; {what}; open the workspace again or choose another one.",
            folder=folder,
            what=_in_memory(since),
        )
    )


def later(folder: Path) -> WorkspaceError:
    """We are too old for it."""
    return WorkspaceError(
        say("The journal in {folder} is of a later version of napari-lungseg; update it, or choose another workspace.", folder=folder)
    )


def foreign(path: Path) -> WorkspaceError:
    """It is no journal."""
    return WorkspaceError(say("{path} belongs to another program; choose another folder for the workspace.", path=path))


def vanished(folder: Path, since: datetime) -> WorkspaceError:
    """The journal is not where it was."""
    return WorkspaceError(
        say(
            "The journal in {folder} has vanished (it was deleted, replaced, or its drive is gone); {what}; bring "
            "it back or choose another workspace.",
            folder=folder,
            what=_in_memory(since),
        )
    )


def not_written(error: sqlite3.Error | UnicodeDecodeError, folder: Path, since: datetime) -> WorkspaceError:
    """A transaction was rolled back."""
    if _code(error) == sqlite3.SQLITE_FULL or (_code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(folder)):
        return full(folder, since)
    if is_damage(error):
        return damaged(folder, since)
    if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return WorkspaceError(
            say(
                "Another program is using the journal in {folder}; {what}; close that program.",
                folder=folder,
                what=_in_memory(since),
            )
        )
    return WorkspaceError(
        say(
            "The journal in {folder} cannot be written ({error}); {what}; check the disk or choose another workspace.",
            folder=folder,
            error=error,
            what=_in_memory(since),
        )
    )


def is_interrupted(error: sqlite3.Error) -> bool:
    """Whether a query was broken off."""
    return _code(error) == sqlite3.SQLITE_INTERRUPT


def rescue(path: Path) -> str:
    """How to get at what a damaged journal holds."""
    return say(
        "To write what is sound into files, with a list of what is lost: napari-lungseg workspace rescue {path} -o FOLDER", path=path
    )


def not_read(error: Exception, folder: Path) -> WorkspaceError:
    """A query failed."""
    return WorkspaceError(
        say("The journal in {folder} cannot be read ({error}); check the disk, or open the workspace again.", folder=folder, error=error)
    )


def _in_memory(since: datetime) -> str:
    return say("corrections since {time} are only in memory", time=f"{since.astimezone():%H:%M}")


def _code(error: Exception) -> int:
    # Without the part that tells variants apart. Errors of the module itself carry no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BYTES
    except OSError:
        return False

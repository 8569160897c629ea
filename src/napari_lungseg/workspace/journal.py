"""The journal: one SQLite file that is written in whole transactions or not at all.

It is a write-ahead log with ``synchronous=FULL``: what was committed is on disk, whatever happens to the process or the power.
One thread writes at a time; every read has a connection of its own, and so waits for no write.
"""

from __future__ import annotations

import platform
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from napari_lungseg.translation import say
from napari_lungseg.workspace import connection, failures, recovery, stored
from napari_lungseg.workspace.failures import DamagedError, DiskFullError, WorkspaceError
from napari_lungseg.workspace.lock import FolderLock
from napari_lungseg.workspace.stored import Entry, SessionRow

JOURNAL = "journal.sqlite"


class Journal:
    """The journal of a folder, opened or begun.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    user : str
        Who works.
    for_reading : bool
        Leave it to others to write; nothing is made, mended or locked.

    Attributes
    ----------
    why_read_only : str
        One sentence, or "" if it can be written.
    holder : str or None
        Who else has it open for writing.
    told : str
        One sentence on what was found amiss and mended while opening, or "".
    session_id : int or None
        This session, once it has written anything.

    Raises
    ------
    WorkspaceError
        When the folder cannot be made, or the journal is of a later version or not ours; for reading, where there is none.
    """

    def __init__(self, folder: Path, user: str, *, for_reading: bool = False) -> None:
        self.folder, self.path = folder, folder / JOURNAL
        self.why_read_only, self.told = "", ""
        self.holder: str | None = None
        self.session_id: int | None = None
        self._user, self._key = user, uuid.uuid4().hex
        self._turn = threading.Lock()
        self._lock = FolderLock(folder)
        self._db: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._all_saved = True
        self._unsaved_since = datetime.now().astimezone()
        if for_reading:
            self._only_read()
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not folder.is_dir():
                raise WorkspaceError(
                    f"The folder {folder} cannot be made ({error.strerror}); choose another one for the workspace."
                ) from error
        try:
            try:
                self._open()
            except DamagedError:
                self._mend()
                self._open()
        except DiskFullError:
            pass  # every write tries again, and says so
        except sqlite3.Error as error:
            self._let_go()
            if failures.is_refusal(error, folder):
                self.why_read_only = _refused(folder, str(error))
            # Else as with a full disk.
        if self.why_read_only:
            with self.reading():
                pass

    def _only_read(self) -> None:
        if not self.path.is_file():
            raise WorkspaceError(f"{self.folder} is no workspace: there is no {JOURNAL} in it; choose the folder of one.")
        self.why_read_only = say("The workspace {folder} is only read here.", folder=self.folder)
        with self.reading():
            pass

    # ---- reading and writing

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the journal; from any thread.

        Raises
        ------
        WorkspaceError
            When the journal cannot be read.
        """
        try:
            db = self._reader()
            try:
                yield db
            finally:
                db.close()
        except (sqlite3.Error, DamagedError, UnicodeDecodeError) as error:
            raise failures.not_read(error, self.folder) from error

    @contextmanager
    def writing(self, at: datetime | None = None) -> Iterator[Entry]:
        """One transaction: all of it is on disk when this ends, or nothing and an error is raised; from any thread.

        Raises
        ------
        WorkspaceError
            When nothing could be written.
        """
        with self._turn:
            if self.why_read_only:
                raise WorkspaceError(self.why_read_only)
            at = at or datetime.now().astimezone()
            if self._all_saved:
                self._all_saved, self._unsaved_since = False, at
            try:
                db = self._writer()
                db.execute("BEGIN IMMEDIATE")
                try:
                    entry = Entry(db, self.session_id or self._begin(db), at)
                    if self.session_id is None:
                        entry.event("began", {})
                    yield entry
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                self._check_place()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not failures.is_passing(error):
                    self._let_go()
                raise failures.not_written(error, self.folder, self._unsaved_since) from error
            self.session_id = entry.session_id
            self._all_saved = True

    def close(self) -> None:
        """End the session and let others write; never raises."""
        if self.session_id is not None and not self.why_read_only:
            with suppress(WorkspaceError), self.writing() as entry:
                entry.event("ended", {})
        with self._turn:
            self._let_go()
            self.why_read_only = self.why_read_only or say("This workspace was closed; open it again.")

    # ---- connections

    def _open(self) -> None:
        """Take the lock and prepare the connection that writes; without the lock, the journal is read-only."""
        try:
            mine = self._lock.take(self._user)
        except (OSError, NotImplementedError) as error:  # the latter where the disk knows no locks
            if failures.is_no_room(error):
                raise failures.full(self.folder, self._unsaved_since) from error
            self.why_read_only = _refused(self.folder, getattr(error, "strerror", None) or str(error))
            return
        if not mine:
            self.holder = self._lock.holder()
            self.why_read_only = say(
                "The workspace {folder} is open elsewhere ({holder}): what you change here is not saved; close the other "
                "window or choose another workspace.",
                folder=self.folder,
                holder=self.holder,
            )
            return
        # SQLite would leave out what follows damage in the log without a word.
        try:
            is_damaged = connection.has_damaged_log(self.path)
        except OSError:  # which SQLite tells
            is_damaged = False
        except WorkspaceError:
            self._lock.give_back()
            raise
        if is_damaged:
            raise DamagedError
        db = connection.connect(self.path, "mode=rw" if self._place else "mode=rwc")
        try:
            connection.prepare_for_writing(db, self.path)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.Error | UnicodeDecodeError) and failures.is_damage(error):
                raise DamagedError from error
            if not isinstance(error, sqlite3.Error | DamagedError):
                self._lock.give_back()
            raise
        self._db, self._place = db, connection.place(self.path)

    def _reader(self) -> sqlite3.Connection:
        if self.path.exists():
            return connection.for_reading(self.path)
        if self._place is not None:
            raise failures.not_read(FileNotFoundError("it is gone"), self.folder)
        return connection.empty()

    def _writer(self) -> sqlite3.Connection:
        """The connection that writes, opened again if it was let go."""
        if self._db is None:
            if self._place is not None and not self.path.exists():
                raise failures.vanished(self.folder, self._unsaved_since)
            try:
                self._open()
            except DamagedError as error:
                raise failures.damaged(self.folder, self._unsaved_since) from error
            if self.why_read_only:
                raise WorkspaceError(self.why_read_only)
        self._check_place()
        assert self._db is not None
        if self.session_id is not None and not self._db.execute("SELECT 1 FROM sessions WHERE key = ?", (self._key,)).fetchone():
            self._let_go()
            raise failures.vanished(self.folder, self._unsaved_since)
        return self._db

    def _check_place(self) -> None:
        """Make sure that what is written is where the next start will look for it, and not in a file that was deleted."""
        assert self._db is not None
        (mode,) = self._db.execute("PRAGMA journal_mode").fetchone()
        if connection.place(self.path) != self._place or (mode == "wal" and not connection.log_of(self.path).exists()):
            self._let_go()
            raise failures.vanished(self.folder, self._unsaved_since)

    def _begin(self, db: sqlite3.Connection) -> int:
        return stored.insert(db, SessionRow, self._key, self._user, platform.node())

    def _let_go(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self._lock.give_back()

    def _mend(self) -> None:
        """Put a damaged journal aside, and begin a new one with all of it that is sound."""
        try:
            aside, lost = recovery.mend(self.path)
        except (OSError, sqlite3.Error) as error:
            self._let_go()
            raise WorkspaceError(
                say(
                    "The journal in {folder} is damaged and cannot be mended ({reason}); "
                    "free some space on its disk, or choose another workspace.",
                    folder=self.folder,
                    reason=getattr(error, "strerror", None) or error,
                )
            ) from error
        self.told = say(
            "The journal in {folder} was damaged: it was put aside as {name}, "
            "and a new one was begun with what is sound of it. {lost} {rescue}",
            folder=self.folder,
            name=aside.name,
            lost=say("Lost: {lost}.", lost=lost) if lost else say("All that was saved last is there."),
            rescue=failures.rescue(aside),
        )


def _refused(folder: Path, reason: str) -> str:
    return say(
        "The workspace {folder} cannot be written ({reason}): what you change is not saved; choose another workspace.",
        folder=folder,
        reason=reason,
    )

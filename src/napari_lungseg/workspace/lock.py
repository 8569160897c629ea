"""One window at a time writes into a workspace."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from napari_lungseg.translation import say

#: The operating system's lock lies on this file; it goes with the process, however that ends.
LOCK = "journal.lock"
#: Who holds the lock. A file of its own, as a locked one cannot be read everywhere.
HOLDER = "journal.holder"


class FolderLock:
    """The right to write into a folder.

    Parameters
    ----------
    folder : Path
        The workspace.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Taken in one thread, given back in another.
        self._lock = FileLock(folder / LOCK, thread_local=False)

    def take(self, user: str) -> bool:
        """Take the lock, unless another window has it; tells whether it is ours.

        Raises
        ------
        OSError
            When the folder cannot be written or knows no locks.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        holder = {"user": user, "host": platform.node(), "since": datetime.now().astimezone().isoformat(timespec="minutes")}
        # Whoever comes second is told who was first; a full disk does not keep the first from working.
        with suppress(OSError):
            (self._folder / HOLDER).write_text(json.dumps(holder))
        return True

    def holder(self) -> str:
        """Who has the lock."""
        try:
            holder = json.loads((self._folder / HOLDER).read_text())
            since = datetime.fromisoformat(holder["since"])
            return say("{user} on {host} since {time}", user=holder["user"], host=holder["host"], time=f"{since:%Y-%m-%d %H:%M}")
        except (OSError, ValueError, KeyError, TypeError):
            return say("another window")

    def give_back(self) -> None:
        """Let others write."""
        if self._lock.is_locked:
            with suppress(OSError):
                os.unlink(self._folder / HOLDER)
            self._lock.release(force=True)

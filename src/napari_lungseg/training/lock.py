"""One process at a time goes on with a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_lungseg.errors import InputError
from napari_lungseg.run_files import LOCK


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in a model's folder; the operating system takes it back however the process ends.

    Raises
    ------
    InputError
        When another window or process has it.
    """
    if not (folder / LOCK).parent.is_dir():
        # There is no run, which whoever wants to go on with it will tell; a lock would make the folder.
        yield
        return
    # A run may end in another thread than it began in.
    lock = FileLock(folder / LOCK, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"The training in {folder} goes on in another window or process; wait until that has ended.") from error
    except (OSError, NotImplementedError):
        # A file system that knows no locks, or cannot be written, which the run itself will tell.
        yield
        return
    try:
        yield
    finally:
        lock.release(force=True)

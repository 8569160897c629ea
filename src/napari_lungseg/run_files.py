"""Name, lock and remove the files of a training run in its model's folder; nothing else in that folder is ever removed."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_lungseg.errors import InputError

#: In the folder of the new model.
FOLDER = Path("training")
PLAN, SAMPLES, LOG, LOCK = FOLDER / "plan.json", FOLDER / "samples", FOLDER / "log.jsonl", FOLDER / "run.lock"
LAST, BEST = "last.pt", "best.pt"
SLICES_DATA, SLICES_INDEX = "slices.bin", "slices.json"
#: Names of files that were being written when the process was killed.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")


def remove_resumable(folder: Path) -> None:
    """Remove the slices and checkpoints of a run, which only resuming needs; plan and log stay.

    Parameters
    ----------
    folder : Path
        Of the model.

    Raises
    ------
    OSError
        When a file cannot be removed.
    """
    # The slices first: they hold images of patients.
    _unlink(folder / SAMPLES, (SLICES_DATA, SLICES_INDEX))
    remove_empty([folder / SAMPLES])
    _unlink(folder / FOLDER, (LAST, BEST))


def remove_files(folder: Path) -> None:
    """Remove all files of a run but its lock, and no folder that was there before (OSError when one cannot be removed)."""
    remove_resumable(folder)
    _unlink(folder / FOLDER, (PLAN.name, LOG.name))


def remove_run(folder: Path) -> None:
    """Remove all files of a run, and the folders in which nothing else lies (OSError when one cannot be removed)."""
    remove_files(folder)
    _unlink(folder / FOLDER, (LOCK.name,))
    remove_empty([folder / FOLDER, folder])


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders that are empty, one after the other (OSError when an empty one cannot be removed)."""
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            # Other files lie in it, or it is a link to a folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise


def _unlink(folder: Path, names: Iterable[str]) -> None:
    if not folder.is_dir():
        return
    for path in [*(folder / name for name in names), *(path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name))]:
        path.unlink(missing_ok=True)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in a model's folder; the operating system releases it however the process ends.

    Raises
    ------
    InputError
        When another window or process has it.
    """
    if not (folder / LOCK).parent.is_dir():
        # There is no run, which the caller finds out; a lock would make the folder.
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

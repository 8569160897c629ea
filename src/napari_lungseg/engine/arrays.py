"""Hand arrays to another process: files in a private folder, in memory where it has room, mapped by who receives them.

Not ``multiprocessing.shared_memory``: it raises errors while views on a block exist, and a full ``/dev/shm`` (64 MB in Docker) ends
the process with SIGBUS. Here the space is reserved before it is mapped, so that a full disk is an error like others.
"""

from __future__ import annotations

import atexit
import errno
import mmap
import os
import shutil
import tempfile
import threading
import uuid
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from filelock import FileLock, Timeout

from napari_lungseg.volume import Array

#: Name of a folder of shared arrays: this, the number of the process that made it, and letters by chance.
PREFIX = "napari-lungseg-engine-"
#: A file in each, locked by the process for as long as it lives.
LOCK = "lock"
#: Where Linux keeps files in memory.
IN_MEMORY = Path("/dev/shm")
#: Arrays of fewer bytes are sent by value.
SMALLEST = 65_536


@dataclass(frozen=True)
class Handle:
    """Where a copy of an array lies; who receives it owns it.

    Attributes
    ----------
    path : str
        The shared file.
    shape : tuple of int
        As numpy's; in C order.
    dtype : str
        As numpy's.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str


class _Folders:
    """The folders of this process with their locks, made when they are first needed."""

    lock = threading.Lock()
    made: ClassVar[list[tuple[Path, FileLock]]] = []
    swept = False


def share(array: Array) -> Handle:
    """Copy an array into shared memory.

    Raises
    ------
    MemoryError
        When neither the memory nor the temporary folder has room for it.
    """
    path = _reserve(max(1, array.nbytes))
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    np.ndarray(array.shape, array.dtype, mapping)[...] = array
    return Handle(str(path), array.shape, array.dtype.str)


def take(handle: Handle) -> Array:
    """Map a shared array; its file goes with the last view on it."""
    path = Path(handle.path)
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    # POSIX keeps a file without a name for as long as it is mapped. Windows refuses to remove it before.
    if os.name == "posix":
        _remove(path)
    else:
        weakref.finalize(mapping, _remove, path)
    return np.ndarray(handle.shape, np.dtype(handle.dtype), mapping)


def drop(handle: Handle) -> None:
    """Remove a shared array that nobody takes."""
    _remove(Path(handle.path))


def remove_folders(process: int) -> None:
    """Remove the folders of a process that has ended."""
    for place in _places():
        for folder in place.glob(f"{PREFIX}{process}-*"):
            _remove_if_free(folder, 1.0)


@atexit.register
def remove_own_folders() -> None:
    """Remove the folders of this process; what is mapped stays so."""
    while _Folders.made:
        folder, lock = _Folders.made.pop()
        lock.release(force=True)
        shutil.rmtree(folder, ignore_errors=True)


def private_folder() -> Path:
    """A folder of this process in the temporary folder, for other files than arrays; it goes when the process ends."""
    return _folder_in(Path(tempfile.gettempdir()))


def _reserve(size: int) -> Path:
    """Make a file of that many bytes where there is room."""
    for place in _places():
        try:
            path = _folder_in(place) / uuid.uuid4().hex
            with path.open("xb") as file:
                try:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:
                        file.truncate(size)
                except OSError:
                    _remove(path)
                    raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EACCES, errno.EROFS):
                raise
            continue
        return path
    raise MemoryError(f"There is no room for {size / 1e6:.0f} MB in {' or '.join(map(str, _places()))}; make room there.")


def _places() -> list[Path]:
    temporary = Path(tempfile.gettempdir())
    return [IN_MEMORY, temporary] if IN_MEMORY.is_dir() else [temporary]


def _folder_in(place: Path) -> Path:
    with _Folders.lock:
        if not _Folders.swept:
            _Folders.swept = True
            _sweep()
        known = next((folder for folder, _ in _Folders.made if folder.parent == place), None)
        if known is None:
            # mkdtemp gives rights to nobody else.
            known = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
            lock = FileLock(known / LOCK, thread_local=False)
            lock.acquire()
            _Folders.made.append((known, lock))
        return known


def _sweep() -> None:
    """Remove what processes left that were killed."""
    for place in _places():
        for folder in place.glob(f"{PREFIX}*-*"):
            _remove_if_free(folder, 0.0)


def _remove_if_free(folder: Path, wait_s: float) -> None:
    # Process numbers are not enough: containers that share a folder count their own.
    if not (folder / LOCK).is_file():
        return
    try:
        with FileLock(folder / LOCK, timeout=wait_s):
            pass
    except (Timeout, OSError):  # it is in use, or another user's
        return
    shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Windows keeps it while the other process has it mapped; it goes with the folder.
        return

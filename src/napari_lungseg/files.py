"""Whole files and folders: what is written appears under its name only when all of it is on disk."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_lungseg.errors import InputError


def given_path(path: str | os.PathLike[str]) -> Path:
    """Take a path as a person gives it, with ``~`` for a home.

    Raises
    ------
    InputError
        When the home is not known, or the system takes no such name (too long, a null character).
    """
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} cannot be used: the home that ~ stands for is not known; give the whole path.") from error
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(f"{shortened(path)} cannot be used: {error.strerror}; check the name.") from error
    except ValueError as error:
        raise InputError(f"{str(path)!a} cannot be used as a name: {error}; check the name.") from error
    return path


def new_path(path: str | os.PathLike[str]) -> Path:
    """Take the path of a file that is to be written, before the long work of making its content.

    Raises
    ------
    InputError
        As :func:`given_path`, and when its folder does not exist.
    """
    path = given_path(path)
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"{shortened(path)} cannot be written: the folder {shortened(path.parent)} does not exist; make it first or choose another."
        )
    return path


def read_whole(path: Path, most: int) -> bytes:
    """Read a plain file of at most so many bytes; what else has the name (a pipe, a device) could keep the reader waiting.

    Raises
    ------
    OSError
        When it is not there, no plain file, or larger.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("no plain file")
        if status.st_size > most:
            raise OSError(f"{status.st_size} bytes, where at most {most} can be right")
        return file.read(most)


def shortened(path: Path) -> str:
    """Give the path as text of a bearable length for a message."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing (InputError where that is not possible)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {shortened(folder)} cannot be made: {_reason(error)}; choose another.") from error


@contextmanager
def whole_file(path: Path, ending: str = "") -> Iterator[Path]:
    """Give a new empty file in the same folder, which gets the right name when it is whole and on disk.

    The file is made here, under a name that nobody can foresee and that no link has.

    Parameters
    ----------
    path : Path
        The name that the file shall have.
    ending : str
        Ending of the temporary name, where the writer looks at it.

    Raises
    ------
    InputError
        When it was not written; an older file of that name is as it was.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        with _explained(path):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            yield temporary
            _flush(temporary, os.O_RDWR)
            os.replace(temporary, path)
            # The new name too, where folders can be flushed.
            with suppress(OSError):
                _flush(path.parent, os.O_RDONLY)
    finally:
        # A failure to clean up must not hide why writing failed.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a new empty folder beside the place of another, which gets the right name when it is whole and on disk.

    Raises
    ------
    InputError
        When it was not written, or there is something of that name already.
    """
    temporary = folder.with_name(f".{uuid.uuid4().hex}")
    try:
        with _explained(folder):
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file, os.O_RDWR)
            os.rename(temporary, folder)
            with suppress(OSError):
                _flush(folder.parent, os.O_RDONLY)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes as a whole file; names of files that are not UTF-8 are escaped (InputError where it was not written)."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into an InputError that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{shortened(path)} was not written: {error}") from error
    except (OSError, RuntimeError) as error:
        raise InputError(f"{shortened(path)} could not be written: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """What the system said; a library may have raised an error of its own while it handled the system's."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return "the disk may be full or read-only"


def _flush(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)

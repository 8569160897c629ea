"""The one error that a person is meant to read, and how other errors become it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path

_lock = threading.Lock()
#: How many ask for silence, and what gives back the filters of warnings after it.
_silent = 0
_filters = ExitStack()


class InputError(ValueError):
    """Something given by a person cannot be used.

    The message is one sentence that says what is wrong, in which file or layer, and what to do. The
    terminal prints it and exits with 2; the window shows it as a notification.
    """


@contextmanager
def reading(path: str | PathLike[str], message: str = "") -> Iterator[None]:
    """Turn whatever a library raises while it reads a file into an InputError that keeps the cause.

    Libraries raise whatever the damage makes them stumble over. Their warnings are not shown: they name tags and values, and
    what matters of them is checked by the reader.

    Parameters
    ----------
    path : path
        What is read.
    message : str, optional
        What to say of damage; by default that the path is damaged.

    Raises
    ------
    InputError
        For every other Exception than MemoryError; one that does not name the path gets its name.
    MemoryError
        With a sentence that names the path.
    """
    try:
        with without_warnings():
            yield
    except InputError as error:
        if type(error) is InputError and Path(path).name not in str(error):
            raise InputError(f"{path}: {error}") from error
        raise
    except MemoryError as error:
        raise MemoryError(f"There is not enough memory to read {path}; close other programs, or give a smaller image.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
        raise InputError(message or f"{path} is damaged or not what its name says; copy or export it again.") from error


@contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings of libraries, which may name a patient, in any thread until the last that asks for it is through.

    The filters of warnings are those of the whole process: threads that each set and restored them would undo each other's.
    """
    global _silent
    with _lock:
        if _silent == 0:
            _filters.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _silent += 1
    try:
        yield
    finally:
        with _lock:
            _silent -= 1
            if _silent == 0:
                _filters.close()


def memory_sentence(error: MemoryError) -> str:
    """Say in one sentence that memory is short; a reader's own sentence, which names the file, is kept."""
    said = str(error)
    return said if said.startswith("There is not") else "There is not enough memory; close other programs, or run fewer jobs."

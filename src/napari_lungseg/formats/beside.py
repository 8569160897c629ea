"""Data files that a header names: only those in its own folder or below are opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from napari_lungseg.errors import InputError

_PATTERN = re.compile(r"[^%]*%(0?)([1-9]?)[dui][^%]*")
_MOST_FILES = 100_000


def data_file(header: Path, name: str) -> Path:
    """Take the file that a header names (InputError where it is not there, no plain file, or not beside the header)."""
    given = Path(name.replace("\\", "/"))
    if given.is_absolute() or ".." in given.parts or "\0" in name:
        raise InputError(f"{header} names data outside of its folder ({name!r}); put both files into one folder and correct the name.")
    path = header.parent / given
    if not path.is_file():
        raise InputError(f"{header} names {given.name[:100]} as its data, which is not there; copy both files.")
    return path


def numbered_files(header: Path, words: Sequence[str]) -> list[Path]:
    """Take the files of a pattern with one number, its first and last value and its step (ValueError where it is no such pattern)."""
    match = _PATTERN.fullmatch(words[0])
    first, last, step = (int(word) for word in words[1:])
    if match is None or step == 0 or not 0 < (last - first) // step + 1 <= _MOST_FILES:
        raise ValueError("no pattern of names")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    pattern = re.sub(r"%(0?[1-9]?)[dui]", lambda found: f"%{found[1]}d", words[0])
    return [data_file(header, pattern % number) for number in numbers]

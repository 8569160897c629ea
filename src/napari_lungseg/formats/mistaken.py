"""Files that are no image, whatever their names say, told by their first bytes: archives, and what failed downloads leave."""

from __future__ import annotations

import gzip
from pathlib import Path

_UNPACK = "is packed ({}); unpack it, and give what is in it."
_MARKS = {
    b"PK\x03\x04": _UNPACK.format("zip"),
    b"7z\xbc\xaf\x27\x1c": _UNPACK.format("7z"),
    b"Rar!\x1a\x07": _UNPACK.format("rar"),
    b"\xfd7zXZ\x00": _UNPACK.format("xz"),
    b"version https://git-lfs": "is a pointer of Git LFS and not the file itself; fetch that with: git lfs pull",
    b"<!doctype html": "is a web page and not the file that was to be downloaded; download it again.",
    b"<html": "is a web page and not the file that was to be downloaded; download it again.",
}
_GZIP = b"\x1f\x8b\x08"


def what_else(path: Path, *, may_be_packed: bool = False) -> str:
    """What a file is in place of an image, and what to do, in words to go behind its name; "" where nothing is known against it.

    Parameters
    ----------
    path : Path
        A file.
    may_be_packed : bool
        Whether a reader takes it packed with gzip as a whole.
    """
    with path.open("rb") as file:
        head = file.read(64)
        if head.startswith(_GZIP):
            if not may_be_packed:
                return _UNPACK.format("gzip")
            file.seek(0)
            try:
                with gzip.GzipFile(fileobj=file) as inside:
                    return "is packed twice (gzip); unpack it once." if inside.read(3) == _GZIP else ""
            except (OSError, EOFError):
                return ""  # damaged, as its reader tells
    return next((what for mark, what in _MARKS.items() if head.lstrip().lower().startswith(mark.lower())), "")


def told_of(folder: Path) -> str:
    """What is the matter with the first file of that kind directly in a folder without images; "" where there is none."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and (what := what_else(path)):
            return f" {path.name} in it {what}"
    return ""

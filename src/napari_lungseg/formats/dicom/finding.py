"""Where DICOM files are, told without loading what reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Name of the file that lists what is on a medium (PS3.10 8).
DIRECTORY = "DICOMDIR"
#: How many folders below the one that is given are looked into: patient, study, series, and two more.
MOST_NESTED = 5
#: Groups with which a dataset may begin: file meta information, or identification.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")


def holds_dicom(folder: Path) -> bool:
    """Whether any file directly in the folder is DICOM, and not only the directory of a medium."""
    return next(_files_in(folder), None) is not None


def is_dicom_path(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder with any in it or below."""
    return next(_files_below(path), None) is not None if path.is_dir() else is_dicom(path)


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, or, where there are none, in the folders below it, sorted by name."""
    return sorted(_files_in(folder)) or sorted(_files_below(folder))


def dicom_folders(folder: Path) -> list[Path]:
    """The folders, this one or below it, that hold DICOM files.

    Those that cannot be looked into are among them, so that reading them tells why.
    """
    try:
        if holds_dicom(folder):
            return [folder]
        return [found for path in _folders_in(folder) for found in dicom_folders(path)]
    except OSError:
        return [folder]


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith(".") and path.name.upper() != DIRECTORY and is_dicom(path))


def _files_below(folder: Path, depth: int = MOST_NESTED) -> Iterator[Path]:
    yield from _files_in(folder)
    if depth:
        for path in _folders_in(folder):
            with suppress(PermissionError):
                yield from _files_below(path, depth - 1)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its mark or its first element, or says so by its ending."""
    if not path.is_file():
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, explicit or implicit, of a length that such elements have."""
    if len(head) < 132 or head[:2] not in _FIRST_GROUPS or head[3] != 0:
        return False
    kind, short, long = head[4:6], struct.unpack("<H", head[6:8])[0], struct.unpack("<I", head[4:8])[0]
    return (kind in (b"UI", b"CS", b"UL", b"DA", b"TM", b"DT") and short <= 64) or (0 < long <= 64 and long % 2 == 0 and head[2] <= 0x18)

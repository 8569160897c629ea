"""What a training in the engine says when the disk or the memory does not suffice."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from napari_lungseg.engine.teaching import sentences
from napari_lungseg.errors import InputError
from napari_lungseg.files import whole_file


def test_a_full_disk_says_to_make_room(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError, match="make room there, then go on"), sentences(tmp_path):
        raise full
    # As the core says it, with the system's own error as its cause.
    with pytest.raises(InputError, match="make room there, then go on"), sentences(tmp_path), whole_file(tmp_path / "last.pt"):
        raise full


def test_too_little_memory_says_what_makes_it_smaller(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="smaller batch"), sentences(tmp_path):
        raise MemoryError


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sentences(tmp_path):
        raise ZeroDivisionError

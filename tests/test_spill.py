"""Large arrays in temporary files: the same masks, and no file that stays behind."""

from __future__ import annotations

import errno
import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg import segment, spill
from napari_lungseg.sample import sample_ct


@pytest.fixture
def spilled(monkeypatch, tmp_path):
    """Every array counts as large; the folder for temporary files is empty, and on a disk."""
    monkeypatch.setattr(spill, "LARGE", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def mapped_from(folder: Path) -> int:
    """How many files of a folder this process has mapped, with or without a name (Linux)."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is read from /proc, which Linux has")
def test_a_large_array_lies_in_a_file_that_goes_with_it(spilled):
    array = spill.zeros((3, 4, 5))
    view = array[1:]
    del array
    view[...] = 7
    assert mapped_from(spilled) == 1
    assert (view == 7).all()
    del view
    gc.collect()
    assert mapped_from(spilled) == 0
    assert not list(spilled.iterdir())


def test_masks_are_the_same_in_files_and_in_memory(monkeypatch, tmp_path):
    volume = sample_ct()
    expected = segment(volume)
    monkeypatch.setattr(spill, "LARGE", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = segment(volume)
    assert np.array_equal(found.labels.array, expected.labels.array)
    assert np.array_equal(found.probability.array, expected.probability.array)
    assert found.labels.array.any()


def test_without_room_for_files_arrays_are_in_memory(spilled):
    resource = pytest.importorskip("resource", reason="the system has no limits on files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, before[1]))
    try:
        with pytest.raises(OSError, match=r"too large") as refused:
            spill._mapped(1 << 20)
        array = spill.zeros((1 << 10, 1 << 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.errno == errno.EFBIG
    assert array.shape == (1 << 10, 1 << 10)
    assert not array.any()
    array[...] = 1


def test_without_a_folder_for_files_arrays_are_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "LARGE", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    array = spill.zeros((2, 3))
    assert array.tolist() == [[0, 0, 0], [0, 0, 0]]

"""Damage of the write-ahead log that a killed process leaves: what is sound is read, and what is lost is told."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.workspace import Workspace, WorkspaceError, journal, schema
from napari_lungseg.workspace.log import read_log

from .conftest import WRITERS, needs_posix

SAVES = 12
FLIPS = 30
LOG, INDEX = f"{journal.JOURNAL}-wal", f"{journal.JOURNAL}-shm"

pytestmark = needs_posix


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, int]:
    """A workspace whose writer was killed, and how many saves it had told."""
    folder = tmp_path_factory.mktemp("killed")
    with subprocess.Popen([sys.executable, "-c", WRITERS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        parent.stdin.write("\n")
        parent.stdin.flush()
        pid = told = 0
        while told < SAVES or not pid:
            line = parent.stdout.readline()
            if line.startswith("pid"):
                pid = int(line.split()[1])
            else:
                told = int(line)
        os.kill(pid, signal.SIGKILL)
        while (line := parent.stdout.readline()) != "end\n":
            told = int(line)
        parent.stdin.close()
    assert (folder / LOG).stat().st_size
    assert (folder / INDEX).exists()
    return folder, told


@pytest.fixture
def folder(killed, tmp_path) -> Path:
    return Path(shutil.copytree(killed[0], tmp_path / "w"))


def count_saved(folder: Path) -> tuple[int, str]:
    """How many saves are there, each slice being one that was written, and what was told."""
    with Workspace(folder) as workspace:
        told = workspace.told
        case = workspace.find("c")
        saved = None if case is None else workspace.load(case)
        if saved is None:
            return 0, told
        told += "".join(one.text for one in saved.damage)
        counts = [int(np.count_nonzero(plane)) for plane in saved.origin]
        for count, labels in zip(counts, saved.labels, strict=True):
            if count:
                np.testing.assert_array_equal(labels, np.random.default_rng(count).integers(0, 3, (64, 64)))
        return min(counts), told


def change(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_log_that_is_whole_loses_nothing_and_tells_nothing(folder, killed):
    assert read_log(folder / journal.JOURNAL).is_damaged is False
    saved, told = count_saved(folder)
    assert saved >= killed[1]
    assert told == ""


def test_the_index_of_the_log_is_not_needed(folder, killed):
    (folder / INDEX).unlink()
    saved, _ = count_saved(folder)
    assert saved >= killed[1]


@pytest.mark.parametrize("has_index", [True, False])
def test_one_bit_anywhere_in_the_log_costs_no_more_than_its_own_save_and_is_told(killed, tmp_path, has_index):
    whole = count_saved(Path(shutil.copytree(killed[0], tmp_path / "whole")))[0]
    size = (killed[0] / LOG).stat().st_size
    bits = np.random.default_rng(0).choice(size * 8, FLIPS, replace=False)
    for number, bit in enumerate([*range(0, 32 * 8, 29), *bits.tolist()]):
        folder = Path(shutil.copytree(killed[0], tmp_path / str(number)))
        change(folder / LOG, bit)
        if not has_index:
            (folder / INDEX).unlink()
        saved, told = count_saved(folder)
        assert saved >= whole - 1, bit
        # One that was written but not told when its process was killed may go without a word: the index does not know it.
        assert told or saved >= min(whole, killed[1]), bit
        shutil.rmtree(folder)


def test_a_log_that_is_cut_off_is_told_and_all_before_is_there(killed, tmp_path):
    whole = count_saved(Path(shutil.copytree(killed[0], tmp_path / "whole")))[0]
    size = (killed[0] / LOG).stat().st_size
    before = whole
    for number, length in enumerate(np.linspace(size - 1, 0, 12).astype(int).tolist()):
        folder = Path(shutil.copytree(killed[0], tmp_path / str(number)))
        os.truncate(folder / LOG, length)
        saved, told = count_saved(folder)
        assert saved <= before
        assert "was put aside" in told or saved >= min(whole, killed[1]), length
        assert "perhaps what was saved last" in told or saved >= min(whole, killed[1]), length
        before = saved


def test_a_log_that_is_gone_is_told(folder):
    (folder / LOG).unlink()
    assert "perhaps what was saved last" in count_saved(folder)[1]


def test_what_is_mended_opens_without_a_word_the_next_time(folder):
    change(folder / LOG, 8 * (folder / LOG).stat().st_size // 2)
    saved, told = count_saved(folder)
    assert "was put aside" in told
    (aside,) = folder.glob("journal.damaged-*.sqlite-wal")
    assert aside.stat().st_size
    assert count_saved(folder) == (saved, "")


def test_the_damaged_log_of_a_later_version_is_left_alone(folder):
    data = bytearray((folder / journal.JOURNAL).read_bytes())
    data[60:64] = struct.pack(">I", schema.VERSION + 1)
    (folder / journal.JOURNAL).write_bytes(data)
    change(folder / LOG, 8 * 40)
    log = (folder / LOG).read_bytes()
    with pytest.raises(WorkspaceError, match="later version"):
        Workspace(folder)
    assert (folder / LOG).read_bytes() == log

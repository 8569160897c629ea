"""A disk that is full: it is told, nothing half is written, and saving goes on when there is room."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import suppress

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.workspace import Workspace, WorkspaceError

from .conftest import IN_MEMORY, add, needs_posix, needs_root, painted


def fill(workspace, case) -> None:
    """Save until there is no more room."""
    rng = np.random.default_rng(0)
    for count in range(1000):
        noise = rng.integers(0, 255, (case.slices, *case.plane_shape), np.uint8)
        workspace.save(case, {index: (plane, plane) for index, plane in enumerate(noise)}, cause=f"stroke {count}")


def check_that_it_goes_on(workspace, case) -> None:
    workspace.save(case, {0: painted(case, 0), 3: painted(case, 3)}, cause="after")
    np.testing.assert_array_equal(workspace.load(case).labels[3], painted(case, 3).labels)
    assert workspace.record(case)[-1].details["cause"] == "after"
    with sqlite3.connect(workspace.folder / "journal.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_journal_is_told_rolled_back_and_goes_on_when_there_is_room(workspace, volume):
    case = add(workspace, volume)
    workspace._journal._db.execute("PRAGMA max_page_count = 40")
    with pytest.raises(WorkspaceError, match=rf"The disk of .* is full; {IN_MEMORY}") as caught:
        fill(workspace, case)
    assert str(workspace.folder) in str(caught.value)
    assert isinstance(caught.value, InputError)
    revisions = [len(workspace.revisions(case, index)) for index in range(4)]
    assert len(set(revisions)) == 1
    assert not workspace.read_only
    workspace._journal._db.execute("PRAGMA max_page_count = 100000")
    check_that_it_goes_on(workspace, case)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@needs_posix
@needs_root
def test_a_disk_that_fills_up_is_told_and_goes_on_when_there_is_room(small_disk, volume):
    (small_disk / "other").write_bytes(bytes(500_000))
    with Workspace(small_disk / "workspace") as workspace:
        case = add(workspace, volume)
        with pytest.raises(WorkspaceError, match=rf"is full; {IN_MEMORY}"):
            fill(workspace, case)
        before = workspace.load(case).labels
        (small_disk / "other").unlink()
        np.testing.assert_array_equal(workspace.load(case).labels, before)
        check_that_it_goes_on(workspace, case)


@needs_posix
@needs_root
@pytest.mark.parametrize("files", [1, 20], ids=["no bytes", "no file names"])
def test_a_workspace_begun_on_a_full_disk_works_as_soon_as_there_is_room(small_disk, volume, files):
    (small_disk / "workspace").mkdir()
    with suppress(OSError):
        for number in range(files):
            (small_disk / f"other {number}").write_bytes(bytes(1 << 20) if number == 0 else b"")
    with Workspace(small_disk / "workspace") as workspace:
        assert workspace.cases() == []
        for _ in range(2):
            with pytest.raises(WorkspaceError, match=rf"is full; {IN_MEMORY}"):
                add(workspace, volume)
        for path in small_disk.glob("other*"):
            path.unlink()
        check_that_it_goes_on(workspace, add(workspace, volume))


@needs_posix
@needs_root
def test_work_can_be_read_from_a_full_disk(small_disk, volume):
    with Workspace(small_disk / "workspace") as workspace:
        case = add(workspace, volume)
        workspace.save(case, {1: painted(case, 1)}, cause="paint")
    with pytest.raises(OSError, match="space"):
        (small_disk / "other").write_bytes(bytes(1 << 20))
    with Workspace(small_disk / "workspace") as workspace:
        np.testing.assert_array_equal(workspace.load(case).labels[1], painted(case, 1).labels)
        with pytest.raises(WorkspaceError, match="is full"):
            fill(workspace, case)
        (small_disk / "other").unlink()
        check_that_it_goes_on(workspace, case)

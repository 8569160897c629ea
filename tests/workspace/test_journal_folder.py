"""Folders that cannot be written, or vanish, and disks without shared memory."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.workspace import Workspace, WorkspaceError, journal

from .conftest import IN_MEMORY, add, needs_posix, painted


@contextmanager
def nobody():
    """Rights as most people have them: root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder():
    """A folder that everybody can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@needs_posix
def test_a_folder_that_cannot_be_written_can_be_read(open_folder, volume):
    with Workspace(open_folder) as workspace:
        case = add(workspace, volume)
        workspace.save(case, {1: painted(case, 1)}, cause="paint")
    open_folder.chmod(0o555)
    with nobody(), Workspace(open_folder, user="guest") as guest:
        assert guest.read_only
        assert re.search(rf"{open_folder} cannot be written .*; choose another workspace\.$", guest.why_read_only)
        assert guest.holder is None
        np.testing.assert_array_equal(guest.load(case).labels[1], painted(case, 1).labels)
        with pytest.raises(WorkspaceError, match="cannot be written"):
            guest.set_state(case, 0, "reviewed")


@needs_posix
def test_a_journal_that_cannot_be_written_can_be_read(open_folder, volume):
    with Workspace(open_folder) as workspace:
        case = add(workspace, volume)
    for path in open_folder.iterdir():
        path.chmod(0o444)
    open_folder.chmod(0o777)
    (open_folder / "journal.lock").chmod(0o666)
    with nobody(), Workspace(open_folder) as guest:
        assert "cannot be written" in guest.why_read_only
        assert guest.cases()[0].case == case


@needs_posix
def test_an_empty_folder_that_cannot_be_written_holds_no_cases(open_folder):
    open_folder.chmod(0o555)
    with nobody(), Workspace(open_folder) as guest:
        assert guest.read_only
        assert guest.cases() == guest.record() == guest.unfinished() == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be made"):
        Workspace(tmp_path / "file" / "workspace")


def take_away_folder(folder):
    shutil.rmtree(folder)


def move_folder(folder):
    folder.rename(folder.with_name("elsewhere"))


def take_away_journal(folder):
    (folder / "journal.sqlite").unlink()


def take_away_log(folder):
    (folder / "journal.sqlite-wal").unlink()


def replace_journal(folder):
    take_away_folder(folder)
    with Workspace(folder):
        pass


@needs_posix
@pytest.mark.parametrize("break_it", [take_away_folder, move_folder, take_away_journal, take_away_log, replace_journal])
def test_a_journal_that_has_vanished_is_noticed(workspace, volume, break_it):
    case = add(workspace, volume)
    break_it(workspace.folder)
    with pytest.raises(WorkspaceError, match=rf"has vanished .*; {IN_MEMORY}"):
        workspace.save(case, {0: painted(case, 0)}, cause="paint")


@needs_posix
def test_nothing_is_written_into_another_journal_in_its_place(workspace, volume):
    case = add(workspace, volume)
    replace_journal(workspace.folder)
    for _ in range(2):
        with pytest.raises(WorkspaceError, match="has vanished"):
            add(workspace, volume, "renamed")
    with Workspace(workspace.folder) as other:
        assert other.find(case.content) is None


def test_a_transaction_that_breaks_off_writes_nothing(workspace, volume):
    writing = workspace._journal.writing()
    writing.__enter__().event("added", {})
    assert not writing.__exit__(InputError, InputError("no"), None)
    assert workspace.record() == []
    add(workspace, volume)
    assert [event.kind for event in workspace.record()] == ["began", "added"]


@needs_posix
def test_a_journal_that_vanishes_during_a_write_is_noticed(workspace, volume):
    add(workspace, volume)
    writing = workspace._journal.writing()
    writing.__enter__().event("began", {})
    take_away_folder(workspace.folder)
    with pytest.raises(WorkspaceError, match="has vanished"):
        writing.__exit__(None, None, None)


@needs_posix
def test_saving_goes_on_when_the_folder_is_back(workspace, volume):
    case = add(workspace, volume)
    away = workspace.folder.with_name("away")
    workspace.folder.rename(away)
    for _ in range(2):
        with pytest.raises(WorkspaceError, match="has vanished"):
            workspace.set_state(case, 0, "reviewed", seconds=1)
        with pytest.raises(WorkspaceError, match="cannot be read"):
            workspace.load(case)
    assert not workspace.folder.exists()
    away.rename(workspace.folder)
    workspace.set_state(case, 0, "reviewed", seconds=1)
    # What was refused was not written elsewhere meanwhile.
    assert workspace.states(case)[0].seconds == 1
    assert Workspace(workspace.folder).read_only


@pytest.fixture
def network_drive(monkeypatch):
    """SQLite as it is on drives that offer no shared memory."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        journal.sqlite3, "connect", lambda name, **options: connect(f"{name}&vfs=unix-dotfile" if "?" in name else name, **options)
    )


@needs_posix
def test_where_there_is_no_shared_memory_saving_is_as_safe(network_drive, tmp_path, volume):
    with Workspace(tmp_path) as workspace:
        case = add(workspace, volume)
        workspace.save(case, {0: painted(case, 0)}, cause="paint")
        (mode,) = workspace._journal._db.execute("PRAGMA journal_mode").fetchone()
        assert mode == "delete"
        assert workspace._journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
        np.testing.assert_array_equal(workspace.load(case).labels[0], painted(case, 0).labels)
        with Workspace(tmp_path) as second:
            assert second.cases()[0].case == case


@needs_posix
def test_a_journal_can_move_to_a_disk_without_shared_memory(tmp_path, volume, request):
    with Workspace(tmp_path) as workspace:
        case = add(workspace, volume)
    request.getfixturevalue("network_drive")
    with Workspace(tmp_path) as workspace:
        workspace.save(case, {0: painted(case, 0)}, cause="paint")
        assert workspace.load(case) is not None

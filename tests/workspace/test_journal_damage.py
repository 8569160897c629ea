"""Journals that are damaged, of a later version, or not ours."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.workspace import Workspace, WorkspaceError, schema

from .conftest import add, painted


def spoil(path: Path, start: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(np.random.default_rng(0).bytes(size))


@pytest.mark.parametrize(("start", "size"), [(0, 4096), (4096, 12_000)], ids=["first page", "within"])
def test_a_damaged_journal_is_put_aside_and_its_sound_rows_go_into_a_new_one(tmp_path, volume, start, size):
    with Workspace(tmp_path) as workspace:
        case = add(workspace, volume)
        workspace.save(case, {0: painted(case, 0)}, cause="paint")
    spoil(tmp_path / "journal.sqlite", start, size)
    damaged = (tmp_path / "journal.sqlite").read_bytes()
    with Workspace(tmp_path) as workspace:
        (aside,) = tmp_path.glob("journal.damaged-*.sqlite")
        assert aside.read_bytes() == damaged
        assert re.search(rf"was damaged: it was put aside as {aside.name}, and a new one was begun", workspace.told)
        assert f"napari-lungseg workspace rescue {aside} -o FOLDER" in workspace.told
        (summary,) = workspace.cases()
        np.testing.assert_array_equal(workspace.load(summary.case).labels[0], painted(case, 0).labels)
        workspace.save(case, {1: painted(case, 1)}, cause="paint")
    with Workspace(tmp_path) as workspace:
        assert workspace.told == ""
        assert workspace.load(case) is not None
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".sqlite", ".sqlite"]


def test_a_journal_of_which_nothing_is_sound_is_put_aside_too(tmp_path, volume):
    with Workspace(tmp_path) as workspace:
        add(workspace, volume)
    path = tmp_path / "journal.sqlite"
    spoil(path, 0, path.stat().st_size)
    with Workspace(tmp_path) as workspace:
        assert "was damaged" in workspace.told
        assert workspace.cases() == []
        add(workspace, volume)


def test_a_journal_of_a_later_version_is_refused_and_left_alone(tmp_path, volume):
    with Workspace(tmp_path) as workspace:
        add(workspace, volume)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = (tmp_path / "journal.sqlite").read_bytes()
    for _ in range(2):
        with pytest.raises(WorkspaceError, match="of a later version of napari-lungseg; update it"):
            Workspace(tmp_path)
    assert (tmp_path / "journal.sqlite").read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "journal.sqlite").read_bytes()
    with pytest.raises(WorkspaceError, match="another program"):
        Workspace(tmp_path)
    assert (tmp_path / "journal.sqlite").read_bytes() == before

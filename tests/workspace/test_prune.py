"""Earlier states that nobody needs are deleted when a workspace is closed, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_lungseg.workspace import Workspace
from napari_lungseg.workspace import workspace as workspace_module

from .conftest import add, needs_posix, painted


def strokes(folder, volume, values, index=0, *, accept=()):
    """A session that saves a slice with one value after the other."""
    with Workspace(folder, user="ann") as workspace:
        case = add(workspace, volume)
        for value in values:
            workspace.save(
                case, {index: painted(case, index, value)}, cause=str(value), percent={index: painted(case, index, value).labels}
            )
            if value in accept:
                workspace.set_state(case, index, "reviewed")
    return case


def causes(folder, case, index=0):
    with Workspace(folder) as workspace:
        return [int(one.cause) for one in workspace.revisions(case, index)]


def test_of_earlier_sessions_the_last_state_stays_and_of_this_one_all(tmp_path, volume):
    strokes(tmp_path, volume, (1, 2, 3))
    assert causes(tmp_path, strokes(tmp_path, volume, (4, 5))) == [3, 4, 5]
    case = strokes(tmp_path, volume, (6, 7))
    assert causes(tmp_path, case) == [3, 5, 6, 7]
    with Workspace(tmp_path) as workspace:
        np.testing.assert_array_equal(workspace.load(case).labels[0], painted(case, 0, 7).labels)
        np.testing.assert_array_equal(workspace.load(case).percent[0], painted(case, 0, 7).labels)
        assert workspace.load(case).damage == ()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        assert db.execute("SELECT count(*) FROM percents").fetchone() == (4,)


def test_a_state_that_was_accepted_stays(tmp_path, volume):
    strokes(tmp_path, volume, (1, 2, 3), accept=(2,))
    assert causes(tmp_path, strokes(tmp_path, volume, (4,))) == [2, 3, 4]


def test_the_last_state_of_a_slice_that_is_not_touched_again_stays(tmp_path, volume):
    strokes(tmp_path, volume, (1, 2), index=3)
    for value in (1, 2, 3):
        case = strokes(tmp_path, volume, (value,))
    assert causes(tmp_path, case, 3) == [2]


def test_the_record_stays_whole(tmp_path, volume):
    case = strokes(tmp_path, volume, (1, 2, 3))
    with Workspace(tmp_path) as workspace:
        before = workspace.record(case)
    strokes(tmp_path, volume, (4,))
    with Workspace(tmp_path) as workspace:
        assert workspace.record(case)[: len(before)] == before


def test_all_states_of_a_slice_whose_last_one_is_damaged_stay(tmp_path, volume):
    case = strokes(tmp_path, volume, (1, 2, 3))
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE revisions SET labels = zeroblob(20) WHERE id = 3")
    db.close()
    strokes(tmp_path, volume, (1,), index=2)
    with Workspace(tmp_path) as workspace:
        np.testing.assert_array_equal(workspace.load(case).labels[0], painted(case, 0, 2).labels)


def test_the_file_gives_its_room_back(tmp_path, volume):
    noise = np.random.default_rng(0).integers(0, 200, (40, *volume.shape[1:])).astype(np.uint8)
    big = np.repeat(np.repeat(noise, 30, 1), 30, 2) ^ np.random.default_rng(1).integers(0, 2, (40, 180, 150)).astype(np.uint8)
    sizes = []
    for session in range(3):
        with Workspace(tmp_path) as workspace:
            case = workspace.add_case("c", name="ct", path=None, shape=big.shape, affine=volume.affine, axis=0, unit="HU")
            for plane in big[: 40 if session == 0 else 1]:
                workspace.save(case, {0: (plane + np.uint8(session), plane)}, cause="paint")
        sizes.append((tmp_path / "journal.sqlite").stat().st_size)
    assert max(sizes[1:]) < sizes[0] / 3


def test_what_there_is_no_time_for_waits_for_the_next_close(tmp_path, volume, monkeypatch):
    strokes(tmp_path, volume, (1, 2, 3))
    monkeypatch.setattr(workspace_module, "_PRUNE_S", 0.0)
    assert causes(tmp_path, strokes(tmp_path, volume, (4,))) == [1, 2, 3, 4]
    monkeypatch.undo()
    assert causes(tmp_path, strokes(tmp_path, volume, (5,))) == [3, 4, 5]


PRUNER = """
import os, sys, time
from napari_lungseg.workspace import Workspace, prune, workspace

# One state at a time, so that there are many moments to be killed at.
prune.STATES = 1
workspace._PRUNE_S = 60.0
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        opened = Workspace(sys.argv[1], user="pruner")
        opened.set_state(opened.cases()[0].case, 0, "flagged")
        print("pruning", flush=True)
        opened.close()
        time.sleep(60)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("end", flush=True)
"""


@needs_posix
def test_kill_9_at_any_moment_of_it_loses_nothing(tmp_path, volume):
    case = strokes(tmp_path, volume, range(1, 3))
    for index in range(4):
        strokes(tmp_path, volume, range(1, 40), index=index)
    rng = random.Random(0)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        kept = [db.execute("SELECT count(*) FROM revisions").fetchone()[0]]
    db.close()
    with subprocess.Popen([sys.executable, "-c", PRUNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for _ in range(8):
            parent.stdin.write("\n")
            parent.stdin.flush()
            lines = {parent.stdout.readline().strip() for _ in range(2)}
            (pid,) = (int(line) for line in lines if line.isdigit())
            time.sleep(rng.random() * 0.03)
            os.kill(pid, signal.SIGKILL)
            assert parent.stdout.readline() == "end\n"
            with sqlite3.connect(tmp_path / "journal.sqlite") as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                kept.append(db.execute("SELECT count(*) FROM revisions").fetchone()[0])
            db.close()
            opened = Workspace(tmp_path)
            saved = opened.load(case)
            assert (opened.told, saved.damage) == ("", ())
            opened._journal._let_go()
            for index in range(4):
                np.testing.assert_array_equal(saved.labels[index], painted(case, index, 39).labels)
        parent.stdin.close()
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < kept[0]


@pytest.mark.parametrize("count", [1, 3])
def test_a_window_that_only_reads_deletes_nothing(tmp_path, volume, count):
    case = strokes(tmp_path, volume, (1, 2, 3))
    for _ in range(count):
        with Workspace(tmp_path):
            pass
    assert causes(tmp_path, case) == [1, 2, 3]

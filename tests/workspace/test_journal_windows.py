"""Several windows, processes and threads on one journal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from napari_lungseg.workspace import Workspace, WorkspaceError

from .conftest import WRITERS, add, needs_posix, painted


def test_the_second_window_reads_while_the_first_writes(workspace, volume):
    case = add(workspace, volume)
    with Workspace(workspace.folder, user="bob") as second:
        assert second.read_only
        assert re.match(r"ann on .+ since \d{4}-\d\d-\d\d \d\d:\d\d$", second.holder)
        assert re.search(rf"open elsewhere \({re.escape(second.holder)}\): .*choose another workspace", second.why_read_only)
        workspace.save(case, {2: painted(case, 2)}, cause="paint")
        np.testing.assert_array_equal(second.load(case).labels[2], painted(case, 2).labels)
        for write in (
            lambda: second.save(case, {2: painted(case, 2)}, cause="paint"),
            lambda: second.set_state(case, 2, "reviewed"),
            lambda: add(second, volume, "renamed"),
        ):
            with pytest.raises(WorkspaceError, match="open elsewhere"):
                write()
    workspace.save(case, {1: painted(case, 1)}, cause="paint")
    assert not workspace.read_only


def test_the_right_to_write_is_free_after_closing(tmp_path):
    with Workspace(tmp_path) as first:
        second = Workspace(tmp_path)
        assert second.read_only
        del first
    assert second.cases() == []
    second.close()
    with Workspace(tmp_path) as third:
        assert (third.read_only, third.holder, third.why_read_only) == (False, None, "")


@needs_posix
def test_the_right_to_write_is_free_when_the_first_process_was_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITERS, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        parent.stdin.write("\n")
        parent.stdin.flush()
        lines = [parent.stdout.readline() for _ in range(2)]
        (pid,) = (int(line.split()[1]) for line in lines if line.startswith("pid"))
        with Workspace(tmp_path) as second:
            assert second.holder.startswith("writer on ")
            case = second.find("c")
            counts = []
            for _ in range(20):
                saved = second.load(case)
                # One state of the journal, though the other goes on.
                np.testing.assert_array_equal(saved.percent[0], saved.labels[0])
                assert len({np.count_nonzero(plane) for plane in saved.origin}) == 1
                counts.append(np.count_nonzero(saved.origin[0]))
            assert counts == sorted(counts)
        os.kill(pid, signal.SIGKILL)
        parent.stdin.close()
    with Workspace(tmp_path) as third:
        assert not third.read_only


def test_reading_waits_for_no_write(workspace, volume):
    case = add(workspace, volume)
    inside, done = threading.Event(), threading.Event()

    def write():
        with workspace._journal.writing() as entry:
            entry.event("saved", {"cause": "paint", "slices": []}, case.id)
            inside.set()
            assert done.wait(30)

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(30)
    # Were it to wait, nothing would ever set what the writer waits for.
    assert [event.kind for event in workspace.record(case)] == ["added"]
    done.set()
    thread.join()
    assert [event.kind for event in workspace.record(case)] == ["added", "saved"]


def test_one_read_sees_one_state(workspace, volume):
    case = add(workspace, volume)
    with workspace._journal.reading() as db:
        workspace.set_state(case, 0, "reviewed")
        assert db.execute("SELECT count(*) FROM events WHERE kind = 'state'").fetchone() == (0,)
    assert workspace.states(case)[0].state == "reviewed"


def test_many_threads_can_write(workspace, volume):
    case = add(workspace, volume)
    threads = [threading.Thread(target=workspace.set_state, args=(case, index, "reviewed")) for index in range(4) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workspace.record(case)) == 21

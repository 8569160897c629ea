"""A process that is killed at any moment: what was said to be saved is there."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np

from napari_lungseg.workspace import Workspace

from .conftest import WRITERS, needs_posix


@needs_posix
def test_kill_9_at_any_moment_loses_nothing_that_was_reported(tmp_path):
    rng = random.Random(0)
    with subprocess.Popen([sys.executable, "-c", WRITERS, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for _ in range(10):
            parent.stdin.write("\n")
            parent.stdin.flush()
            lines = [parent.stdout.readline() for _ in range(2)]
            (pid,) = (int(line.split()[1]) for line in lines if line.startswith("pid"))
            time.sleep(rng.random() * 0.1)
            os.kill(pid, signal.SIGKILL)
            while (line := parent.stdout.readline()) != "end\n":
                lines.append(line)
            # A line that was cut off by the kill was not reported.
            reported = max(int(line) for line in lines if re.fullmatch(r"\d+\n", line))
            with Workspace(tmp_path) as workspace:
                case = workspace.find("c")
                assert (workspace.told, workspace.why_read_only) == ("", "")
                assert workspace.unfinished() == [case]
                saved = workspace.load(case)
                kept = int(np.count_nonzero(saved.origin[0]))
                assert kept >= reported
                labels = np.random.default_rng(kept).integers(0, 3, (64, 64))
                for index in range(3):
                    np.testing.assert_array_equal(saved.labels[index], labels)
                    assert len(workspace.revisions(case, index)) == kept
            with sqlite3.connect(tmp_path / "journal.sqlite") as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        parent.stdin.close()

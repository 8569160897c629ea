"""The window waits for no disk: what Review asks of a workspace that does not answer is asked in the background, the last of it only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from phantom import chest
from qtpy.QtCore import QTimer

from napari_lungseg.formats import write
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.workspace import JOURNAL

CT, LUNGS = chest(slices=4, rows=36, columns=48)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="takes SQLite's lock by the calls of POSIX")

#: Takes all of SQLite's locks for reading a journal with a write-ahead log, so that nobody can read it until they are given back.
LOCKING = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 5, 123)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def review(desk):
    desk.viewer.layers.clear()
    desk.add(CT)
    assert desk.segment() == ""
    widget = desk.dock.open("Review")
    desk.wait(lambda: widget.past.list.count() == 1)
    assert session_of(desk.viewer)._autosave.flush(30)
    return widget


@pytest.fixture
def locked(review, desk):
    """The journal in the hands of another program; gives the function that lets it go."""
    journal = session_of(desk.viewer).workspace.folder / f"{JOURNAL}-shm"
    other = subprocess.Popen([sys.executable, "-c", LOCKING, str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"locked\n"

    def let_go() -> None:
        other.stdin.close()
        other.wait()

    yield let_go
    if other.returncode is None:
        let_go()


def turns(desk, count: int = 5) -> None:
    """Let the event loop go round some times."""
    seen = []
    timer = QTimer()
    timer.timeout.connect(lambda: seen.append(1))
    timer.start(0)
    desk.wait(lambda: len(seen) >= count)


def test_slices_are_walked_through_and_accepted_while_the_journal_is_locked(review, desk, locked):
    for index in (0, 3, 1, 2):
        review.go(index)
        turns(desk)
        assert review.past.list.count() == 0
    review.accept_slice()
    assert review.reviewing.state(2) == "reviewed"
    review.go(2)
    assert review.past._reading.busy
    locked()
    review.go(3)
    review.go(2)
    desk.wait(lambda: review.past.list.count() >= 2)
    assert "accept" in review.past.list.item(0).text()


def test_the_cases_of_a_folder_open_while_the_journal_is_locked(review, desk, locked, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write(chest(slices=2, rows=36, columns=48, seed=1)[0], folder / "one.nii.gz")
    review.cases.open_folder(folder)
    desk.wait(lambda: review.cases._reading.busy)
    turns(desk)
    assert review.cases._open is None
    locked()
    desk.wait(lambda: review.cases._open == folder / "one.nii.gz")
    desk.wait(lambda: "one" in desk.viewer.layers)


def test_an_earlier_state_is_brought_back_once_the_disk_answers(review, desk, locked):
    review.past.list.setCurrentRow(0)
    here = review._here()
    before = desk.lungs.data[here].copy()
    desk.lungs.paint((here, 5, 5), 3)
    review.past.list.setCurrentRow(0)
    review.past.bring_back.click()
    turns(desk)
    assert (desk.lungs.data[here] == 3).any()
    locked()
    desk.wait(lambda: (desk.lungs.data[here] == before).all())

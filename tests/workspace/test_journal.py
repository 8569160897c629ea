"""Whatever happens to the process, the disk or the folder: what was said to be saved is there, and what is not is told."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.workspace import Workspace, WorkspaceError, journal, schema

from .conftest import add, painted

needs_posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals, users and mounts")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
IN_MEMORY = r"corrections since \d\d:\d\d are only in memory; .*choose another workspace\.$"

# Writers are forked from one process, which spares ten imports.
WRITERS = """
import itertools, os, sys
import numpy as np
from napari_lungseg.workspace import Workspace

def write():
    workspace = Workspace(sys.argv[1], user="writer")
    case = workspace.add_case("c", name="ct", path=None, shape=(3, 64, 64), affine=np.eye(4), axis=0, unit="HU")
    first = workspace.revisions(case, 0)[-1].by_person + 1 if workspace.revisions(case, 0) else 1
    for count in itertools.count(first):
        # All three slices hold the count: a half transaction would show.
        labels = np.random.default_rng(count).integers(0, 3, (64, 64)).astype(np.uint8)
        origin = np.zeros((64, 64), np.uint8)
        origin.ravel()[:count] = 0x80
        workspace.save(case, {index: (labels, origin) for index in range(3)}, cause=str(count), percent={0: labels})
        print(count, flush=True)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        write()
    print("pid", child, flush=True)
    os.waitpid(child, 0)
    print("end", flush=True)
"""


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


# ---- a full disk


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


# ---- folders that cannot be written, or are gone


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


# ---- journals that are not ours to write


def spoil(path: Path, start: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(np.random.default_rng(0).bytes(size))


@pytest.mark.parametrize(("start", "size"), [(0, 4096), (4096, 12_000)], ids=["first page", "within"])
def test_a_damaged_journal_is_put_aside_and_a_new_one_begun(tmp_path, volume, start, size):
    with Workspace(tmp_path) as workspace:
        add(workspace, volume)
    spoil(tmp_path / "journal.sqlite", start, size)
    damaged = (tmp_path / "journal.sqlite").read_bytes()
    with Workspace(tmp_path) as workspace:
        (aside,) = tmp_path.glob("journal.damaged-*.sqlite")
        assert aside.read_bytes() == damaged
        assert re.search(rf"was damaged: it was put aside as {aside.name}, and a new one was begun", workspace.told)
        assert workspace.cases() == []
        case = add(workspace, volume)
        workspace.save(case, {0: painted(case, 0)}, cause="paint")
    with Workspace(tmp_path) as workspace:
        assert workspace.told == ""
        assert workspace.load(case) is not None


def test_a_slice_whose_bytes_have_changed_is_told(workspace, volume):
    case = add(workspace, volume)
    workspace.save(case, {0: painted(case, 0)}, cause="paint")
    with workspace._journal.writing() as entry:
        entry.db.execute("UPDATE revisions SET labels = zeroblob(20)")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        workspace.load(case)


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


# ---- two windows


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
            entry.event("saved", {}, case.id)
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


# ---- disks without shared memory


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

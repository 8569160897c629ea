"""A journal in which one bit has changed, anywhere: what is read is what was written, or is told to be damaged."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_lungseg.workspace import Case, Labelled, Source, Workspace, WorkspaceError, export_nnunet, journal, recovery

from .conftest import painted

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
SOURCE = Source("lung-ct", "ab" * 32, {"threshold": 0.5})
SLICES = 6
FLIPS = 200


def state(index: int, value: int) -> Labelled:
    """A slice that compresses to a few hundred bytes."""
    labels = np.random.default_rng(10 * index + value).integers(0, 3, (20, 24)).astype(np.uint8)
    return Labelled(labels, np.where(np.arange(20)[:, None] < 2, labels | 0x80, labels).astype(np.uint8))


def newest(index: int) -> Labelled:
    return state(index, 2 if index % 2 else 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[bytes, dict[str, Any]]:
    """A journal as two sessions have left it, and what is in it."""
    folder = tmp_path_factory.mktemp("written")
    with Workspace(folder, user="ann") as workspace:
        case = workspace.add_case("a" * 64, name="Müller", path="/ct.nii", shape=(SLICES, 20, 24), affine=AFFINE, axis=0, unit="HU")
        first = {index: state(index, 1) for index in range(SLICES)}
        percent = {index: one.labels * 40 for index, one in first.items()}
        workspace.save(case, first, cause="segment", percent=percent, source=SOURCE)
        workspace.set_state(case, 0, "reviewed", note="clear", seconds=2.0)
        workspace.set_state(case, 1, "flagged", note="motion")
    with Workspace(folder, user="bob") as workspace:
        workspace.save(case, {index: state(index, 2) for index in range(1, SLICES, 2)}, cause="paint")
    with Workspace(folder, user="eve") as workspace:
        assert workspace.told == ""
        return (folder / journal.JOURNAL).read_bytes(), seen(workspace)


def seen(workspace: Workspace) -> dict[str, Any]:
    """All that a workspace tells."""
    told: dict[str, Any] = {"record": workspace.record()}
    for summary in workspace.cases():
        case = summary.case
        told["case"] = (case.content, case.name, case.path, case.shape, case.affine.tolist(), case.axis, case.unit)
        told["states"] = workspace.states(case)
        told["past"] = [workspace.revisions(case, index) for index in range(case.slices)]
        saved = workspace.load(case)
        if saved is not None:
            told |= {"source": saved.source, "percent": None if saved.percent is None else saved.percent.tolist()}
            told |= {"labels": saved.labels, "origin": saved.origin, "older": saved.older}
    return told


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_one_bit_anywhere_changes_nothing_that_is_not_told(written, tmp_path):
    data, expected = written
    for number, bit in enumerate(np.random.default_rng(0).choice(len(data) * 8, FLIPS, replace=False)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / journal.JOURNAL).write_bytes(flipped(data, int(bit)))
        try:
            workspace = Workspace(folder)
        except WorkspaceError:
            continue  # of a later version, by its header
        with workspace:
            found = seen(workspace)
            told = bool(workspace.told)
            older = found.get("older", frozenset(range(SLICES)))
            for index in set(range(SLICES)) - older:
                np.testing.assert_array_equal(found["labels"][index], newest(index).labels, err_msg=f"bit {bit}")
                np.testing.assert_array_equal(found["origin"][index], newest(index).origin, err_msg=f"bit {bit}")
            assert len(older) <= 1 or "labels" not in found, bit
            for index in older if "labels" in found else ():
                labels = found["labels"][index]
                assert not labels.any() or np.array_equal(labels, state(index, 1).labels), bit
            told |= any("damaged" in past.cause or past.cause == "unknown" for pasts in found.get("past", ()) for past in pasts)
            same = all(found.get(name) == expected[name] for name in ("record", "case", "states", "past", "source", "percent", "older"))
            assert same or told, bit


def test_one_bit_anywhere_leaves_all_other_slices_to_be_rescued(written, tmp_path):
    data, _ = written
    for number, bit in enumerate(np.random.default_rng(1).choice(len(data) * 8, FLIPS, replace=False)):
        (tmp_path / "damaged").write_bytes(flipped(data, int(bit)))
        lost = recovery.recover(tmp_path / "damaged", tmp_path / f"{number}.sqlite")
        folder = tmp_path / str(number)
        folder.mkdir()
        (tmp_path / f"{number}.sqlite").rename(folder / journal.JOURNAL)
        with Workspace(folder) as workspace:
            (summary,) = workspace.cases()
            saved = workspace.load(summary.case)
            sound = [np.array_equal(saved.labels[index], newest(index).labels) for index in range(SLICES)]
            assert sum(sound) >= SLICES - 1, bit
            assert all(sound) or lost, bit
            assert all(sound[index] or index in saved.older for index in range(SLICES)), bit


def spoil(folder: Path, old: bytes, new: bytes) -> None:
    path = folder / journal.JOURNAL
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def spoiled(folder: Path, old: bytes) -> None:
    spoil(folder, old, old[:-1] + bytes([old[-1] ^ 4]))


@pytest.fixture
def folder(written, tmp_path) -> Path:
    (tmp_path / journal.JOURNAL).write_bytes(written[0])
    return tmp_path


def case_in(workspace: Workspace) -> Case:
    (summary,) = workspace.cases()
    return summary.case


def packed(plane: np.ndarray) -> bytes:
    return zlib.compress(plane.tobytes(), 1)


def test_a_damaged_slice_gives_way_to_the_newest_sound_one_and_both_opening_and_loading_tell(folder):
    spoiled(folder, packed(state(3, 2).labels))
    with Workspace(folder) as workspace:
        assert "mask of slice 3 of Müller (revision 8; that of " in workspace.told
        assert f"napari-lungseg workspace rescue {folder} -o FOLDER" in workspace.told
        saved = workspace.load(case_in(workspace))
        (told,) = saved.damage
        assert (told.what, told.index, saved.older) == ("mask", 3, {3})
        np.testing.assert_array_equal(saved.labels[3], state(3, 1).labels)
        for index in (0, 1, 2, 4, 5):
            np.testing.assert_array_equal(saved.labels[index], newest(index).labels)
        past = workspace.revisions(case_in(workspace), 3)
        assert [one.cause for one in past] == ["segment", "paint, damaged"]
        with pytest.raises(WorkspaceError, match="no revision 8"):
            workspace.slice_at(past[-1].id)


def test_a_slice_without_a_sound_state_is_empty_and_saved_anew_when_it_comes(folder):
    spoiled(folder, packed(state(0, 1).labels))
    with Workspace(folder) as workspace:
        case = case_in(workspace)
        saved = workspace.load(case)
        assert saved.older == {0}
        assert not saved.labels[0].any()
        workspace.save(case, {0: state(0, 1)}, cause="paint")
        assert workspace.load(case).damage == ()
    with Workspace(folder) as workspace:
        assert workspace.told == ""


def counts(workspace: Workspace) -> tuple[int, ...]:
    (summary,) = workspace.cases()
    return summary.saved, summary.corrected, summary.reviewed, summary.flagged


def test_what_stands_in_for_a_damaged_slice_counts_as_reviewed_for_nobody(folder, tmp_path):
    spoiled(folder, packed(state(0, 1).labels))
    with Workspace(folder) as workspace:
        assert workspace.states(case_in(workspace))[0].state == "corrected"
        assert counts(workspace) == (SLICES, 5, 0, 1)
        assert workspace.accepted(case_in(workspace)) == {}
        with pytest.raises(WorkspaceError.__bases__[0], match="no slice was reviewed"):
            export_nnunet(workspace, tmp_path / "out")


def test_so_does_what_is_older_than_a_save_that_is_gone(folder):
    with Workspace(folder) as workspace:
        workspace.set_state(case_in(workspace), 3, "reviewed")
        assert counts(workspace)[2] == 2
    with sqlite3.connect(folder / journal.JOURNAL) as db:
        db.execute("DELETE FROM revisions WHERE id = (SELECT max(id) FROM revisions WHERE slice = 3)")
    db.close()
    with Workspace(folder) as workspace:
        assert workspace.states(case_in(workspace))[3].state == "corrected"
        assert counts(workspace)[2] == 1


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [(b'"state": "reviewed"', b'"state": "refiewed"', "state of slice 0"), (b'"note": "clear"', b'"note": "cl\xe5ar"', "state of slice 0")],
)
def test_a_damaged_state_is_told_and_not_taken(folder, old, new, what):
    spoil(folder, old, new)
    with Workspace(folder) as workspace:
        assert what in workspace.told
        assert workspace.states(case_in(workspace))[0].state == "corrected"
        assert [event.kind for event in workspace.record()].count("damaged") == 1


@pytest.mark.parametrize(("old", "new"), [(b"M\xc3\xbcller", b"M\xc3\xbclles"), (b"a" * 64, b"a" * 63 + b"b"), (b"[[1.0, ", b"[[1.1, ")])
def test_name_content_and_geometry_come_from_the_other_place_where_they_are_kept(folder, written, old, new):
    path = folder / journal.JOURNAL
    data = path.read_bytes()
    for place in (data.find(old), data.rfind(old)):
        path.write_bytes(data[:place] + new + data[place + len(old) :])
        with Workspace(folder) as workspace:
            assert workspace.told
            assert seen(workspace)["case"] == written[1]["case"]


def test_tables_that_are_not_ours_any_more_are_mended(folder, written):
    for old, new in ((b"CREATE TABLE percents", b"CREATE TABLE percentz"), (b"by_person INTEGER", b"by_person INTEGES")):
        (folder / journal.JOURNAL).write_bytes(written[0].replace(old, new))
        with Workspace(folder) as workspace:
            assert "All that was saved last is there" in workspace.told
            assert seen(workspace)["percent"] == written[1]["percent"]


def test_the_log_of_a_killed_process_is_rescued_too(tmp_path):
    open_ = Workspace(tmp_path / "w", user="ann")
    case = open_.add_case("a" * 64, name="ct", path=None, shape=(SLICES, 20, 24), affine=AFFINE, axis=0, unit="HU")
    open_.save(case, {index: state(index, 1) for index in range(SLICES)}, cause="segment")
    log = tmp_path / "w" / f"{journal.JOURNAL}-wal"
    assert log.stat().st_size
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "x.sqlite").write_bytes((tmp_path / "w" / journal.JOURNAL).read_bytes())
    (tmp_path / "copy" / "x.sqlite-wal").write_bytes(log.read_bytes())
    open_.close()
    assert recovery.recover(tmp_path / "copy" / "x.sqlite", tmp_path / "copy" / journal.JOURNAL) == []
    with Workspace(tmp_path / "copy") as workspace:
        np.testing.assert_array_equal(workspace.load(case).labels[5], state(5, 1).labels)


def older_version(folder: Path) -> None:
    """Make a journal what the first version wrote."""
    with sqlite3.connect(folder / journal.JOURNAL) as db:
        for table in ("sessions", "cases", "events", "revisions", "percents"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        db.execute("ALTER TABLE cases DROP COLUMN place")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


@pytest.fixture
def old(tmp_path, volume) -> Path:
    with Workspace(tmp_path, user="ann") as workspace:
        case = workspace.add_case("c", name="ct", path=None, shape=(2, 6, 5), affine=AFFINE, axis=0, unit="HU")
        workspace.save(case, {0: painted(case, 0), 1: painted(case, 1)}, cause="paint")
        workspace.set_state(case, 0, "reviewed")
    older_version(tmp_path)
    return tmp_path


def test_a_journal_of_the_first_version_opens_and_that_version_can_go_on_with_it(old):
    with Workspace(old) as workspace:
        assert workspace.told == ""
        case = case_in(workspace)
        assert workspace.states(case)[0].state == "reviewed"
        workspace.save(case, {1: painted(case, 1, 2)}, cause="paint")
    with sqlite3.connect(old / journal.JOURNAL) as db:  # as that version does
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        row = (1, "2026-01-01T10:00:00+00:00", "state", 1, 1, '{"state": "flagged", "note": "", "seconds": 1.0}')
        db.execute("INSERT INTO events (session_id, at, kind, case_id, slice, details) VALUES (?, ?, ?, ?, ?, ?)", row)
    db.close()
    with Workspace(old) as workspace:
        assert workspace.told == ""
        assert workspace.states(case)[1].state == "flagged"
        np.testing.assert_array_equal(workspace.load(case).labels[1], painted(case, 1, 2).labels)


@pytest.mark.parametrize("wrong", ['{"state": "refiewed", "note": "", "seconds": 0.0}', '{"state": "reviewed"', "[]", '{"note": ""}'])
def test_a_row_without_a_checksum_is_taken_only_if_it_can_be_true(old, wrong):
    with sqlite3.connect(old / journal.JOURNAL) as db:
        db.execute("UPDATE events SET details = ? WHERE kind = 'state'", (wrong,))
    db.close()
    with Workspace(old) as workspace:
        assert "state of slice 0 of ct" in workspace.told
        assert workspace.states(case_in(workspace))[0].state == "corrected"


def test_a_mask_without_a_checksum_that_is_damaged_was_reviewed_by_nobody(old):
    with Workspace(old) as workspace:
        assert counts(workspace)[2] == 1
    with sqlite3.connect(old / journal.JOURNAL) as db:
        db.execute("UPDATE revisions SET by_person = by_person + 1 WHERE slice = 0")
    db.close()
    with Workspace(old) as workspace:
        assert workspace.states(case_in(workspace))[0].state == "corrected"
        assert counts(workspace)[2] == 0


def test_a_journal_of_the_first_version_is_mended(old):
    path = old / journal.JOURNAL
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    with Workspace(old) as workspace:
        assert "was put aside" in workspace.told
        case = case_in(workspace)
        np.testing.assert_array_equal(workspace.load(case).labels[1], painted(case, 1).labels)

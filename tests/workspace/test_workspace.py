from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.blind import UNREAD, BlindReading
from napari_lungseg.corrections import PERSON
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import SliceState, Source, Workspace, WorkspaceError, default_folder, progress

from .conftest import add, painted

SOURCE = Source("lung-ct", "ab" * 32, {"threshold": 0.5, "fill_holes": True})


# ---- cases


def test_an_image_is_the_same_case_when_its_file_has_moved(workspace, volume, tmp_path):
    first = add(workspace, volume, "ct", tmp_path / "a.nii.gz")
    again = add(workspace, volume, "renamed", tmp_path / "b.nii.gz")
    assert again == first == workspace.find(first.content)
    assert (again.name, again.path) == ("renamed", tmp_path / "b.nii.gz")
    assert [summary.case.name for summary in workspace.cases()] == ["renamed"]
    places = [event.details["path"] for event in workspace.record(again) if event.kind in ("added", "moved")]
    assert places == [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]


def test_an_image_that_is_opened_again_leaves_no_trace(workspace, volume, tmp_path):
    case = add(workspace, volume, "ct", tmp_path / "a.nii.gz")
    add(workspace, volume, "ct", tmp_path / "a.nii.gz")
    assert len(workspace.record(case)) == 1


def test_a_case_keeps_its_geometry_and_axis(workspace, volume):
    add(workspace, volume, axis=2)
    case = add(workspace, volume, axis=0)
    assert (case.shape, case.axis, case.unit, case.slices, case.plane_shape) == ((4, 6, 5), 2, "HU", 5, (4, 6))
    np.testing.assert_array_equal(case.affine, volume.affine)


def test_an_unknown_image_is_not_found(workspace):
    assert workspace.find("0" * 64) is None


def test_a_case_of_another_workspace_is_refused(workspace, volume, tmp_path):
    with Workspace(tmp_path / "other") as other:
        add(other, volume)
        stranger = add(other, replace(volume, array=volume.array + 1))
    add(workspace, volume)
    for use in (workspace.load, workspace.states, lambda case: workspace.save(case, {0: painted(case, 0)}, cause="paint")):
        with pytest.raises(WorkspaceError, match="not in this workspace"):
            use(stranger)


# ---- masks


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_was_saved_is_loaded_along_any_axis(workspace, volume, axis):
    case = add(workspace, volume, axis=axis)
    rng = np.random.default_rng(1)
    labels, percent = rng.integers(0, 3, case.shape, np.uint8), rng.integers(0, 101, case.shape, np.uint8)
    origin = labels | np.where(rng.random(case.shape) < 0.2, PERSON, 0).astype(np.uint8)
    planes = zip(case.planes(labels), case.planes(origin))
    workspace.save(case, dict(enumerate(planes)), cause="segment", percent=dict(enumerate(case.planes(percent))), source=SOURCE)
    saved = workspace.load(case)
    for found, expected in ((saved.labels, labels), (saved.origin, origin), (saved.percent, percent)):
        np.testing.assert_array_equal(found, expected)
    assert saved.source == SOURCE


def test_a_single_slice_image_is_slice_0(workspace, volume):
    case = add(workspace, Volume(volume.array[0], volume.affine))
    workspace.save(case, {0: painted(case, 0)}, cause="paint")
    np.testing.assert_array_equal(workspace.load(case).labels, painted(case, 0).labels)


def test_slices_that_were_never_saved_are_background(workspace, volume):
    case = add(workspace, volume)
    assert workspace.load(case) is None
    workspace.save(case, {2: painted(case, 2)}, cause="paint")
    saved = workspace.load(case)
    assert saved.percent is None
    assert saved.source is None
    assert [plane.any() for plane in saved.labels] == [plane.any() for plane in saved.origin] == [False, False, True, False]


def test_many_labels_come_back_in_a_type_that_holds_them(workspace, volume):
    case = add(workspace, volume)
    large = np.full(case.plane_shape, 70_000, np.int64)
    workspace.save(case, {0: painted(case, 0), 1: (large, np.zeros_like(large))}, cause="paint")
    labels = workspace.load(case).labels
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels[1], large)
    np.testing.assert_array_equal(labels[0], painted(case, 0).labels)


def test_every_state_of_a_slice_can_be_looked_at(workspace, volume):
    case = add(workspace, volume)
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    for value in (1, 2, 3):
        workspace.save(case, {3: painted(case, 3, value)}, cause=f"stroke {value}", at=at)
    revisions = workspace.revisions(case, 3)
    assert [(one.cause, one.user, one.at, one.by_person) for one in revisions] == [(f"stroke {n}", "ann", at, 5) for n in (1, 2, 3)]
    for revision, value in zip(revisions, (1, 2, 3)):
        labels, origin = workspace.slice_at(revision.id)
        np.testing.assert_array_equal(labels, painted(case, 3, value).labels)
        np.testing.assert_array_equal(origin, painted(case, 3, value).origin)
    assert workspace.revisions(case, 0) == []
    with pytest.raises(WorkspaceError, match="no revision 999"):
        workspace.slice_at(999)


def test_a_slice_that_is_as_it_was_makes_no_revision(workspace, volume):
    case = add(workspace, volume)
    percent = {0: np.full(case.plane_shape, 40, np.uint8)}
    for _ in range(2):
        workspace.save(case, {0: painted(case, 0)}, cause="segment", percent=percent, source=SOURCE)
    wider = painted(case, 0).labels.astype(np.int32)
    workspace.save(case, {0: (wider, painted(case, 0).origin)}, cause="segment")
    assert len(workspace.revisions(case, 0)) == 1
    assert [event.kind for event in workspace.record(case)] == ["added", "made", "saved"]


def test_the_probability_stays_when_only_labels_are_saved(workspace, volume):
    case = add(workspace, volume)
    percent = np.full(case.plane_shape, 40, np.uint8)
    workspace.save(case, {1: painted(case, 1)}, cause="segment", percent={1: percent})
    workspace.save(case, {1: painted(case, 1, 2)}, cause="paint")
    np.testing.assert_array_equal(workspace.load(case).percent[1], percent)


def test_the_settings_are_kept_though_they_change_no_voxel(workspace, volume):
    case = add(workspace, volume)
    workspace.save(case, {0: painted(case, 0)}, cause="segment", source=SOURCE)
    other = replace(SOURCE, settings={"threshold": 0.6})
    workspace.save(case, {0: painted(case, 0)}, cause="threshold", source=other)
    assert workspace.load(case).source == other
    imported = Source("mask.nii.gz", kind="imported")
    workspace.save(case, {0: painted(case, 0, 2)}, cause="import", source=imported)
    assert [event.details["model"] for event in workspace.record(case) if event.kind == "made"] == ["lung-ct", "lung-ct", "mask.nii.gz"]


def test_slices_of_the_wrong_size_or_place_are_refused_and_nothing_is_saved(workspace, volume):
    case = add(workspace, volume, axis=1)
    for index, shape in ((0, (6, 5)), (6, (4, 5)), (-1, (4, 5))):
        with pytest.raises(InputError, match="of shape"):
            workspace.save(case, {1: painted(case, 1), index: (np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))}, cause="paint")
    assert workspace.load(case) is None


# ---- review and record


def test_states_notes_and_seconds_are_kept(workspace, volume):
    case = add(workspace, volume)
    workspace.set_state(case, 1, "flagged", note="tumour?", seconds=2.5)
    workspace.set_state(case, 1, "reviewed", seconds=4.0)
    workspace.set_state(case, np.int64(2), "flagged", note="motion")
    assert workspace.states(case) == {1: SliceState("reviewed", "", 6.5), 2: SliceState("flagged", "motion", 0.0)}
    (summary,) = workspace.cases()
    workspace.set_state(case, 3, "rejected", note="motion")
    assert workspace.states(case)[3] == SliceState("rejected", "motion")
    assert workspace.record(case)[-1].details["state"] == "flagged", "for versions that know no rejected slices"
    assert workspace.cases()[0].rejected == 1
    assert (summary.case, summary.saved, summary.corrected, summary.reviewed, summary.flagged) == (case, 0, 0, 1, 1)


def test_a_slice_is_corrected_when_a_person_set_a_voxel(workspace, volume):
    case = add(workspace, volume)
    labels, origin = painted(case, 0)
    workspace.save(case, {0: (labels, origin & 0x7F), 1: (labels, origin), 2: (labels, origin)}, cause="segment")
    workspace.set_state(case, 2, "unseen")
    assert [known.state for known in workspace.states(case).values()] == ["unseen", "corrected", "unseen"]
    workspace.save(case, {2: painted(case, 2, 2)}, cause="paint")
    assert workspace.states(case)[2].state == "corrected"
    workspace.set_state(case, 2, "reviewed")
    workspace.save(case, {2: painted(case, 2, 1)}, cause="paint")
    assert workspace.states(case)[2].state == "reviewed"
    (summary,) = workspace.cases()
    assert (summary.saved, summary.corrected, summary.reviewed) == (3, 1, 1)


def test_that_a_slice_is_to_be_read_blind_is_kept_until_it_is_read_and_what_came_of_it_for_good(workspace, volume):
    case = add(workspace, volume)
    workspace.set_state(case, 1, "unseen", blind=UNREAD)
    workspace.save(case, {1: painted(case, 1), 2: painted(case, 2)}, cause="segment")
    workspace.set_state(case, 2, "flagged", note="later", blind=UNREAD)
    assert workspace.load(case).blind == {1, 2}
    reading = BlindReading(3, 4, 5)
    workspace.set_state(case, 1, "reviewed", blind=reading)
    workspace.set_state(case, 2, "unseen")
    assert workspace.load(case).blind == frozenset()
    assert (workspace.states(case)[1].blind, workspace.states(case)[2].blind) == (reading, None)
    (told,) = [event for event in workspace.record(case) if event.details.get("state") == "reviewed"]
    assert told.details["blind"] == {"both": 3, "person": 4, "model": 5}


def test_unknown_states_and_slices_are_refused(workspace, volume):
    case = add(workspace, volume)
    with pytest.raises(InputError, match="'done'"):
        workspace.set_state(case, 0, "done")
    with pytest.raises(InputError, match="no slice 4, only 0 to 3"):
        workspace.set_state(case, 4, "reviewed")


def test_the_record_tells_who_did_what_in_order(tmp_path, volume):
    with Workspace(tmp_path, user="ann") as workspace:
        case = add(workspace, volume, path=Path("ct.nii.gz"))
        workspace.save(case, {1: painted(case, 1), 0: painted(case, 0)}, cause="segment", source=SOURCE)
    with Workspace(tmp_path, user="bob") as workspace:
        workspace.set_state(case, 1, "reviewed", note="fine", seconds=3)
        events = workspace.record()
    kinds = [(event.user, event.kind) for event in events]
    assert kinds == [
        *(("ann", kind) for kind in ("began", "added", "made", "saved", "ended")),
        ("bob", "began"),
        ("bob", "state"),
    ]
    assert events[2].details == {"model": "lung-ct", "weights_sha256": "ab" * 32, "settings": dict(SOURCE.settings), "kind": "model"}
    assert events[3].details == {"cause": "segment", "slices": [0, 1]}
    assert events[6].details == {"state": "reviewed", "note": "fine", "seconds": 3.0, "slice": 1}
    assert events[6].content == case.content
    assert [event.at for event in events] == sorted(event.at for event in events)
    with Workspace(tmp_path) as workspace:
        assert [event.kind for event in workspace.record(case)] == ["added", "made", "saved", "state"]


def test_nothing_that_was_written_is_ever_changed(workspace, volume, tmp_path):
    def rows():
        with sqlite3.connect(workspace.folder / "journal.sqlite") as db:
            return {name: set(db.execute(f"SELECT * FROM {name}")) for name in ("sessions", "cases", "events", "revisions", "percents")}

    case = add(workspace, volume)
    before = rows()
    for act in (
        lambda: workspace.save(case, {0: painted(case, 0)}, cause="segment", percent={0: painted(case, 0).labels}, source=SOURCE),
        lambda: workspace.save(case, {0: painted(case, 0, 2)}, cause="paint"),
        lambda: workspace.set_state(case, 0, "reviewed"),
        lambda: workspace.set_state(case, 0, "unseen"),
        lambda: add(workspace, volume, "moved", tmp_path / "b.nii"),
        workspace.close,
    ):
        act()
        after = rows()
        assert all(before[name] <= after[name] for name in before)
        before = after


# ---- sessions


def test_the_next_start_knows_what_was_unfinished(tmp_path, volume):
    broken_off = Workspace(tmp_path)
    one, other = add(broken_off, volume), add(broken_off, replace(volume, array=volume.array + 1))
    broken_off.save(other, {0: painted(other, 0)}, cause="paint")
    assert broken_off.unfinished() == []
    with Workspace(tmp_path) as beside:
        assert beside.unfinished() == []  # as that session goes on
    broken_off._journal._let_go()  # as when the process ends
    with Workspace(tmp_path) as after:
        assert after.unfinished() == [other]
        after.set_state(one, 0, "reviewed")
        assert after.unfinished() == [other]
    with Workspace(tmp_path) as later:
        assert later.unfinished() == []


def test_a_session_that_only_looks_leaves_no_trace(tmp_path, volume):
    with Workspace(tmp_path) as workspace:
        add(workspace, volume)
        before = workspace.record()
    with Workspace(tmp_path) as workspace:
        workspace.cases()
    with Workspace(tmp_path) as workspace:
        assert [event.kind for event in workspace.record()] == [*(event.kind for event in before), "ended"]


def test_after_closing_nothing_can_be_written(workspace, volume):
    case = add(workspace, volume)
    workspace.close()
    workspace.close()
    assert workspace.read_only
    with pytest.raises(WorkspaceError, match="closed"):
        workspace.set_state(case, 0, "reviewed")


def test_the_default_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.delenv("NAPARI_LUNGSEG_WORKSPACE", raising=False)
    assert default_folder().is_relative_to(Path.home())
    monkeypatch.setenv("NAPARI_LUNGSEG_WORKSPACE", str(tmp_path))
    assert default_folder() == tmp_path


def test_the_list_of_cases_takes_as_many_queries_for_many_as_for_one(tmp_path, volume):
    def queries(workspace: Workspace) -> int:
        counted: list[str] = []
        with workspace._journal.reading() as db:
            db.set_trace_callback(counted.append)
            progress.summaries(db)
        return len(counted)

    with Workspace(tmp_path) as workspace:
        found = []
        for number in range(12):
            place = {"shape": volume.shape, "affine": volume.affine, "axis": 0, "unit": "HU"}
            case = workspace.add_case(f"{number:064d}", name=f"ct {number}", path=None, **place)
            workspace.save(case, {index: painted(case, index) for index in range(number % 3)}, cause="paint")
            workspace.set_state(case, 0, "reviewed")
            found.append(queries(workspace))
        assert len(set(found)) == 1
        assert [(one.case.name, one.saved, one.reviewed) for one in workspace.cases()] == [
            (f"ct {number}", number % 3, 1) for number in range(12)
        ]

"""Nobody needs to save: every change is in the journal within a second, and comes back with its image."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from threading import Event

import numpy as np
import pytest
from phantom import chest
from waiting import SOON, settle, when_saved

from napari_lungseg.formats import write
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.saving import autosave
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.workspace import Workspace, content_hash

CT, LUNGS = chest()
PLACE = (4, 60, 48)


def saved(desk) -> np.ndarray:
    """The labels in the journal, read as another program would."""
    with Workspace(session_of(desk.viewer).workspace.folder) as other:
        case = other.find(content_hash(CT.array))
        return np.zeros(CT.shape, np.uint8) if case is None or other.load(case) is None else other.load(case).labels


def until_saved(desk, condition: Callable[[], bool]) -> None:
    when_saved(desk.qtbot, session_of(desk.viewer), condition)


@pytest.fixture
def segmented(desk, monkeypatch):
    """A mask that is on disk; nobody waits for the model's part to rest."""
    monkeypatch.setattr(autosave, "REST_S", 0.0)
    desk.viewer.dims.set_current_step(0, PLACE[0])
    assert desk.segment() == ""
    until_saved(desk, lambda: np.array_equal(saved(desk), desk.lungs.data))
    return desk


def saving(desk, index: int):
    """Wait until a slice that is changed meanwhile is said to be on disk."""
    signal = session_of(desk.viewer).saved
    return desk.qtbot.waitSignal(signal, timeout=SOON, check_params_cb=lambda _, indices: index in indices)


def reopened(open_desk, before):
    """A new window, after the first was closed, with the image opened in it."""
    session_of(before.viewer).close()
    before.viewer.layers.clear()
    desk = open_desk(CT)
    desk.wait(lambda: bool(session_of(desk.viewer).offers))
    return desk


def test_a_stroke_is_on_disk_without_anybody_saving_it(segmented):
    for number in range(3):
        with saving(segmented, number):
            segmented.lungs.paint((number, *PLACE[1:]), 2)
        np.testing.assert_array_equal(saved(segmented), segmented.lungs.data)


def test_a_window_without_work_closes_while_its_workspace_is_still_being_opened(tmp_path, monkeypatch):
    disk_answers = Event()

    def open_slowly(*arguments, **keywords) -> Workspace:
        disk_answers.wait()
        return Workspace(*arguments, **keywords)

    monkeypatch.setattr(autosave, "Workspace", open_slowly)
    saving = autosave.Autosave(tmp_path / "slow")
    saving.start()
    try:
        assert saving.flush(0.0)
    finally:
        disk_answers.set()
        assert saving.close()


def test_a_stroke_is_saved_while_the_network_runs(open_desk):
    many = Volume(np.resize(CT.array, (1000, *CT.shape[1:])), CT.affine, "HU")
    desk = open_desk(many)
    session = session_of(desk.viewer)
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        desk.press()
        desk.wait(lambda: "ct lungs" in desk.viewer.layers and desk.lungs.data.any())
        # Where the network comes last.
        with saving(desk, 999):
            desk.lungs.paint((999, *PLACE[1:]), 2)
        assert desk.controls.run.text == "Cancel"
        with Workspace(session.workspace.folder) as workspace:
            kept = workspace.load(workspace.find(content_hash(many.array)))
        assert kept is not None
        assert kept.labels[999, PLACE[1], PLACE[2]] == 2
        desk.press()


def test_the_probability_of_a_slice_is_saved_that_is_painted_right_after_the_run(desk, open_desk):
    desk.viewer.dims.set_current_step(0, PLACE[0])
    assert desk.segment() == ""
    desk.lungs.paint(PLACE, 2)
    percent = desk.probability.data.copy()
    second = reopened(open_desk, desk)
    second.dock.workspace.restore.click()
    second.wait(lambda: "ct lungs" in second.viewer.layers)
    assert second.lungs.data[PLACE] == 2
    np.testing.assert_array_equal(second.probability.data, percent)


def test_edits_from_the_console_are_found_and_saved(segmented):
    segmented.lungs.data[PLACE] = 2
    until_saved(segmented, lambda: saved(segmented)[PLACE] == 2)
    segmented.lungs.undo()
    until_saved(segmented, lambda: saved(segmented)[PLACE] == 0)


def test_undo_threshold_and_tools_are_saved_too(segmented):
    segmented.lungs.paint(PLACE, 2)
    segmented.lungs.undo()
    segmented.set_threshold(99)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), segmented.lungs.data))


def test_work_comes_back_with_its_image(segmented, open_desk):
    segmented.switch("split_sides", False)
    segmented.lungs.paint(PLACE, 2)
    labels, percent = segmented.lungs.data.copy(), segmented.probability.data.copy()
    desk = reopened(open_desk, segmented)
    desk.dock.workspace.restore.click()
    desk.wait(lambda: "ct lungs" in desk.viewer.layers)
    np.testing.assert_array_equal(desk.lungs.data, labels)
    np.testing.assert_array_equal(desk.probability.data, percent)
    assert not desk.controls.steps["split_sides"].value
    desk.set_threshold(99)
    assert desk.lungs.data[PLACE] == 2  # still known to be the person's
    desk.lungs.undo()
    np.testing.assert_array_equal(desk.lungs.data, labels)


def test_work_that_is_not_wanted_now_stays_in_the_workspace(segmented, open_desk):
    segmented.lungs.paint(PLACE, 2)
    desk = reopened(open_desk, segmented)
    desk.dock.workspace.leave.click()
    assert not session_of(desk.viewer).offers
    assert "ct lungs" not in desk.viewer.layers
    assert saved(desk)[PLACE] == 2


#: A process that saves a slice of work on the image in a file, and ends as if it were killed.
CRASHING = """
import os, sys
import numpy as np
from napari_lungseg.formats import read
from napari_lungseg.workspace import Workspace, content_hash

volume = read(sys.argv[1])
workspace = Workspace(sys.argv[2])
case = workspace.add_case(
    content_hash(volume.array), name="ct", path=sys.argv[1], shape=volume.shape, affine=volume.affine, axis=0, unit=volume.unit
)
labels = np.full(case.plane_shape, 2, np.uint8)
workspace.save(case, {4: (labels, labels | 0x80)}, cause="paint")
os._exit(1)
"""


def test_after_a_crash_the_scan_is_named_and_opens_with_the_work_on_it(open_desk, tmp_path, workspace_folder):
    path = write(CT, tmp_path / "scan.nii.gz")
    ended = subprocess.run([sys.executable, "-c", CRASHING, str(path), str(workspace_folder)], check=False)
    assert ended.returncode == 1
    desk = open_desk()
    bar = desk.dock.workspace
    desk.wait(lambda: "ended unexpectedly" in bar.offer_text.text())
    bar.restore.click()
    desk.wait(lambda: "scan lungs" in desk.viewer.layers)
    assert (desk.viewer.layers["scan lungs"].data[4] == 2).all()
    assert not desk.viewer.layers["scan lungs"].data[3].any()
    assert not session_of(desk.viewer).unfinished
    # Nothing is asked again once it is there.
    desk.wait(lambda: not session_of(desk.viewer).recognition.searches)
    assert not session_of(desk.viewer).offers


def test_another_image_of_the_same_name_is_not_taken_for_it(segmented, open_desk):
    session_of(segmented.viewer).close()
    segmented.viewer.layers.clear()
    desk = open_desk(chest(seed=1)[0])
    desk.wait(lambda: session_of(desk.viewer).workspace is not None)
    settle(desk.qtbot)
    assert not session_of(desk.viewer).offers


def test_a_second_window_is_told_and_writes_nothing(segmented, open_desk, messages, questions):
    second = open_desk(CT)
    second.wait(lambda: session_of(second.viewer).workspace is not None)
    assert session_of(second.viewer).workspace.read_only
    second.wait(lambda: any("not saved" in message for message in messages))
    assert not session_of(second.viewer).status.safe
    before = saved(segmented)
    assert second.segment() == ""
    second.lungs.paint(PLACE, 2)
    # Closing tries to save all that waits, and says that it cannot.
    questions.expect(questions.LEAVE)
    second.viewer.close()
    assert "not saved" in questions.asked[0]
    np.testing.assert_array_equal(saved(segmented), before)


def test_a_mask_whose_image_was_removed_is_saved_on(segmented):
    lungs = segmented.lungs
    del segmented.viewer.layers["ct"]
    lungs.paint(PLACE, 2)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), lungs.data))


def test_another_workspace_gets_all_that_is_in_the_window(segmented, tmp_path):
    segmented.lungs.paint(PLACE, 2)
    session = session_of(segmented.viewer)
    session.choose(tmp_path / "other")
    segmented.wait(lambda: session.workspace is not None)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), segmented.lungs.data))
    assert session.workspace.folder == tmp_path / "other"


def test_a_workspace_that_cannot_be_made_is_told_and_work_goes_on(segmented, tmp_path, messages):
    (tmp_path / "file").write_text("no folder")
    session = session_of(segmented.viewer)
    session.choose(tmp_path / "file")
    segmented.wait(lambda: not session.status.safe)
    assert any("file" in message for message in messages)
    segmented.lungs.paint(PLACE, 2)
    segmented.lungs.undo()
    session.choose(tmp_path / "good")
    segmented.wait(lambda: session.status.safe and session.workspace is not None)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), segmented.lungs.data))


def test_a_folder_that_vanishes_is_told_at_once_and_nothing_is_lost(segmented, tmp_path, messages):
    session = session_of(segmented.viewer)
    shutil.move(session.workspace.folder, tmp_path / "away")
    segmented.lungs.paint(PLACE, 2)
    segmented.wait(lambda: not session.status.safe)
    assert any("memory" in message for message in messages)
    segmented.lungs.paint((1, *PLACE[1:]), 1)
    shutil.move(tmp_path / "away", session.workspace.folder)
    segmented.wait(lambda: session.status.safe)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), segmented.lungs.data))


def test_a_window_with_unsaved_work_asks_before_it_closes(segmented, tmp_path, questions):
    session = session_of(segmented.viewer)
    shutil.rmtree(session.workspace.folder)
    segmented.lungs.paint(PLACE, 2)
    segmented.wait(lambda: not session.status.safe)
    questions.expect(questions.STAY)
    assert not segmented.widget.window().close()
    assert questions.asked == [session.status.text]
    session.choose(tmp_path / "elsewhere")
    segmented.wait(lambda: session.status.safe)
    until_saved(segmented, lambda: np.array_equal(saved(segmented), segmented.lungs.data))


def test_a_mask_from_a_file_is_where_to_start_and_corrections_are_told_from_it(desk, tmp_path):
    mask = np.flip(LUNGS, 0).astype(np.uint8) * 2
    affine = CT.affine.copy()
    affine[:, 3] += affine[:, 0] * (CT.shape[0] - 1)
    affine[:, 0] *= -1
    path = write(Volume(np.ascontiguousarray(mask), affine), tmp_path / "mask.nii.gz")
    session = session_of(desk.viewer)
    desk.wait(lambda: session.workspace is not None)
    desk.dock.workspace.start_from(path, desk.image)
    desk.wait(lambda: "ct lungs" in desk.viewer.layers)
    np.testing.assert_array_equal(desk.lungs.data, LUNGS * 2)
    desk.lungs.paint(PLACE, 1)
    until_saved(desk, lambda: np.array_equal(saved(desk), desk.lungs.data))
    assert session._autosave.flush(10)
    with Workspace(session.workspace.folder) as workspace:
        loaded = workspace.load(workspace.find(content_hash(CT.array)))
    assert (loaded.source.kind, loaded.source.model) == ("imported", "mask.nii.gz")
    assert (loaded.origin[PLACE] & 0x80) != 0
    assert np.count_nonzero(loaded.origin & 0x80) == np.count_nonzero(desk.lungs.data != LUNGS * 2)


def test_each_time_step_is_a_case_of_its_own(open_desk):
    later = chest(seed=5)[0]
    desk = open_desk()
    image = desk.viewer.add_image(np.stack([CT.array, later.array]), name="ct", scale=(1, 6, 4, 4), units=("s", "mm", "mm", "mm"))
    desk.viewer.layers.selection.active = image
    desk.viewer.dims.set_current_step(0, 1)
    assert desk.segment() == ""
    desk.lungs.paint((1, *PLACE), 2)
    folder = session_of(desk.viewer).workspace.folder

    def kept(volume: Volume) -> np.ndarray:
        with Workspace(folder) as workspace:
            case = workspace.find(content_hash(volume.array))
            loaded = None if case is None else workspace.load(case)
        return np.zeros(CT.shape) if loaded is None else loaded.labels

    until_saved(desk, lambda: np.array_equal(kept(later), desk.lungs.data[1]))
    assert kept(later)[PLACE] == 2
    assert not kept(CT).any()


def test_a_single_picture_is_saved_and_comes_back(open_desk):
    picture = Volume(CT.array[4], CT.affine, "HU")
    desk = open_desk(picture)
    assert desk.segment() == ""
    desk.lungs.paint(PLACE[1:], 2)
    labels = desk.lungs.data.copy()
    assert session_of(desk.viewer).close()
    desk.viewer.layers.clear()
    second = open_desk(picture)
    second.wait(lambda: bool(session_of(second.viewer).offers))
    second.dock.workspace.restore.click()
    second.wait(lambda: "ct lungs" in second.viewer.layers)
    np.testing.assert_array_equal(second.lungs.data, labels)
    review = second.dock.open("Review")
    second.wait(lambda: review.reviewing is not None)
    review.accept_slice()
    assert "all done" in review.progress.text()


def test_labels_of_any_origin_are_saved_once_they_are_corrected(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy()
    viewer.add_image(CT.array, name="ct", scale=(6, 4, 4))
    labels = viewer.add_labels(LUNGS.astype(np.uint8), name="by hand", scale=(6, 4, 4))
    viewer.window.add_plugin_dock_widget("napari-lungseg", "Correct")
    session = session_of(viewer)
    qtbot.waitUntil(lambda: session.workspace is not None, timeout=SOON)
    labels.paint(PLACE, 2)

    def is_kept() -> bool:
        with Workspace(session.workspace.folder) as workspace:
            case = workspace.find(content_hash(CT.array))
            loaded = None if case is None else workspace.load(case)
        return loaded is not None and np.array_equal(loaded.labels, labels.data)

    # Also what was in the layer before.
    qtbot.waitUntil(is_kept, timeout=SOON)

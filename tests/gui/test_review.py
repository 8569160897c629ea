"""One slice after the other, the most doubtful first; nothing that was accepted is lost or changed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import QPoint, Qt

from napari_lungseg.cases import Entry, measure_case, write_cases
from napari_lungseg.formats import write
from napari_lungseg.widgets.intensity_windows import FROM_DATA
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.saving import states as slice_states
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.workspace import Workspace

CT, LUNGS = chest()
#: Slice in which the network is made to doubt.
DOUBTFUL = 6


@pytest.fixture
def review(desk):
    """The Review module on the segmented phantom, all slices scored."""
    assert desk.segment() == ""
    desk.probability.data[DOUBTFUL, 20:50, 20:40] = 50
    widget = desk.dock.open("Review")
    desk.wait(lambda: widget.reviewing is not None and widget.reviewing.scores.any())
    assert int(np.argmax(widget.reviewing.scores)) == DOUBTFUL
    return widget


def here(widget) -> int:
    return int(widget.viewer.dims.current_step[0])


def test_accepting_goes_to_the_most_doubtful_slice_and_ends_with_all(review, qtbot):
    review.go(0)
    qtbot.mouseClick(review.accept, Qt.MouseButton.LeftButton)
    assert here(review) == DOUBTFUL
    seen = [0]
    with qtbot.waitSignal(review.finished):
        while len(seen) < len(CT.array):
            seen.append(here(review))
            review.accept_slice()
    assert sorted(seen) == list(range(len(CT.array)))
    assert "all done" in review.progress.text()


def test_a_rejected_slice_is_decided_and_not_offered_again(review, qtbot):
    count = len(CT.array)
    for index in range(count - 1):
        review.go(index)
        review.accept_slice()
    review.go(count - 1)
    review.note.setText("motion")
    with qtbot.waitSignal(review.finished):
        qtbot.mouseClick(review.reject, Qt.MouseButton.LeftButton)
    assert f"{count - 1} of {count} slices reviewed, 1 rejected" in review.progress.text()
    assert "all done" in review.progress.text()
    assert (review.reviewing.state(count - 1), review.reviewing.notes[count - 1]) == ("rejected", "motion")
    assert review.reviewing.next() is None
    review.go(count - 1)
    qtbot.mouseClick(review.reopen, Qt.MouseButton.LeftButton)
    assert review.reviewing.next() == count - 1


def test_an_accepted_slice_is_not_changed_by_a_threshold_or_another_run(review, desk):
    review.go(DOUBTFUL)
    accepted = desk.lungs.data[DOUBTFUL].copy()
    review.accept_slice()
    desk.set_threshold(20)
    np.testing.assert_array_equal(desk.lungs.data[DOUBTFUL], accepted)
    desk.image.data = np.full_like(desk.image.data, 40)
    assert desk.segment() == ""
    np.testing.assert_array_equal(desk.lungs.data[DOUBTFUL], accepted)
    assert not desk.lungs.data[:DOUBTFUL].any()


def test_painting_marks_a_slice_as_corrected_and_undo_takes_the_mark_away(review, desk):
    review.go(3)
    desk.lungs.paint((3, 60, 48), 2)
    assert review.reviewing.state(3) == "corrected"
    desk.lungs.undo()
    assert review.reviewing.state(3) == "unseen"


def test_an_accepted_slice_that_is_given_back_to_the_model_is_open_again(review, desk):
    review.go(3)
    review.accept_slice()
    review.go(3)
    correct = desk.dock.open("Correct")
    correct.controls.give_back.native.click()
    assert review.reviewing.state(3) == "unseen"


def test_a_flagged_slice_keeps_its_note_and_comes_last(review):
    review.go(DOUBTFUL)
    review.note.setText("effusion or collapse?")
    review.flag_slice()
    assert here(review) != DOUBTFUL
    while review.reviewing.next() != DOUBTFUL:
        review.accept_slice()
    review.accept_slice()
    assert here(review) == DOUBTFUL
    assert review.note.text() == "effusion or collapse?"


def test_back_skip_and_a_click_on_the_strip_go_where_they_say(review, qtbot):
    review.go(2)
    review.accept_slice()
    review.go(1)
    review.skip_slice()
    assert here(review) == 3  # 2 is reviewed
    review.go_back()
    assert here(review) == 1
    review.strip.resize(90, review.strip.height())
    qtbot.mouseClick(review.strip, Qt.MouseButton.LeftButton, pos=QPoint(75, 20))
    assert here(review) == 7


def test_states_notes_and_times_are_in_the_workspace_and_come_back(review, desk, open_desk, monkeypatch):
    now = 100.0
    monkeypatch.setattr(slice_states, "time", SimpleNamespace(monotonic=lambda: now))
    review.go(3)  # it may be at 4 since before
    review.go(4)
    now += 42.0
    review.accept_slice()
    review.go(5)
    review.note.setText("look again")
    review.flag_slice()
    session = session_of(desk.viewer)
    folder = session.workspace.folder
    session.close()
    with Workspace(folder) as workspace:
        (summary,) = workspace.cases()
        states = workspace.states(summary.case)
    assert (states[4].state, states[5].state, states[5].note) == ("reviewed", "flagged", "look again")
    assert states[4].seconds == 42.0
    desk.viewer.layers.clear()
    second = open_desk(CT)
    second.wait(lambda: bool(session_of(second.viewer).offers))
    second.dock.workspace.restore.click()
    second.wait(lambda: "ct lungs" in second.viewer.layers)
    again = second.dock.open("Review")
    second.wait(lambda: again.reviewing is not None and again.reviewing.state(4) == "reviewed")
    assert again.reviewing.notes[5] == "look again"
    again.accept_slice()
    assert again.reviewing.state(4) == "reviewed"


def test_an_earlier_state_of_a_slice_can_be_brought_back_and_that_undone(review, desk):
    review.go(3)
    desk.wait(lambda: review.past.list.count() == 1)
    first = desk.lungs.data[3].copy()
    desk.lungs.paint((3, 60, 48), 2)
    painted = desk.lungs.data[3].copy()
    desk.wait(lambda: review.past.list.count() >= 2)
    review.past.list.setCurrentRow(review.past.list.count() - 1)
    review.past.bring_back.click()
    desk.wait(lambda: np.array_equal(desk.lungs.data[3], first))
    desk.lungs.undo()
    np.testing.assert_array_equal(desk.lungs.data[3], painted)


def test_the_keys_work_while_the_module_is_seen_and_follow_the_preferences(review, desk):
    window = review.window()
    window.show()
    desk.dock.open("Review")
    desk.qtbot.waitExposed(window)
    review.go(0)
    desk.viewer.window.activate()
    assert all(shortcut.isEnabled() for shortcut in review.shortcuts.values())
    review.shortcuts["accept"].activated.emit()
    assert review.reviewing.state(0) == "reviewed"
    preferences().review.accept = "Ctrl+J"
    try:
        assert review.shortcuts["accept"].key().toString() == "Ctrl+J"
        assert "Ctrl+J" in review._key_list.text()
    finally:
        preferences().review.accept = "Return"
    desk.dock.open("Segment")
    assert not any(shortcut.isEnabled() for shortcut in review.shortcuts.values())


def test_scans_that_need_a_look_come_first_where_a_run_has_told_so(open_desk, tmp_path):
    scans, masks = tmp_path / "scans", tmp_path / "masks"
    for folder in (scans, masks):
        folder.mkdir()
    for name in ("a", "b"):
        write(chest(slices=2)[0], scans / f"{name}.nii.gz")
    known = Entry("a", str(scans / "a.nii.gz"), measures=measure_case(CT.with_array(LUNGS)))
    write_cases(masks, [known, Entry("b", str(scans / "b.nii.gz"), error="It failed.")])
    desk = open_desk()
    review = desk.dock.open("Review")
    desk.wait(lambda: review.session.workspace is not None)
    review.cases.open_folder(masks)
    desk.wait(lambda: review.reviewing is not None and review.reviewing.result.image.name == "b")
    desk.wait(lambda: not desk.widget._run)
    assert "· It failed." in review.cases.list.item(0).text()
    assert review.cases.list.item(1).text().startswith("a.nii.gz: not begun")


def test_the_next_case_of_a_folder_opens_and_is_segmented_by_itself(open_desk, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, seed in (("one", 1), ("two", 2)):
        write(chest(slices=2, seed=seed)[0], folder / f"{name}.nii.gz")
    desk = open_desk()
    review = desk.dock.open("Review")
    desk.wait(lambda: review.session.workspace is not None)
    review.cases.open_folder(folder)
    for name in ("one", "two"):
        desk.wait(lambda name=name: review.reviewing is not None and review.reviewing.result.image.name == name)
        desk.wait(lambda: not desk.widget._run and review.reviewing.result.lungs.data.any())
        assert len(desk.viewer.layers) == 3
        for _ in range(2):
            review.accept_slice()
    desk.wait(lambda: all(review.cases.list.item(row).text().startswith("✓") for row in range(2)))
    review.cases.go(0)
    desk.wait(lambda: review.reviewing is not None and review.reviewing.result.image.name == "one")
    desk.wait(lambda: len(review.reviewing.reviewed) == 2)


def test_window_presets_set_what_is_black_and_white(review, desk):
    review.windows["Lung"].click()
    assert tuple(desk.image.contrast_limits) == (-1350.0, 150.0)
    review.windows["Bone"].click()
    assert tuple(desk.image.contrast_limits) == (-500.0, 1300.0)
    review.windows[FROM_DATA].click()
    low, high = desk.image.contrast_limits
    assert low < -900
    assert 0 < high < 800


def test_without_a_mask_it_says_what_to_do(open_desk):
    desk = open_desk(CT)
    widget = desk.dock.open("Review")
    assert not widget.accept.isEnabled()
    assert "Segment an image first" in widget.progress.text()


def test_a_coronal_view_is_turned_to_the_slice(review, desk):
    desk.viewer.dims.order = (1, 0, 2)
    review.go(5)
    assert desk.viewer.dims.order[0] == 0
    assert here(review) == 5


def test_removing_the_mask_is_no_harm(review, desk):
    del desk.viewer.layers["ct lungs"]
    assert review.reviewing is None
    assert not review.accept.isEnabled()

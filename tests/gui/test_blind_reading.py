"""Blind reading in the window: off by default; nothing shows the model's mask of the drawn slices, nothing takes them for empty."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt

from napari_lungseg.blind import UNREAD, BlindReading, draw_slices
from napari_lungseg.edit.tool import Scope
from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.errors import InputError
from napari_lungseg.widgets.correct.region_question import Drawn, ask, body_spacing
from napari_lungseg.widgets.correct.work import gather
from napari_lungseg.widgets.layers import labels_now
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.writers import save_layer
from napari_lungseg.workspace import Workspace, content_hash

CT, LUNGS = chest()
DRAWN = draw_slices(content_hash(CT.array), len(CT.array), 0.4)
SEEN = sorted(set(range(len(CT.array))) - DRAWN)


@pytest.fixture
def review(desk):
    """The Review module; two slices in five of what is segmented next are read blind."""
    widget = desk.dock.open("Review")
    desk.wait(lambda: widget.session.workspace is not None)
    widget.blind.percent.value = 40
    yield widget
    widget.blind.percent.value = 0


@pytest.fixture
def document(review, desk):
    desk.dock.open("Segment")
    assert desk.segment() == ""
    desk.dock.open("Review")
    desk.wait(lambda: review.reviewing is not None and review.reviewing.target.case is not None)
    return review.reviewing.document


def test_no_slice_is_read_blind_unless_it_is_asked_for(desk):
    assert preferences().blind.percent == 0
    assert desk.segment() == ""
    assert all(desk.lungs.data[index].any() for index in DRAWN)


def test_the_drawn_slices_are_empty_in_all_layers_and_the_others_are_not(review, document, desk):
    assert document.blind == DRAWN
    for index in DRAWN:
        assert not any(layer.data[index].any() for layer in (desk.lungs, desk.probability))
    assert all(desk.lungs.data[index].any() == LUNGS[index].any() for index in SEEN)
    desk.dock.open("Segment")
    desk.set_threshold(20)
    assert desk.segment() == ""
    assert not any(layer.data[index].any() for layer in (desk.lungs, desk.probability) for index in DRAWN)


def test_a_threshold_gives_the_same_mask_as_without_blind_reading(review, document, desk):
    desk.dock.open("Segment")
    desk.set_threshold(30)
    withheld = document.whole("labels")
    review.blind.end.click()
    np.testing.assert_array_equal(desk.lungs.data, withheld)
    desk.set_threshold(31)
    desk.set_threshold(30)
    np.testing.assert_array_equal(desk.lungs.data, withheld)


def test_a_reading_is_told_beside_that_of_slices_whose_mask_was_seen(review, document, desk, qtbot):
    index = max(DRAWN, key=lambda index: LUNGS[index].sum())
    review.go(index)
    assert review.read_blind.isVisibleTo(review)
    desk.lungs.data[index][LUNGS[index] > 0] = LUNGS[index][LUNGS[index] > 0]
    desk.lungs.refresh()
    qtbot.mouseClick(review.accept, Qt.MouseButton.LeftButton)
    seen = max(SEEN, key=lambda index: LUNGS[index].sum())
    review.go(seen)
    assert not review.read_blind.isVisibleTo(review)
    review.accept_slice()
    told = review.blind.status.text()
    assert f"{len(DRAWN) - 1} slices are still to be read blind" in told
    assert "Read blind, 1 slices: Dice 0." in told or "Read blind, 1 slices: Dice 1." in told
    assert "With the mask shown, 1 slices: Dice 1.000, volume +0.0 % against the model" in told
    assert review.blind.list.item(0).text().startswith(f"Slice {index}: Dice")


def test_export_measure_and_tools_on_the_volume_refuse_until_all_slices_are_read(review, document, desk, tmp_path):
    def refuses(call) -> None:
        with pytest.raises(InputError, match="wait to be read blind"):
            call()

    desk.viewer.dims.set_current_step(0, SEEN[0])
    volume: Scope = "volume"
    for layer in (desk.lungs, desk.probability):
        refuses(lambda layer=layer: save_layer(layer, tmp_path / "lungs.nii.gz"))
    refuses(lambda: labels_now(desk.lungs, ()))
    refuses(lambda: gather(desk.viewer, review.reviewing.result, TOOLS["fill_holes"], volume, 1, {}, None))
    assert not (tmp_path / "lungs.nii.gz").exists()
    review.blind.end.click()
    save_layer(desk.lungs, tmp_path / "lungs.nii.gz")
    np.testing.assert_array_equal(labels_now(desk.lungs, ()).array, desk.lungs.data)


def test_a_region_is_not_found_on_a_slice_that_is_read_blind_nor_reaches_one(review, document, desk):
    result = review.reviewing.result
    spacing = body_spacing(desk.lungs, ())

    def question(index: int):
        drawn = Drawn(True, (), (index,), CT.array.shape, spacing)
        drawn.go_on(np.array([index, 10, 10]), np.array([index, 12, 12]))
        return ask(result, drawn)

    with pytest.raises(InputError, match="read blind"):
        question(min(DRAWN))
    near = next(index for index in SEEN if index + 1 in DRAWN)
    asked = question(near)
    assert asked.stroke.fixed[near + 1 - asked.box[0].start].all()


def test_marks_and_the_whole_mask_are_in_the_workspace_and_come_back_withheld(review, document, desk, open_desk):
    read, flagged = sorted(DRAWN)[:2]
    review.go(read)
    review.accept_slice()
    review.go(flagged)
    desk.lungs.paint((flagged, 20, 20), 1)
    review.flag_slice()
    session = session_of(desk.viewer)
    folder, whole = session.workspace.folder, document.whole("labels")
    session.close()
    with Workspace(folder) as workspace:
        (summary,) = workspace.cases()
        states, saved = workspace.states(summary.case), workspace.load(summary.case)
    assert {index for index, known in states.items() if known.blind == UNREAD} == DRAWN - {read} == saved.blind
    assert isinstance(states[read].blind, BlindReading)
    np.testing.assert_array_equal(saved.labels, whole)
    desk.viewer.layers.clear()
    second = open_desk(CT)
    second.wait(lambda: bool(session_of(second.viewer).offers))
    second.dock.workspace.restore.click()
    second.wait(lambda: "ct lungs" in second.viewer.layers)
    lungs = second.viewer.layers["ct lungs"].data
    assert {index for index in DRAWN if lungs[index].any()} <= {read, flagged}
    np.testing.assert_array_equal(np.unique(lungs[flagged]), [0, 1])
    again = second.dock.open("Review")
    second.wait(lambda: again.reviewing is not None and read in again.reviewing.document.readings)
    assert again.reviewing.document.blind == DRAWN - {read}


def test_earlier_states_of_a_slice_are_not_listed_before_it_is_read(review, document, desk):
    index = min(DRAWN)
    review.go(index)
    desk.lungs.paint((index, 20, 20), 1)
    desk.wait(lambda: not session_of(desk.viewer).tracking.pending(review.reviewing.target))
    assert review.past.list.count() == 0
    review.accept_slice()
    review.go(index)
    desk.wait(lambda: review.past.list.count() > 0)


def test_the_score_of_a_slice_tells_nothing_of_the_mask_that_is_withheld(review, document, desk):
    doubtful = SEEN[0]
    desk.probability.data[doubtful, 20:50, 20:40] = 50
    desk.lungs.paint((doubtful, 20, 20), 1)
    desk.wait(lambda: review.reviewing.scores[doubtful] > 0)
    scores = review.reviewing.scores
    assert {scores[index] for index in DRAWN} == {scores[min(DRAWN)]}
    assert 0 < scores[min(DRAWN)] < scores[doubtful]
    assert "to be read blind" in review._describe(min(DRAWN))

"""What is said of a slice is a step: accept, flag and open again are undone and done again, in the window and in the workspace."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from phantom import chest

from napari_lungseg.corrections import PERSON
from napari_lungseg.widgets.lookup import result_of
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.workspace import Workspace

CT, LUNGS = chest(slices=4, rows=36, columns=48)
PLACE = (1, 30, 24)


@pytest.fixture
def review(desk):
    desk.viewer.layers.clear()
    desk.add(CT)
    assert desk.segment() == ""
    return desk.dock.open("Review")


def at(review, index: int):
    """The module with a slice shown."""
    review.go(index)
    return review


def theirs(desk) -> np.ndarray:
    return result_of(desk.image).corrections.origin & PERSON != 0


def in_workspace(desk) -> dict[int, str]:
    """States in the workspace, once all is written."""
    session = session_of(desk.viewer)
    assert session._autosave.flush(30)
    with Workspace(session.workspace.folder) as workspace:
        (summary,) = workspace.cases()
        return {index: known.state for index, known in workspace.states(summary.case).items()}


def test_undo_opens_an_accepted_slice_and_redo_accepts_it(review, desk):
    desk.lungs.paint(PLACE, 2)
    at(review, 1).accept_slice()
    assert in_workspace(desk)[1] == "reviewed"
    desk.lungs.undo()
    assert review.reviewing.state(1) == "corrected"
    assert in_workspace(desk)[1] == "corrected"
    assert desk.lungs.data[PLACE] == 2
    desk.lungs.redo()
    assert review.reviewing.state(1) == in_workspace(desk)[1] == "reviewed"
    accepted = desk.lungs.data[1].copy()
    desk.set_threshold(20)
    np.testing.assert_array_equal(desk.lungs.data[1], accepted)


def test_open_again_gives_back_what_was_the_models_and_is_a_step_too(review, desk):
    desk.lungs.paint(PLACE, 2)
    stroke = theirs(desk)
    at(review, 1).accept_slice()
    at(review, 1).reopen.click()
    assert review.reviewing.state(1) == "corrected"
    np.testing.assert_array_equal(theirs(desk), stroke)
    desk.lungs.undo()
    assert review.reviewing.state(1) == "reviewed"
    assert theirs(desk)[1].all()
    desk.lungs.redo()
    assert review.reviewing.state(1) == in_workspace(desk)[1] == "corrected"
    np.testing.assert_array_equal(theirs(desk), stroke)


@pytest.mark.parametrize(("press", "state"), [("flag", "flagged"), ("reject", "rejected")])
def test_a_flag_and_its_note_are_undone_together_and_it_opens_what_was_accepted(review, desk, press, state):
    at(review, 2).accept_slice()
    at(review, 2).note.setText("effusion?")
    getattr(review, press).click()
    assert review.reviewing.state(2) == state
    assert not theirs(desk).any()
    desk.lungs.undo()
    assert (review.reviewing.state(2), review.reviewing.notes[2]) == ("reviewed", "")
    desk.lungs.redo()
    assert (review.reviewing.state(2), review.reviewing.notes[2]) == (state, "effusion?")
    at(review, 2).reopen.click()
    assert review.reviewing.state(2) == "unseen"


def test_a_slice_of_the_persons_alone_can_be_accepted_and_that_undone(review, desk):
    desk.lungs.data[3] = 5
    result_of(desk.image).sync()
    at(review, 3).accept_slice()
    assert review.reviewing.state(3) == "reviewed"
    desk.lungs.undo()
    assert review.reviewing.state(3) == "corrected"
    assert (desk.lungs.data[3] == 5).all()


def test_accepting_twice_is_one_step(review, desk):
    corrections = result_of(desk.image).corrections
    at(review, 1).accept_slice()
    at(review, 1).accept_slice()
    assert corrections.steps == 1


def test_giving_an_accepted_slice_back_to_the_model_is_undone_with_its_state(review, desk):
    at(review, 1).accept_slice()
    review.go(1)
    desk.dock.open("Correct").controls.give_back.native.click()
    assert in_workspace(desk)[1] == "unseen"
    desk.lungs.undo()
    assert in_workspace(desk)[1] == "reviewed"
    assert theirs(desk)[1].all()


def test_what_goes_through_accepted_slices_opens_those_it_gives_back(review, desk):
    for index in range(3):
        at(review, index).accept_slice()
    desk.viewer.dims.order = (1, 0, 2)  # coronal: the slice that is shown crosses all others
    desk.dock.open("Correct").controls.give_back.native.click()
    assert not theirs(desk).any()
    assert set(in_workspace(desk).values()) == {"unseen"}
    desk.lungs.undo()
    assert review.reviewing.reviewed == [0, 1, 2]
    assert theirs(desk)[:3].all()


def test_states_follow_undo_also_when_the_module_looks_at_another_mask(review, desk):
    at(review, 1).accept_slice()
    first, lungs = desk.image, desk.lungs
    desk.add(CT.with_array(CT.array + 1, "HU"), "other")
    desk.controls.image.value = desk.viewer.layers["other"]
    assert desk.segment() == ""
    desk.wait(lambda: review.mask.value.image is not first)
    lungs.undo()
    review.mask.value = result_of(first)
    assert review.reviewing.state(1) == "unseen"


def test_two_modules_show_the_same_states(review, desk):
    _, other = desk.viewer.window.add_plugin_dock_widget("napari-lungseg", "Review")
    at(review, 1).accept_slice()
    assert other.reviewing.state(1) == "reviewed"
    at(other, 1).reopen_slice()
    assert review.reviewing.state(1) == "unseen"


def again(open_desk, desk):
    """A new window with the work restored, and its Review module once it knows the states."""
    session_of(desk.viewer).close()
    desk.viewer.layers.clear()
    second = open_desk(CT)
    second.wait(lambda: bool(session_of(second.viewer).offers))
    second.dock.workspace.restore.click()
    second.wait(lambda: "ct lungs" in second.viewer.layers)
    review = second.dock.open("Review")
    second.wait(lambda: bool(review.reviewing.reviewed))
    return second, review


def test_open_again_knows_the_models_voxels_after_a_restart(review, desk, open_desk):
    desk.lungs.paint(PLACE, 2)
    in_workspace(desk)
    stroke = theirs(desk)
    at(review, 1).accept_slice()
    in_workspace(desk)
    desk.lungs.paint((1, 5, 5), 3)
    stroke |= desk.lungs.data == 3
    second, review = again(open_desk, desk)
    assert theirs(second)[1].all()
    at(review, 1).reopen_slice()
    np.testing.assert_array_equal(theirs(second), stroke)
    second.set_threshold(99)
    assert (second.lungs.data[stroke] > 0).all()
    second.lungs.undo()
    second.lungs.undo()
    assert review.reviewing.state(1) == in_workspace(second)[1] == "reviewed"


def test_another_workspace_gets_the_states_too(review, desk, tmp_path):
    at(review, 1).accept_slice()
    at(review, 2).note.setText("look again")
    review.flag_slice()
    session = session_of(desk.viewer)
    session.choose(tmp_path / "other")
    desk.wait(lambda: session.workspace is not None)
    states = in_workspace(desk)
    assert session.workspace.folder == tmp_path / "other"
    assert (states[1], states[2]) == ("reviewed", "flagged")


@dataclass
class Oracle:
    """What a person set (-1 where nothing), what was accepted of each slice (-1), and what was said of it; the model's mask is fixed."""

    model: dict[int, np.ndarray]
    percent: int = 50
    person: np.ndarray = field(default_factory=lambda: np.full(CT.shape, -1))
    accepted: np.ndarray = field(default_factory=lambda: np.full(CT.shape, -1))
    said: tuple[str, ...] = ("",) * CT.shape[0]
    done: list = field(default_factory=list)
    undone: list = field(default_factory=list)

    @property
    def shown(self) -> np.ndarray:
        return np.where(self.person >= 0, self.person, np.where(self.accepted >= 0, self.accepted, self.model[self.percent]))

    def state(self, index: int) -> str:
        return self.said[index] or ("corrected" if (self.person[index] >= 0).any() else "unseen")

    def now(self) -> tuple:
        return self.percent, self.person.copy(), self.accepted.copy(), self.said

    def put(self, before: tuple) -> None:
        self.done.append((before, self.now()))
        self.undone.clear()

    def move(self, source: list, target: list, which: int) -> None:
        if source:
            step = source.pop()
            percent, person, accepted, said = step[which]
            self.percent, self.person, self.accepted, self.said = percent, person.copy(), accepted.copy(), said
            target.append(step)

    def say(self, index: int, said: str) -> None:
        if said == "reviewed":
            free = (self.person[index] < 0) & (self.accepted[index] < 0)
            self.accepted[index][free] = self.shown[index][free]
        else:
            self.accepted[index] = -1
        self.said = (*self.said[:index], said, *self.said[index + 1 :])


slices = st.integers(0, CT.shape[0] - 1)
actions = st.one_of(
    st.tuples(st.sampled_from(["accept", "accept", "reopen", "flag", "reject", "undo", "undo", "redo", "give back"]), slices, st.just(0)),
    st.tuples(st.just("paint"), slices, st.integers(0, 3)),
    st.tuples(st.just("threshold"), slices, st.sampled_from([20, 50, 80])),
)


def test_whatever_is_said_and_done_in_whatever_order_undo_is_exact(open_desk):
    doubtful = CT.array.copy()
    doubtful[2] = np.where(LUNGS[2], np.where(np.arange(36)[:, None] < 18, -720, -660), doubtful[2])
    desk = open_desk(CT.with_array(doubtful, "HU"))
    assert desk.segment() == ""
    masks = {}
    for percent in (20, 80, 50):
        desk.set_threshold(percent)
        masks[percent] = desk.lungs.data.astype(int)
    assert (masks[20] != masks[80]).any()
    review = desk.dock.open("Review")

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
    @example([("paint", 2, 3), ("accept", 2, 0), ("undo", 0, 0), ("threshold", 0, 80), ("undo", 0, 0), ("undo", 0, 0)])
    @example([("accept", 2, 0), ("threshold", 0, 80), ("paint", 2, 1), ("reopen", 2, 0), ("undo", 0, 0), ("redo", 0, 0)])
    @given(st.lists(actions, min_size=4, max_size=14))
    def any_order(sequence):
        image = desk.image
        corrections = result_of(image).corrections
        while corrections.steps:
            desk.lungs.undo()
        corrections.forget_undone()
        desk.controls.threshold.value = 50
        desk.wait(lambda: not result_of(image).remasker.busy)
        oracle = Oracle(masks)
        for kind, index, number in sequence:
            before, steps = oracle.now(), corrections.steps
            review.go(index)
            if kind == "undo":
                desk.lungs.undo()
                oracle.move(oracle.done, oracle.undone, 0)
            elif kind == "redo":
                desk.lungs.redo()
                oracle.move(oracle.undone, oracle.done, 1)
            elif kind == "threshold":
                if number != desk.controls.threshold.value:
                    desk.set_threshold(number)
                    oracle.percent = number
            elif kind == "paint":
                changed = np.zeros(CT.shape, bool)
                changed[index, 10:20, 10:20] = oracle.shown[index, 10:20, 10:20] != number
                desk.lungs.data_setitem(tuple(np.indices(CT.shape)[:, changed]), number)
                oracle.person[changed], oracle.accepted[changed] = number, -1
            elif kind == "give back":
                review.reviewing.document.give_back(review.reviewing.document.box(index))
                oracle.person[index] = -1
                if oracle.said[index] == "reviewed":
                    oracle.say(index, "")
            elif kind == "accept":
                review.accept_slice()
                oracle.say(index, "reviewed")
            elif kind == "reopen" and oracle.said[index]:
                review.reopen_slice()
                oracle.say(index, "")
            elif kind == "flag":
                review.note.setText("")
                review.flag_slice()
                oracle.say(index, "flagged")
            elif kind == "reject":
                review.note.setText("")
                review.reject_slice()
                oracle.say(index, "rejected")
            if kind not in ("undo", "redo") and corrections.steps != steps:
                oracle.put(before)
            np.testing.assert_array_equal(desk.lungs.data, oracle.shown)
            np.testing.assert_array_equal(corrections.origin & PERSON != 0, (oracle.person >= 0) | (oracle.accepted >= 0))
            assert [review.reviewing.state(number) for number in range(4)] == [oracle.state(number) for number in range(4)]

    any_order()

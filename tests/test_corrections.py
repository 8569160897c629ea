"""What a person set stays, the rest follows the model, and undo gives back exactly what was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from undo_oracle import UndoOracle, boxes_in

from napari_lungseg.corrections import LIMIT, PERSON, Corrections, as_box
from napari_lungseg.steps import Step

SHAPE = (3, 6, 7)
WHOLE = tuple(slice(0, size) for size in SHAPE)


def masks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return masks(0)


def test_only_what_a_person_changed_stays_when_the_model_changes_its_mind(labels):
    corrections = Corrections(labels)
    labels[1, 2, 3], labels[0, 0, 0] = 7, 0
    corrections.sync(labels)
    theirs = labels != masks(0)
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    np.testing.assert_array_equal(labels[~theirs], masks(1)[~theirs])
    assert labels[1, 2, 3] == 7


def test_a_person_who_comes_back_to_the_label_of_the_model_keeps_it(labels):
    corrections = Corrections(labels)
    before = labels[1, 2, 3]
    labels[1, 2, 3] = 9
    corrections.sync(labels)
    labels[1, 2, 3] = before
    corrections.sync(labels)
    corrections.set_model(labels, WHOLE, np.full(SHAPE, 3, np.uint8), Step("threshold"))
    assert labels[1, 2, 3] == before
    assert np.count_nonzero(labels != 3) == 1


def test_undo_of_a_stroke_gives_the_voxels_to_the_mask_of_the_present_model(labels):
    corrections = Corrections(labels)
    labels[1, 2:4, 3] = 9
    corrections.sync(labels)
    corrections.set_model(labels, WHOLE, masks(1), None)  # such as the rest of a run that is still going on
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(1))
    corrections.redo(labels)
    assert (labels[1, 2:4, 3] == 9).all()


def test_undo_of_the_models_change_leaves_strokes_made_since(labels):
    corrections = Corrections(labels)
    step = Step("run")
    corrections.set_model(labels, as_box((0,), SHAPE), masks(1)[:1], step)
    labels[:, 2, 2] = 9
    corrections.sync(labels)
    corrections.set_model(labels, as_box((1,), SHAPE), masks(1)[1:2], step)
    corrections.undo(labels)  # the stroke
    expected = np.concatenate([masks(1)[:2], masks(0)[2:]])
    np.testing.assert_array_equal(labels, expected)
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(0))
    corrections.redo(labels)
    corrections.redo(labels)
    expected[:, 2, 2] = 9
    np.testing.assert_array_equal(labels, expected)


def test_probability_comes_back_with_the_mask_it_made(labels):
    percent = np.zeros(SHAPE, np.uint8)
    corrections = Corrections(labels, percent)
    corrections.set_model(labels, as_box((2,), SHAPE), masks(1)[2:], Step("run"), np.full((1, *SHAPE[1:]), 80, np.uint8))
    assert (percent[2] == 80).all()
    corrections.undo(labels)
    assert not percent.any()
    np.testing.assert_array_equal(labels, masks(0))
    corrections.redo(labels)
    assert (percent[2] == 80).all()


def test_the_most_likely_class_comes_back_with_the_probability(labels):
    percent, likeliest = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    corrections = Corrections(labels, percent, likeliest=likeliest)
    box, plane = as_box((2,), SHAPE), (1, *SHAPE[1:])
    corrections.set_model(labels, box, masks(1)[2:], Step("run"), np.full(plane, 80, np.uint8), np.full(plane, 3, np.uint8))
    corrections.set_model(labels, box, masks(0)[2:], Step("threshold"))
    assert (percent[2] == 80).all()
    assert (likeliest[2] == 3).all()
    corrections.undo(labels)
    corrections.undo(labels)
    assert not percent.any()
    assert not likeliest.any()
    np.testing.assert_array_equal(labels, masks(0))
    corrections.redo(labels)
    assert (likeliest[2] == 3).all()


def test_an_edit_that_came_unseen_is_undone_first_and_exactly(labels):
    corrections = Corrections(labels)
    labels[0, 1, 1] = 9
    corrections.sync(labels)
    labels = labels.astype(np.int32)  # as when layer.data is set to something else
    labels[0, 1, 1], labels[2, 2, 2] = 300, 8
    corrections.undo(labels)
    assert (labels[0, 1, 1], labels[2, 2, 2]) == (9, masks(0)[2, 2, 2])
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(0))
    assert corrections.undo(labels) is None


def test_parts_of_a_stroke_are_one_step(labels):
    corrections = Corrections(labels)
    for column in range(3):
        labels[0, 0, column] = 9
        corrections.sync(labels, ended=column == 2)
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(0))


def test_edits_where_they_are_not_allowed_are_put_back(labels):
    corrections = Corrections(labels)
    allowed = np.zeros(SHAPE, bool)
    allowed[:, :3] = True
    labels[1] = 9
    corrections.sync(labels, allowed=lambda box: allowed[box])
    assert (labels[1, :3] == 9).all()
    np.testing.assert_array_equal(labels[1, 3:], masks(0)[1, 3:])
    assert (corrections.origin[1, 3:] & PERSON == 0).all()
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(0))


def test_a_slice_can_be_given_back_to_the_model_and_taken_back(labels):
    corrections = Corrections(labels)
    labels[1:, 2] = 9
    corrections.sync(labels)
    assert corrections.give_back(labels, as_box((1,), SHAPE))
    np.testing.assert_array_equal(labels[:2], masks(0)[:2])
    assert (labels[2, 2] == 9).all()
    corrections.undo(labels)
    assert (labels[1, 2] == 9).all()
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    assert (labels[1:, 2] == 9).all()
    assert not corrections.give_back(labels, as_box((0,), SHAPE))


def test_a_tool_does_not_overwrite_what_was_painted_while_it_was_at_work(labels):
    corrections = Corrections(labels)
    before = labels.copy()
    after = np.where(before == 0, 5, before)
    background = tuple(np.argwhere(before == 0)[0])
    labels[background] = 9
    corrections.edit(labels, WHOLE, before, after, Step("fill"))
    assert labels[background] == 9
    assert np.count_nonzero(labels == 5) == np.count_nonzero(before == 0) - 1
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    assert np.count_nonzero(labels == 5) == np.count_nonzero(before == 0) - 1
    corrections.undo(labels)
    corrections.undo(labels)
    assert np.count_nonzero(labels != before) == 1


def test_the_difference_tells_added_removed_and_other_label(labels):
    labels[0, 0, :3] = 0, 1, 1
    corrections = Corrections(labels)
    labels[0, 0, :3] = 1, 0, 2
    corrections.sync(labels)
    found = corrections.difference(labels, WHOLE)
    np.testing.assert_array_equal(found[0, 0, :3], [1, 2, 3])
    assert np.count_nonzero(found) == 3


def test_labels_that_no_model_gives_count_as_a_persons():
    labels = np.array([[0, 1, 500, -3]])
    corrections = Corrections(labels)
    corrections.set_model(labels, as_box((), labels.shape), np.zeros(labels.shape, np.uint8), Step("run"))
    np.testing.assert_array_equal(labels, [[0, 0, 500, -3]])


def test_no_more_is_kept_than_can_be_undone(labels):
    corrections = Corrections(labels)
    for number in range(LIMIT + 20):
        labels[0, 0, 0] = 10 + number
        corrections.sync(labels)
    for _ in range(LIMIT):
        assert corrections.undo(labels) is not None
    assert corrections.undo(labels) is None
    assert labels[0, 0, 0] == 10 + 19


@dataclass
class Oracle(UndoOracle):
    """The same by whole copies: what the model says, and what a person set (-1 where nothing)."""

    model: np.ndarray
    person: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        return np.where(self.person >= 0, self.person, self.model)


boxes = boxes_in(SHAPE)
operations = st.one_of(
    st.tuples(st.just("paint"), boxes, st.integers(0, 5)),
    st.tuples(st.just("unseen"), boxes, st.integers(0, 5)),
    st.tuples(st.just("model"), boxes, st.integers(0, 50)),
    st.tuples(st.just("give back"), boxes, st.just(0)),
    st.tuples(st.just("undo"), boxes, st.just(0)),
    st.tuples(st.just("redo"), boxes, st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(operations, max_size=25))
def test_no_order_of_edits_undo_and_redo_goes_wrong(sequence):
    labels = masks(0)
    corrections = Corrections(labels)
    oracle = Oracle(masks(0).astype(int), np.full(SHAPE, -1))
    for kind, spans, number in [*sequence, ("redo", boxes, 0)]:
        if kind in ("undo", "redo"):
            getattr(corrections, kind)(labels)
            getattr(oracle, kind)()
        else:
            box = tuple(slice(*span) for span in spans)
            if kind == "model":
                model = oracle.model.copy()
                model[box] = masks(number)[box]
                oracle.put("model", model)
                corrections.set_model(labels, box, masks(number)[box], Step("model"))
            elif kind == "give back":
                person = oracle.person.copy()
                person[box] = -1
                oracle.put("person", person)
                corrections.give_back(labels, box)
            else:
                person, changed = oracle.person.copy(), np.zeros(SHAPE, bool)
                changed[box] = oracle.shown[box] != number
                person[changed] = number
                oracle.put("person", person)
                labels[box] = number
                if kind == "paint":
                    corrections.sync(labels, box)
                elif changed.any():
                    corrections.sync(labels, ended=True)
        np.testing.assert_array_equal(labels, oracle.shown)
        np.testing.assert_array_equal(corrections.origin & PERSON != 0, oracle.person >= 0)

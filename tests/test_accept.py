"""What was accepted stays until it is opened again; both can be undone, and history takes no more memory than it may."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from undo_oracle import UndoOracle, boxes_in

from napari_lungseg import steps
from napari_lungseg.corrections import PERSON, Corrections, as_box
from napari_lungseg.steps import Step

SHAPE = (3, 6, 7)
WHOLE = tuple(slice(0, size) for size in SHAPE)
FIRST = as_box((0,), SHAPE)


def masks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return masks(0)


def test_undo_after_accept_takes_back_the_accept_and_not_what_was_accepted(labels):
    corrections = Corrections(labels)
    labels[0, 1, 1] = 9
    corrections.sync(labels)
    corrections.accept(FIRST)
    assert corrections.undo_cause == "accept"
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    accepted = masks(0)[0]
    accepted[1, 1] = 9
    np.testing.assert_array_equal(labels[0], accepted)
    corrections.undo(labels)
    corrections.undo(labels)
    np.testing.assert_array_equal(labels[0], accepted)
    assert np.count_nonzero(corrections.origin & PERSON) == 1
    corrections.redo(labels)
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    np.testing.assert_array_equal(labels[0], accepted)


def test_what_is_opened_again_is_the_models_but_for_what_a_person_set(labels):
    corrections = Corrections(labels)
    labels[0, 1, 1] = 9  # before
    corrections.sync(labels)
    corrections.accept(FIRST)
    labels[0, 2, 2] = 8  # and after
    corrections.sync(labels)
    corrections.set_model(labels, WHOLE, masks(1), Step("threshold"))
    corrections.reopen(labels, FIRST)
    expected = masks(1)
    expected[0, 1, 1], expected[0, 2, 2] = 9, 8
    np.testing.assert_array_equal(labels, expected)
    assert np.count_nonzero(corrections.origin & PERSON) == 2
    corrections.undo(labels)
    assert (corrections.origin[0] & PERSON).all()


def test_a_stroke_that_goes_on_while_its_slice_is_accepted_can_be_undone_in_order(labels):
    corrections = Corrections(labels)
    labels[0, 0, 0] = 9
    corrections.sync(labels, ended=False)
    corrections.accept(FIRST)
    labels[0, 0, 1] = 9
    corrections.sync(labels)
    corrections.undo(labels)
    assert labels[0, 0, 0] == 9
    assert labels[0, 0, 1] == masks(0)[0, 0, 1]
    corrections.undo(labels)
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, masks(0))
    assert not (corrections.origin & PERSON).any()


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 100, SHAPE, dtype=np.uint8)


def test_history_takes_no_more_memory_than_it_may_and_drops_the_oldest(labels, monkeypatch):
    corrections = Corrections(labels)
    corrections.set_model(labels, WHOLE, noise(1), Step("threshold"))
    monkeypatch.setattr(steps, "LIMIT_BYTES", 5 * corrections.nbytes)
    for number in range(2, 30):
        corrections.set_model(labels, WHOLE, noise(number), Step("threshold"))
        assert corrections.nbytes <= steps.LIMIT_BYTES
    kept = corrections.steps
    assert 3 <= kept <= 5
    for _ in range(kept):
        corrections.undo(labels)
    np.testing.assert_array_equal(labels, noise(29 - kept))
    assert corrections.undo(labels) is None


def test_the_newest_step_can_be_undone_however_large_it_is(labels, monkeypatch):
    monkeypatch.setattr(steps, "LIMIT_BYTES", 10)
    corrections = Corrections(labels)
    for number in (1, 2):
        corrections.set_model(labels, WHOLE, noise(number), Step("threshold"))
    assert corrections.steps == 1
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, noise(1))


def test_a_run_that_was_dropped_while_it_went_on_does_not_come_back_by_half(labels, monkeypatch):
    corrections = Corrections(labels)
    run = Step("run")
    corrections.set_model(labels, FIRST, noise(1)[:1], run)
    monkeypatch.setattr(steps, "LIMIT_BYTES", 10)
    labels[2, 0, 0] = 9
    corrections.sync(labels)
    corrections.set_model(labels, as_box((1,), SHAPE), noise(1)[1:2], run)
    assert corrections.steps == 1
    corrections.undo(labels)
    np.testing.assert_array_equal(labels, np.concatenate([noise(1)[:2], masks(0)[2:]]))
    assert corrections.undo(labels) is None


@dataclass
class Oracle(UndoOracle):
    """The same by whole copies: the model's mask, and what a person set and accepted (-1 where nothing)."""

    model: np.ndarray
    person: tuple[np.ndarray, np.ndarray]

    @property
    def shown(self) -> np.ndarray:
        painted, accepted = self.person
        return np.where(painted >= 0, painted, np.where(accepted >= 0, accepted, self.model))


boxes = boxes_in(SHAPE)
operations = st.one_of(
    st.tuples(st.sampled_from(["paint", "unseen"]), boxes, st.integers(0, 5)),
    st.tuples(st.just("model"), boxes, st.integers(0, 50)),
    st.tuples(st.sampled_from(["accept", "reopen", "accept", "give back"]), boxes, st.just(0)),
    st.tuples(st.sampled_from(["undo", "undo", "redo"]), boxes, st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(operations, max_size=25))
def test_no_order_of_edits_accepting_opening_undo_and_redo_goes_wrong(sequence):
    labels = masks(0)
    corrections = Corrections(labels)
    oracle = Oracle(masks(0).astype(int), (np.full(SHAPE, -1), np.full(SHAPE, -1)))
    for kind, spans, number in [*sequence, ("redo", (), 0)]:
        box = tuple(slice(*span) for span in spans)
        painted, accepted = (layer.copy() for layer in oracle.person)
        if kind in ("undo", "redo"):
            getattr(corrections, kind)(labels)
            getattr(oracle, kind)()
        elif kind == "model":
            model = oracle.model.copy()
            model[box] = masks(number)[box]
            oracle.put("model", model)
            corrections.set_model(labels, box, masks(number)[box], Step("model"))
        elif kind == "accept":
            free = np.zeros(SHAPE, bool)
            free[box] = ((painted < 0) & (accepted < 0))[box]
            accepted[free] = oracle.shown[free]
            oracle.put("person", (painted, accepted))
            corrections.accept(box)
        elif kind in ("reopen", "give back"):
            accepted[box] = -1
            if kind == "give back":
                painted[box] = -1
            oracle.put("person", (painted, accepted))
            getattr(corrections, kind.replace(" ", "_"))(labels, box)
        else:
            changed = np.zeros(SHAPE, bool)
            changed[box] = oracle.shown[box] != number
            painted[changed], accepted[changed] = number, -1
            oracle.put("person", (painted, accepted))
            labels[box] = number
            corrections.sync(labels, box if kind == "paint" else None)
        np.testing.assert_array_equal(labels, oracle.shown)
        painted, accepted = oracle.person
        np.testing.assert_array_equal(corrections.origin & PERSON != 0, (painted >= 0) | (accepted >= 0))
        np.testing.assert_array_equal(corrections.accepted, accepted >= 0)

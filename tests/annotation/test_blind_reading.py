"""Slices that are read blind: the model's mask is in nothing that is shown, is saved all the same, and is shown once they are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.blind import compare_masks
from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import PERSON
from napari_lungseg.mask import MaskSettings
from napari_lungseg.predicted import PredictedSlice
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Saved, Source

SHAPE = (4, 5, 6)
BLIND = 2
MODEL = Source("phantom", "0123")


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 3, SHAPE, dtype=np.uint8)


def predicted(seed: int, index: int) -> PredictedSlice:
    return PredictedSlice(0, index, np.random.default_rng(seed + index).integers(1, 101, SHAPE[1:], dtype=np.uint8), 1, 1, None)


def remake(document: MaskDocument, seed: int, cause: str | None = "threshold") -> None:
    step = None if cause is None else document.begin(cause)
    for _ in document.put_mask(mask(seed), 0, step):
        pass
    document.made(MaskSettings(), step)


def begun(*blind: int, shape: tuple[int, ...] = SHAPE) -> MaskDocument:
    labels = np.zeros(shape, np.uint8)
    document = MaskDocument(labels, Volume(labels, scaling((2.0, 1.0, 1.0)[-len(shape) :])))
    document.make_by(MODEL, ClassLabels())
    document.withhold(blind)
    return document


@pytest.fixture
def document() -> MaskDocument:
    """A document of which one slice is to be read blind, with its probability and mask."""
    document = begun(BLIND)
    for index in range(len(document.labels)):
        document.put_predicted((index,), predicted(7, index), 0.5, None)
    remake(document, 0, cause=None)
    return document


def shown(document: MaskDocument) -> np.ndarray:
    """All that any view or tool can see of the model on the slice."""
    return np.stack([document.labels[BLIND], document.percent[BLIND], document.corrections.origin[BLIND] & 0x7F])


def paint(document: MaskDocument, *where: slice) -> None:
    document.labels[(BLIND, *where)] = 1
    document.take_up()


def test_the_models_mask_is_in_nothing_that_is_shown_and_in_all_that_is_saved(document):
    assert not shown(document).any()
    assert not document.difference(document.box(BLIND)).any()
    np.testing.assert_array_equal(document.labels[[0, 1, 3]], mask(0)[[0, 1, 3]])
    for index in range(len(document.labels)):
        labels, origin = document.planes(index)
        np.testing.assert_array_equal(labels, mask(0)[index])
        np.testing.assert_array_equal(origin, mask(0)[index])
        np.testing.assert_array_equal(document.whole("percent")[index], predicted(7, index).probability)


def test_a_persons_strokes_are_saved_over_the_models_mask(document):
    document.labels[BLIND, 1] = 0
    paint(document, slice(3, 4))
    labels, origin = document.planes(BLIND)
    expected = mask(0)[BLIND].copy()
    expected[3] = 1
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(origin & PERSON != 0, np.arange(SHAPE[1])[:, None] == np.full(SHAPE[1:], 3))


def test_a_slice_that_was_read_is_the_persons_as_a_whole_and_the_difference_is_kept(document):
    paint(document, slice(0, 2))
    drawn = document.labels[BLIND].copy()
    document.accept(BLIND)
    np.testing.assert_array_equal(document.labels[BLIND], drawn)
    np.testing.assert_array_equal(document.corrections.origin[BLIND], mask(0)[BLIND] | PERSON)
    np.testing.assert_array_equal(document.percent[BLIND], predicted(7, BLIND).probability)
    assert document.readings == {BLIND: compare_masks(drawn, mask(0)[BLIND])}
    assert not document.blind
    document.reopen(BLIND)
    # Background that was told blind is the person's too.
    np.testing.assert_array_equal(document.labels[BLIND], drawn)


def test_undo_of_a_reading_opens_the_slice_with_the_models_mask_which_has_been_seen(document):
    paint(document, slice(0, 2))
    document.accept(BLIND)
    reading = document.readings[BLIND]
    document.undo()
    assert document.state(BLIND) == "corrected"
    expected = mask(0)[BLIND].copy()
    expected[:2] = 1
    np.testing.assert_array_equal(document.labels[BLIND], expected)
    document.undo()
    np.testing.assert_array_equal(document.labels[BLIND], mask(0)[BLIND])
    assert document.readings == {BLIND: reading}
    document.redo()
    document.redo()
    assert document.state(BLIND) == "reviewed"
    assert not document.labels[BLIND, 2:].any()


def test_undo_of_a_threshold_reaches_a_slice_that_was_withheld_then_and_is_read_now(document):
    remake(document, 1)
    paint(document, slice(0, 2))
    document.accept(BLIND)
    for _ in range(3):
        document.undo()
    np.testing.assert_array_equal(document.labels, mask(0))
    document.redo()
    np.testing.assert_array_equal(document.labels, mask(1))


def test_another_threshold_and_its_undo_stay_out_of_sight(document):
    remake(document, 1)
    assert not shown(document).any()
    np.testing.assert_array_equal(document.planes(BLIND)[0], mask(1)[BLIND])
    document.undo()
    assert not shown(document).any()
    np.testing.assert_array_equal(document.planes(BLIND)[0], mask(0)[BLIND])
    step = document.begin("threshold")
    document.preview((BLIND,), 0.3, document.label_if_above((BLIND,)), step)
    assert not shown(document).any()
    np.testing.assert_array_equal(document.planes(BLIND)[0], mask(0)[BLIND])


def test_the_end_of_blind_reading_shows_the_model_round_a_persons_strokes_and_tells_of_it(document):
    paint(document, slice(0, 2))
    heard = []
    document.said.connect(heard.append)
    document.reveal()
    assert heard == [BLIND]
    assert (document.blind, document.readings) == (frozenset(), {})
    np.testing.assert_array_equal(document.labels[BLIND, 2:], mask(0)[BLIND, 2:])
    assert (document.labels[BLIND, :2] == 1).all()


def test_a_rejected_slice_is_not_to_be_read_any_more(document):
    document.reject(BLIND, "motion")
    assert not document.blind
    assert not document.readings


def test_a_flagged_slice_is_still_to_be_read(document):
    document.flag(BLIND, "later")
    assert document.blind == {BLIND}
    assert not shown(document).any()


def test_a_saved_mask_comes_back_withheld(document):
    paint(document, slice(0, 2))
    planes = [document.planes(index) for index in range(len(document.labels))]
    saved = Saved(
        np.stack([labels for labels, _ in planes]),
        np.stack([origin for _, origin in planes]),
        document.whole("percent"),
        document.source,
        blind=frozenset({BLIND}),
    )
    again = begun()
    again.restore(saved)
    assert again.blind == {BLIND}
    for name in ("labels", "percent"):
        np.testing.assert_array_equal(getattr(again, name), getattr(document, name))
    for index in range(len(document.labels)):
        np.testing.assert_array_equal(again.planes(index), planes[index])
    remake(again, 1)
    paint(again, slice(4, 5))
    again.accept(BLIND)
    assert again.readings[BLIND] == compare_masks(again.labels[BLIND], mask(1)[BLIND])


def test_a_copy_that_is_still_to_be_saved_holds_the_models_mask_too(document):
    copy = document.copy()
    document.reveal()
    np.testing.assert_array_equal(copy.planes(BLIND)[0], mask(0)[BLIND])


def test_a_single_slice_can_be_read_blind():
    document = begun(0, shape=SHAPE[1:])
    document.put_predicted((), predicted(7, 0), 0.5, None)
    assert not document.labels.any()
    assert document.planes(0)[0].any()
    document.accept(0)
    assert document.readings[0].person == 0
    assert document.readings[0].model > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["paint", "threshold", "undo", "redo", "flag", "reopen", "accept", "give back"]), max_size=12))
def test_nothing_of_the_model_is_shown_until_the_slice_is_read_and_nothing_is_lost_whatever_is_done(actions):
    document = begun(BLIND)
    remake(document, 0, cause=None)
    for number, action in enumerate(actions):
        seen = action == "accept" or not document.blind
        if action == "paint":
            paint(document, slice(number % SHAPE[1], number % SHAPE[1] + 1))
        elif action == "threshold":
            remake(document, number)
        elif action in ("undo", "redo"):
            getattr(document, action)()
        elif action == "give back":
            document.give_back(document.box(BLIND))
        elif action == "flag":
            document.flag(BLIND, "")
        else:
            getattr(document, action)(BLIND)
        if not seen:
            assert not (shown(document)[2]).any()
            assert not document.labels[BLIND][document.corrections.origin[BLIND] == 0].any()
        labels, origin = document.planes(BLIND)
        free = (origin & PERSON) == 0
        np.testing.assert_array_equal(labels[free], origin[free])
        assert (origin & 0x7F).all(), "the model labels every pixel of the phantom"

"""One document knows all of a mask: what its listeners hear, and undo of strokes, masks, settings and what was said of slices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from undo_oracle import boxes_in

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.classes import ClassLabels
from napari_lungseg.corrections import PERSON
from napari_lungseg.mask import MaskSettings
from napari_lungseg.predicted import PredictedSlice
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Saved, Source

SHAPE = (3, 6, 7)
WHOLE = tuple(slice(0, size) for size in SHAPE)
MODEL = Source("phantom", "0123")


def masks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8)


def begun(**keywords) -> MaskDocument:
    labels = np.zeros(SHAPE, np.uint8)
    return MaskDocument(labels, Volume(labels, scaling((2.0, 1.0, 1.0))), **keywords)


def made(document: MaskDocument, mask: np.ndarray, threshold: float = 0.5, cause: str | None = "threshold") -> None:
    """Make the whole mask anew."""
    step = None if cause is None else document.begin(cause)
    for _ in document.put_mask(mask, 0, step):
        pass
    document.made(MaskSettings(threshold=threshold), step)


@pytest.fixture
def document() -> MaskDocument:
    document = begun()
    document.make_by(MODEL, ClassLabels())
    made(document, masks(0), cause=None)
    return document


def test_a_threshold_is_undone_with_its_settings_and_tells_its_listeners(document):
    heard = []
    document.changed.connect(lambda box, cause: heard.append(cause))
    document.remade.connect(lambda: heard.append(document.making.settings.threshold))
    made(document, masks(1), 0.8)
    assert (heard[-1], set(heard[:-1])) == (0.8, {"threshold"})
    assert document.source.settings["threshold"] == 0.8
    document.undo()
    np.testing.assert_array_equal(document.labels, masks(0))
    assert document.making.settings.threshold == 0.5
    document.redo()
    np.testing.assert_array_equal(document.labels, masks(1))
    assert document.making.settings.threshold == 0.8


def test_another_model_is_undone_with_its_name_probability_and_classes(document):
    step = document.begin("segment again")
    document.make_by(Source("organs", "4567"), ClassLabels(("lobe", "fluid"), (4, 9), sides=False))
    plane = np.full(SHAPE[1:], 90, np.uint8)
    document.put_predicted((1,), PredictedSlice(0, 1, plane, 1, 1, np.ones(SHAPE[1:], np.uint8)), 0.5, step)
    assert (document.labels[1] == 9).all()
    assert (document.likeliest[1] == 9).all()
    document.undo()
    np.testing.assert_array_equal(document.labels, masks(0))
    assert not document.percent.any()
    assert document.making.source == MODEL
    assert document.making.classes == ClassLabels()


def test_what_is_said_of_a_slice_is_undone_with_its_note(document):
    said = []
    document.said.connect(lambda index: said.append((index, document.state(index))))
    document.labels[1, 2, 2] = 5
    document.take_up(cause="paint")
    assert document.state(1) == "corrected"
    document.accept(1)
    document.flag(2, "effusion?")
    made(document, masks(1))
    assert (document.labels[1] != masks(1)[1]).any()
    document.undo()
    document.undo()
    assert (document.state(2), document.notes[2]) == ("unseen", "")
    document.undo()
    assert document.state(1) == "corrected"
    document.redo()
    assert document.reviewed == [1]
    assert said == [(1, "reviewed"), (2, "flagged"), (2, "unseen"), (1, "corrected"), (1, "reviewed")]


def test_giving_back_a_part_opens_the_accepted_slices_it_reaches_and_no_other(document):
    for index in range(3):
        document.accept(index)
    assert document.give_back((slice(0, 2), slice(2, 3), slice(0, 7)))
    assert document.reviewed == [2]
    assert not document.is_touched(document.box(0))
    document.undo()
    assert document.reviewed == [0, 1, 2]


def test_time_points_have_one_history_and_undo_takes_back_what_was_done_last_at_any():
    first = begun(time_index=(0,))
    second = begun(time_index=(1,), beside=first)
    first.labels[0, 1, 1] = 1
    first.take_up(cause="paint")
    second.accept(1)
    made(second, masks(1))
    assert first.undo().cause == "threshold"
    assert not second.labels.any()
    first.undo()
    assert second.reviewed == []
    second.undo()
    assert not first.labels.any()
    second.redo()
    assert first.labels[0, 1, 1] == 1


def test_restoring_a_time_point_keeps_what_can_be_undone_at_others():
    first = begun(time_index=(0,))
    second = begun(time_index=(1,), beside=first)
    for document in (first, second):
        document.labels[0, 1, 1] = 1
        document.take_up(cause="paint")
    second.restore(Saved(masks(1), masks(1), None, Source("phantom", settings={"threshold": 0.3})))
    np.testing.assert_array_equal(second.labels, masks(1))
    assert second.making.settings.threshold == 0.3
    assert second.undo().cause == "paint"
    assert not first.labels.any()
    np.testing.assert_array_equal(second.labels, masks(1))


def test_arrays_of_the_model_are_made_by_the_given_function():
    asked = []
    document = begun(allocate=lambda shape, dtype: asked.append((shape, dtype)) or np.zeros(shape, dtype))
    document.make_by(MODEL, ClassLabels(("lobe", "fluid"), (4, 9), sides=False))
    assert asked == [(SHAPE, np.uint8)] * 2


@dataclass
class Oracle:
    """The same by whole copies: mask and threshold of the model, what a person set, what was accepted (-1 where nothing), what was said."""

    model: np.ndarray = field(default_factory=lambda: masks(0).astype(int))
    threshold: float = 0.5
    person: np.ndarray = field(default_factory=lambda: np.full(SHAPE, -1))
    accepted: np.ndarray = field(default_factory=lambda: np.full(SHAPE, -1))
    said: tuple[str, ...] = ("",) * SHAPE[0]

    @property
    def shown(self) -> np.ndarray:
        return np.where(self.person >= 0, self.person, np.where(self.accepted >= 0, self.accepted, self.model))

    def copy(self) -> Oracle:
        return Oracle(self.model.copy(), self.threshold, self.person.copy(), self.accepted.copy(), self.said)

    def say(self, index: int, said: str) -> None:
        if said == "reviewed":
            free = (self.person[index] < 0) & (self.accepted[index] < 0)
            self.accepted[index][free] = self.shown[index][free]
        else:
            self.accepted[index] = -1
        self.said = (*self.said[:index], said, *self.said[index + 1 :])

    def state(self, index: int) -> str:
        return self.said[index] or ("corrected" if (self.person[index] >= 0).any() else "unseen")

    def do(self, kind: str, box: tuple[slice, ...], number: int) -> None:
        index = box[0].start
        if kind == "mask":
            self.model, self.threshold = masks(number).astype(int), number / 100
        elif kind == "paint":
            changed = np.zeros(SHAPE, bool)
            changed[box] = self.shown[box] != number % 4
            self.person[changed], self.accepted[changed] = number % 4, -1
        elif kind == "give back":
            theirs = (self.person >= 0) | (self.accepted >= 0)
            self.person[box] = self.accepted[box] = -1
            for other in range(box[0].start, box[0].stop):
                if self.said[other] == "reviewed" and theirs[box][other - box[0].start].any():
                    self.say(other, "")
        elif kind == "accept":
            self.say(index, "reviewed")
        elif kind == "flag":
            self.say(index, "flagged")
        elif kind == "reopen" and self.said[index]:
            self.say(index, "")


def act(document: MaskDocument, kind: str, box: tuple[slice, ...], number: int) -> None:
    if kind == "mask":
        made(document, masks(number), number / 100)
    elif kind == "paint":
        document.labels[box] = number % 4
        document.take_up(box, "paint")
    elif kind == "give back":
        document.give_back(box)
    elif kind == "flag":
        document.flag(box[0].start, "")
    else:
        getattr(document, kind)(box[0].start)


kinds = st.sampled_from(["paint", "paint", "mask", "give back", "accept", "accept", "flag", "reopen", "undo", "undo", "redo"])


PLACE = ((0, 1),) * 3


@settings(max_examples=150, deadline=None)
@example([("paint", PLACE, 1), ("mask", PLACE, 0), ("undo", PLACE, 0), ("redo", PLACE, 0)])
@given(st.lists(st.tuples(kinds, boxes_in(SHAPE), st.integers(0, 90)), max_size=25))
def test_no_order_of_changes_undo_and_redo_goes_wrong(sequence):
    document, oracle = begun(), Oracle()
    document.make_by(MODEL, ClassLabels())
    made(document, masks(0), cause=None)
    done: list[tuple[Oracle, Oracle, str]] = []
    undone: list[tuple[Oracle, Oracle, str]] = []
    for kind, spans, number in sequence:
        if kind in ("undo", "redo"):
            source, target, which = (done, undone, 0) if kind == "undo" else (undone, done, 1)
            assert (getattr(document, kind)() is None) is (not source)
            if source:
                target.append(source.pop())
                threshold, oracle = oracle.threshold, target[-1][which].copy()
                if target[-1][2] != "mask":
                    # A threshold that changed no voxel was no step, so it stays.
                    oracle.threshold = threshold
        else:
            box, before, newest = tuple(slice(*span) for span in spans), oracle.copy(), document.corrections.newest
            oracle.do(kind, box, number)
            act(document, kind, box, number)
            if document.corrections.newest is not newest:
                done.append((before, oracle.copy(), kind))
                undone.clear()
        np.testing.assert_array_equal(document.labels, oracle.shown)
        np.testing.assert_array_equal(document.corrections.origin & PERSON != 0, (oracle.person >= 0) | (oracle.accepted >= 0))
        assert document.making.settings.threshold == oracle.threshold
        assert [document.state(index) for index in range(SHAPE[0])] == [oracle.state(index) for index in range(SHAPE[0])]


def test_a_copy_keeps_the_mask_as_it_was_when_both_go_on(document):
    document.put_predicted((0,), PredictedSlice(0, 0, np.full(SHAPE[1:], 30, np.uint8), 1, 3), 0.5, None)
    document.labels[1, 2, 3] = 2
    document.take_up()
    before = [document.planes(index) for index in range(3)]
    copy = document.copy()
    document.labels[:] = 1
    document.take_up()
    made(document, masks(2), 0.9)
    for index, (labels, origin) in enumerate(before):
        np.testing.assert_array_equal(copy.planes(index)[0], labels)
        np.testing.assert_array_equal(copy.planes(index)[1], origin)
    assert (copy.plane(copy.percent, 0) == 30).all()
    assert copy.source.settings["threshold"] == 0.5
    assert (copy.axis, copy.slices, copy.predicted) == (document.axis, document.slices, True)

"""What was accepted of a slice shows in its revisions, also in those of a journal that was written before anybody asked."""

from __future__ import annotations

import sqlite3

import numpy as np

from napari_lungseg.corrections import PERSON
from napari_lungseg.workspace import JOURNAL, Labelled

from .conftest import add, painted


def accepted(slice_: Labelled) -> Labelled:
    return Labelled(slice_.labels, slice_.origin | PERSON)


def test_what_was_accepted_is_told_from_the_revision_before(workspace, volume):
    case = add(workspace, volume)
    before = painted(case, 2)
    workspace.save(case, {2: before}, cause="paint")
    workspace.save(case, {2: accepted(before)}, cause="accept")
    workspace.set_state(case, 2, "reviewed")
    (known,) = workspace.accepted(case).items()
    assert known[0] == 2
    np.testing.assert_array_equal(known[1].which, before.origin & PERSON == 0)


def test_what_was_painted_on_the_way_and_later_is_the_persons(workspace, volume):
    case = add(workspace, volume)
    before = painted(case, 2)
    workspace.save(case, {2: before}, cause="paint")
    labels = before.labels.copy()
    labels[2, 2] = 7  # saved together with the accept
    workspace.save(case, {2: Labelled(labels, before.origin | PERSON)}, cause="accept")
    workspace.set_state(case, 2, "reviewed")
    labels = labels.copy()
    labels[3, 3] = 8
    workspace.save(case, {2: Labelled(labels, before.origin | PERSON)}, cause="paint")
    expected = before.origin & PERSON == 0
    expected[2, 2] = expected[3, 3] = False
    np.testing.assert_array_equal(workspace.accepted(case)[2].which, expected)


def test_a_threshold_that_came_later_changes_nothing_of_it(workspace, volume):
    case = add(workspace, volume)
    before = painted(case, 2)
    workspace.save(case, {2: before}, cause="paint")
    workspace.save(case, {2: accepted(before)}, cause="accept")
    workspace.set_state(case, 2, "reviewed")
    other_model = np.full_like(before.origin, PERSON | 5)
    workspace.save(case, {2: Labelled(before.labels, other_model)}, cause="threshold")
    np.testing.assert_array_equal(workspace.accepted(case)[2].which, before.origin & PERSON == 0)


def test_only_reviewed_slices_are_asked_about(workspace, volume):
    case = add(workspace, volume)
    workspace.save(case, {1: painted(case, 1), 2: painted(case, 2)}, cause="paint")
    workspace.save(case, {1: accepted(painted(case, 1)), 2: accepted(painted(case, 2))}, cause="accept")
    workspace.set_state(case, 1, "reviewed")
    workspace.set_state(case, 2, "reviewed")
    workspace.set_state(case, 2, "flagged")
    assert list(workspace.accepted(case)) == [1]


def test_a_slice_without_what_was_before_tells_by_the_models_label(workspace, volume):
    case = add(workspace, volume)
    slice_ = painted(case, 2)
    slice_.labels[2, 2] = 9
    workspace.save(case, {2: accepted(slice_)}, cause="another workspace")
    workspace.set_state(case, 2, "reviewed")
    which = workspace.accepted(case)[2].which
    assert not which[2, 2]
    assert np.count_nonzero(~which) == 1


def test_a_damaged_earlier_revision_leaves_the_slice_to_the_person(workspace, volume):
    case = add(workspace, volume)
    for index in (1, 2):
        workspace.save(case, {index: painted(case, index)}, cause="paint")
        workspace.save(case, {index: accepted(painted(case, index))}, cause="accept")
        workspace.set_state(case, index, "reviewed")
    with sqlite3.connect(workspace.folder / JOURNAL) as db:
        db.execute("UPDATE revisions SET origin = x'00' WHERE id = (SELECT min(id) FROM revisions WHERE slice = 1)")
    db.close()
    assert list(workspace.accepted(case)) == [2]

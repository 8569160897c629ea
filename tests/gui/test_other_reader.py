"""Another reader's mask in Review: how far it agrees, the slices that differ most first, and theirs taken as one step."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt

from napari_lungseg.corrections import PERSON
from napari_lungseg.workspace import Labelled, Source, Workspace

CT, LUNGS = chest()
MARKED, WORST = 5, 7


@pytest.fixture
def review(desk):
    """The Review module on the segmented phantom, of which slices 4 to 7 are reviewed and saved."""
    assert desk.segment() == ""
    widget = desk.dock.open("Review")
    desk.wait(lambda: widget.reviewing is not None and widget.session.workspace is not None)
    for index in range(4, 8):
        widget.reviewing.accept(index)
    desk.wait(lambda: widget.reviewing.target.case is not None)
    return widget


@pytest.fixture
def bob(review, desk, tmp_path):
    """Another reader's workspace: slices 5 to 8 are reviewed; on two of them the mask differs."""
    case = review.reviewing.target.case
    labels = desk.lungs.data.copy()
    labels[MARKED, 2:6, 2:12] = 1
    labels[WORST, 2:12, 2:12] = 2
    folder = tmp_path / "bob"
    with Workspace(folder, user="bob") as workspace:
        known = workspace.add_case(
            case.content, name="scan 7", path=None, shape=case.shape, affine=case.affine, axis=case.axis, unit=case.unit
        )
        slices = {index: Labelled(labels[index], labels[index] | np.uint8(PERSON)) for index in range(len(labels))}
        workspace.save(known, slices, cause="paint", source=Source("phantom", settings={"split_sides": True}))
        for index in range(5, 9):
            workspace.set_state(known, index, "reviewed")
    return folder


def compare(review, desk, folder):
    review.other.compare(folder)
    desk.wait(lambda: "…" not in review.other.status.text())


def rows(review) -> list[str]:
    return [review.other.list.item(row).text() for row in range(review.other.list.count())]


def test_agreement_and_the_slices_that_differ_most_are_told(review, bob, desk, qtbot):
    assert not [layer for layer in desk.viewer.layers if layer.name.startswith("bob")], "nothing is seen before it is asked for"
    compare(review, desk, bob)
    told = review.other.status.text()
    assert f"bob has reviewed 4 of {len(CT.array)} slices, and you 3 of these." in told
    assert "lungs: Dice 0." in told
    pixel = float(np.prod(CT.spacing[1:]))
    assert rows(review) == [f"Slice {WORST}: {100 * pixel:.0f} mm² differ", f"Slice {MARKED}: {40 * pixel:.0f} mm² differ"]
    first = review.other.list.item(0)
    review.other.list.itemClicked.emit(first)
    assert desk.viewer.dims.current_step[0] == WORST
    (outline,) = [layer for layer in desk.viewer.layers if layer.name == "bob: ct"]
    assert outline.contour == 2
    assert not outline.editable
    assert review.mask.choices == (review.mask.value,), "their mask is none that could be reviewed"


def test_theirs_is_taken_as_one_step_that_can_be_undone(review, bob, desk, qtbot):
    compare(review, desk, bob)
    before = desk.lungs.data.copy()
    review.go(WORST)
    qtbot.mouseClick(review.other.take, Qt.MouseButton.LeftButton)
    assert (desk.lungs.data[WORST, 2:12, 2:12] == 2).all()
    np.testing.assert_array_equal(np.delete(desk.lungs.data, WORST, 0), np.delete(before, WORST, 0))
    assert [row.split(":")[0] for row in rows(review)] == [f"Slice {MARKED}"]
    assert not review.other.take.isEnabled()
    desk.lungs.undo()
    np.testing.assert_array_equal(desk.lungs.data, before)
    assert len(rows(review)) == 2


def test_what_cannot_be_compared_is_told(review, bob, desk, tmp_path):
    compare(review, desk, review.session.workspace.folder)
    assert "your own workspace" in review.other.status.text()
    compare(review, desk, tmp_path)
    assert "is no workspace" in review.other.status.text()
    Workspace(tmp_path / "empty", user="carl").close()
    compare(review, desk, tmp_path / "empty")
    assert "holds no mask of" in review.other.status.text()
    assert not rows(review)


def test_the_other_mask_goes_with_the_one_that_is_reviewed(review, bob, desk):
    compare(review, desk, bob)
    desk.viewer.layers.remove(desk.lungs)
    desk.wait(lambda: review.reviewing is None)
    assert not [layer for layer in desk.viewer.layers if layer.name.startswith("bob")]
    assert not rows(review)

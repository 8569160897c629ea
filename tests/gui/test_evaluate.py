"""Two masks compared: the table, the curve over the slices, and the errors on the image."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from geometry import grids, stored_otherwise, write_in_two_places
from napari.layers import Labels
from phantom import chest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QApplication, QFileDialog
from waiting import SOON, turn

from napari_lungseg.formats import write
from napari_lungseg.metrics import evaluate, evaluate_slices
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.evaluate.error_layer import NAME
from napari_lungseg.widgets.evaluate.widget import CHANGED, EvaluateWidget
from napari_lungseg.widgets.layers import volume_from_layer, volume_to_layer

CT, LUNGS = chest()
TRUTH = np.where(LUNGS, 1 + (np.arange(LUNGS.shape[2]) >= 48), 0).astype(np.uint8)
#: Slice in which the guess is worst.
WORST = 6
GUESS = np.roll(TRUTH, 1, axis=2)
GUESS[WORST, :, 20:50] = 0
GUESS[0] = TRUTH[0] = 0


def add_labels(viewer, volume: Volume, name: str) -> Labels:
    data, keywords = volume_to_layer(volume)
    return viewer.add_labels(data, name=name, **keywords)


class Judge:
    """The Evaluate module on two masks, and a person's hands."""

    def __init__(self, desk, guess: Volume, truth: Volume) -> None:
        self.desk, self.viewer = desk, desk.viewer
        self.guess, self.truth = add_labels(desk.viewer, guess, "guess"), add_labels(desk.viewer, truth, "truth")
        self.widget: EvaluateWidget = desk.dock.open("Evaluate")

    def evaluate(self) -> str:
        with self.desk.qtbot.waitSignal(self.widget.idle, timeout=SOON) as end:
            self.desk.qtbot.mouseClick(self.widget.run, Qt.MouseButton.LeftButton)
        return end.args[0]

    def rows(self) -> dict[str, list[str]]:
        table = self.widget.display.table
        return {
            table.verticalHeaderItem(row).text(): [table.item(row, column).text() for column in range(table.columnCount())]
            for row in range(table.rowCount())
        }


@pytest.fixture
def judge(open_desk) -> Judge:
    return Judge(open_desk(CT), CT.with_array(GUESS), CT.with_array(TRUTH))


def test_the_table_holds_the_scores_of_the_core(judge):
    assert (judge.widget.prediction.value, judge.widget.reference.value) == (judge.guess, judge.truth)
    assert judge.evaluate() == ""
    expected = evaluate(CT.with_array(GUESS), CT.with_array(TRUTH))
    rows = judge.rows()
    assert list(rows) == ["lungs", "label 1", "label 2"]
    for label, cells in rows.items():
        score = expected[label]
        assert cells[:3] == [f"{score.dice:.4f}", f"{score.nsd:.4f}", f"{score.hd95_mm:.2f}"]
        assert cells[4] == f"{score.volume_error_ml:.1f}"
    slices = evaluate_slices(CT.with_array(GUESS), CT.with_array(TRUTH))["lungs"]
    assert f"{slices[WORST].dice:.3f}, in slice {WORST}" in judge.widget.status.text()


def test_the_module_is_a_widget_of_its_own(open_desk):
    desk = open_desk(CT)
    _, widget = desk.viewer.window.add_plugin_dock_widget("napari-lungseg", "Evaluate")
    assert isinstance(widget, EvaluateWidget)
    assert not widget.run.isEnabled()
    assert not widget.open.isEnabled()
    assert "Segment an image first" in widget.status.text()


def test_a_click_on_the_curve_goes_to_the_slice_and_the_line_follows(open_desk):
    judge = Judge(open_desk(CT, show=True), CT.with_array(GUESS), CT.with_array(TRUTH))
    judge.evaluate()
    plot = judge.widget.display.plot
    assert np.isnan(plot.values[0])
    slices = evaluate_slices(CT.with_array(GUESS), CT.with_array(TRUTH))
    np.testing.assert_allclose(plot.values[1:], [score.dice for score in slices["lungs"]][1:])
    judge.desk.wait(plot.isVisible)
    turn(judge.desk.qtbot)
    for index in (WORST, 2):
        scene = plot.getPlotItem().vb.mapViewToScene(QPointF(index + 0.2, 0.95))
        judge.desk.qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(scene))
        judge.desk.wait(lambda index=index: judge.viewer.dims.current_step[0] == index)
        assert plot.marker.value() == index
    judge.viewer.dims.set_current_step(0, 4)
    assert plot.marker.value() == 4


def test_the_row_that_is_chosen_is_the_one_drawn(judge):
    judge.evaluate()
    judge.widget.display.table.selectRow(2)
    left = evaluate_slices(CT.with_array(GUESS), CT.with_array(TRUTH))["label 2"]
    np.testing.assert_allclose(judge.widget.display.plot.values[1:], [score.dice for score in left][1:])
    assert "label 2" in judge.widget.display.plot.getAxis("left").labelText


def test_errors_are_shown_where_they_are(judge):
    judge.viewer.layers.selection.active = judge.guess
    judge.evaluate()
    layer = judge.viewer.layers[NAME]
    np.testing.assert_array_equal(layer.data == 1, (GUESS > 0) & (TRUTH == 0))
    np.testing.assert_array_equal(layer.data == 2, (GUESS == 0) & (TRUTH > 0))
    np.testing.assert_array_equal(volume_from_layer(layer).affine, volume_from_layer(judge.truth).affine)
    assert layer.features["error"][1] == "false positive"
    # It is no mask to be judged or painted, and takes no place in the person's way.
    assert judge.widget.prediction.choices == (judge.guess, judge.truth)
    assert judge.viewer.layers.selection.active == judge.guess
    judge.guess.data = TRUTH.copy()
    judge.evaluate()
    assert [layer.name for layer in judge.viewer.layers].count(NAME) == 1
    assert not judge.viewer.layers[NAME].data.any()


@pytest.mark.parametrize("affine", list(grids())[5::19])
def test_masks_stored_in_another_order_are_compared_and_shown_in_place(open_desk, affine):
    truth = Volume(np.ascontiguousarray(TRUTH), affine)
    judge = Judge(open_desk(), Volume(*stored_otherwise(GUESS, affine, (2, 0, 1), (1,))), truth)
    assert judge.evaluate() == ""
    expected = evaluate(Volume(GUESS, affine), truth)["label 2"]
    assert judge.rows()["label 2"][0] == f"{expected.dice:.4f}"
    errors, known = judge.viewer.layers[NAME], judge.truth
    np.testing.assert_array_equal(errors.data[known.data == 0] > 0, (volume_to_layer(Volume(GUESS, affine))[0] > 0)[known.data == 0])
    for index in (3, WORST):
        judge.widget.go(index)
        assert judge.widget.display.plot.marker.value() == index


def test_scores_are_saved_as_csv_and_json(judge, tmp_path, monkeypatch, messages):
    judge.evaluate()
    for ending in ("csv", "json"):
        path = tmp_path / f"scores.{ending}"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        judge.desk.qtbot.mouseClick(getattr(judge.widget.display, ending), Qt.MouseButton.LeftButton)
        judge.desk.wait(lambda path=path: f"Saved {path}." in messages)
    expected = evaluate(CT.with_array(GUESS), CT.with_array(TRUTH))
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["lungs", "label 1", "label 2"]
    assert float(rows[1]["assd_mm"]) == expected["label 1"].assd_mm
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["cases"][0]["case"] == "guess"
    assert len(document["slices"]) == 3 * len(TRUTH)


def test_a_file_that_cannot_be_written_is_one_sentence(judge, tmp_path, monkeypatch, messages):
    judge.evaluate()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "nowhere" / "scores.csv"), ""))
    judge.desk.qtbot.mouseClick(judge.widget.display.csv, Qt.MouseButton.LeftButton)
    judge.desk.wait(lambda: len(messages) == 1)
    assert "could not be written" in messages[0]


def test_the_table_is_copied_for_a_spreadsheet(judge):
    judge.evaluate()
    judge.desk.qtbot.mouseClick(judge.widget.display.copy, Qt.MouseButton.LeftButton)
    lines = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    assert lines[0][:3] == ["label", "Dice", "Surface Dice"]
    assert {line[0]: line[1:] for line in lines[1:]} == judge.rows()


def test_masks_that_do_not_fit_are_refused_in_one_sentence(open_desk, messages):
    judge = Judge(open_desk(CT), CT.with_array(GUESS), Volume(TRUTH[1:], CT.affine))
    why = judge.evaluate()
    assert "different grids" in why
    assert messages == [why]
    assert judge.widget.status.text() == why
    assert NAME not in judge.viewer.layers
    assert judge.widget.run.isEnabled()


def test_what_was_compared_before_others_were_chosen_is_not_shown(judge):
    third = add_labels(judge.viewer, CT.with_array(TRUTH), "third")
    with judge.desk.qtbot.waitSignal(judge.widget.idle, timeout=SOON):
        judge.desk.qtbot.mouseClick(judge.widget.run, Qt.MouseButton.LeftButton)
        judge.widget.reference.value = third
        assert not judge.widget.run.isEnabled()
    assert judge.widget.compared is None
    assert judge.widget.display.isHidden()
    assert judge.widget.status.text() == ""
    judge.evaluate()
    assert judge.widget.compared.reference == third
    judge.widget.reference.value = judge.truth
    assert judge.widget.display.isHidden()
    assert judge.widget.status.text() == ""


def test_the_tolerance_is_the_persons(judge):
    judge.guess.data = np.roll(TRUTH, 1, axis=2)
    for tolerance, within in ((3.9, False), (4.0, True)):
        judge.widget.tolerance.value = tolerance
        judge.evaluate()
        assert (judge.rows()["lungs"][1] == "1.0000") is within


def test_old_scores_are_called_old_once_a_mask_is_painted(judge):
    judge.evaluate()
    judge.guess.data_setitem((np.array([3]), np.array([3]), np.array([3])), 1)
    assert judge.widget.status.text() == CHANGED
    judge.evaluate()
    assert "Lowest Dice" in judge.widget.status.text()


def test_the_mask_made_here_is_judged_against_the_one_from_a_file(open_desk):
    desk = open_desk(CT)
    truth = add_labels(desk.viewer, CT.with_array(TRUTH), "truth")
    assert desk.segment() == ""
    widget = desk.dock.open("Evaluate")
    assert (widget.prediction.value, widget.reference.value) == (desk.lungs, truth)
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON):
        desk.qtbot.mouseClick(widget.run, Qt.MouseButton.LeftButton)
    desk.switch("split_sides", False)
    assert widget.status.text() == CHANGED


def test_a_picture_has_scores_and_no_curve(open_desk):
    flat = Volume(CT.array[3], CT.affine, "HU")
    judge = Judge(open_desk(flat), flat.with_array(GUESS[3]), flat.with_array(TRUTH[3]))
    assert judge.evaluate() == ""
    assert judge.widget.display.plot.isHidden()
    assert not judge.widget.display.table.isHidden()


def test_a_reference_is_opened_from_a_file(open_desk, tmp_path, monkeypatch, messages):
    desk = open_desk(CT)
    guess = add_labels(desk.viewer, CT.with_array(GUESS), "guess")
    widget = desk.dock.open("Evaluate")
    assert "from a file" in widget.status.text()
    # Cut to what it holds, as 3D Slicer writes it.
    path = write(CT.with_array(TRUTH).crop((slice(1, 9), slice(5, 70), slice(5, 90))), tmp_path / "reference.nrrd")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    desk.qtbot.mouseClick(widget.open, Qt.MouseButton.LeftButton)
    desk.wait(lambda: "reference.nrrd" in desk.viewer.layers)
    np.testing.assert_array_equal(desk.viewer.layers["reference.nrrd"].data, TRUTH)
    assert (widget.prediction.value, widget.reference.value) == (guess, desk.viewer.layers["reference.nrrd"])
    assert widget.run.isEnabled()
    widget.open_reference(write_in_two_places(CT.with_array(TRUTH), tmp_path / "doubtful.nii"))
    desk.wait(lambda: "doubtful.nii" in desk.viewer.layers)
    (told,) = messages
    assert "two places" in told
    messages.clear()
    widget.open_reference(write(Volume(TRUTH, CT.affine * 1.1), tmp_path / "other.nrrd"))
    desk.wait(lambda: len(messages) == 1)
    assert "other voxels" in messages[0]


def test_a_removed_mask_takes_its_scores_along(judge):
    judge.evaluate()
    del judge.viewer.layers["guess"]
    assert judge.widget.compared is None
    assert not judge.widget.run.isEnabled()


def test_a_point_in_time_is_compared_where_it_is_displayed(open_desk):
    desk = open_desk()
    two = np.stack([TRUTH, GUESS])
    desk.viewer.add_labels(two, name="guess", scale=(1, 6, 4, 4))
    desk.viewer.add_labels(np.stack([TRUTH, TRUTH]), name="truth", scale=(1, 6, 4, 4))
    widget = desk.dock.open("Evaluate")
    desk.viewer.dims.set_current_step(0, 1)
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON):
        desk.qtbot.mouseClick(widget.run, Qt.MouseButton.LeftButton)
    errors = desk.viewer.layers[NAME].data
    assert not errors[0].any()
    np.testing.assert_array_equal(errors[1] == 1, (GUESS > 0) & (TRUTH == 0))
    widget.go(WORST)
    assert tuple(desk.viewer.dims.current_step)[:2] == (1, WORST)


def test_it_fits_the_dock(judge):
    judge.evaluate()
    assert judge.desk.dock.minimumSizeHint().width() <= 380
    assert judge.desk.dock.sizeHint().width() <= 380

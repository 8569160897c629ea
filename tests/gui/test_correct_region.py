"""Strokes that find a region: what they propose, how it is taken or dropped, and what they never touch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from viewing_room import arrive
from waiting import settle, turn

from napari_lungseg.corrections import PERSON
from napari_lungseg.edit.stroke import regions
from napari_lungseg.errors import InputError
from napari_lungseg.widgets.correct.region_question import Drawn, ask, body_spacing, change
from napari_lungseg.widgets.lookup import result_holding

CT, LUNGS = chest()
MIDDLE = 4
#: Right lung 1, left lung 2, as the phantom's columns run from right to left.
MASK = np.where(LUNGS, np.where(np.arange(LUNGS.shape[2]) < 48, 1, 2), 0).astype(np.uint8)
RIGHT = (MASK == 1) & (np.arange(LUNGS.shape[1]) > 40)[:, None]


def lacking() -> np.ndarray:
    """Without the back of the right lung."""
    labels = MASK.copy()
    labels[RIGHT] = 0
    return labels


class Strokes:
    """The Correct module with its mode for regions on."""

    def __init__(self, bench) -> None:
        self.bench, self.qtbot, self.lungs = bench, bench.qtbot, bench.lungs
        self.canvas = bench.viewer.window._qt_viewer.canvas.native
        self.form = bench.controls.strokes
        self.result = result_holding(bench.viewer, bench.lungs)
        self.turn_on()

    def turn_on(self) -> None:
        self.qtbot.mouseClick(self.bench.controls.region, Qt.MouseButton.LeftButton)
        turn(self.qtbot)

    def draw(self, *voxels, button=Qt.MouseButton.LeftButton) -> None:
        """Draw a stroke and wait until its region in the volume is shown."""
        spots = [self.bench.spot(voxel) for voxel in voxels]
        self.qtbot.mouseMove(self.canvas, spots[0])
        self.qtbot.mousePress(self.canvas, button, pos=spots[0])
        for spot, voxel in zip(spots[1:], voxels[1:], strict=True):
            arrive(self, self.bench.viewer, self.lungs.data_to_world(voxel), partial(self.qtbot.mouseMove, self.canvas, spot))
        self.qtbot.mouseRelease(self.canvas, button, pos=spots[-1])
        settle(self.qtbot)

    def press(self, key) -> None:
        self.qtbot.keyClick(self.canvas, key)
        settle(self.qtbot)

    @property
    def proposed(self) -> np.ndarray:
        return next(layer for layer in self.bench.viewer.layers if layer.name == "lungs proposal").data


@pytest.fixture
def strokes(open_bench):
    def call(labels) -> Strokes:
        bench = open_bench(CT, labels.copy(), show=True)
        bench.viewer.dims.set_current_step(0, MIDDLE)
        return Strokes(bench)

    return call


def mended(labels: np.ndarray) -> float:
    """Part of the lacking region that is labelled, less what else is."""
    wrong = (labels > 0) & (MASK == 0)
    return float(((labels == 1)[RIGHT].sum() - wrong.sum()) / RIGHT.sum())


BACK = ((MIDDLE, 45, 26), (MIDDLE, 45, 36))


def test_a_stroke_in_what_is_missing_proposes_it_in_the_volume_and_enter_takes_it_in_one_step(strokes):
    hand = strokes(lacking())
    hand.draw(*BACK)
    np.testing.assert_array_equal(hand.lungs.data, lacking())
    proposed = hand.proposed.copy()
    assert set(np.unique(proposed)) == {0, 1}
    hand.press(Qt.Key.Key_Enter)
    np.testing.assert_array_equal(hand.lungs.data, np.where(proposed == 1, 1, lacking()))
    assert mended(hand.lungs.data) > 0.8
    assert not hand.proposed.any()
    assert hand.result.corrections.undo_cause == "add region"
    hand.lungs.undo()
    np.testing.assert_array_equal(hand.lungs.data, lacking())


def test_a_stroke_of_the_right_button_in_what_is_too_much_removes_it(strokes):
    labels = MASK.copy()
    labels[2:7, 24:48, 54:62] = 2
    excess = (labels == 2) & (MASK == 0)
    hand = strokes(labels)
    hand.draw((MIDDLE, 26, 57), (MIDDLE, 40, 57), button=Qt.MouseButton.RightButton)
    assert set(np.unique(hand.proposed)) == {0, 2}
    hand.press(Qt.Key.Key_Enter)
    changed = hand.lungs.data != labels
    assert (hand.lungs.data[changed] == 0).all()
    assert (changed & excess).sum() - (changed & ~excess).sum() > 0.5 * excess.sum()
    hand.lungs.undo()
    np.testing.assert_array_equal(hand.lungs.data, labels)


def test_escape_drops_the_region_and_then_ends_the_mode(strokes):
    hand = strokes(lacking())
    hand.draw(*BACK)
    hand.press(Qt.Key.Key_Escape)
    assert not hand.proposed.any()
    np.testing.assert_array_equal(hand.lungs.data, lacking())
    assert hand.bench.controls.region.isChecked()
    hand.press(Qt.Key.Key_Escape)
    assert not hand.bench.controls.region.isChecked()
    assert [layer.name for layer in hand.bench.viewer.layers] == ["ct", "lungs"]
    assert hand.result.corrections.undo_cause is None


def test_the_next_stroke_takes_the_region_before_and_each_is_undone_alone(strokes):
    labels = lacking()
    left = (MASK == 2) & (np.arange(72) > 40)[:, None]
    labels[left] = 0
    hand = strokes(labels)
    hand.draw(*BACK)
    hand.bench.lungs.selected_label = 2
    hand.draw((MIDDLE, 46, 64), (MIDDLE, 46, 70))
    one = hand.lungs.data.copy()
    assert mended(one) > 0.8
    hand.press(Qt.Key.Key_Enter)
    assert (hand.lungs.data == 2)[left].mean() > 0.8
    hand.lungs.undo()
    np.testing.assert_array_equal(hand.lungs.data, one)
    hand.lungs.undo()
    np.testing.assert_array_equal(hand.lungs.data, labels)


def test_the_slider_and_the_wheel_make_the_region_larger_and_smaller(strokes):
    hand = strokes(lacking())
    hand.draw(*BACK)
    sizes = []
    for value in (-40, 0, 40):
        hand.form.size.setValue(value)
        sizes.append(np.count_nonzero(hand.proposed))
    assert 0 < sizes[0] <= sizes[1] <= sizes[2]
    assert sizes[0] < sizes[2]
    layer = hand.lungs

    class Wheel:
        modifiers, delta, handled = ("Shift",), (0.0, -1.0), False

    for callback in layer.mouse_wheel_callbacks:
        callback(layer, Wheel)
    assert hand.form.size.value() < 40
    assert Wheel.handled


def test_what_a_person_set_and_other_labels_stay_and_the_editable_range_holds(strokes):
    hand = strokes(lacking())
    hand.bench.viewer.layers["lungs"].data_setitem(tuple(np.array([[MIDDLE], [47], [30]])), 2)
    hand.bench.viewer.layers["lungs"].data_setitem(tuple(np.array([[MIDDLE], [43], [30]])), 3)
    hand.bench.viewer.layers["lungs"].data_setitem(tuple(np.array([[MIDDLE], [43], [30]])), 0)
    controls = hand.bench.controls
    controls.low.value, controls.high.value, controls.limited.value = -5000, -500, True
    hand.draw(*BACK)
    hand.form.size.setValue(hand.form.size.maximum())
    hand.press(Qt.Key.Key_Enter)
    assert hand.lungs.data[MIDDLE, 47, 30] == 2
    assert hand.lungs.data[MIDDLE, 43, 30] == 0
    changed = hand.lungs.data != lacking()
    changed[MIDDLE, 47, 30] = False
    assert changed.any()
    assert (CT.array[changed] <= -500).all()
    assert (lacking()[changed] == 0).all()


def test_random_strokes_never_change_what_a_person_set_nor_another_label_and_each_is_one_undo(open_bench):
    bench = open_bench(CT, lacking())
    result = result_holding(bench.viewer, bench.lungs)
    document, labels = result.document(()), bench.lungs.data
    spacing, rng = body_spacing(bench.lungs, ()), np.random.default_rng(5)
    states, taken = [labels.copy()], 0
    for number in range(13):
        spots = rng.integers(0, labels.shape, (3, 3))
        if number % 3 == 0:
            corner = spots[0]
            labels[corner[0], corner[1] : corner[1] + 9, corner[2] : corner[2] + 9] = rng.integers(0, 4)
            result.sync()
            if not np.array_equal(labels, states[-1]):
                states.append(labels.copy())
            continue
        adding, index = bool(rng.integers(2)), int(spots[0, 0])
        if not adding and labels.any():
            # Into what is labelled, else most strokes would meet nothing.
            spots = np.argwhere(labels > 0)[rng.integers(0, np.count_nonzero(labels), 3)]
            index = int(spots[0, 0])
        drawn = Drawn(adding, (), (index,), labels.shape, spacing)
        drawn.go_on(spots[0], np.array([index, *spots[1, 1:]]))
        bench.lungs.selected_label = int(rng.integers(1, 3))
        set_by_person = (document.corrections.origin & PERSON) != 0
        try:
            question = ask(result, drawn)
            stroke = replace(question.stroke, image=np.asarray(question.image.array[question.box]))
            *_, region = regions(stroke)
        except InputError:
            continue
        made = change(result, (), question, region, float(rng.uniform(-6, 6)))
        if made is None:
            continue
        result.edit_now(document, made.box, made.before, made.after, "region")
        changed = labels != states[-1]
        assert not changed[set_by_person].any()
        assert (states[-1][changed] == stroke.label).all()
        assert (labels[changed] == (bench.lungs.selected_label if adding else 0)).all()
        states.append(labels.copy())
        taken += 1
    assert taken >= 4
    for state in reversed(states[:-1]):
        bench.lungs.undo()
        np.testing.assert_array_equal(labels, state)


def test_another_mode_takes_the_region_and_puts_the_proposal_away(strokes):
    hand = strokes(lacking())
    hand.draw(*BACK)
    hand.qtbot.mouseClick(hand.bench.controls.modes["paint"], Qt.MouseButton.LeftButton)
    settle(hand.qtbot)
    assert mended(hand.lungs.data) > 0.8
    assert hand.lungs.mode == "paint"
    assert not hand.bench.controls.region.isChecked()
    assert [layer.name for layer in hand.bench.viewer.layers] == ["ct", "lungs"]


def test_a_stroke_that_meets_nothing_says_so_and_changes_nothing(strokes):
    hand = strokes(MASK)
    hand.draw((MIDDLE, 34, 26), (MIDDLE, 34, 30))
    assert "meets nothing that may be changed" in hand.form.text
    hand.draw((MIDDLE, 60, 26), (MIDDLE, 60, 30), button=Qt.MouseButton.RightButton)
    assert "meets nothing that is labelled" in hand.form.text
    np.testing.assert_array_equal(hand.lungs.data, MASK)


def test_a_region_of_another_orientation_and_of_a_time_point_lies_where_it_was_drawn(strokes):
    hand = strokes(lacking())
    hand.bench.viewer.dims.order = (1, 0, 2)
    hand.bench.viewer.dims.set_current_step(1, 45)
    turn(hand.qtbot)
    hand.draw((3, 45, 28), (6, 45, 34))
    assert hand.proposed[3:7, 45, 28:34].any(axis=(1,)).all()
    hand.press(Qt.Key.Key_Enter)
    assert mended(hand.lungs.data) > 0.8


def test_move_ends_the_mode_and_a_proposal_that_is_removed_ends_it_too(strokes):
    hand = strokes(lacking())
    controls = hand.bench.controls
    assert not controls.modes["pan_zoom"].isChecked()
    hand.qtbot.mouseClick(controls.modes["pan_zoom"], Qt.MouseButton.LeftButton)
    assert not controls.region.isChecked()
    assert controls.modes["pan_zoom"].isChecked()
    assert hand.lungs.mouse_pan
    hand.turn_on()
    hand.bench.viewer.layers.remove("lungs proposal")
    assert not controls.region.isChecked()
    hand.turn_on()
    hand.bench.viewer.layers.remove("lungs")
    assert [layer.name for layer in hand.bench.viewer.layers] == ["ct"]


def test_what_a_loop_encloses_is_in_the_region(strokes):
    hand = strokes(lacking())
    loop = [(42, 22), (42, 34), (47, 34), (47, 24), (42, 22)]
    hand.draw(*((MIDDLE, *place) for place in loop))
    assert (hand.proposed[MIDDLE, 42:48, 24:34] == 1).all()

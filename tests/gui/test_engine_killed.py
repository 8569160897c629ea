"""The engine is killed in the midst of its work while a person paints: no stroke is lost, the window lives, the next press works."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from waiting import SOON

from napari_lungseg.engine.process import shared_engine
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.lookup import result_of

CT = chest()[0]
PAINTED = 3
#: Voxels of the displayed slice through which strokes go, outside the lungs and inside them.
STROKES = [((8, 10), (8, 30)), ((30, 20), (40, 30)), ((60, 40), (64, 70)), ((36, 60), (30, 76))]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")


@pytest.fixture
def long_desk(open_desk):
    return open_desk(Volume(np.resize(CT.array, (1500, *CT.shape[1:])), CT.affine, "HU"), show=True)


def paint(desk, hand, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    """Draw a stroke with the mouse; vispy leaves out moves that come soon after another event, so the mouse moves until it was seen."""
    canvas = desk.viewer.window._qt_viewer.canvas.native
    desk.qtbot.mouseMove(canvas, hand.spot(start))
    desk.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=hand.spot(start))
    desk.wait(lambda: desk.qtbot.mouseMove(canvas, hand.spot(end)) is None and desk.lungs.data[end] == PAINTED)
    desk.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=hand.spot(end))


def kill() -> None:
    process = shared_engine().process
    assert process is not None
    os.kill(process, signal.SIGKILL)


def test_strokes_survive_an_engine_that_is_killed_while_it_segments(long_desk, hand, messages):
    desk, chance = long_desk, random.Random(12)
    middle = desk.viewer.dims.current_step[0]
    held: list[tuple[int, ...]] = []
    for start, end in STROKES:
        with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON) as ended:
            desk.press()
            desk.wait(lambda: desk.widget._run is not None and desk.widget._run.done >= 1)
            wanted = desk.widget._run.done + chance.randrange(20)
            desk.lungs.mode, desk.lungs.selected_label, desk.lungs.brush_size = "paint", PAINTED, 3
            paint(desk, hand(desk.viewer, desk.lungs), (middle, *start), (middle, *end))
            held += [(middle, *start), (middle, *end)]
            desk.wait(lambda wanted=wanted: desk.widget._run is not None and desk.widget._run.done >= wanted)
            kill()
        assert ended.args[0].startswith("The engine process ended unexpectedly (killed by signal 9")
        assert messages == [ended.args[0]]
        messages.clear()
        assert desk.controls.run.text == "Segment"
        desk.wait(lambda: desk.controls.status.text() != "Making the mask …")
        assert all(desk.lungs.data[place] == PAINTED for place in held)
    desk.controls.slices.value = "slice"
    assert desk.segment() == ""


def test_a_mask_that_is_being_made_is_lost_with_the_engine_and_made_by_the_next_change(long_desk, messages):
    desk = long_desk
    desk.controls.slices.value = "slice"
    assert desk.segment() == ""
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON) as ended:
        desk.controls.threshold.value = 40
        desk.wait(lambda: result_of(desk.image).remasker.busy)
        kill()
    if ended.args[0]:
        assert messages == [ended.args[0]]
    desk.set_threshold(45)
    assert desk.controls.status.text() == ""
    assert desk.lungs.data.any()

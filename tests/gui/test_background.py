"""What was worked on in the background goes from memory once it is put away."""

from __future__ import annotations

import gc
import weakref

import numpy as np
from phantom import chest

from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.views.viewing import View


def test_a_case_that_was_put_away_does_not_stay_in_memory(open_desk):
    """Segmented, looked at from all sides, measured and saved; then its layers are removed, as between the cases of a folder."""
    desk = open_desk(chest()[0], show=True)
    assert desk.segment() == ""
    desk.dock.open("Review")
    measure = desk.dock.open("Measure")
    with desk.qtbot.waitSignal(measure.idle, timeout=30_000):
        measure.controls.run.click()
    for view in (View.FOUR_UP, View.SURFACES, View.AXIAL):
        desk.dock.views.buttons[view].click()
        desk.wait(lambda view=view: desk.dock.views.buttons[view].isChecked() and not desk.dock.views.status.text())
    desk.wait(lambda: "Saved" in desk.dock.workspace.session.status.text)
    kept = {layer.name: weakref.ref(layer) for layer in desk.viewer.layers}
    arrays = {layer.name: weakref.ref(layer.data) for layer in desk.viewer.layers}
    assert len(kept) == 3
    del measure
    desk.viewer.layers.clear()

    def gone() -> None:
        gc.collect()
        assert [name for name, array in arrays.items() if array() is not None] == []
        assert [name for name, layer in kept.items() if layer() is not None] == []

    desk.wait(gone)


def test_napari_can_still_end_what_runs(open_desk):
    """It does so when it is closed; a worker that is over is nobody's any more."""
    desk = open_desk()

    def steps():
        yield from range(10_000)

    running, told = create_worker(steps), []
    running.aborted.connect(lambda: told.append("aborted"))
    running.yielded.connect(lambda _: running.quit())
    with desk.qtbot.waitSignal(running.finished, timeout=30_000):
        running.start()
    assert told == ["aborted"]
    over = create_worker(np.sum, np.zeros(3))
    with desk.qtbot.waitSignal(over.finished, timeout=30_000):
        over.start()
    there = weakref.ref(over)
    del over
    desk.wait(lambda: gc.collect() >= 0 and there() is None)

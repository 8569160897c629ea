"""Tasks in the background, and that what was worked on goes from memory once it is put away."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest
from phantom import chest
from qtpy.QtCore import QObject, QTimer
from waiting import SOON, settle

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.views.viewing import View


def test_a_case_that_was_put_away_does_not_stay_in_memory(open_desk):
    """Segmented, looked at from all sides, measured and saved; then its layers are removed, as between the cases of a folder."""
    desk = open_desk(chest()[0], show=True)
    assert desk.segment() == ""
    desk.dock.open("Review")
    measure = desk.dock.open("Measure")
    with desk.qtbot.waitSignal(measure.idle, timeout=SOON):
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


@pytest.fixture
def task(qtbot):
    parent = QObject()
    yield Task(parent, "The test")
    settle(qtbot)


class Heard:
    """What a task delivers, in order."""

    def __init__(self, task: Task) -> None:
        self.told: list[Any] = []
        task.yielded.connect(self.told.append)
        task.returned.connect(lambda value: self.told.append(("returned", value)))
        task.failed.connect(lambda text: self.told.append(("failed", text)))


def test_items_come_in_order_on_the_gui_thread_and_then_the_end(task, qtbot):
    threads: set[int] = set()
    task.yielded.connect(lambda _: threads.add(threading.get_ident()))
    heard = Heard(task)

    def work():
        threads.discard(threading.get_ident())
        yield from range(500)
        return "end"

    with qtbot.waitSignal(task.released, timeout=SOON):
        task.run(work)
    assert heard.told == [*range(500), ("returned", "end")]
    assert threads == {threading.get_ident()}
    assert not task.busy


def test_an_error_is_one_sentence(task, qtbot):
    heard = Heard(task)
    for error in (InputError("The file is empty."), KeyError("x")):
        with qtbot.waitSignal(task.released, timeout=SOON):
            task.run(raise_, error)
    assert heard.told == [("failed", "The file is empty."), ("failed", "The test failed: 'x' (KeyError); the log has the details.")]


def raise_(error: Exception) -> None:
    raise error


def test_the_latest_run_wins_and_one_thread_works_at_a_time(task, qtbot):
    heard, go_on, began = Heard(task), threading.Event(), []

    def work(number: int) -> int:
        began.append(number)
        go_on.wait()
        return number

    for number in range(5):
        task.run(work, number)
    qtbot.waitUntil(lambda: began == [0], timeout=SOON)
    go_on.set()
    qtbot.waitUntil(lambda: bool(heard.told), timeout=SOON)
    assert heard.told == [("returned", 4)]
    assert began == [0, 4]


def test_what_is_cancelled_delivers_nothing_more_but_tells_when_it_has_let_go(task, qtbot):
    heard, go_on = Heard(task), threading.Event()

    def work():
        yield 1
        go_on.wait()
        yield 2

    task.run(work)
    qtbot.waitUntil(lambda: heard.told == [1], timeout=SOON)
    task.cancel()
    assert not task.busy
    with qtbot.waitSignal(task.released, timeout=SOON):
        go_on.set()
    assert heard.told == [1]


def test_the_window_goes_on_while_much_is_delivered(task, qtbot):
    turns: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(time.perf_counter()))
    task.yielded.connect(lambda _: time.sleep(0.001))
    timer.start(0)
    with qtbot.waitSignal(task.released, timeout=SOON):
        task.run(lambda: (number for number in range(200)))
    assert len(turns) > 5

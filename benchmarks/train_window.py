"""How smooth the window stays while a model is trained: in a thread, or in a process of its own.

    python benchmarks/train_window.py

Fine-tunes lung-ct on the bundled sample and its mask, and corrects the same mask meanwhile, in a real window with the plugin's dock, on a
virtual display where there is none. Each way is tried in a window of its own: a stroke every 150 ms, how long until it is drawn, and
how long the window could not answer, as told by a timer of 10 ms.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import napari
import torch
from edit import machine, wait
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, QTimer

from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, TrainingCase
from napari_lungseg.training.updates import StepDone
from napari_lungseg.widgets.demo import SIZE, virtual_display
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.lookup import result_with
from napari_lungseg.workspace import FOLDER_VARIABLE

STROKES = 100
#: Milliseconds between two strokes.
PAUSE_MS = 150
COLUMNS = ("stroke drawn, median (ms)", "95th percentile", "gap, 99th percentile", "longest", "steps/s", "until the third step (s)")


def driving(folder: Path) -> Iterator[Any]:
    """The run, as the window's worker drives it."""
    yield from run(folder)


def tell(folder: Path, pipe: Connection, threads: int, nice: int) -> None:
    """The run, in a process of its own."""
    if nice:
        os.nice(nice)
    if threads:
        torch.set_num_threads(threads)
    for update in driving(folder):
        pipe.send(update)


def in_thread(folder: Path, heard: Callable[[Any], None], threads: int) -> Callable[[], None]:
    """Train in a thread; gives what ends it."""
    if threads:
        torch.set_num_threads(threads)
    worker = create_worker(driving, folder, _start_thread=False)
    worker.yielded.connect(heard)
    worker.start()
    return worker.quit


def in_process(folder: Path, heard: Callable[[Any], None], threads: int, nice: int) -> Callable[[], None]:
    """Train in a process; gives what ends it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=tell, args=(folder, theirs, threads, nice))
    process.start()
    theirs.close()

    def listen() -> None:
        while True:
            try:
                heard(ours.recv())
            except EOFError:
                return

    threading.Thread(target=listen, daemon=True).start()

    def end() -> None:
        process.terminate()
        process.join()

    return end


WAYS: dict[str, Callable[[Path, Callable[[Any], None]], Callable[[], None]]] = {
    "nothing trains": lambda folder, heard: lambda: None,
    "thread": lambda folder, heard: in_thread(folder, heard, 0),
    "thread, one core left free": lambda folder, heard: in_thread(folder, heard, max(1, (os.cpu_count() or 2) - 1)),
    "process": lambda folder, heard: in_process(folder, heard, 0, 0),
    "process, one core left free": lambda folder, heard: in_process(folder, heard, max(1, (os.cpu_count() or 2) - 1), 0),
    "process, lower priority": lambda folder, heard: in_process(folder, heard, 0, 10),
}


@contextmanager
def heartbeat() -> Iterator[list[float]]:
    """Moments at which the window could have answered, asked every 10 ms."""
    beats = [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(10)
    yield beats
    timer.stop()


def measure(way: str) -> None:
    """Open the window, train, and paint."""
    ct, lungs = sample_ct(), sample_lungs()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[FOLDER_VARIABLE] = f"{scratch}/workspace"
        folder = Path(scratch) / "model"
        case = TrainingCase("case", "sample", ct, lungs)
        for _ in prepare(
            CasesSource([case]), folder, base="lung-ct", settings=TrainSettings.fine_tuning(epochs=1000, minutes=60, patience=None)
        ):
            pass
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window.resize(*SIZE)
        data, keywords = volume_to_layer(ct)
        viewer.add_image(data, name="ct", contrast_limits=(-1350, 150), **keywords)
        layer = viewer.add_labels(lungs.array.copy(), name="lungs", **keywords)
        viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        result_with(viewer, layer)
        layer.brush_size = 15
        steps: list[float] = []
        begun = time.perf_counter()
        end = WAYS[way](folder, lambda update: steps.append(time.perf_counter()) if isinstance(update, StepDone) else None)
        if way != "nothing trains":
            wait(lambda: len(steps) > 3)
        waited, steps[:] = time.perf_counter() - begun, []
        draws: list[float] = []
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(lambda _: draws.append(time.perf_counter()))
        drawn, began = [], time.perf_counter()
        with heartbeat() as beats:
            for number in range(STROKES):
                place = (5 + number % 20, 60 + number % 40, 100)
                viewer.dims.set_current_step(0, place[0])
                then = time.perf_counter()
                wait(lambda then=then: time.perf_counter() - then > PAUSE_MS / 1000)
                then = time.perf_counter()
                draws.clear()
                layer.paint(place, (int(layer.data[place]) + 1) % 3)
                wait(lambda: bool(draws))
                drawn.append(draws[0] - then)
        gaps = sorted(later - one for one, later in pairwise(beats))
        pace = len(steps) / (time.perf_counter() - began)
        end()
        figures = [statistics.median(drawn), sorted(drawn)[int(0.95 * len(drawn))], gaps[int(0.99 * len(gaps))], gaps[-1]]
        print(f"| {way} | " + " | ".join(f"{1000 * value:.0f}" for value in figures) + f" | {pace:.2f} | {waited:.1f} |", flush=True)
        viewer.close()


def main() -> None:
    """Measure each way in a process that ends before its display does."""
    bare = sys.platform.startswith("linux") and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    print(f"{machine()}\n\n| way | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}", flush=True)
    with virtual_display() if bare else nullcontext():
        for way in sys.argv[1:] or WAYS:
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(way,))
            process.start()
            process.join()


if __name__ == "__main__":
    main()

"""How smooth the window stays while its engine works, and how fast that is against the terminal.

    python benchmarks/gui_latency.py [CT [MODEL]]

Opens the CT (the bundled sample by default) in a real window with the dock, on a virtual display where there is none, and segments,
makes the mask anew, paints and trains. A timer of 5 ms tells how long the window could not answer. *Own* is what is left of that without
the time in which Qt and OpenGL drew the window, in software where there is no graphics card, and without that for which the window's
thread waited for a core, which other programs may have. It still holds what napari takes to slice its layers: the first row paints the
same strokes in napari alone, before the plugin is there. *CPU* is what the window's thread used. The same CT is segmented without a
window, before and after: by the command ``napari-lungseg segment``, from its start to its end, and by ``napari_lungseg.segment`` alone,
in a process that has loaded all its code and read the CT.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import napari
import numpy as np
from edit import machine, wait
from qtpy.QtCore import QEvent, Qt, QTimer

from napari_lungseg import read, write
from napari_lungseg.sample import sample_ct
from napari_lungseg.widgets.demo import SIZE, virtual_display
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.lookup import result_of
from napari_lungseg.widgets.train.widget import TrainWidget
from napari_lungseg.workspace import FOLDER_VARIABLE

BEAT_MS = 5
STROKES, PAUSE_S = 60, 0.1
TRAIN_STEPS = 12
COLUMNS = ("median (ms)", "99th percentile", "longest", "99th percentile, own", "longest, own", "longest frame", "seconds", "its CPU")
#: Where Linux tells for how long the window's thread, ready to run, waited for a core.
DELAY = Path("/proc/thread-self/schedstat")

#: In a process of its own: seconds for prediction and mask, torch and the model's code loaded before.
TERMINAL = """
import sys, time
import napari_lungseg as lungseg, napari_lungseg.segmentation
from napari_lungseg.sample import sample_ct
volume = lungseg.read(sys.argv[1]) if sys.argv[1] else sample_ct()
began = time.perf_counter()
lungseg.segment(volume, model=sys.argv[2])
print(time.perf_counter() - began)
"""


class Beats:
    """Moments at which the window could have answered, and the spans in which it drew."""

    def __init__(self) -> None:
        self.beats: list[tuple[float, float]] = []
        self.frames: list[tuple[float, float, float]] = []

    def figures(self) -> list[float]:
        """Seconds, in the order of :data:`COLUMNS`."""
        pairs = list(pairwise(self.beats))
        whole = sorted(later - one for (one, _), (later, _) in pairs)
        own = sorted(later - one - self._drawing(one, later) - (delay - before) for (one, before), (later, delay) in pairs)
        return [
            statistics.median(whole),
            whole[int(0.99 * len(whole))],
            whole[-1],
            own[int(0.99 * len(own))],
            own[-1],
            max((end - start for start, end, _ in self.frames), default=0.0),
        ]

    def _drawing(self, start: float, end: float) -> float:
        """Seconds of drawing between two beats, without those in which the thread waited for a core."""
        return sum(last - first - delay for first, last, delay in self.frames if start <= first and last <= end)


def waited() -> float:
    """Seconds for which this thread has waited for a core so far; 0 where the system does not tell."""
    try:
        return int(DELAY.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


#: When the window began and ended to draw, and the seconds between in which its thread waited for a core.
_frames: list[tuple[float, float, float]] = []


def watch_frames(viewer: Any) -> None:
    """Note from now on when the window is drawn, with its canvas in it."""
    window = type(viewer.window._qt_window)
    handle = window.event

    def event(self: Any, event: QEvent) -> bool:
        began, delay = time.perf_counter(), waited()
        handled = handle(self, event)
        if event.type() == QEvent.Type.UpdateRequest:
            _frames.append((began, time.perf_counter(), waited() - delay))
        return handled

    window.event = event


@contextmanager
def listening(what: str) -> Iterator[None]:
    """Print what the window was like meanwhile."""
    beats, timer = Beats(), QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.beats.append((time.perf_counter(), waited())))
    _frames.clear()
    began, used = time.perf_counter(), time.thread_time()
    timer.start(BEAT_MS)
    yield
    timer.stop()
    spent, used = time.perf_counter() - began, time.thread_time() - used
    beats.frames = list(_frames)
    print(f"| {what} | " + " | ".join(f"{1000 * value:.0f}" for value in beats.figures()) + f" | {spent:.1f} | {used:.1f} |", flush=True)


def ended(signal: Any) -> Callable[[], bool]:
    """Tells whether a module's work has ended; its errors end the benchmark."""
    ends: list[str] = []
    signal.connect(ends.append)

    def over() -> bool:
        if ends and ends[0]:
            raise RuntimeError(ends[0])
        return bool(ends)

    return over


def terminal(path: str, model: str) -> tuple[float, float]:
    """Seconds of the whole command, and of segmenting alone."""
    with tempfile.TemporaryDirectory() as scratch:
        source = path or str(write(sample_ct(), Path(scratch, "sample.nii.gz")))
        began = time.perf_counter()
        command = [sys.executable, "-m", "napari_lungseg", "segment", source, "-o", f"{scratch}/lungs.nii.gz", "--model", model]
        subprocess.run(command, capture_output=True, check=True)
        whole = time.perf_counter() - began
    done = subprocess.run([sys.executable, "-c", TERMINAL, path, model], capture_output=True, text=True, check=True)
    return whole, float(done.stdout.split()[-1])


def paint(viewer: Any, lungs: Any, strokes: int) -> None:
    """Paint on one slice after the other."""
    for number in range(strokes):
        index = 3 + number % (len(lungs.data) - 6)
        viewer.dims.set_current_step(0, index)
        then = time.perf_counter()
        wait(lambda then=then: time.perf_counter() - then > PAUSE_S)
        lungs.paint((index, 60 + number % 40, 100), 1 + number % 2)


def train(dock: Any) -> None:
    """Train for some steps while painting, and cancel."""
    widget: TrainWidget = dock.open("Train")
    wait(lambda: "lung-ct" in widget.controls.base.choices)
    widget.controls.base.value = "lung-ct"
    for name, value in {"epochs": 100, "steps_per_epoch": 50, "batch_size": 2}.items():
        widget.controls.settings.controls[name].value = value
    over = ended(widget.idle)
    widget.controls.run.click()
    wait(lambda: over() or len(widget.controls.curves.points["batch loss"][0]) >= 2)
    points = widget.controls.curves.points["batch loss"][0]
    with listening("training, with a stroke every 0.1 s"):
        paint(widget.viewer, result_of(widget.viewer.layers["ct"]).lungs, STROKES)
        wait(lambda: over() or len(points) >= TRAIN_STEPS)
    widget.idle.disconnect()
    widget.controls.run.click()


def main(path: str, model: str) -> None:
    """Open the window and print the tables."""
    before = terminal(path, model)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[FOLDER_VARIABLE] = f"{scratch}/workspace"
        os.environ["NAPARI_LUNGSEG_MODELS"] = f"{scratch}/models"
        volume = read(path) if path else sample_ct()
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window.resize(*SIZE)
        watch_frames(viewer)
        data, keywords = volume_to_layer(volume)
        viewer.add_image(np.asarray(data), name="ct", contrast_limits=(-1350, 150), **keywords)
        print(f"{machine()}; {volume.shape}\n\n| while | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}", flush=True)
        # As many layers as with a mask and its probability.
        alone = [viewer.add_labels(np.zeros(volume.shape, np.uint8), **keywords) for _ in range(2)]
        paint(viewer, alone[-1], 2)  # what is drawn for the first time is compiled
        with listening("painting in napari alone, with a stroke every 0.1 s"):
            paint(viewer, alone[-1], STROKES)
        for layer in alone:
            viewer.layers.remove(layer)
        _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        segment = dock.open("Segment")
        wait(lambda: model in segment.controls.model.choices and "cpu" in segment.controls.device.choices)
        segment.controls.model.value = model
        with listening("nothing is done"):
            then = time.perf_counter()
            wait(lambda: time.perf_counter() - then > 2.0)
        over, began = ended(segment.idle), time.perf_counter()
        with listening("segmenting, until napari has made and drawn the layers"):
            segment.controls.run.native.click()
            wait(lambda: segment._run is not None and segment._run.done > 0)
            wait(lambda: bool(_frames))
        with listening("segmenting, from there on"):
            wait(over)
        window = [time.perf_counter() - began]
        over, began = ended(segment.idle), time.perf_counter()
        with listening("segmenting again"):
            segment.controls.run.native.click()
            wait(over)
        window.append(time.perf_counter() - began)
        for percent in (40, 60):
            over = ended(segment.idle)
            with listening(f"making the mask anew at {percent} %"):
                segment.controls.threshold.value = percent
                wait(over)
        lungs = result_of(viewer.layers["ct"]).lungs
        with listening("painting, with a stroke every 0.1 s"):
            paint(viewer, lungs, STROKES)
        train(dock)
        viewer.close()
    after = terminal(path, model)
    first, again = window
    print(f"\nSegmenting in the window: {first:.1f} s at the first press, {again:.1f} s at the second.")
    for name, seconds in zip(("the whole command", "lungseg.segment"), zip(before, after, strict=True), strict=True):
        mean = statistics.mean(seconds)
        print(f"Against {name}, {seconds[0]:.1f} s before and {seconds[1]:.1f} s after: {first / mean:.2f} and {again / mean:.2f} times.")


if __name__ == "__main__":
    bare = sys.platform.startswith("linux") and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    with virtual_display() if bare else nullcontext():
        given = dict(enumerate(sys.argv[1:]))
        main(given.get(0, ""), given.get(1, "lung-ct"))

"""How long a person waits while correcting a CT of 512 x 512 x 300 voxels, in a real window.

    python benchmarks/edit.py [FOLDER]

FOLDER has a ct.nii.gz and its lungs.nii.gz; without it, the bundled sample and its mask are taken. Voxels are repeated until the CT has
that size. No network runs: the softened mask stands for the probability. The window is napari's own with the plugin's dock, on a
virtual display where there is none; a virtual display draws in software, so what includes drawing is slower than on a screen.
"""

from __future__ import annotations

import argparse
import functools
import gc
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import napari
import numpy as np
import psutil
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_lungseg import edit
from napari_lungseg.edit.tool import Tool, Work, carry_out
from napari_lungseg.edit.tools import METHODS, TOOLS
from napari_lungseg.formats import read
from napari_lungseg.mask import make_mask
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Array, Volume, bounding_box
from napari_lungseg.widgets import remask
from napari_lungseg.widgets.demo import SIZE, virtual_display
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.lookup import result_for
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.napari_compat import Strokes
from napari_lungseg.widgets.remask import Remasker
from napari_lungseg.widgets.saving.session import Session, session_of
from napari_lungseg.workspace import FOLDER_VARIABLE, Saved, Source

SHAPE = (300, 512, 512)
STROKES = STEPS = MOVES = 100
#: Slices on which each tool is tried, and how often it is tried on the volume.
SLICES, VOLUMES = 20, 3
#: Standard deviation, in pixels, of the Gaussian that makes a probability of a mask.
SOFT_PIXELS = 1.2
BRUSH_PIXELS = 15
#: Seconds after which something that should happen has not.
PATIENCE_S = 60.0

#: When something began and ended, in seconds.
Span = tuple[float, float]


def row(what: str, values: Iterable[float], aim: str = "", unit: str = "ms") -> None:
    """Print a line of the table; the values are seconds if the unit is ms."""
    scaled = [1000 * value if unit == "ms" else value for value in values]
    print(f"| {what} | {statistics.median(scaled):.1f} | {max(scaled):.1f} | {unit} | {aim} | {len(scaled)} |", flush=True)


def watch(owner: Any, name: str) -> list[Span]:
    """Note from now on when each call of a function begins and ends."""
    function, spans = getattr(owner, name), []

    @functools.wraps(function)
    def watched(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spans.append((began, time.perf_counter()))

    setattr(owner, name, watched)
    return spans


def within(spans: list[Span], began: float) -> float:
    """Seconds that calls have taken since a moment."""
    return sum(end - start for start, end in spans if start >= began)


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def wait(condition: Callable[[], bool]) -> None:
    """Let the window live until something has happened."""
    end = time.perf_counter() + PATIENCE_S
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if condition() or time.perf_counter() > end else None)
    timer.start(1)
    loop.exec()
    if not condition():
        raise TimeoutError("Something that was waited for did not happen.")


@contextmanager
def heartbeat() -> Iterator[list[float]]:
    """Moments at which the window could have answered."""
    beats = [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(1)
    yield beats
    beats.append(time.perf_counter())
    timer.stop()


def enlarged(volume: Volume) -> Volume:
    """The same image with voxels repeated until it has the size that is tried."""
    array, affine = volume.array, volume.affine.copy()
    for axis, size in enumerate(SHAPE):
        affine[:3, axis] *= array.shape[axis] / size
        array = array.take(np.linspace(0, array.shape[axis] - 1, size).round().astype(int), axis)
    return Volume(array, affine, volume.unit)


@dataclass
class Desk:
    """The window and what is in it."""

    viewer: napari.Viewer
    dock: Any
    session: Session
    result: MaskLayer
    ct: Volume

    @classmethod
    def open(cls, ct: Volume, lungs: Volume) -> Desk:
        """Open the window with the CT, its mask and the probability."""
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window.resize(*SIZE)
        data, keywords = volume_to_layer(ct)
        image = viewer.add_image(data, name="ct", contrast_limits=(-1350, 150), **keywords)
        _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        session = session_of(viewer)
        wait(lambda: session.workspace is not None)
        soft = [ndimage.gaussian_filter((plane > 0).astype(np.float32), SOFT_PIXELS) for plane in lungs.array]
        percent = (100 * np.stack(soft)).round().astype(np.uint8)
        mask = make_mask(ct.with_array(percent)).array
        result = result_for(viewer, image, SHAPE)
        result.restore(viewer, (), ct, Saved(mask, mask, percent, Source("benchmark")))
        wait(lambda: viewer.layers.selection.active is result.lungs)
        return cls(viewer, dock, session, result, ct)

    @property
    def lungs(self) -> Any:
        """The mask's layer."""
        return self.result.lungs

    def inner_slices(self, count: int) -> list[int]:
        """Slices spread over the lungs, without their ends."""
        box = bounding_box(self.lungs.data > 0)
        assert box is not None
        length = box[0].stop - box[0].start
        return [int(index) for index in np.linspace(box[0].start + 0.15 * length, box[0].stop - 0.15 * length, count)]

    def show(self, index: int) -> None:
        """Go to a slice."""
        self.viewer.dims.set_current_step(0, index)
        QApplication.processEvents()


def strokes(desk: Desk) -> None:
    """Paint, and wait for each stroke until it is saved; then undo."""
    handlers, announcements, saving = watch(Strokes, "_painted"), watch(Strokes, "_written"), watch(Session, "_changed")
    lungs, corrections = desk.lungs, desk.result.corrections
    saved: list[int] = []
    desk.session.saved.connect(lambda _, indices: saved.extend(indices))
    chance = np.random.default_rng(0)
    lungs.brush_size = BRUSH_PIXELS

    def paint(index: int) -> tuple[float, float, float]:
        start, way = chance.uniform(150, 350, 2), chance.uniform(-40, 40, 2)
        # Another one than there is, so that there is something to save.
        label = (int(lungs.data[(index, *start.astype(int))]) + 1) % 3
        desk.show(index)
        saved.clear()
        began = time.perf_counter()
        with lungs.block_history():
            for part in np.linspace(0, 1, 12):
                lungs.paint((index, *(start + part * way)), label)
        ended = time.perf_counter()
        wait(lambda: index in saved)
        return within(handlers, began) + within(announcements, began), within(saving, began), time.perf_counter() - ended

    middle = desk.inner_slices(3)[1]
    paint(middle)  # the first one also reads the image, to know it again
    before = memory()
    painted = [paint(index) for index in desk.inner_slices(STROKES)]
    after = memory()
    row("brush stroke: our own handler", [times[0] for times in painted])
    row("autosave of a stroke: on the GUI thread", [times[1] for times in painted], "< 5")
    row("autosave of a stroke: from its end until it is in the journal", [times[2] for times in painted], "< 1000")
    row(f"memory of {STROKES} strokes to undo", [corrections.nbytes / 1024], unit="KiB")
    row(f"growth of the process by {STROKES} strokes", [(after - before) / 2**20], unit="MiB")
    row("undo of a stroke", [seconds(desk.result.undo) for _ in range(20)])
    row("redo of a stroke", [seconds(desk.result.redo) for _ in range(20)])


def thresholds(desk: Desk) -> None:
    """Drag the slider, and let it rest."""
    asked, making = watch(Remasker, "request"), watch(remask, "_make")
    segment = desk.dock.open("Segment")
    slider = segment.controls.threshold
    ends: list[float] = []
    segment.idle.connect(lambda _: ends.append(time.perf_counter()))
    desk.show(desk.inner_slices(3)[1])
    handled, drawn = [], []
    for move in range(MOVES):
        began = time.perf_counter()
        slider.value = 30 + abs(move % 80 - 40)
        handled.append(time.perf_counter() - began)
        QApplication.processEvents()
        drawn.append(time.perf_counter() - began)
    row("threshold, one move of the slider: the slice is changed and refreshed", handled, "< 16")
    row("threshold, one move of the slider: and drawn", drawn)
    wait(lambda: bool(ends))
    whole, computing, writing, stretches = [], [], [], []
    before = memory()
    for number in range(STEPS):
        ends.clear()
        with heartbeat() as beats:
            slider.value = 30 + abs((7 * number + 3) % 80 - 40)
            wait(lambda: bool(ends))
        began = asked[-1][0]
        whole.append(ends[0] - began)
        computing.append(making[-1][1] - making[-1][0])
        writing.append(ends[0] - making[-1][1])
        stretches.append(max(next_one - one for one, next_one in pairwise(beats) if next_one > began))
    after = memory()
    row("threshold at rest: until the whole mask is there", whole, "< 300")
    row("threshold at rest: computing, in a worker", computing)
    row("threshold at rest: writing, on the GUI thread in stretches", writing)
    row("threshold at rest: longest time in which the window cannot answer", stretches)
    row(f"memory of {STEPS} thresholds to undo", [desk.result.corrections.nbytes / 2**20], unit="MiB")
    row(f"growth of the process by {STEPS} thresholds", [(after - before) / 2**20], unit="MiB")
    row("undo of a threshold", [seconds(desk.result.undo) for _ in range(10)])


def tools(desk: Desk) -> None:
    """Every tool that the window offers, with its own settings, as functions."""
    volume = desk.ct.with_array(desk.lungs.data.copy())
    marks = seeds(volume)
    indices = desk.inner_slices(SLICES)
    for name, tool in TOOLS.items():
        for kind, values in variants(tool):
            title = f"{tool.label.lower()}{kind}"
            source = {"grow_from_seeds": marks, "fill_between": drawn(volume.array)}.get(name, volume.array)
            work = functools.partial(work_on, desk.ct, source, values)
            if "slice" in tool.scopes:
                row(f"{title}: slice", [seconds(functools.partial(carry_out, tool, work(index))) for index in indices])
            if "volume" in tool.scopes:
                whole = functools.partial(carry_out, tool, work(None))
                row(f"{title}: volume", [seconds(whole) for _ in range(VOLUMES)])
    change = carry_out(TOOLS["grow"], work_on(desk.ct, volume.array, {"mm": 2.0}, indices[0]))
    assert change is not None
    there = functools.partial(desk.result.edit_now, desk.result.document(()), change.box, change.before, change.after, "grow")
    back = functools.partial(desk.result.edit_now, desk.result.document(()), change.box, change.after, change.before, "grow")
    desk.show(indices[0])
    row("writing what a tool made of a slice", [seconds(call) for _ in range(SLICES) for call in (there, back)])
    limits = edit.Limits(low=-950, high=-300, inside_label=1)
    row(
        "intensity range and label that limit an edit: slice",
        [seconds(functools.partial(edit.allowed, limits, desk.ct.array[index], volume.array[index])) for index in indices],
    )


def variants(tool: Tool) -> list[tuple[str, dict[str, Any]]]:
    """A tool's own settings; for smoothing, with each method."""
    values = {name: parameter.value for name, parameter in tool.parameters.items()}
    return [(f" ({method})", values | {"method": method}) for method in METHODS] if "method" in values else [("", values)]


def work_on(ct: Volume, labels: Array, values: dict[str, Any], index: int | None) -> Work:
    """What a tool is given on a slice, or on the volume."""
    where = () if index is None else (index,)
    part = labels[where]
    clicked = np.flatnonzero(part == 2)
    inner = tuple(slice(size // 4, 3 * size // 4) for size in part.shape)
    return Work(
        volume=ct.with_array(labels),
        where=where,
        labels=part,
        axis=0,
        index=index,
        label=1,
        values=values,
        image=ct.array[where],
        other=np.roll(part, 5, axis=-1),
        at=tuple(int(place) for place in np.unravel_index(clicked[len(clicked) // 2], part.shape)),
        region=inner,
    )


def drawn(labels: Array) -> Array:
    """The mask on every tenth slice only."""
    sparse = np.zeros_like(labels)
    sparse[::10] = labels[::10]
    return sparse


def seeds(volume: Volume) -> Array:
    """The inner part of each lung, and a label 3 around both."""
    both = (volume.array > 0).astype(np.uint8)
    marks = np.zeros_like(both)
    for side in (1, 2):
        marks[edit.shrink(volume.array, side, 8.0, volume.spacing) == side] = side
    around = edit.grow(both, 1, 12.0, volume.spacing)
    marks[(around == 1) & (edit.grow(both, 1, 8.0, volume.spacing) == 0)] = 3
    return marks


def memory() -> int:
    """Bytes that the process holds."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def machine() -> str:
    """What this runs on."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores{load}; "
        f"Python {platform.python_version()}, napari {napari.__version__}, {sys.platform}"
    )


def measure(folder: Path | None) -> None:
    """Open the window and print the table."""
    ct, lungs = (sample_ct(), sample_lungs()) if folder is None else (read(folder / "ct.nii.gz"), read(folder / "lungs.nii.gz"))
    with tempfile.TemporaryDirectory() as workspace:
        os.environ[FOLDER_VARIABLE] = workspace
        print(f"{machine()}\n\n| what | median | worst | unit | aim | times |\n|{'---|' * 6}", flush=True)
        desk = Desk.open(enlarged(ct), enlarged(lungs))
        strokes(desk)
        thresholds(desk)
        tools(desk)
        print(f"\n{machine()}", flush=True)
        desk.viewer.close()


def main() -> None:
    """Measure in a process that ends before its display does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    bare = sys.platform.startswith("linux") and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    with virtual_display() if bare else nullcontext():
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(folder,))
        process.start()
        process.join()
    raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()

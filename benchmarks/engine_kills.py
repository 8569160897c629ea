"""Kill the engine at random moments while strokes are painted by mouse events, and count what is lost.

    python benchmarks/engine_kills.py [TIMES]

In a real window, on a virtual display where there is none: the bundled sample is segmented over and over, a stroke is painted meanwhile,
and the engine's process gets SIGKILL. Every voxel that was painted must keep its label, and the next press must work.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import Any

import napari
import numpy as np
from edit import machine, wait
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_lungseg.engine.process import shared_engine
from napari_lungseg.sample import sample_ct
from napari_lungseg.widgets.demo import SIZE, virtual_display
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.workspace import FOLDER_VARIABLE

TIMES = 30
PAINTED = 3
#: The kill comes at most so many seconds after the press.
LATEST_S = 2.0


def spot(viewer: Any, layer: Any, place: tuple[int, ...]) -> QPoint:
    """Where a voxel of the displayed slice is seen on the canvas."""
    canvas, camera = viewer.window._qt_viewer.canvas.native, viewer.scene.camera
    y, x = (np.array(layer.data_to_world(place))[1:] - np.array(camera.center[-2:])) * camera.zoom
    return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))


def stroke(viewer: Any, layer: Any, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    """Draw a line with the mouse; vispy leaves out moves that come soon after another event, so the mouse moves until it was seen."""
    canvas, left = viewer.window._qt_viewer.canvas.native, Qt.MouseButton.LeftButton
    QTest.mouseMove(canvas, spot(viewer, layer, start))
    QTest.mousePress(canvas, left, pos=spot(viewer, layer, start))
    wait(lambda: QTest.mouseMove(canvas, spot(viewer, layer, end)) is None and layer.data[end] == PAINTED)
    QTest.mouseRelease(canvas, left, pos=spot(viewer, layer, end))


def main(times: int) -> None:
    """Open the window, and print what became of each stroke."""
    chance, held, lost, told = random.Random(0), [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[FOLDER_VARIABLE] = f"{scratch}/workspace"
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window.resize(*SIZE)
        data, keywords = volume_to_layer(sample_ct())
        viewer.add_image(np.asarray(data), name="ct", contrast_limits=(-1350, 150), **keywords)
        _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        segment = dock.open("Segment")
        wait(lambda: "lung-ct" in segment.controls.model.choices)
        ends: list[str] = []
        segment.idle.connect(ends.append)
        segment.controls.run.native.click()
        wait(lambda: bool(ends))
        layer = viewer.layers["ct lungs"]
        for number in range(times):
            ends.clear()
            index = viewer.dims.current_step[0]
            row = 30 + 6 * number
            start, end = (index, row, 40 + chance.randrange(20)), (index, row, 120 + chance.randrange(60))
            viewer.layers.selection.active = layer
            layer.mode, layer.selected_label, layer.brush_size = "paint", PAINTED, 3
            segment.controls.run.native.click()
            moment = time.perf_counter() + chance.random() * LATEST_S
            stroke(viewer, layer, start, end)
            held += [start, end]
            wait(lambda moment=moment: time.perf_counter() > moment)
            process = shared_engine().process
            if process is not None:
                os.kill(process, signal.SIGKILL)
            wait(lambda: bool(ends))
            told += ends[0].startswith("The engine process ended unexpectedly (killed by signal 9")
            lost += sum(int(layer.data[place]) != PAINTED for place in held)
        ends.clear()
        segment.controls.run.native.click()
        wait(lambda: bool(ends))
        lost += sum(int(layer.data[place]) != PAINTED for place in held)
        print(machine())
        print(f"killed {times} times, said so {told} times; strokes lost: {lost}; the last press: {ends[0] or 'segmented'}")
        viewer.close()


if __name__ == "__main__":
    bare = sys.platform.startswith("linux") and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    with virtual_display() if bare else nullcontext():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else TIMES)

"""Segment, train and measure by the buttons in a window that was drawn; the program that gui/test_native_libraries.py runs.

Ends with an error where the window's process has loaded torch, whose libraries do not get along with those of OpenGL drivers.
"""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable

import napari
from napari.layers import Labels
from qtpy.QtWidgets import QApplication

QUICK = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 1, "view_px": 96}
SOON_S = 200.0


def wait(condition: Callable[[], bool], what: str) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + SOON_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited in vain: {what}")
        QApplication.processEvents()
        time.sleep(0.005)


def main(base: str) -> None:
    """Draw, segment, train, measure, and say what came of it."""
    faulthandler.enable()
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-lungseg", "chest-ct-lungs")
    known = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    viewer.screenshot(canvas_only=True, flash=False)
    _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")

    segment = dock.open("Segment")
    ends: list[str] = []
    segment.idle.connect(ends.append)
    wait(lambda: base in segment.controls.model.choices, "the models")
    wait(lambda: "cpu" in segment.controls.device.choices, "the devices")
    segment.controls.model.value = base
    image = segment.controls.image.value
    segment.controls.run.native.click()
    wait(lambda: bool(ends), "the end of segmenting")
    print(f"segmented: {ends.pop()!r}")

    measure = dock.open("Measure")
    measure.idle.connect(ends.append)
    measure.controls.run.click()
    wait(lambda: bool(ends), "the end of measuring")
    print(f"measured: {ends.pop()!r}")

    train = dock.open("Train")
    train.choose.image.value = image
    train.choose.labels.value = known
    wait(lambda: base in train.controls.base.choices, "the models")
    train.controls.base.value = base
    for name, value in QUICK.items():
        train.controls.settings.controls[name].value = value
    train.idle.connect(ends.append)
    train.controls.run.click()
    wait(lambda: bool(ends), "the end of training")
    if ends[0] or train.end is None:
        sys.exit(f"training failed: {ends[0]}")
    print(f"trained after {len(train.controls.curves.points['batch loss'][0])} steps")
    train.controls.verdict.roll_back.click()
    wait(lambda: len(ends) == 2, "the model to be rolled back")
    if "torch" in sys.modules:
        sys.exit("the window's process has loaded torch")
    viewer.close()


if __name__ == "__main__":
    main(sys.argv[1])

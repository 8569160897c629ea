"""Train by the button of the Train module in a window that was drawn; the program that gui/test_native_libraries.py runs.

torch is loaded by the plugin itself, as in a person's napari. Ends with :data:`NO_LLVM` where the OpenGL driver brings no shared LLVM,
so that nothing could meet.
"""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import napari
from qtpy.QtWidgets import QApplication

NO_LLVM = 77
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
    """Draw, train, and say what the verdict is."""
    faulthandler.enable()
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-lungseg", "chest-ct-lungs")
    viewer.screenshot(canvas_only=True, flash=False)
    if "torch" in sys.modules:
        sys.exit("torch was loaded before the window was drawn")
    from napari_lungseg.native import mapped_llvm

    if not mapped_llvm():
        viewer.close()
        sys.exit(NO_LLVM)
    if find_spec("triton") is None:
        sys.exit("triton is not installed")
    _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
    train = dock.open("Train")
    wait(lambda: base in train.controls.base.choices, "the models")
    train.controls.base.value = base
    for name, value in QUICK.items():
        train.controls.settings.controls[name].value = value
    ends: list[str] = []
    train.idle.connect(ends.append)
    train.controls.run.click()
    wait(lambda: bool(ends), "the end of training")
    if ends[0] or train.end is None:
        sys.exit(f"training failed: {ends[0]}")
    print(f"trained after {len(train.controls.curves.points['batch loss'][0])} steps")
    train.controls.verdict.roll_back.click()
    wait(lambda: len(ends) == 2, "the model to be rolled back")
    viewer.close()


if __name__ == "__main__":
    main(sys.argv[1])

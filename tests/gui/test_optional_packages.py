"""What is not among the dependencies of the package without extras is not needed to open the window, and is named where it is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Packages of the extras, by the words that a person reads in the window where they are missing; none where the window does not use them.
OPTIONAL = {"pyqtgraph": "pip install pyqtgraph", "highdicom": "pip install 'napari-lungseg[dicom-seg]'", "optuna": ""}

OPEN_ALL = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
import napari
from pathlib import Path
from napari.layers import Labels
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QLabel
viewer = napari.Viewer(show=False)
viewer.open_sample("napari-lungseg", "chest-ct-lungs")
_, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
from napari_lungseg.widgets.dock import MODULES
for name in MODULES:
    told = {label.text() for label in dock.open(name).findChildren(QLabel)}
    print(name, sorted(text for text in told if "pip install" in text))
    viewer.window.add_plugin_dock_widget("napari-lungseg", name)
if sys.argv[1] == "highdicom":
    try:
        next(layer for layer in viewer.layers if isinstance(layer, Labels)).save("lungs.dcm", plugin="napari-lungseg")
    except OSError as error:
        print(error)
QThreadPool.globalInstance().waitForDone()  # torch is being loaded
viewer.close()
"""


@pytest.mark.parametrize("package", OPTIONAL)
def test_every_module_opens_without_it(package, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, package], capture_output=True, text=True, timeout=200, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert OPTIONAL[package] in done.stdout
    if package == "pyqtgraph":
        told = [line.split()[0] for line in done.stdout.splitlines() if OPTIONAL[package] in line]
        assert told == ["Train", "Evaluate", "Measure"]


def test_outside_the_window_nothing_needs_napari_or_qt():
    code = """
import importlib, pkgutil, sys
for name in ("napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "dask", "pint", "pandas", "highdicom", "optuna"):
    sys.modules[name] = None
import napari_lungseg
for module in pkgutil.walk_packages(napari_lungseg.__path__, "napari_lungseg."):
    if module.name.split(".")[1] not in ("widgets", "__main__"):
        importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=os.environ)
    assert done.returncode == 0, done.stderr

"""What is not among the dependencies of the package without extras is not needed to open the window, and is named where it is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Packages of the extras that are missing, with the words that a person reads in the window then; it does not use optuna.
OPTIONAL = {"pyqtgraph": "pip install pyqtgraph", "highdicom optuna": "pip install 'napari-lungseg[dicom-seg]'"}

OPEN_ALL = """
import sys
for package in sys.argv[1:]:
    sys.modules[package] = None  # as if it were not installed
import napari
from pathlib import Path
from napari.layers import Labels
from qtpy.QtWidgets import QLabel
viewer = napari.Viewer(show=False)
viewer.open_sample("napari-lungseg", "chest-ct-lungs")
_, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
from napari_lungseg.widgets.dock import MODULES
for name in MODULES:
    told = {label.text() for label in dock.open(name).findChildren(QLabel)}
    print(name, sorted(text for text in told if "pip install" in text))
    viewer.window.add_plugin_dock_widget("napari-lungseg", name)
if "highdicom" in sys.argv:
    try:
        next(layer for layer in viewer.layers if isinstance(layer, Labels)).save("lungs.dcm", plugin="napari-lungseg")
    except OSError as error:
        print(error)
viewer.close()
"""


@pytest.mark.parametrize("missing", OPTIONAL)
def test_every_module_opens_without_it(missing, tmp_path):
    program = [sys.executable, "-c", OPEN_ALL, *missing.split()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert OPTIONAL[missing] in done.stdout
    if missing == "pyqtgraph":
        told = [line.split()[0] for line in done.stdout.splitlines() if OPTIONAL[missing] in line]
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

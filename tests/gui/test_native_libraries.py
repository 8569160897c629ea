"""Native libraries that meet in a window: each case in a process of its own, as a crash would end all tests."""

from __future__ import annotations

import os
import subprocess
import sys

import work_in_a_drawn_window as program

from napari_lungseg.model import FOLDER_VARIABLE as LIBRARY_VARIABLE


def test_the_window_segments_trains_and_measures_without_torch(phantom_model):
    environment = {**os.environ, LIBRARY_VARIABLE: str(phantom_model.parent), "LIBGL_ALWAYS_SOFTWARE": "1"}
    done = subprocess.run([sys.executable, program.__file__, "phantom"], capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode >= 0, f"the process was ended by signal {-done.returncode}:\n{done.stderr}"
    assert done.returncode == 0, done.stdout + done.stderr
    assert "segmented: ''" in done.stdout
    assert "measured: ''" in done.stdout
    assert "trained after 2 steps" in done.stdout

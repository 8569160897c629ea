"""Native libraries that meet in a window: each case in a process of its own, as a crash would end all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import train_in_a_drawn_window as program

from napari_lungseg.model import FOLDER_VARIABLE as LIBRARY_VARIABLE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch brings no triton")
def test_training_in_a_drawn_window_does_not_end_the_process(phantom_model):
    if find_spec("triton") is None:
        pytest.skip("there is no triton for this processor")
    environment = {**os.environ, LIBRARY_VARIABLE: str(phantom_model.parent), "LIBGL_ALWAYS_SOFTWARE": "1"}
    done = subprocess.run([sys.executable, program.__file__, "phantom"], capture_output=True, text=True, timeout=280, env=environment)
    if done.returncode == program.NO_LLVM:
        pytest.skip("the OpenGL driver is not Mesa's llvmpipe: it brings no shared LLVM")
    assert done.returncode >= 0, f"the process was ended by signal {-done.returncode}:\n{done.stderr}"
    assert done.returncode == 0, done.stderr
    assert "trained after 2 steps" in done.stdout

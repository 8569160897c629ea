"""The demonstration as the README starts it: a program of its own that leaves a picture of the window."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the window needs a screen")
def test_the_demo_saves_a_picture_of_the_segmented_sample(tmp_path):
    picture = tmp_path / "demo.png"
    program = [sys.executable, "-m", "napari_lungseg", "demo", "--screenshot", str(picture)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert str(picture) in done.stdout
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape == (768, 1366, 3)
    canvas = pixels[60:700, 340:1000]
    red, green, blue = np.moveaxis(canvas, -1, 0)
    # On either side a lung in its own colour, and not the other's.
    is_right, is_left = (green - red > 40) & (green > blue), (blue - red > 40) & (blue > green)
    half = canvas.shape[1] // 2
    for lung, side in ((is_right, slice(None, half)), (is_left, slice(half, None))):
        assert lung[:, side].sum() > 20_000
        assert lung.sum() - lung[:, side].sum() < 0.1 * lung.sum()

"""An imported ONNX network in the window: chosen, run, thresholded, and not offered to be trained on."""

from __future__ import annotations

import numpy as np
import pytest

from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import FOLDER_VARIABLE, import_model
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment

pytest.importorskip("onnx", reason="the extra onnx is not installed")
from onnx_files import window_network

from napari_lungseg.foreign.onnx_file import OnnxFacts

CT = sample_ct().crop((slice(10, 13), slice(None), slice(None)))


@pytest.fixture
def desk(open_desk, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    (tmp_path / "density.onnx").write_bytes(window_network())
    import_model(tmp_path / "density.onnx", facts=OnnxFacts(spacing_mm=1.5, window_hu=(-1100.0, 700.0), values=(-1100.0, 700.0)))
    return open_desk(CT, model="density")


def expected(percent: int) -> np.ndarray:
    return segment(CT, "density", device="cpu", mask=MaskSettings(threshold=percent / 100)).labels.array


def test_one_press_gives_the_mask_of_the_terminal_and_the_threshold_follows(desk):
    assert desk.segment() == ""
    mask = desk.viewer.layers[-1]
    np.testing.assert_array_equal(mask.data, expected(50))
    assert set(np.unique(mask.data)) == {0, 1, 2}
    desk.set_threshold(10)
    np.testing.assert_array_equal(mask.data, expected(10))
    mask.undo()
    np.testing.assert_array_equal(mask.data, expected(50))

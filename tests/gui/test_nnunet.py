"""An imported network of nnU-Net in the window: one press gives the mask of the terminal, and the threshold follows."""

from __future__ import annotations

import numpy as np
from nnunet_files import LOOKED_AT, write_export

from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import FOLDER_VARIABLE, import_model
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment


def test_one_press_gives_the_mask_of_the_terminal_and_the_threshold_follows(open_desk, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    import_model(write_export(tmp_path / "export", "2-D"), "chest")
    ct = sample_ct().crop(LOOKED_AT)
    desk = open_desk(ct, model="chest")
    assert desk.segment() == ""
    mask = desk.viewer.layers[-1]
    assert set(np.unique(mask.data)) == {0, 1, 2}
    for percent in (50, 70):
        if percent != 50:
            desk.set_threshold(percent)
        wanted = segment(ct, "chest", device="cpu", mask=MaskSettings(threshold=percent / 100)).labels.array
        np.testing.assert_array_equal(mask.data, wanted)

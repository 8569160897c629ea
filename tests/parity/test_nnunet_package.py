"""Held against nnunetv2 itself, with weights by chance; `tox -e parity-nnunet` installs it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_files import CASES, LOOKED_AT, write_export

from napari_lungseg.foreign import read_foreign
from napari_lungseg.model import FOLDER_VARIABLE, import_model
from napari_lungseg.nnunet.network import make_network
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: tox -e parity-nnunet compares with it")
PACKAGE = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_nnunet_reference.py"))


@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize("case", CASES)
def test_masks_and_probabilities_are_those_of_the_package(case, transpose, tmp_path, monkeypatch):
    if transpose != (0, 1, 2) and case != "3-D anisotropic, two folds":
        pytest.skip("tried on one case")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    folder = write_export(tmp_path / "export", case, transpose=transpose)
    ct = sample_ct().crop(LOOKED_AT)
    theirs, probabilities = PACKAGE["package_result"](folder, ct)
    ours = segment(ct, import_model(folder, "chest"), device="cpu", postprocess=False)
    different = int(np.count_nonzero(ours.labels.array != theirs))
    best = probabilities[1:].max(0)
    share = np.floor(100 * best / (best + probabilities[0]))
    far = np.abs(ours.probability.array.astype(int) - share)
    print(f"\n{case} {transpose}: {different} of {theirs.size} labels differ; percent by more than 1: {(far > 1).mean():.1e}")
    assert {1, 2} <= set(np.unique(theirs))
    assert different <= 1e-4 * theirs.size
    assert (far > 1).mean() < 1e-3


@pytest.mark.parametrize("case", CASES)
def test_the_network_gives_the_logits_of_the_package(case, tmp_path):
    folder = write_export(tmp_path / "export", case)
    card = read_foreign(folder).card
    theirs = PACKAGE["predictor"](folder)
    copies = ("all_modules", "decoder.encoder")
    own = {name: tensor for name, tensor in theirs.list_of_parameters[0].items() if not any(part in name for part in copies)}
    weights = {name: tensor.numpy() for name, tensor in own.items()}
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, *card.architecture.patch)).astype(np.float32))
    with torch.inference_mode():
        wanted, found = theirs.network.eval()(image), make_network(card.architecture, weights)(image)
    assert (wanted - found).abs().max() < 1e-5 * wanted.abs().max()

"""A model that was just trained gets a network in int8 where that is as good as the one in float32, and else stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom import chest_model

from napari_lungseg.library import INT8_FILE
from napari_lungseg.model import Model, load_model, save_model
from napari_lungseg.run_files import SAMPLES
from napari_lungseg.segmentation import segment
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.calibrate import KeptSlices, make_int8
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.samples import slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import FolderSource
from napari_lungseg.training.train import train
from napari_lungseg.training.updates import Finished, Int8Tried
from napari_lungseg.unet import UNet

pytestmark = pytest.mark.usefixtures("nncf")

#: It stays what it is.
SETTINGS = TrainSettings.fine_tuning(
    epochs=1, steps_per_epoch=1, batch_size=1, view_px=48, learning_rate=1e-12, augmentation=AugmentSettings.off(), minutes=None
)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A small model that knows lungs."""
    model = chest_model()
    card = replace(model.card, preprocessing=replace(model.card.preprocessing, spacing_mm=1.05))
    return save_model(Model(model.network, card), tmp_path_factory.mktemp("models") / "chest")


@pytest.fixture(scope="module")
def trained(nncf, chests, base, tmp_path_factory) -> tuple[Path, list]:
    """A model trained from it, and what was told meanwhile."""
    told: list = []
    folder = tmp_path_factory.mktemp("models") / "tuned"
    train(chests, folder, base=str(base), settings=SETTINGS, device="cpu", progress=told.append)
    return folder, told


def kept_slices(chests, folder: Path, **changes) -> KeptSlices:
    data, preprocessing = FolderSource(chests).data, load_model(folder).card.preprocessing
    items = {case: list(slices_of(case, *data.load(case), preprocessing)) for case in ("a1", "b")}
    return replace(KeptSlices(items["a1"], {"validation 1": items["b"]}, "2 slices"), **changes)


def test_one_that_passes_is_kept_told_and_used(chests, trained):
    folder, told = trained
    (tried,) = (update for update in told if isinstance(update, Int8Tried))
    assert tried.kept
    model = load_model(folder)
    int8 = model.card.int8
    assert f"{int8.dice['others']:.4f}" in tried.text
    assert min(int8.dice.values()) >= 0.9995
    assert "NNCF" in int8.calibration
    assert all(name.startswith("validation ") for name in int8.cases), "names of cases may be those of patients"
    assert model.read_int8() is not None
    image, _ = FolderSource(chests).data.load("d")
    assert segment(image, model, device="cpu").runtime.endswith(" int8")
    assert not (folder / SAMPLES).exists()
    assert model.card.scores["held_out"]["dice"] > 0.9, "held-out scores do not cost it"


def test_the_model_is_complete_before_it_is_tried(trained):
    _, told = trained
    kinds = [type(update) for update in told]
    assert kinds.index(Finished) < kinds.index(Int8Tried)


def test_one_that_differs_too_much_is_not_kept_and_the_figure_is_told(chests, trained, tmp_path):
    # What has learnt nothing is nowhere sure, so that rounding changes what it finds.
    torch.manual_seed(0)
    card = load_model(trained[0]).card
    config = replace(card.architecture, base_width=8, norm="group")
    folder = save_model(Model(UNet(config), replace(card, architecture=config)), tmp_path / "unsure")
    *_, tried = make_int8(folder, kept_slices(chests, folder))
    assert not tried.kept
    card = load_model(folder).card
    assert card.int8 is None
    assert "Dice against float32 0." in card.training["int8"]
    assert card.training["int8"] in tried.text
    assert not (folder / INT8_FILE).exists()
    image, _ = FolderSource(chests).data.load("d")
    result = segment(image, folder, device="cpu")
    assert result.runtime.endswith(" float32")
    assert not any("int8" in notice for notice in result.notices)


@pytest.mark.parametrize("others", ["none", "nothing found"])
def test_without_anything_to_compare_by_float32_stays(chests, trained, tmp_path, others):
    folder = save_model(load_model(trained[0]), tmp_path / "other")
    kept = kept_slices(chests, folder)
    tissue = [replace(item, image=np.full_like(item.image, 40)) for item in kept.learnt]
    *_, tried = make_int8(folder, replace(kept, others={} if others == "none" else {"validation 1": tissue}))
    assert not tried.kept
    assert "put aside" in tried.text
    assert load_model(folder).card.int8 is None


def test_a_model_that_was_removed_or_changed_meanwhile_is_left_alone(chests, base, trained, tmp_path):
    folder = save_model(load_model(trained[0]), tmp_path / "other")
    making = make_int8(folder, kept_slices(chests, folder))
    next(making)
    next(making)
    save_model(load_model(base), folder)
    assert not finish_with_last(making).kept
    assert load_model(folder).card.int8 is None
    assert not (folder / INT8_FILE).exists()


def finish_with_last(steps) -> Int8Tried:
    *_, last = steps
    return last


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_in_the_middle_the_model_is_there_in_float32(chests, base, tmp_path):
    folder = tmp_path / "killed"
    list(prepare(FolderSource(chests), folder, base=str(base), settings=SETTINGS))
    code = f"""
from napari_lungseg.training.calibrate import run_with_int8
for update in run_with_int8({str(folder)!r}, device='cpu'):
    print(getattr(update, 'text', ''), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert any("int8" in line for line in process.stdout)
        process.kill()
    assert load_model(folder).card.int8 is None
    assert not (folder / SAMPLES).exists(), "images do not stay with the model"
    image, _ = FolderSource(chests).data.load("d")
    result = segment(image, folder, device="cpu")
    assert result.runtime.endswith(" float32")
    assert not any("int8" in notice for notice in result.notices)


def test_without_nncf_nothing_happens(chests, base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    told: list = []
    train(chests, tmp_path / "plain", base=str(base), settings=SETTINGS, device="cpu", progress=told.append)
    assert isinstance(told[-1], Finished)


def test_a_model_trained_on_from_it_has_its_own_or_none(chests, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    again = train(chests, tmp_path / "again", base=str(trained[0]), settings=SETTINGS, device="cpu")
    assert again.card.int8 is None
    assert not (tmp_path / "again" / INT8_FILE).exists()
    # Nor does one that is saved over it keep the old one.
    shadow = save_model(load_model(trained[0]), tmp_path / "shadow")
    (shadow / INT8_FILE).write_bytes((trained[0] / INT8_FILE).read_bytes())
    save_model(again, shadow)
    assert not (shadow / INT8_FILE).exists()

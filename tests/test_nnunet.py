"""Exports of nnU-Net v2 find what the package finds; what cannot be run exactly as it does is refused, and no code in them is run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_files import CASES, LOOKED_AT, write_export

from napari_lungseg.card import read_card
from napari_lungseg.engine.control import CancelledError, Control
from napari_lungseg.engine.segmenting import predict_slices
from napari_lungseg.errors import InputError
from napari_lungseg.model import FOLDER_VARIABLE, import_model, load_model
from napari_lungseg.predict import PredictSettings, predict
from napari_lungseg.predicted import PredictedSlice, Working
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume

#: Made by nnunetv2 2.8.1 (tools/make_nnunet_reference.py).
REFERENCE = np.load(Path(__file__).parent / "data" / "nnunet.npz")
CT = sample_ct().crop(LOOKED_AT)


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    return tmp_path / "library"


def found(volume: Volume, folder: Path) -> np.ndarray:
    return segment(volume, import_model(folder, folder.name), device="cpu", postprocess=False).labels.array


@pytest.mark.parametrize("case", CASES)
def test_the_mask_is_that_of_the_package(case, tmp_path):
    ours, theirs = found(CT, write_export(tmp_path / "export", case)), REFERENCE[case]
    assert {1, 2} <= set(np.unique(theirs))
    assert np.count_nonzero(ours != theirs) <= 1e-4 * theirs.size


def test_axes_in_another_order_are_put_in_that_of_the_plans(tmp_path):
    ours, theirs = found(CT, write_export(tmp_path / "export", "3-D anisotropic, two folds", transpose=(1, 0, 2))), REFERENCE["transposed"]
    assert np.count_nonzero(ours != theirs) <= 1e-4 * theirs.size
    assert np.count_nonzero(theirs != REFERENCE["3-D anisotropic, two folds"])


def test_a_network_that_wants_ras_finds_the_same_however_the_image_is_stored(tmp_path):
    folder = import_model(write_export(tmp_path / "export", "2-D", reader="NibabelIOWithReorient"), "ras")
    turned, orientation = CT.reorient()
    back = np.diag([-1.0, -1.0, 1.0, 1.0])
    back[:2, 3] = CT.shape[0] - 1, CT.shape[1] - 1
    flipped = Volume(CT.array[::-1, ::-1], CT.affine @ back, "HU")
    one, other, upright = (segment(image, folder, device="cpu", postprocess=False).labels.array for image in (CT, flipped, turned))
    np.testing.assert_array_equal(one, other[::-1, ::-1])
    np.testing.assert_array_equal(one, orientation.restore(upright))
    stored = found(Volume(np.ascontiguousarray(turned.array[:, ::-1, ::-1]), turned.affine, "HU"), write_export(tmp_path / "stored", "2-D"))
    np.testing.assert_array_equal(upright, stored[:, ::-1, ::-1])


def test_a_zip_file_a_folder_above_and_one_slice_are_read_too(tmp_path):
    folder = write_export(tmp_path / "data" / "nnUNetTrainer__nnUNetPlans__2d", "2-D")
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, Path("Dataset777_Chest") / folder.name / file.relative_to(folder))
    cards = [read_card(import_model(path, name) / "card.json") for path, name in ((tmp_path / "model.zip", "a"), (folder.parent, "b"))]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert (cards[0].classes, cards[0].labels, cards[0].sides) == (("right", "left"), (1, 2), False)
    assert "10.1038/s41592-020-01008-z" in cards[0].licence
    lone = Volume(CT.array[2], CT.affine, "HU")
    assert segment(lone, "a", device="cpu").labels.shape == lone.shape


def test_slices_come_in_the_order_that_is_asked_for_once_all_is_seen(tmp_path):
    model = load_model(import_model(write_export(tmp_path / "export", "2-D"), "m"))
    steps = list(predict(CT, model, PredictSettings(device="cpu", first=3, start=1, stop=5)))
    slices = [step for step in steps if isinstance(step, PredictedSlice)]
    windows = [step for step in steps if isinstance(step, Working)]
    assert [step.index for step in slices] == [3, 4, 2, 1]
    assert [(step.done, step.total) for step in slices] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step.done for step in windows] == list(range(1, windows[-1].total + 1))
    assert "nnU-Net" in slices[0].runtime


def test_a_press_that_is_taken_back_ends_between_windows(tmp_path):
    folder = import_model(write_export(tmp_path / "export", "2-D"), "m")
    control = Control(1, lambda message: None)
    steps = predict_slices(control, CT, folder, "cpu", None, None, None, None)
    next(steps)
    control.cancel()
    with pytest.raises(CancelledError):
        next(steps)


def change(folder: Path, file: str, *keys: object, value: object) -> None:
    """Change one value of plans.json or dataset.json."""
    told = json.loads((folder / file).read_text())
    *way, last = keys
    part = told
    for key in way:
        part = part[key]
    part[last] = value
    (folder / file).write_text(json.dumps(told))


def recheck(folder: Path, **changes: object) -> None:
    """Change values of the checkpoint."""
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | changes, file)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


ARCHITECTURE = ("plans.json", "configurations", "2d", "architecture")
DAMAGE = {
    "another trainer": (lambda f: recheck(f, trainer_name="nnUNetTrainerMedNeXt"), "its trainer nnUNetTrainerMedNeXt is not known"),
    "code": (lambda f: recheck(f, logging=Bomb()), "holds more than weights, which is not read for safety"),
    "code alone": (lambda f: (f / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps(Bomb())), "not read for safety"),
    "no weights": (lambda f: recheck(f, network_weights={}), "no network_weights"),
    "other weights": (lambda f: recheck(f, network_weights={"x": torch.zeros(1)}), "do not fit its plans"),
    "class of code": (lambda f: change(f, *ARCHITECTURE, "network_class_name", value="os.system"), "its network system is not known"),
    "layer of code": (lambda f: change(f, *ARCHITECTURE, "arch_kwargs", "nonlin", value="os.abort"), "its network has nonlin os.abort"),
    "another norm": (lambda f: change(f, *ARCHITECTURE, "arch_kwargs", "norm_op", value="torch.nn.BatchNorm2d"), "its network has norm_op"),
    "an argument": (
        lambda f: change(f, *ARCHITECTURE, "arch_kwargs", "squeeze_excitation", value=True),
        "its network has squeeze_excitation",
    ),
    "too wide": (lambda f: change(f, *ARCHITECTURE, "arch_kwargs", "features_per_stage", value=[10**9, 1, 1]), "do not fit together"),
    "a cascade": (lambda f: change(f, "plans.json", "configurations", "2d", "previous_stage", value="3d_lowres"), "a cascade"),
    "channels": (lambda f: change(f, "dataset.json", "channel_names", value={"0": "CT", "1": "PET"}), "reads 2 channels"),
    "regions": (lambda f: change(f, "dataset.json", "labels", value={"background": 0, "both": [1, 2], "left": 2}), "regions that overlap"),
    "gaps": (lambda f: change(f, "dataset.json", "labels", value={"background": 0, "a": 1, "b": 7}), r"its labels are \[1, 7\]"),
    "another reader": (lambda f: change(f, "plans.json", "image_reader_writer", value="Tiff3DIO"), "the reader Tiff3DIO"),
    "rgb": (
        lambda f: change(f, "plans.json", "configurations", "2d", "normalization_schemes", value=["RGBTo01Normalization"]),
        "the normalisation",
    ),
    "circle": (lambda f: change(f, "plans.json", "configurations", "2d", "inherits_from", value="2d"), "inherit from each other"),
    "no plans": (lambda f: (f / "plans.json").write_text("[]"), "plans.json is no object"),
    "no JSON": (lambda f: (f / "plans.json").write_text("{"), "does not say what exports"),
    "nothing": (lambda f: (f / "plans.json").write_text("{}"), "does not say what exports"),
    "no fold": (lambda f: (f / "fold_0" / "checkpoint_final.pth").unlink(), "has no fold"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_run_exactly_is_refused_in_one_sentence(damage, tmp_path, library):
    folder = write_export(tmp_path / "export", "2-D")
    spoil, why = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(InputError, match=why) as caught:
        import_model(folder)
    assert "\n" not in str(caught.value)
    assert "export" in str(caught.value)
    assert not library.exists()


def test_weights_that_do_not_fit_their_card_are_told_in_one_sentence(tmp_path):
    folder = import_model(write_export(tmp_path / "export", "2-D"), "m")
    change(folder, "card.json", "architecture", "features", value=[8, 16, 24])
    with pytest.raises(InputError, match=r"do not fit its card \("):
        segment(CT, folder, device="cpu")


def test_it_can_be_neither_trained_nor_exported_and_wants_to_know_how_large_pixels_are(tmp_path):
    model = load_model(import_model(write_export(tmp_path / "export", "2-D"), "m"))
    with pytest.raises(InputError, match="m is of another program: it can be run, but neither trained nor exported"):
        _ = model.network
    with pytest.raises(InputError, match="m needs to know how large pixels are"):
        segment(Volume(CT.array, np.eye(4), "HU", spacing_known=False), model, device="cpu")

"""The network in int8 runs in place of the weights where it is sound, and never where it would give another mask."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from phantom import chest, chest_model, dice

from napari_lungseg.card import read_card
from napari_lungseg.int8 import parse_int8
from napari_lungseg.library import FOLDER_VARIABLE, INT8_FILE
from napari_lungseg.model import Model, bundled_folder, import_model, load_model, remove_model, save_model
from napari_lungseg.openvino_runtime import adds_int8_exactly
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import Segmentation, segment

pytestmark = pytest.mark.skipif(not adds_int8_exactly(), reason="this processor cannot add in int8")

CT = sample_ct().crop((slice(8, 12), slice(None), slice(None)))


@pytest.fixture(scope="module")
def in_float32() -> Segmentation:
    model = load_model("lung-ct")
    model.card = replace(model.card, int8=None)
    return segment(CT, model, device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_folder("lung-ct"), tmp_path / "lung-ct", ignore=shutil.ignore_patterns("cases")))


def rewrite(folder: Path, **arrays: np.ndarray) -> None:
    """Change arrays of the int8 file, with a card that names the new one."""
    path = folder / INT8_FILE
    path.write_bytes(safetensors.numpy.save({**safetensors.numpy.load_file(path), **arrays}))
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["int8"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")


def test_the_bundled_network_in_int8_gives_nearly_the_mask_of_float32(in_float32):
    result = segment(CT, "lung-ct", device="cpu")
    assert result.runtime.endswith(" int8")
    assert in_float32.runtime.endswith(" float32")
    assert dice(result.labels.array > 0, in_float32.labels.array > 0) > 0.999
    assert result.notices == ()


def test_its_card_says_that_it_passed():
    int8 = read_card(bundled_folder("lung-ct") / "card.json").int8
    assert min(int8.dice.values()) >= 0.9995
    assert next(iter(int8.cases.values())) == min(value for value in int8.cases.values() if value is not None)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_or_missing_file_leaves_the_mask_of_float32_and_is_told(folder, damage, in_float32):
    damage(folder / INT8_FILE)
    result = segment(CT, folder, device="cpu")
    assert np.array_equal(result.labels.array, in_float32.labels.array)
    assert result.runtime == in_float32.runtime
    (notice,) = result.notices
    assert INT8_FILE in notice
    assert "float32" in notice


@pytest.mark.parametrize(
    "arrays",
    [
        {"head.bias": np.zeros(7, np.float32)},
        {"middle.3.bias": np.full(256, np.nan, np.float32)},
        {"middle.3.scale": np.ones((256, 2, 1, 1), np.float32)},
        {"middle.3.weight": np.zeros((256, 256, 3, 3), np.int32)},
        {"surprise": np.zeros(2, np.float32)},
        {"activation:middle.2:down.0.3": np.array([0, 1], np.float32)},
        {"activation:nothing:middle.3": np.array([0, 1], np.float32)},
        {"activation:down.0.2:down.0.3": np.array([1, 1], np.float32)},
    ],
    ids=lambda arrays: next(iter(arrays)),
)
def test_a_network_that_does_not_fit_is_not_used(folder, arrays, in_float32):
    rewrite(folder, **arrays)
    result = segment(CT, folder, device="cpu")
    assert np.array_equal(result.labels.array, in_float32.labels.array)
    assert "float32" in result.notices[0]


def test_weights_that_were_changed_do_not_run_as_they_were():
    model = load_model("lung-ct")
    assert model.read_int8() is not None
    model.network.head.bias.data[:] = -50.0
    assert model.read_int8() is None
    assert not segment(CT, model, device="cpu", postprocess=False).labels.array.any()
    assert Model(load_model("lung-ct").network, model.card).read_int8() is None


def test_a_saved_model_has_no_int8_of_the_one_it_came_from(tmp_path):
    saved = save_model(load_model("lung-ct"), tmp_path / "saved")
    assert read_card(saved / "card.json").int8 is None


def test_importing_and_removing_a_model_takes_its_int8_along(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    imported = import_model(folder, "mine")
    assert load_model("mine").read_int8() is not None
    remove_model("mine")
    assert not imported.exists() or not list(imported.iterdir())


def test_a_processor_whose_sums_overflow_runs_float32(in_float32):
    # Without VNNI; other processors than x86 do not know the variable.
    code = """
import json
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
result = segment(sample_ct().crop((slice(8, 12), slice(None), slice(None))), device="cpu")
print(json.dumps([result.runtime, result.labels.array.tobytes().hex()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, timeout=200
    )
    assert done.returncode == 0, done.stderr
    _, array = json.loads(done.stdout)
    found = np.frombuffer(bytes.fromhex(array), np.uint8).reshape(CT.shape)
    assert dice(found > 0, in_float32.labels.array > 0) > 0.999


@pytest.mark.usefixtures("nncf")
def test_nncf_rounds_a_network_that_gives_the_same_mask():
    from napari_lungseg.training.quantise import compare, facts, network_image, passes, quantise
    from napari_lungseg.training.samples import slices_of
    from napari_lungseg.training.updates import finish

    model = chest_model()
    volume, lungs = chest(slices=5)
    items = slices_of("chest", volume, volume.with_array(lungs.astype(np.uint8)), model.card.preprocessing)
    images = [network_image(item, model.card) for item in items]
    network = quantise(model, images)
    counts = finish(compare(model, network, [("calibration", images), ("none", [])]))
    int8, data = facts(network, "A phantom.", counts.pop("calibration"), counts)
    assert any(array.dtype == np.int8 for array in network.weights.values())
    assert passes(int8)
    assert int8.cases == {"none": None}
    read = parse_int8(data, model.card.architecture, "here")
    assert set(read.activations) == set(network.activations)
    assert finish(compare(model, read, [("again", images)])) == finish(compare(model, network, [("again", images)]))

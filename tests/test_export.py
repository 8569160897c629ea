"""An exported file finds what the model finds, from HU on, in the program that it is made for; or it is not written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import typing
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from lungmask_files import write_weights
from phantom import dice

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card, Int8, read_card
from napari_lungseg.cli import main
from napari_lungseg.cli.export import export as command
from napari_lungseg.errors import InputError
from napari_lungseg.export.check import expected
from napari_lungseg.export.write import Format, Precision, export_model
from napari_lungseg.foreign.lungmask_weights import read_lungmask
from napari_lungseg.formats import read, write
from napari_lungseg.model import Model, load_model, save_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.unet import UNet

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")

HOWTO = Path(__file__).parents[1] / "docs" / "howto" / "export.md"


def random_model(config: UNetConfig, convention: str = "lungseg") -> Model:
    """A network with weights by chance, large enough that probabilities differ from pixel to pixel."""
    torch.manual_seed(3)
    network = UNet(config).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    names = tuple(f"class {number}" for number in range(1, config.classes + 1))
    card = Card("by-chance", "For a test.", config, Preprocessing(3.0, (-1000.0, 400.0)), names, tuple(range(1, config.classes + 1)), False)
    return Model(network, card)


def lungmask_model(tmp_path: Path, classes: int) -> Model:
    found = read_lungmask(write_weights(tmp_path / "weights.pth", classes), "like-lungmask")
    return Model.of_weights(found.weights, found.card, tmp_path)


@pytest.fixture(scope="module")
def lung_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model as an ONNX file, to be looked at."""
    file = tmp_path_factory.mktemp("onnx") / "lung.onnx"
    export_model("lung-ct", file)
    return file


@pytest.fixture(scope="module")
def lung_package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files in a package of the bundled model."""
    file = tmp_path_factory.mktemp("bioimageio") / "lung.zip"
    export_model("lung-ct", file)
    return files_of(file)


def files_of(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


KINDS = {
    "article's layers": UNetConfig(base_width=4, depth=2, norm="batch"),
    "three classes, neighbours": UNetConfig(classes=3, base_width=8, depth=2, norm="group", context_slices=1, patch=2),
    "instance norm": UNetConfig(classes=2, base_width=4, depth=1, norm="instance"),
}


@pytest.mark.parametrize("form", ["onnx", "openvino", "torchscript"])
@pytest.mark.parametrize("kind", [*KINDS, "lungmask, lobes"])
def test_every_kind_of_network_gives_its_probabilities_in_other_programs(kind, form, tmp_path):
    model = lungmask_model(tmp_path, 6) if kind not in KINDS else random_model(KINDS[kind])
    done = export_model(model, tmp_path / f"model{'.xml' if form == 'openvino' else ''}", form)
    assert done.agreement.difference < 1e-4
    assert done.agreement.dice > 0.9999


def test_onnx_reads_hu_of_any_size_and_number_and_says_how(lung_onnx):
    model = load_model("lung-ct")
    session = onnxruntime.InferenceSession(lung_onnx, providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(float)", ["batch", 1, "rows", "columns"])
    assert (found.name, found.shape) == ("probability", ["batch", 1, "rows", "columns"])
    for shape in ((1, 1, 5, 301), (3, 1, 70, 33)):
        image = np.random.default_rng(0).uniform(-3000, 3000, shape).astype(np.float32)
        np.testing.assert_allclose(session.run(None, {"image": image})[0], expected(model, image), atol=1e-4)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["napari-lungseg"])
    assert (facts["spacing_mm"], facts["window_hu"], facts["classes"]) == (0.75, [-1024.0, 600.0], ["lung"])
    assert facts["licence"] == model.card.licence
    assert facts["weights_sha256"] == model.card.weights_sha256


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.55), ("int8", 0.3)])
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_half_floats_and_int8_take_less_room_and_find_nearly_the_same(form, precision, share, tmp_path):
    model = load_model("lung-ct")
    done = export_model(model, tmp_path / "lung.xml", form, precision)
    assert done.bytes < share * 4 * sum(array.size for array in model.weights.values())
    assert done.agreement.dice > (0.998 if precision == "int8" else 0.9999)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.zip", "triton"])
def test_a_file_that_differs_from_the_model_is_not_written(name, tmp_path):
    model = random_model(KINDS["three classes, neighbours"])
    # Its file for int8 holds float32, as it may, and another head.
    other = safetensors.numpy.save({**model.weights, "head.weight": -model.weights["head.weight"]})
    folder = save_model(model, tmp_path / "by-chance")
    (folder / "int8.safetensors").write_bytes(other)
    int8 = Int8(hashlib.sha256(other).hexdigest(), "none", {"none": 1.0}, {"none": 1.0})
    (folder / "card.json").write_text(replace(read_card(folder / "card.json"), int8=int8).to_json(), encoding="utf-8")
    target = tmp_path / "out" / name
    target.parent.mkdir()
    if target.suffix:
        target.write_text("older")
    with pytest.raises(InputError, match=r"by-chance cannot be exported as \w+ in int8: the file does not find .*nothing was written"):
        export_model(folder, target, None if target.suffix else "triton", "int8")
    assert [file.name for file in target.parent.iterdir()] == ([name] if target.suffix else [])
    assert not target.suffix or target.read_text() == "older"


def test_a_package_for_bioimageio_has_what_its_format_asks_for(lung_package):
    files = lung_package.copy()
    description = json.loads(files.pop("rdf.yaml"))
    assert set(files) == {"model.onnx", "input.npy", "output.npy", "cover.png", "README.md"}
    assert description["license"] == "BSD-3-Clause"
    dois = {cite["doi"] for cite in description["cite"]}
    assert {"10.1007/978-3-319-24574-4_28", "10.7937/k9/tcia.2015.lo9ql9sx"} <= dois
    assert load_model("lung-ct").card.licence in files["README.md"].decode()
    session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    image, found = (np.load(io.BytesIO(files[f"{name}.npy"])) for name in ("input", "output"))
    np.testing.assert_allclose(session.run(None, {"image": image})[0], found, atol=1e-5)
    assert (found > 0.5).any()
    for part in (description["inputs"][0]["test_tensor"], description["weights"]["onnx"]):
        assert hashlib.sha256(files[part["source"]]).hexdigest() == part["sha256"]


def test_the_bundled_model_names_its_authors_and_another_those_that_are_given(lung_package, tmp_path):
    assert json.loads(lung_package["rdf.yaml"])["authors"] == [{"name": "napari-lungseg developers"}]
    for given in ([], ["A. Author"]):
        export_model(random_model(KINDS["article's layers"]), tmp_path / "other.zip", authors=given)
        assert json.loads(files_of(tmp_path / "other.zip")["rdf.yaml"])["authors"] == [{"name": name} for name in given]


def test_a_model_repository_of_triton_has_the_graph_and_its_shapes(tmp_path):
    model = random_model(KINDS["article's layers"])
    done = export_model(model, tmp_path / "models", "triton")
    assert done.files[0] == tmp_path / "models" / "by-chance"
    assert {file.relative_to(done.files[0]).as_posix() for file in done.files[1:]} == {"config.pbtxt", "1/model.onnx"}
    session = onnxruntime.InferenceSession(done.files[0] / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    config = (done.files[0] / "config.pbtxt").read_text(encoding="utf-8")
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        assert f'name: "{tensor.name}"\n    data_type: TYPE_FP32\n    dims: [ {tensor.shape[1]}, -1, -1 ]' in config
    with pytest.raises(InputError, match="is there already"):
        export_model(model, tmp_path / "models", "triton")
    model.card = replace(model.card, name="another")
    export_model(model, tmp_path / "models", "triton")
    assert sorted(file.name for file in (tmp_path / "models").iterdir()) == ["another", "by-chance"]


@pytest.mark.parametrize(
    ("model", "name", "form", "precision", "why"),
    [
        ("lung-ct", "lung.bin", None, "float32", "does not tell the format"),
        ("lung-ct", "lung.bin", "openvino", "float32", "ends in .xml"),
        ("lung-ct", "lung.pt", None, "int8", "TorchScript is written in float32 only"),
        ("lung-xray", "lung.onnx", None, "int8", "lung-xray has no network in int8"),
        ("lung-ct", "nowhere/lung.onnx", None, "float32", "the folder .* does not exist"),
        ("none such", "lung.onnx", None, "float32", "There is no model"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_sentence(model, name, form, precision, why, tmp_path):
    with pytest.raises(InputError, match=why):
        export_model(model, tmp_path / name, form, precision)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("missing", "name"), [("onnx", "lung.onnx"), ("onnxruntime", "lung.zip"), ("openvino", "lung.xml")])
def test_a_missing_package_is_named_in_the_terminal(missing, name, tmp_path):
    call = [sys.executable, "-m", "napari_lungseg", "export", "lung-ct", "-o", str(tmp_path / name)]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"HIDDEN_MODULES": missing}, timeout=200)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the package {missing} is not installed; install napari-lungseg[export]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_exports_and_tells_how_near_it_is(tmp_path, capsys):
    folder = save_model(random_model(KINDS["article's layers"]), tmp_path / "by-chance")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder), "-o", str(tmp_path / "lung.onnx"), "--format", "onnx", "--precision", "float16"])
    assert ended.value.code == 0
    assert re.search(r"lung\.onnx: \d\.\d MiB; on 8 slices of the sample .*Dice 1\.0000", capsys.readouterr().out)


def test_the_terminal_offers_the_formats_and_precisions_that_there_are():
    offered = typing.get_type_hints(command, include_extras=True)
    shown = {value for name in ("format", "precision") for value in re.findall(r"'(\w+)'", str(offered[name]).partition("OptionInfo")[0])}
    assert shown == {*typing.get_args(Format), *typing.get_args(Precision)}


def test_the_example_for_onnx_runtime_finds_what_segment_finds(lung_onnx, tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```$", HOWTO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 20
    shutil.copy(lung_onnx, tmp_path)
    ct = sample_ct().crop((slice(11, 15), slice(None), slice(None)))
    write(ct, tmp_path / "ct.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(HOWTO), "exec"), {})  # as a reader runs it
    ours = segment(ct, "lung-ct", device="cpu", postprocess=False).labels.array > 0
    assert dice(read(tmp_path / "lungs.nii.gz").array > 0, ours) > 0.995

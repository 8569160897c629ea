"""ONNX networks of others, alone or in packages, find here what they find elsewhere; what cannot be done exactly is refused."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom import chest, chest_model, dice

from napari_lungseg.card import read_card
from napari_lungseg.cli import main
from napari_lungseg.errors import InputError
from napari_lungseg.export.write import export_model
from napari_lungseg.foreign.onnx_file import OnnxFacts
from napari_lungseg.model import FOLDER_VARIABLE, Model, import_model, load_model, remove_model
from napari_lungseg.runtimes import Probabilities, run
from napari_lungseg.segmentation import segment
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.sources import CasesSource

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
yaml = pytest.importorskip("yaml", reason="the extra onnx is not installed")

from onnx_files import AIR_ABOVE, AIR_BELOW, window_network  # noqa: E402

WINDOW = (-1100.0, 700.0)
#: What a network reads of HU, and as what the ends of the window come out.
SCALES = {"HU": (1.0, 0.0), "0 to 1": (1 / 1800, 1100 / 1800), "mean and deviation": (1 / 350, 600 / 350)}


def ends(scale: str) -> tuple[float, float]:
    slope, start = SCALES[scale]
    return (WINDOW[0] * slope + start, WINDOW[1] * slope + start)


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    return tmp_path / "library"


@pytest.fixture
def phantom():
    """A chest with the mask that the networks find in it."""
    volume, _ = chest(slices=3)
    return volume, (volume.array > AIR_BELOW) & (volume.array < AIR_ABOVE)


def imported(tmp_path: Path, data: bytes, **facts) -> Model:
    (tmp_path / "window.onnx").write_bytes(data)
    given = {"window_hu": WINDOW, "values": ends("HU"), "spacing_mm": 2.0} | facts
    return load_model(import_model(tmp_path / "window.onnx", facts=OnnxFacts(**given)))


def found(volume, model: Model) -> np.ndarray:
    return segment(volume, model, device="cpu", postprocess=False).labels.array > 0


@pytest.mark.parametrize("scale", SCALES)
def test_a_network_reads_the_numbers_that_it_was_made_for(scale, phantom, tmp_path):
    volume, wanted = phantom
    slope, start = SCALES[scale]
    model = imported(tmp_path, window_network(slope=slope, start=start), values=ends(scale), spacing_mm=volume.spacing[-1])
    result = segment(volume, model, device="cpu", postprocess=False)
    assert dice(result.labels.array > 0, wanted) > 0.99
    assert result.runtime.endswith(" ONNX")


@pytest.mark.parametrize(
    ("network", "facts"),
    [
        ({"end": ""}, {"activation": "sigmoid"}),
        ({"end": "Softmax", "background": True}, {}),
        ({"end": "", "background": True}, {"activation": "softmax"}),
        ({"stride": 48}, {"stride": 48}),
    ],
)
def test_logits_background_and_strides_are_taken_into_account(network, facts, phantom, tmp_path):
    volume, wanted = phantom
    model = imported(tmp_path, window_network(**network), spacing_mm=volume.spacing[-1], **facts)
    assert dice(found(volume, model), wanted) > 0.98


def test_a_network_of_one_size_reads_whole_slices_stretched_to_it(phantom, tmp_path):
    volume, wanted = phantom
    model = imported(tmp_path, window_network(size=(2 * volume.shape[1], 3 * volume.shape[2])), spacing_mm=None)
    assert dice(found(volume, model), wanted) > 0.95
    assert model.card.preprocessing.size_px == (2 * volume.shape[1], 3 * volume.shape[2])


@pytest.mark.parametrize("name", ["lung.onnx", "lung.zip"])
def test_what_was_exported_here_comes_back_without_a_word(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    model, (ct, _) = Model(chest_model().network, replace(chest_model().card, licence="CC0-1.0")), chest(slices=3)
    export_model(model, tmp_path / name)
    folder, own = import_model(tmp_path / name, "back"), model.card
    card = read_card(folder / "card.json")
    kept = ("description", "classes", "labels", "sides", "licence")
    assert [getattr(card, part) for part in kept] == [getattr(own, part) for part in kept]
    assert (card.preprocessing, card.training["imported_from"]) == (own.preprocessing, name)
    back, first = (segment(ct, either, device="cpu") for either in ("back", model))
    assert set(np.unique(first.labels.array)) == {0, 1, 2}
    for label in (1, 2):
        assert dice(back.labels.array == label, first.labels.array == label) > 0.998


def external(data: bytes) -> bytes:
    """The same network with one number in another file."""
    model = onnx.load_model_from_string(data)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../secret")
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    return model.SerializeToString()


def hidden_external(data: bytes) -> bytes:
    """The same in a constant of a graph inside a node."""
    model = onnx.load_model_from_string(data)
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "inner")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    constant = onnx.helper.make_node("Constant", [], ["value"], value=tensor)
    branch = onnx.helper.make_graph([constant], "branch", [], [onnx.helper.make_tensor_value_info("value", 1, [3])])
    true = onnx.helper.make_node("Constant", [], ["true"], value=onnx.numpy_helper.from_array(np.array(True)))
    model.graph.node.extend([true, onnx.helper.make_node("If", ["true"], ["unused"], then_branch=branch, else_branch=branch)])
    return model.SerializeToString()


NETWORK = window_network()


@pytest.mark.parametrize(
    ("data", "facts", "why"),
    [
        (NETWORK, {"window_hu": None, "values": None, "spacing_mm": None}, r"give --window, --values, --spacing"),
        (NETWORK, {"labels": {1: "a", 3: "b", 4: "c"}}, "1 channels, which are neither the 3 labels"),
        (NETWORK, {"labels": {300: "a"}}, "1 to 254"),
        (NETWORK, {"window_hu": (5.0, 1.0)}, "from low to high"),
        (NETWORK, {"values": (1.0, 1.0)}, "two different numbers"),
        (NETWORK, {"values": (float("nan"), 1.0)}, "two different numbers"),
        (NETWORK, {"stride": 100_000}, "stride"),
        (NETWORK, {"spacing_mm": 1e-9}, "pixel size"),
        (NETWORK, {"activation": "softmax"}, "cannot be used with softmax"),
        (window_network(size=(64, 64)), {}, "leave out --spacing"),
        (window_network(end=""), {}, "gives no probabilities: .* give --activation"),
        (window_network(stride=48), {}, "--stride"),
        (window_network(channels=3), {}, "only networks that take one slice of one channel"),
        (window_network(rank=5), {}, r"only networks of slices \(N, C, H, W\)"),
        (external(NETWORK), {}, "keeps weights .* in another file, which is not read"),
        (hidden_external(NETWORK), {}, "keeps weights .* in another file, which is not read"),
        (NETWORK[:200], {}, "damaged, or no ONNX file"),
        (b"", {}, "damaged, or no ONNX file"),
    ],
)
def test_what_cannot_be_used_exactly_is_refused_in_one_sentence(data, facts, why, tmp_path, library):
    with pytest.raises(InputError, match=why) as caught:
        imported(tmp_path, data, **facts)
    assert "\n" not in str(caught.value)
    assert "window.onnx" in str(caught.value)
    assert not library.exists() or list(library.iterdir()) == []


def test_several_classes_that_may_overlap_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be used with sigmoid"):
        imported(tmp_path, window_network(end="", background=True), activation="sigmoid", labels={1: "a", 2: "b"})


def test_the_terminal_imports_shows_uses_and_removes_one_and_exports_none(tmp_path, capsys, phantom):
    (tmp_path / "window.onnx").write_bytes(NETWORK)
    options = ["--label", "4=air space", "--spacing", "2", "--window", "-1100", "700", "--values", "-1100", "700", "--licence", "MIT"]
    calls = {
        ("models", "import", str(tmp_path / "window.onnx"), "--name", "mine", *options): (0, "Licence: MIT"),
        ("models", "list"): (0, "mine  (user)"),
        ("models", "show", "mine"): (0, '"convention": "onnx"'),
        ("export", "mine", "-o", str(tmp_path / "again.onnx")): (2, "mine is of another program: it can be run, but neither"),
        ("models", "import", str(tmp_path / "window.onnx"), "--name", "lung-ct", *options): (2, "already"),
    }
    for call, (status, text) in calls.items():
        with pytest.raises(SystemExit) as ended:
            main(list(call))
        printed = capsys.readouterr()
        assert (ended.value.code, text in printed.out + printed.err) == (status, True), printed
        assert status == 0 or printed.err.count("\n") == 1
    assert segment(phantom[0], "mine", device="cpu", postprocess=False).names == {4: "air space"}
    remove_model("mine")
    with pytest.raises(InputError, match="no model"):
        load_model("mine")


def test_training_on_from_one_is_refused_in_one_sentence_and_leaves_nothing(tmp_path):
    imported(tmp_path, NETWORK)
    with pytest.raises(InputError, match="window is of another program: it can be run, but neither trained nor exported; choose another"):
        list(prepare(CasesSource([], {}), tmp_path / "new", base="window"))
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="window is of another program"):
        _ = load_model("window").network


def test_a_changed_file_in_the_library_is_not_run(tmp_path, library):
    imported(tmp_path, NETWORK)
    (library / "window" / "model.onnx").write_bytes(window_network(slope=2.0))
    with pytest.raises(InputError, match="SHA-256"):
        load_model("window")


def test_a_network_on_a_gpu_is_told_to_run_on_the_cpu(tmp_path):
    model = imported(tmp_path, NETWORK)
    notice, result = run(model, "cuda:0", iter([np.zeros((1, 64, 64), np.float32)]))
    assert notice.device == "cpu"
    assert isinstance(result, Probabilities)


@pytest.mark.parametrize(("missing", "extra"), [("onnx", "onnx"), ("openvino", "onnx")])
def test_a_missing_package_is_named_when_a_model_is_imported(missing, extra, tmp_path):
    (tmp_path / "window.onnx").write_bytes(NETWORK)
    options = ["--spacing", "2", "--window", "-1100", "700", "--values", "0", "1"]
    call = [sys.executable, "-m", "napari_lungseg", "models", "import", str(tmp_path / "window.onnx"), *options]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"HIDDEN_MODULES": missing}, timeout=200)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"install napari-lungseg[{extra}]" in done.stderr


def test_without_openvino_a_run_says_what_to_install(tmp_path, monkeypatch):
    model = imported(tmp_path, NETWORK)
    monkeypatch.setitem(sys.modules, "napari_lungseg.openvino_quiet", None)
    with pytest.raises(InputError, match=r"OpenVINO runs; install napari-lungseg\[openvino\]"):
        segment(chest(slices=1)[0], model, device="cpu")


def test_of_a_monai_bundle_the_onnx_file_alone_is_taken(tmp_path):
    bundle = tmp_path / "lungs-bundle"
    (bundle / "models").mkdir(parents=True)
    (bundle / "configs").mkdir()
    (bundle / "configs" / "metadata.json").write_text("{}")
    (bundle / "configs" / "inference.json").write_text('{"run": "$import os; os.abort()"}')
    facts = OnnxFacts(window_hu=WINDOW, values=WINDOW, spacing_mm=2.0)
    with pytest.raises(InputError, match="code, which is not run"):
        import_model(bundle, facts=facts)
    (bundle / "models" / "model.onnx").write_bytes(NETWORK)
    assert import_model(bundle, facts=facts).name == "lungs-bundle"


# Packages of BioImage.IO


def package(path: Path, network: bytes = NETWORK, **changes) -> Path:
    """A package whose network reads HU after two steps; ``changes`` replace parts of its description."""
    slope, start = SCALES["mean and deviation"]
    image = np.random.default_rng(0).uniform(-1500, 1500, (1, 1, 64, 96)).astype(np.float32)
    files = {"net.onnx": network, "in.npy": npy(image)}
    hu = np.clip(image, *WINDOW).astype(np.float64)
    middle, half = (AIR_BELOW + AIR_ABOVE) / 2, (AIR_ABOVE - AIR_BELOW) / 2
    files["out.npy"] = npy((1 / (1 + np.exp(-0.2 * (half - np.abs(hu - middle))))).astype(np.float32))
    sides = [{"type": "space", "id": axis, "size": {"min": 32, "step": 16}, "unit": "millimeter", "scale": 2.0} for axis in "yx"]
    axes = [{"type": "batch"}, {"type": "channel", "id": "channel", "channel_names": ["air"]}, *sides]
    description = {
        "type": "model",
        "format_version": "0.5.4",
        "name": "Air space, by density",
        "license": "MIT",
        "inputs": [
            {
                "id": "ct",
                "axes": axes,
                "test_tensor": {"source": "in.npy"},
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    {"id": "clip", "kwargs": {"min": WINDOW[0], "max": WINDOW[1]}},
                    {"id": "scale_linear", "kwargs": {"gain": slope, "offset": start}},
                ],
            }
        ],
        "outputs": [{"id": "found", "axes": axes, "test_tensor": {"source": "out.npy"}, "postprocessing": [{"id": "sigmoid"}]}],
        "weights": {"onnx": {"source": "net.onnx", "sha256": hashlib.sha256(network).hexdigest(), "opset_version": 17}},
    }
    for key, value in changes.items():
        end, _, part = key.partition("__")
        if part:
            description[end][0][part] = value
        elif end.endswith("npy"):
            files[f"{end.removesuffix('npy')}.npy"] = value
        else:
            description[end] = value
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("rdf.yaml", yaml.safe_dump(description))
        for name, data in files.items():
            file.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


INSIDE = dict(zip(("slope", "start"), SCALES["mean and deviation"]))


def test_a_package_says_itself_what_its_network_reads(tmp_path, phantom):
    volume, wanted = phantom
    folder = import_model(package(tmp_path / "air.zip", window_network(end="", **INSIDE)))
    card = read_card(folder / "card.json")
    assert (card.name, card.licence, card.classes, card.labels) == ("Air-space--by-density", "MIT", ("air",), (1,))
    assert (card.preprocessing.spacing_mm, card.preprocessing.window_hu) == (2.0, WINDOW)
    assert (card.architecture.stride, card.architecture.activation) == (16, "sigmoid")
    np.testing.assert_allclose(card.architecture.values, ends("mean and deviation"))
    assert dice(found(volume, load_model(folder)), wanted) > 0.95


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"outnpy": npy(np.zeros((1, 1, 64, 96), np.float32))}, "its test gives numbers that differ by up to 1"),
        ({"outnpy": npy(np.zeros((1, 1, 64, 95), np.float32))}, "its test gives"),
        ({"innpy": npy(np.array([[{}]], object))}, "0.5 has it"),
        ({"weights": {"torchscript": {"source": "net.pt"}}}, "no weights in ONNX"),
        ({"weights": {"onnx": {"source": "net.onnx", "sha256": "0" * 64}}}, "net.onnx was changed"),
        ({"weights": {"onnx": {"source": "../net.onnx"}}}, "has no ../net.onnx inside"),
        ({"weights": {"onnx": {"source": "https://example.org/net.onnx"}}}, "inside"),
        ({"weights": {"onnx": {"source": "net.onnx", "external_data": {"source": "net.bin"}}}}, "second file"),
        ({"inputs__preprocessing": [{"id": "zero_mean_unit_variance"}]}, "step zero_mean_unit_variance before"),
        ({"inputs__preprocessing": [{"id": "scale_linear", "kwargs": {"axis": "channel", "gain": [1], "offset": [0]}}]}, "scale_linear"),
        ({"outputs__postprocessing": [{"id": "binarize", "kwargs": {"threshold": 0.5}}]}, "step binarize after"),
        ({"inputs__test_tensor": None}, "no test tensor"),
        ({"inputs__axes": [{"type": "batch"}, {"type": "channel"}, *[{"type": "space"}] * 3]}, "has the axes"),
        ({"inputs": []}, "several inputs or outputs"),
        ({"inputs": [{}]}, "does not describe itself"),
        ({"format_version": "0.4.10"}, "format 0.5"),
        ({"type": "dataset"}, "no model"),
    ],
)
def test_a_package_that_cannot_be_used_exactly_is_refused_in_one_sentence(changes, why, tmp_path, library):
    with pytest.raises(InputError, match=why) as caught:
        import_model(package(tmp_path / "air.zip", window_network(end="", **INSIDE), **changes))
    assert "\n" not in str(caught.value)
    assert not library.exists()


def test_damaged_zip_files_are_one_sentence(tmp_path):
    path = package(tmp_path / "air.zip", window_network(end="", **INSIDE))
    data = path.read_bytes()
    directory = data.rindex(b"PK\x01\x02")
    for spoilt in (data[: len(data) // 2], data[:directory] + b"XXXX" + data[directory + 4 :], data[:40] + b"\0" * 200 + data[240:]):
        path.write_bytes(spoilt)
        with pytest.raises(InputError, match=r"air\.zip") as caught:
            import_model(path)
        assert "\n" not in str(caught.value)


def test_a_package_without_a_window_asks_for_one(tmp_path):
    path = package(tmp_path / "air.zip", inputs__preprocessing=[], outputs__postprocessing=[])
    with pytest.raises(InputError, match="give --window, --values"):
        import_model(path)


def test_a_package_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_lungseg.foreign.bioimageio.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        import_model(package(tmp_path / "air.zip", window_network(end="", **INSIDE)))

"""Models survive a round trip, and anything wrong with one is found and named."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from napari_lungseg.architecture import PRESETS
from napari_lungseg.card import Ancestor, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.model import (
    FOLDER_VARIABLE,
    SCHEMA,
    Card,
    Model,
    accept_model,
    import_model,
    list_models,
    load_model,
    remove_model,
    save_model,
)
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.unet import UNet, UNetConfig


@pytest.fixture
def model() -> Model:
    config = UNetConfig(base_width=8, depth=1, norm="batch")
    torch.manual_seed(0)
    network = UNet(config)
    network(torch.randn(4, 1, 16, 16))  # moves the BatchNorm statistics away from their defaults
    card = Card(
        name="tiny",
        description="A tiny network for tests; “lung” in quotes.",
        architecture=config,
        preprocessing=Preprocessing(spacing_mm=2.0, window_hu=(-1000.0, 400.0)),
        training={"data": [{"name": "phantom", "licence": "CC0"}], "command": "train"},
        scores={"dice": 0.5},
        lineage=(Ancestor("parent", "0" * 64),),
        code_version="0.1.0",
    )
    return Model(network.eval(), card)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return save_model(model, tmp_path / "tiny")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    return tmp_path / "library"


def rewrite_card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def drop_from_card(folder: Path, *keys: str) -> None:
    path = folder / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in card.items() if key not in keys}), encoding="utf-8")


def rewrite_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    data = safetensors.torch.save(tensors)
    (folder / "weights.safetensors").write_bytes(data)
    rewrite_card(folder, weights_sha256=hashlib.sha256(data).hexdigest())


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def test_round_trip_keeps_network_and_card(model: Model, folder: Path):
    loaded = load_model(folder)
    x = torch.randn(1, 1, 13, 18)
    with torch.inference_mode():
        assert torch.equal(loaded.network(x), model.network(x))
    assert not loaded.network.training
    assert replace(loaded.card, weights_sha256="") == model.card
    assert loaded.card.weights_sha256 == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(("changes", "size"), [({"base_width": 512, "depth": 3}, 0), ({}, 3 << 30)], ids=["wide", "long"])
def test_a_card_or_a_file_cannot_ask_for_memory_that_the_weights_do_not_fill(folder: Path, changes: dict[str, int], size: int):
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    rewrite_card(folder, architecture={**card["architecture"], **changes})
    if size:
        os.truncate(folder / "weights.safetensors", size)
    with pytest.raises(InputError, match=r"at (least|most)"):
        load_model(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names on this system")
@pytest.mark.parametrize("name", ["card.json", "weights.safetensors"])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(folder: Path, name: str):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=r"no plain file|is not a model"):
        load_model(folder)


@pytest.mark.parametrize(
    "config",
    [*PRESETS.values(), UNetConfig(classes=254, base_width=8, depth=1, context_slices=4, patch=16), UNetConfig(base_width=1, depth=1)],
)
def test_the_bounds_of_the_number_of_parameters_hold(config: UNetConfig):
    count = sum(tensor.numel() for tensor in UNet(config).state_dict().values())
    least, most = config.parameters
    assert least <= count <= most


def test_half_precision_weights_are_half_as_large_and_load_as_float32(model: Model, folder: Path, tmp_path: Path):
    half = save_model(model, tmp_path / "half", half=True)
    assert (half / "weights.safetensors").stat().st_size < 0.75 * (folder / "weights.safetensors").stat().st_size
    network = load_model(half).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    x = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(network(x), model.network(x), atol=0.02)


def test_a_loaded_network_can_be_trained(folder: Path):
    network = load_model(folder).network.train()
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_saving_into_a_folder_keeps_other_files(model: Model, folder: Path):
    (folder / "notes.txt").write_text("mine")
    save_model(Model(model.network, replace(model.card, description="new")), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "notes.txt", "weights.safetensors"]
    assert load_model(folder).card.description == "new"


def test_a_failed_save_leaves_nothing(model: Model, tmp_path: Path):
    with torch.no_grad():
        next(model.network.parameters()).view(-1)[0] = float("inf")
    with pytest.raises(InputError, match="not finite"):
        save_model(model, tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_half_precision_are_refused(model: Model, tmp_path: Path):
    with torch.no_grad():
        next(model.network.parameters()).view(-1)[0] = 1e5
    with pytest.raises(InputError, match="not finite"):
        save_model(model, tmp_path / "bad", half=True)


def test_loading_leaves_the_random_numbers_alone(folder: Path):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_model(folder)
    assert torch.equal(torch.rand(1), expected)


def test_the_card_is_readable_json(folder: Path):
    text = (folder / "card.json").read_text(encoding="utf-8")
    assert json.loads(text)["architecture"]["base_width"] == 8
    assert "“lung”" in text
    assert len(text.splitlines()) > 20


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "card.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "card.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda f: (f / "card.json").write_text("[]"), "not usable"),
        (lambda f: rewrite_card(f, schema=99), "layout 99"),
        (lambda f: rewrite_card(f, surprise=1), "surprise"),
        (lambda f: rewrite_card(f, name="../up"), "name"),
        (lambda f: rewrite_card(f, classes=["a", "b"]), "2 classes"),
        (lambda f: rewrite_card(f, labels=[1, 3]), "1 classes but 2 labels"),
        (lambda f: rewrite_card(f, labels=[3]), "first class is 'lung' with label 1"),
        (lambda f: rewrite_card(f, classes=["liver"]), "first class is 'lung' with label 1"),
        (lambda f: rewrite_card(f, labels=[255], sides=False), "1 to 254"),
        (lambda f: rewrite_card(f, labels=[0], sides=False), "1 to 254"),
        (lambda f: drop_from_card(f, "labels"), "labels is missing"),
        (lambda f: drop_from_card(f, "sides"), "sides is missing"),
        (lambda f: drop_from_card(f, "accepted"), "accepted is missing"),
        (lambda f: rewrite_card(f, architecture={"base_width": "8"}), "base_width"),
        (lambda f: rewrite_card(f, architecture={"base_width": 8, "depth": 1}), "architecture.classes is missing"),
        (lambda f: rewrite_card(f, preprocessing={"spacing_mm": 1.0, "window_hu": [5, 1]}), "from low to high"),
        (lambda f: (f / "weights.safetensors").unlink(), "cannot be read"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 100), "SHA-256"),
        (lambda f: rewrite_card(f, weights_sha256=hashlib.sha256(b"x").hexdigest()), "SHA-256"),
    ],
)
def test_damaged_files_are_named(folder: Path, damage, message: str):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def card_of(classes: tuple[str, ...], labels: tuple[int, ...], *, sides: bool) -> Card:
    return Card("tiny", "", UNetConfig(classes=len(classes)), Preprocessing(), classes, labels, sides)


def test_several_classes_have_labels_of_their_own():
    assert card_of(("lung", "tumour"), (1, 3), sides=True).class_labels.names_by_label() == {1: "right", 2: "left", 3: "tumour"}
    assert card_of(("lung", "tumour"), (1, 3), sides=True).class_labels.names_by_label(split_sides=False) == {1: "lungs", 3: "tumour"}
    assert card_of(("spleen", "liver"), (2, 1), sides=False).class_labels.names_by_label() == {1: "liver", 2: "spleen"}


@pytest.mark.parametrize(
    ("classes", "labels", "sides", "message"),
    [
        (("lung", "tumour"), (1, 2), True, "no class has label 2"),
        (("tumour", "lung"), (1, 3), True, "first class is 'lung'"),
        (("liver", "spleen"), (4, 4), False, "distinct"),
        (("liver", "liver"), (1, 2), False, "same name"),
    ],
)
def test_labels_that_do_not_tell_the_classes_apart_are_refused(classes, labels, sides: bool, message: str):
    with pytest.raises(InputError, match=message):
        card_of(classes, labels, sides=sides)


@pytest.mark.parametrize(
    ("classes", "labels", "sides"),
    [(("lung",), (1,), True), (("liver",), (1,), False), (("lung", "tumour"), (1, 2), False)],
)
def test_cards_of_the_first_layout_are_read(folder: Path, classes, labels, sides: bool):
    architecture = json.loads((folder / "card.json").read_text(encoding="utf-8"))["architecture"]
    rewrite_card(folder, schema=1, classes=classes, architecture={**architecture, "classes": len(classes)})
    drop_from_card(folder, "labels", "sides", "accepted")
    card = read_card(folder / "card.json")
    assert (card.classes, card.labels, card.sides, card.accepted, card.schema) == (classes, labels, sides, True, SCHEMA)
    drop_from_card(folder, "licence")
    with pytest.raises(InputError, match="licence is missing"):
        read_card(folder / "card.json")


def test_cards_from_before_int8_are_read(folder: Path):
    now = read_card(folder / "card.json")
    rewrite_card(folder, schema=2)
    drop_from_card(folder, "int8")
    assert read_card(folder / "card.json") == now


def test_a_weights_file_of_another_kind_is_refused(folder: Path):
    (folder / "weights.safetensors").write_bytes(b"not safetensors")
    rewrite_card(folder, weights_sha256=hashlib.sha256(b"not safetensors").hexdigest())
    with pytest.raises(InputError, match="not a safetensors file"):
        load_model(folder)


def test_missing_extra_and_misshapen_tensors_are_refused(folder: Path):
    tensors = tensors_of(folder)
    name = "down.0.0.weight"
    for changed in (
        {k: v for k, v in tensors.items() if k != name},
        {**tensors, "down.0.0.surprise": torch.zeros(1)},
        {**tensors, name: torch.zeros(8, 1, 5, 5)},
    ):
        rewrite_weights(folder, changed)
        with pytest.raises(InputError, match=r"do not fit .* down\.0\.0"):
            load_model(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path):
    tensors = tensors_of(folder)
    tensors["head.bias"][0] = float("nan")
    rewrite_weights(folder, tensors)
    with pytest.raises(InputError, match=r"head\.bias"):
        load_model(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str)
def test_weights_of_a_type_that_cannot_be_used_are_refused(folder: Path, kind: torch.dtype):
    try:
        rewrite_weights(folder, {name: tensor.to(kind) for name, tensor in tensors_of(folder).items()})
    except KeyError:
        pytest.skip("this safetensors has no such type, so no file can have it")
    with pytest.raises(InputError, match="type that cannot be used"):
        load_model(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_other_precisions_are_read(folder: Path, kind: torch.dtype):
    rewrite_weights(folder, {name: t.to(kind) if t.is_floating_point() else t for name, t in tensors_of(folder).items()})
    assert all(p.dtype == torch.float32 for p in load_model(folder).network.parameters())


def test_import_list_load_remove(folder: Path, library: Path):
    imported = import_model(folder)
    assert imported == library / "tiny"
    entry = next(entry for entry in list_models() if entry.name == "tiny")
    assert entry.place == "user"
    assert entry.card == load_model("tiny").card
    remove_model("tiny")
    assert "tiny" not in {entry.name for entry in list_models()}
    assert list(library.iterdir()) == []
    assert folder.is_dir()


def test_import_under_another_name(folder: Path, library: Path):
    import_model(folder)
    with pytest.raises(InputError, match="already"):
        import_model(folder)
    import_model(folder, "second")
    assert load_model("second").card.name == "second"
    with pytest.raises(InputError, match="cannot be a model's name"):
        import_model(folder, "a/b")


def test_a_damaged_model_is_not_imported(folder: Path, library: Path):
    (folder / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="SHA-256"):
        import_model(folder)
    assert not library.exists()


def test_a_damaged_model_in_the_library_is_listed_with_its_problem(folder: Path, library: Path):
    (import_model(folder) / "card.json").write_text("{")
    entry = next(entry for entry in list_models() if entry.name == "tiny")
    assert entry.card is None
    assert "cannot be read" in entry.problem


def test_unknown_names_say_what_there_is(folder: Path, library: Path, tmp_path: Path):
    import_model(folder)
    with pytest.raises(InputError, match=r"no model 'nope'; known models: .*tiny"):
        load_model("nope")
    with pytest.raises(InputError, match="is not a model"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no model 'nope'"):
        remove_model("nope")
    with pytest.raises(InputError):
        remove_model(f"../{folder.name}")
    assert folder.is_dir()


def test_a_candidate_is_offered_only_once_it_is_accepted(folder: Path, library: Path):
    rewrite_card(folder, accepted=False)
    import_model(folder)
    assert "tiny" not in {entry.name for entry in list_models()}
    assert "tiny" in {entry.name for entry in list_models(candidates=True)}
    before = load_model("tiny").card
    assert not before.accepted
    accept_model("tiny")
    assert load_model("tiny").card == replace(before, accepted=True)
    assert "tiny" in {entry.name for entry in list_models()}
    assert sorted(path.name for path in (library / "tiny").iterdir()) == ["card.json", "weights.safetensors"]


def test_only_models_of_the_users_library_can_be_accepted(library: Path):
    with pytest.raises(InputError, match="no model 'nope'"):
        accept_model("nope")
    with pytest.raises(InputError, match="part of the package and cannot be accepted"):
        accept_model("lung-ct")


def test_bundled_models_are_sound_and_stay(library: Path):
    bundled = [entry for entry in list_models() if entry.place == "bundled"]
    for entry in bundled:
        assert load_model(entry.name).card.name == entry.name
        with pytest.raises(InputError, match="part of the package"):
            remove_model(entry.name)
        with pytest.raises(InputError, match="already"):
            import_model(entry.folder)


def test_listing_models_does_not_load_torch():
    code = "import sys; from napari_lungseg import list_models; list_models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False).returncode == 0

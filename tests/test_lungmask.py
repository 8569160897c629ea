"""Weights of lungmask are imported without running what is in them, and give the masks that lungmask gives."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lungmask_files import seeded_weights, write_weights

from napari_lungseg import cli
from napari_lungseg.annotation import MaskDocument
from napari_lungseg.errors import InputError
from napari_lungseg.foreign.lungmask_weights import read_lungmask
from napari_lungseg.framing import framing_of
from napari_lungseg.library import FOLDER_VARIABLE
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.model import Model, import_model, load_model
from napari_lungseg.predict import predict
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Source

#: Made by the package itself: see tools/make_lungmask_reference.py.
REFERENCE = np.load(Path(__file__).parent / "data" / "lungmask.npz")
THIN = 16
SLICES = slice(10, 14)
#: Voxels whose two most likely classes differ by less than float32 adds up exactly, of more than 200,000.
TIES = 3

LOBES = ("left upper lobe", "left lower lobe", "right upper lobe", "right middle lobe", "right lower lobe")


def sample() -> Volume:
    """The slices of the sample that the reference is of, upright."""
    return sample_ct().reorient()[0].crop((SLICES, slice(None), slice(None)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[int, Model]:
    """A model of two lungs and one of five lobes."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder / "library"))
        return {classes: load_model(import_model(write_weights(folder / f"w{classes}.pth", classes))) for classes in (3, 6)}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    return tmp_path / "library"


def network_inputs(volume: Volume, model: Model) -> np.ndarray:
    framing = framing_of(model.card.preprocessing)
    intensity_range = model.card.preprocessing.intensity_range(volume)
    cut = framing.cut(volume, intensity_range)
    cuts = [(plane, *cut.of(plane)) for plane in volume.array]
    return np.stack([framing.plane(plane[box], spacing, intensity_range, model.card.architecture) for plane, box, spacing in cuts])


@pytest.mark.parametrize("classes", [3, 6])
def test_the_network_reads_and_gives_what_the_one_of_the_package_does(models, classes):
    inputs = network_inputs(sample(), models[classes])
    np.testing.assert_array_equal(inputs[:, ::THIN, ::THIN], REFERENCE["inputs"])
    with torch.inference_mode():
        log = torch.log_softmax(models[classes].network(torch.from_numpy(inputs[:, None])), dim=1)
    assert np.abs(log[:, :, ::THIN, ::THIN].numpy() - REFERENCE[f"log_{classes}"]).max() < 1e-5


@pytest.mark.parametrize("postprocess", [False, True])
@pytest.mark.parametrize("classes", [3, 6])
def test_the_labels_are_those_of_the_package(models, classes, postprocess):
    found = segment(sample(), models[classes], device="cpu", postprocess=postprocess)
    assert np.count_nonzero(found.labels.array != REFERENCE[f"labels_{classes}_{postprocess}"]) <= TIES
    assert found.names == dict(enumerate(("right", "left") if classes == 3 else LOBES, 1))


@pytest.mark.parametrize(("order", "flips"), [((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))])
def test_the_labels_are_the_same_however_the_volume_is_stored(models, order, flips):
    volume = sample()
    axes = [*order, 3]
    turned = Volume(volume.array.transpose(order), volume.affine[:, axes], "HU")
    places = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    affine = turned.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
            affine[:3, axis] *= -1
    found = segment(Volume(turned.array[places], affine, "HU"), models[6], device="cpu").labels.array
    np.testing.assert_array_equal(found[places].transpose(np.argsort(order)), segment(volume, models[6], device="cpu").labels.array)


def test_a_single_slice_and_an_image_that_is_no_ct_are_segmented(models):
    volume = sample()
    plane = Volume(volume.array[1], volume.affine, "HU")
    as_stack = Volume(volume.array[1:2], volume.affine, "HU")
    np.testing.assert_array_equal(segment(plane, models[3]).labels.array, segment(as_stack, models[3]).labels.array[0])
    greys = np.rint((np.clip(volume.array, -1024, 600) + 1024) / 1624 * 255).astype(np.uint8)
    one, other = (segment(found, models[3], postprocess=False).labels.array for found in (volume.with_array(greys), volume))
    assert np.mean(one == other) > 0.98


def test_the_threshold_moves_the_border_and_post_processing_has_its_switches(models):
    volume = sample()
    sizes = [np.count_nonzero(segment(volume, models[3], threshold=t, postprocess=False).labels.array) for t in (0.2, 0.5, 0.8)]
    assert sizes[0] > sizes[1] > sizes[2]
    found = segment(volume, models[3], mask=MaskSettings(fill_holes=False))
    assert set(np.unique(found.labels.array)) == {0, 1, 2}
    whole = segment(volume, models[3])
    np.testing.assert_array_equal(found.probability.array, whole.probability.array)
    assert np.count_nonzero(found.labels.array) <= np.count_nonzero(whole.labels.array)


def test_a_document_makes_the_masks_that_segmenting_makes_and_keeps_them_through_undo(models):
    volume, one, other = sample(), models[3], models[6]
    document = MaskDocument(np.zeros(volume.shape, np.uint8), volume)

    def run(model: Model, start: int | None = None) -> None:
        step = document.begin("segment again") if document.predicted else None
        document.make_by(Source(model.card.name, model.card.weights_sha256), model.card.class_labels)
        for found in predict(volume, model, None):
            if start is None or found.index >= start:
                document.put_predicted((found.index,), found, 0.5, step)
        document.made(document.making.settings, step)

    def mask(threshold: float = 0.5) -> np.ndarray:
        making = document.making
        settings = replace(making.settings, threshold=threshold)
        return make_mask(document.probability, settings, making.classes, document.likeliest, making.own).array

    for model, start in ((one, None), (one, 2), (other, None)):
        run(model, start)
        for threshold in (0.5, 0.3):
            np.testing.assert_array_equal(mask(threshold), segment(volume, model, threshold=threshold).labels.array)
    document.undo()
    np.testing.assert_array_equal(mask(), segment(volume, one).labels.array)
    # Of a saved mask only what lies on the volume's own voxels is known: nearly the same.
    making = document.making
    again = make_mask(document.probability, making.settings, making.classes, document.likeliest).array
    assert np.mean(again == mask()) > 0.95


def test_the_card_tells_where_it_comes_from_and_what_is_allowed(library, tmp_path):
    path = write_weights(tmp_path / "unet_r231-mine.pth", 3)
    card = load_model(import_model(path)).card
    assert card.name == "unet_r231-mine"
    assert card.training["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "GPL-3.0" in card.licence
    assert (card.classes, card.labels, card.sides) == (("right", "left"), (1, 2), False)
    with pytest.raises(InputError, match="already"):
        import_model(path)
    assert import_model(path, "r231") == library / "r231"


def test_a_file_of_old_torch_is_imported_too(library, tmp_path):
    state = {name: tensor for name, tensor in seeded_weights(3).items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    new = load_model(import_model(write_weights(tmp_path / "new.pth", 3)))
    old = load_model(import_model(tmp_path / "old.pth"))
    for name, array in new.weights.items():
        assert name.endswith("num_batches_tracked") or np.array_equal(array, old.weights[name])


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: {"a": Harmful()}, "holds more than weights"),
        (lambda: [torch.zeros(1)], "no list of tensors with names"),
        (lambda: {"weights": seeded_weights(3)}, "no list of tensors with names"),
        (lambda: {"conv.weight": torch.zeros(3, 3)}, "first or last layer is missing"),
        (lambda: seeded_weights(4), "3 classes"),
        (lambda: without(seeded_weights(3), "up_path.0.up.1.weight"), r"up\.0\.up\.weight is missing"),
        (lambda: {"more.weight": torch.zeros(2), **seeded_weights(3)}, r"more\.weight, which is unknown"),
        (lambda: {**seeded_weights(3), "last.weight": torch.zeros(3, 5, 1, 1)}, r"head\.weight is \(3, 5, 1, 1\)"),
        (lambda: {**seeded_weights(3), "last.bias": torch.zeros(3, dtype=torch.int32)}, "torch.int32"),
        (lambda: {**seeded_weights(3), "more.weight": torch.zeros(1).expand(1 << 40)}, "larger than the file"),
        (lambda: {**seeded_weights(3), "last.bias": torch.full((3,), torch.nan)}, "not finite"),
    ],
)
def test_another_file_is_refused_in_a_sentence_and_nothing_in_it_runs(content, message, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=message):
        import_model(tmp_path / "other.pth")
    assert not library.exists()
    assert not (tmp_path / "harmed").exists()


def test_damaged_files_are_refused_in_a_sentence(library, tmp_path):
    whole = write_weights(tmp_path / "whole.pth", 3).read_bytes()
    for number, data in enumerate((b"", b"no weights", whole[:-300], whole[: len(whole) // 2], pickle.dumps(Harmful()))):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged, or holds more than weights"):
            import_model(path)
    with pytest.raises(InputError, match="does not exist"):
        import_model(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="cannot be a model's name"):
        import_model(write_weights(tmp_path / "a name.pth", 3))
    assert not library.exists()


def test_a_packed_file_is_not_unpacked(library, tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(InputError, match="it is packed"):
        import_model(tmp_path / "packed.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names on this system")
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_lungmask(tmp_path / "pipe.pth")


def test_the_terminal_imports_shows_the_licence_and_segments(library, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(args))
        return int(ended.value.code), *capsys.readouterr()

    write_weights(tmp_path / "lobes.pth", 6)
    status, out, err = run("models", "import", "lobes.pth")
    assert (status, err) == (0, "")
    assert str(library / "lobes") in out
    assert "Licence: " in out
    assert "GPL-3.0" in out
    assert "lobes  (user)" in run("models", "list")[1]
    status, out, err = run("models", "import", "card.json")
    assert status == 2
    assert "does not exist" in err
    from napari_lungseg.formats import read, write

    write(sample(), tmp_path / "ct.nii.gz")
    status, out, err = run("segment", "ct.nii.gz", "-o", "lobes.seg.nrrd", "--model", "lobes")
    assert status == 0, err
    found = read(tmp_path / "lobes.seg.nrrd")
    assert set(found.names.values()) == set(LOBES)
    np.testing.assert_array_equal(found.array, segment(sample(), "lobes").labels.array)

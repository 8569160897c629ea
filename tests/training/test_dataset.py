import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_lungseg.errors import InputError
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.samples import IGNORE


def test_split_written_beside_the_data_is_used(chests: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(chests, tmp_path / "data")
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a1", "a2", "c"], "val": ["b"]}]))
    assert open_dataset(folder).validation == ("b",)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a1", "b", "c"], "val": ["a2"]}]))
    with pytest.raises(InputError, match="patient a is among both"):
        open_dataset(folder)
    (folder / "splits_final.json").write_text("nonsense")
    with pytest.raises(InputError, match=r"splits_final\.json is no split"):
        open_dataset(folder)


def test_cases_names_and_held_out_cases_are_told(chests: Path) -> None:
    data = open_dataset(chests)
    assert data.cases == ("a1", "a2", "b", "c")
    assert data.held_out == ("d",)
    assert data.names == {1: "lung"}
    assert data.validation is None
    assert data.patients["a1"] == data.patients["a2"] == "a"


def test_folder_without_description_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(tmp_path)


def test_ignore_label_of_the_data_set_is_not_judged(chests: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(chests, tmp_path / "chests")
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["ignore"] = 1
    (folder / "dataset.json").write_text(json.dumps(description))
    data = open_dataset(folder)
    _, labels = data.load("b")
    assert set(np.unique(labels.array)) == {0, IGNORE}
    assert data.names == {}


@pytest.mark.parametrize(("ending", "white"), [(".png", 1), (".png", 255), (".tif", 255), (".jpg", 255)])
def test_pairs_of_pictures_need_no_description(tmp_path: Path, ending: str, white: int) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 30)).astype(np.uint8)
    mask = np.zeros((40, 30), np.uint8)
    mask[8:24, 8:16] = white
    for name, array in (("images", picture), ("masks", mask)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / f"one{ending}")
    Image.fromarray(picture).save(tmp_path / "images" / f"without a mask{ending}")
    data = open_dataset(tmp_path)
    assert data.cases == ("one",)
    image, labels = data.load("one")
    assert image.shape == (40, 30)
    assert not image.spacing_known
    assert np.array_equal(labels.array, (mask > 0).astype(np.uint8))


def test_several_labels_in_a_picture_stay_what_they_are(tmp_path: Path) -> None:
    for name, array in (("images", np.zeros((9, 9), np.uint8)), ("labels", np.arange(81, dtype=np.uint8).reshape(9, 9) % 4)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "one.png")
    _, labels = open_dataset(tmp_path).load("one")
    assert set(np.unique(labels.array)) == {0, 1, 2, 3}


def test_sizes_that_differ_are_told_with_both_files(tmp_path: Path) -> None:
    for name, size in (("images", 9), ("masks", 8)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((size, size), np.uint8)).save(tmp_path / name / "one.png")
    with pytest.raises(InputError, match=r"masks.one\.png has shape \(8, 8\) but its image one\.png \(9, 9\)"):
        open_dataset(tmp_path).load("one")


def test_images_without_masks_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="put them into"):
        open_dataset(tmp_path)

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.dataset import SliceSampler, open_dataset, slices_of


@pytest.mark.parametrize("seed", range(8))
def test_split_never_puts_a_patient_on_both_sides(chests: Path, seed: int) -> None:
    data = open_dataset(chests, validation_share=0.34, seed=seed)
    assert data.validation
    assert data.train
    assert not {data.patients[c] for c in data.train} & {data.patients[c] for c in data.validation}
    assert set(data.train) | set(data.validation) == {"a1", "a2", "b", "c"}
    assert data.held_out == ("d",)


def test_split_written_beside_the_data_is_used(chests: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(chests, folder)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a1", "a2", "c"], "val": ["b"]}]))
    assert open_dataset(folder).validation == ("b",)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a1", "b", "c"], "val": ["a2"]}]))
    with pytest.raises(InputError, match="patient a is among both"):
        open_dataset(folder)


def test_folder_without_description_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(tmp_path)


def test_slices_are_cropped_to_the_body_with_their_mask(chests: Path) -> None:
    data = open_dataset(chests)
    image, labels = data.load("b")
    slices = slices_of("b", image, labels, Preprocessing())
    assert [item.index for item in slices] == [0, 1]
    assert sum(int(item.label.sum()) for item in slices) == int((np.asarray(labels.array) > 0).sum())
    inside = np.concatenate([item.image[item.label] for item in slices])
    assert inside.max() < -700


def test_coarsened_slice_keeps_place_and_physical_size(chests: Path) -> None:
    data = open_dataset(chests)
    item = slices_of("b", *data.load("b"), Preprocessing())[0]
    half = item.coarsened(2)
    assert half.spacing_mm == pytest.approx([2 * s for s in item.spacing_mm])
    area, half_area = item.label.sum() * np.prod(item.spacing_mm), half.label.sum() * np.prod(half.spacing_mm)
    assert half_area == pytest.approx(area, rel=0.03)


def test_sampler_draws_empty_slices_at_the_share_asked_for(chests: Path) -> None:
    data = open_dataset(chests)
    image, labels = data.load("b")
    empty = labels.with_array(np.zeros_like(labels.array))
    slices = slices_of("b", image, labels, Preprocessing()) + slices_of("c", image, empty, Preprocessing())
    sampler = SliceSampler(slices, data.patients, empty_share=0.25)
    rng = np.random.default_rng(0)
    share = np.mean([not sampler.draw(rng).label.any() for _ in range(2000)])
    assert share == pytest.approx(0.25, abs=0.04)


def test_slices_that_nobody_has_judged_are_not_learnt_from(chests: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(chests, tmp_path / "chests")
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["ignore"] = 2
    (folder / "dataset.json").write_text(json.dumps(description))
    data = open_dataset(folder)
    image, labels = data.load("b")
    labels.array[1] = 2
    assert [item.index for item in slices_of("b", image, labels, Preprocessing(), data.ignore)] == [0]

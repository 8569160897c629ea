from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.batches import SliceSampler
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.samples import IGNORE, LabelledSlice, SampleWriter, read_samples, slices_of
from napari_lungseg.volume import Volume, scaling


def of(chests: Path, case: str) -> list[LabelledSlice]:
    return list(slices_of(case, *open_dataset(chests).load(case), Preprocessing()))


def test_slices_are_cropped_to_the_body_with_their_mask(chests: Path) -> None:
    _, labels = open_dataset(chests).load("b")
    slices = of(chests, "b")
    assert [item.index for item in slices] == [0, 1]
    assert sum(int((item.label == 1).sum()) for item in slices) == int((np.asarray(labels.array) > 0).sum())
    inside = np.concatenate([item.image[item.label == 1] for item in slices])
    assert inside.max() < -700


def test_slices_run_from_the_feet_whichever_way_a_volume_is_stored() -> None:
    array = np.zeros((4, 40, 40), np.int16)
    array[:, 5:35, 5:35] = 40
    array += np.arange(4, dtype=np.int16)[:, None, None]
    labels = np.zeros(array.shape, np.uint8)
    labels[3] = 1
    affine = scaling((2.0, 1.0, 1.0))
    upright = Volume(array, affine, "HU")
    turned = affine.copy()
    turned[2, 0], turned[2, 3] = -2.0, 6.0
    flipped = Volume(array[::-1], turned, "HU")
    for image, known in ((upright, labels), (flipped, labels[::-1])):
        slices = list(slices_of("a", image, image.with_array(known), Preprocessing()))
        assert [int(item.image.min()) for item in slices] == [0, 1, 2, 3]
        assert [bool(item.classes) for item in slices] == [False, False, False, True]


def test_labels_of_another_grid_are_not_learnt() -> None:
    image = Volume(np.zeros((2, 20, 20), np.int16), scaling((1.0, 1.0, 1.0)) @ np.diag([1, 1, -1, 1]), "HU")
    labels = Volume(np.ones((2, 20, 20), np.uint8), scaling((1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="19 mm apart"):
        next(slices_of("a", image, labels, Preprocessing()))
    # Where they carry no geometry they are taken as they are stored.
    slices = list(slices_of("a", image, Volume(labels.array, labels.affine, spacing_known=False), Preprocessing()))
    assert all((item.label == 1).all() for item in slices)


def test_of_unjudged_slices_a_few_evenly_spread_ones_are_given() -> None:
    labels = np.full((21, 16, 16), IGNORE, np.uint8)
    labels[7] = 0
    image = Volume(np.zeros(labels.shape, np.int16), scaling((1.0, 1.0, 1.0)), "HU")
    slices = list(slices_of("a", image, image.with_array(labels), Preprocessing(), most_unjudged=5))
    assert [item.index for item in slices if item.is_judged] == [7]
    unjudged = [item.index for item in slices if not item.is_judged]
    assert len(unjudged) == 5
    assert (unjudged[0], unjudged[-1]) == (0, 20)


def test_coarsened_slice_keeps_place_and_physical_size(chests: Path) -> None:
    item = of(chests, "b")[0]
    half = item.coarsened(2)
    assert half.spacing_mm == pytest.approx([2 * s for s in item.spacing_mm])
    area, half_area = (item.label == 1).sum() * item.pixel_mm2, (half.label == 1).sum() * half.pixel_mm2
    assert half_area == pytest.approx(area, rel=0.03)


def test_what_was_written_is_read_back_by_side_with_classes_for_labels(chests: Path, tmp_path: Path) -> None:
    slices = [*of(chests, "b"), *of(chests, "c")]
    with SampleWriter(tmp_path / "samples") as writer:
        for item in slices:
            writer.add(item)
        sides = {("b", 0): "train", ("b", 1): None, ("c", 0): "validation", ("c", 1): "unjudged"}
        writer.finish(lambda item: sides[item.case, item.index], lambda labels: np.where(labels == 1, 7, labels).astype(np.uint8))
    found = read_samples(tmp_path / "samples")
    assert {side: [(item.case, item.index) for item in items] for side, items in found.items()} == {
        "train": [("b", 0)],
        "validation": [("c", 0)],
        "unjudged": [("c", 1)],
    }
    item = found["train"][0]
    assert np.array_equal(item.image, slices[0].image)
    assert np.array_equal(item.label == 7, slices[0].label == 1)
    assert (item.spacing_mm, item.intensity_range, item.is_hu) == (slices[0].spacing_mm, slices[0].intensity_range, True)


def test_samples_that_are_not_whole_are_refused(chests: Path, tmp_path: Path) -> None:
    with SampleWriter(tmp_path / "s") as writer:
        writer.add(of(chests, "b")[0])
        writer.finish(lambda item: "train", lambda labels: labels)
    data = (tmp_path / "s" / "slices.bin").read_bytes()
    (tmp_path / "s" / "slices.bin").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="begin the training anew"):
        read_samples(tmp_path / "s")


def test_sampler_draws_empty_slices_at_the_share_asked_for(chests: Path) -> None:
    image, labels = open_dataset(chests).load("b")
    empty = labels.with_array(np.zeros_like(labels.array))
    slices = [*of(chests, "b"), *slices_of("c", image, empty, Preprocessing())]
    sampler = SliceSampler(slices, {}, empty_share=0.25)
    rng = np.random.default_rng(0)
    share = np.mean([not sampler.draw(rng).classes for _ in range(2000)])
    assert share == pytest.approx(0.25, abs=0.04)


def test_sampler_draws_only_from_cases_that_are_trusted(chests: Path) -> None:
    slices = [*of(chests, "b"), *of(chests, "c")]
    sampler = SliceSampler(slices, {}, 0.0, {"b": 0.5, "c": 0.0})
    rng = np.random.default_rng(0)
    assert {sampler.draw(rng).case for _ in range(100)} == {"b"}

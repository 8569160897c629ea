import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from geometry import stored_otherwise
from PIL import Image

from napari_lungseg.errors import InputError
from napari_lungseg.formats import write
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.training.sources import FolderSource
from napari_lungseg.volume import Volume, scaling


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


@pytest.mark.parametrize("change", [{"labels": [1]}, {"patients": ["a"]}, {"patients": 3}, {"sources": 3}, {"labels": {"a": 1e400}}])
def test_a_description_of_another_shape_is_refused_by_name(chests: Path, tmp_path: Path, change) -> None:
    folder = shutil.copytree(chests, tmp_path / "chests")
    description = json.loads((folder / "dataset.json").read_text()) | change
    (folder / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(folder)


def described(folder: Path, **description: object) -> Path:
    """A data set of two cases under names of nnU-Net, with a description of its own."""
    array = np.zeros((3, 8, 8), np.uint8)
    array[1, 2:5, 2:5] = 1
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    for case in ("a", "b"):
        write(Volume(np.full(array.shape, -850, np.int16), scaling((2.0, 1.0, 1.0))), folder / "imagesTr" / f"{case}_0000.nii.gz")
        write(Volume(array, scaling((2.0, 1.0, 1.0))), folder / "labelsTr" / f"{case}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("numbered", [False, True])
def test_data_sets_of_older_kinds_are_read(tmp_path: Path, numbered: bool) -> None:
    """nnU-Net before version 2, and the Medical Segmentation Decathlon, whose images have no number of a channel."""
    folder = described(tmp_path, labels={"0": "background", "1": "lung"}, modality={"0": "CT"}, numTraining=2)
    for case in ("a", "b") if not numbered else ():
        (folder / "imagesTr" / f"{case}_0000.nii.gz").rename(folder / "imagesTr" / f"{case}.nii.gz")
    (folder / "labelsTr" / "._a.nii.gz").write_bytes(bytes(99))  # as macOS leaves on disks of others
    (folder / "imagesTr" / "._a_0000.nii.gz").write_bytes(bytes(99))
    data = open_dataset(folder)
    assert (data.cases, data.names) == (("a", "b"), {1: "lung"})
    image, labels = data.load("a")
    assert image.array.min() == -850
    assert labels.array.sum() == 9


def test_of_several_channels_the_ct_is_taken_and_told(tmp_path: Path) -> None:
    names = {"0": "PET", "1": "CT"}
    folder = described(tmp_path, labels={"background": 0, "lung": 1}, channel_names=names, file_ending=".nii.gz")
    for case in ("a", "b"):
        write(Volume(np.full((3, 8, 8), -700, np.int16), scaling((2.0, 1.0, 1.0))), folder / "imagesTr" / f"{case}_0001.nii.gz")
    image, _ = open_dataset(folder).load("a")
    assert image.array.min() == -700
    assert "Of its channels only number 1 is learnt from." in image.notes


def test_regions_and_broken_descriptions_are_refused_by_their_cause(tmp_path: Path) -> None:
    folder = described(tmp_path, labels={"background": 0, "lung": [1, 2], "left": 2}, file_ending=".nii.gz")
    with pytest.raises(InputError, match=r"dataset\.json makes 'lung' of the labels \[1, 2\]; regions"):
        open_dataset(folder)
    (folder / "dataset.json").write_text('{"labels": {"lung": 1,},\n}')
    with pytest.raises(InputError, match=r"dataset\.json is no JSON \(line 1: "):
        open_dataset(folder)


def test_a_mark_of_the_byte_order_does_not_matter(chests: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(chests, tmp_path / "chests")
    whole = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + whole)
    assert open_dataset(folder).cases == open_dataset(chests).cases


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


def labelled(folder: Path, labels: Volume, image: Volume, names: dict | None = None) -> Path:
    """A data set of one case, in nnU-Net's layout."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    write(image, folder / "imagesTr" / "case_0000.nii.gz")
    write(labels, folder / "labelsTr" / "case.nii.gz")
    names = names or {"background": 0, "liver": 1, "spleen": 2}
    (folder / "dataset.json").write_text(json.dumps({"file_ending": ".nii.gz", "labels": names}))
    return folder


LABELS = np.zeros((3, 16, 20), np.uint8)
LABELS[1, 4:8, 5:12] = 2
AFFINE = scaling((2.5, 0.5, 0.75), (-3.0, 40.0, 7.0))
IMAGE = Volume(np.arange(LABELS.size, dtype=np.int16).reshape(LABELS.shape), AFFINE, "HU")


def test_a_label_that_is_alone_stays_what_it_is(tmp_path: Path) -> None:
    _, labels = open_dataset(labelled(tmp_path, IMAGE.with_array(LABELS), IMAGE)).load("case")
    assert set(np.unique(labels.array)) == {0, 2}


@pytest.mark.parametrize(
    ("values", "told"), [((0, 255), "255"), ((0, 1, 255), "255, a mask's usual white beside 1"), ((0, 1, 300), "0 to 254")]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_white_that_nothing_explains_is_refused_where_labels_have_names(tmp_path: Path, values, told, dtype) -> None:
    if max(values) > 255 and dtype == np.uint8:
        pytest.skip("no such number in this type")
    array = np.resize(np.array(values, dtype), LABELS.shape)
    with pytest.raises(InputError, match=told):
        open_dataset(labelled(tmp_path, IMAGE.with_array(array), IMAGE)).load("case")


def test_white_is_unjudged_only_where_the_data_set_says_so(tmp_path: Path) -> None:
    array = np.resize(np.array((0, 1, 255), np.uint8), LABELS.shape)
    names = {"background": 0, "lung": 1, "ignore": 255}
    _, labels = open_dataset(labelled(tmp_path, IMAGE.with_array(array), IMAGE, names)).load("case")
    assert np.array_equal(labels.array == IGNORE, array == 255)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_greys_between_black_and_white_are_refused_and_not_taken_for_classes(tmp_path: Path, ending: str) -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[2:5] = 255
    mask[5] = 128
    for name, array in (("images", np.zeros((9, 9), np.uint8)), ("masks", mask)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / f"one{ending}")
    with pytest.raises(InputError, match="255, a mask's usual white beside 128"):
        open_dataset(tmp_path).load("one")


def test_labels_that_a_file_scaled_by_a_float_are_whole(tmp_path: Path) -> None:
    _, labels = open_dataset(labelled(tmp_path, IMAGE.with_array(LABELS * np.float32(1.0000153)), IMAGE)).load("case")
    assert np.array_equal(labels.array, LABELS)


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (2,)), ((2, 0, 1), ()), ((1, 2, 0), (0, 1))])
def test_labels_stored_in_another_order_lie_on_their_image(tmp_path: Path, order, flips) -> None:
    array, affine = stored_otherwise(LABELS, AFFINE, order, flips)
    image, labels = open_dataset(labelled(tmp_path, Volume(array, affine), IMAGE)).load("case")
    assert np.array_equal(labels.array, LABELS)
    assert np.array_equal(labels.affine, image.affine)


@pytest.mark.parametrize(
    ("affine", "told"),
    [
        (np.diag([-1.0, 1.0, 1.0, 1.0]) @ AFFINE, "mm apart"),
        (scaling((2.5, 1.0, 0.75), (-3.0, 40.0, 7.0)), r"spacing 2\.5 x 1 x 0\.75 mm against 2\.5 x 0\.5 x 0\.75 mm"),
        (scaling((2.5, 0.5, 0.75), (-3.0, 41.0, 7.0)), "1 mm apart"),
    ],
)
def test_labels_of_another_place_are_left_out_with_what_differs(tmp_path: Path, affine, told) -> None:
    folder = labelled(tmp_path, Volume(LABELS, affine), IMAGE)
    with pytest.raises(InputError, match=told):
        open_dataset(folder).load("case")
    (left_out,) = FolderSource(folder)
    assert "case.nii.gz and the image case_0000.nii.gz lie on different grids" in left_out.why


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


def write_named(folder: Path, names: dict[int, str], ending: str = ".seg.nrrd") -> None:
    """A pair whose labels are named by their file: the left half is 1, the right half 2."""
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    array = np.zeros((3, 4, 6), np.int16)
    write(Volume(array - 1000, scaling((2.0, 1.0, 1.0))), folder / "images" / "a.nrrd")
    array[:, 1:3, :3], array[:, 1:3, 3:] = 1, 2
    write(Volume(array, scaling((2.0, 1.0, 1.0))), folder / "masks" / f"a{ending}", names)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd", ".mha", ".nii.gz"])
def test_labels_are_learnt_by_the_names_of_their_file_whatever_their_numbers(tmp_path: Path, ending: str) -> None:
    write_named(tmp_path, {1: "left lung", 2: "right lung"}, ending)
    _, labels = open_dataset(tmp_path).load("a")
    np.testing.assert_array_equal(labels.array[1, 1], [2, 2, 2, 1, 1, 1])


def test_names_that_say_nothing_leave_the_numbers(tmp_path: Path) -> None:
    write_named(tmp_path, {1: "Segment_1", 2: "Segment_2"})
    _, labels = open_dataset(tmp_path).load("a")
    np.testing.assert_array_equal(labels.array[1, 1], [1, 1, 1, 2, 2, 2])


def test_a_name_that_the_data_set_does_not_know_is_refused_beside_one_that_it_knows(tmp_path: Path) -> None:
    write_named(tmp_path, {1: "left lung", 2: "spleen"})
    with pytest.raises(InputError, match=r"a\.seg\.nrrd: Label 2 is called 'spleen'"):
        open_dataset(tmp_path).load("a")


def test_segmentations_that_were_saved_cropped_are_learnt_in_their_places(tmp_path: Path) -> None:
    array = np.zeros((4, 12, 12), np.uint8)
    array[1:3, 3:8, 2:6], array[1:3, 3:8, 7:11] = 1, 2
    affine = scaling((2.0, 1.0, 1.0), (-5.0, 7.0, 30.0))
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    write(Volume(np.full(array.shape, -850, np.int16), affine), tmp_path / "images" / "a.nii.gz")
    cropped = Volume(array, affine).crop((slice(1, 3), slice(3, 8), slice(2, 11)))
    write(cropped, tmp_path / "masks" / "a.seg.nrrd")
    _, labels = open_dataset(tmp_path).load("a")
    np.testing.assert_array_equal(labels.array, array)
    assert "saved cropped" in labels.notes[0]

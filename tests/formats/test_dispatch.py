from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import napari_lungseg
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, scans_in, write
from napari_lungseg.labels import names_in_text
from napari_lungseg.volume import Volume, scaling

MASK = Volume(np.ones((2, 3, 4), np.uint8), scaling((1.0, 1.0, 1.0)))


def test_missing_empty_and_unknown_files_are_refused_by_name(tmp_path):
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in (("none.nii", "does not exist"), ("empty.nii.gz", "is empty"), ("notes.txt", "no known format")):
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_endings_in_capitals_are_known(tmp_path):
    write(MASK, tmp_path / "A.NII.GZ")
    assert read(str(tmp_path / "A.NII.GZ")).shape == (2, 3, 4)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg", "a.gz"])
def test_an_unknown_ending_is_refused_with_those_that_are_known(tmp_path, name):
    with pytest.raises(InputError, match=re.escape(".nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .tif, .tiff, .png or .dcm")):
        write(MASK, tmp_path / name)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        write(MASK, tmp_path / "none" / "a.nii")


def test_a_written_file_has_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    assert write(MASK, tmp_path / "a.nii").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_reading_and_writing_are_in_the_public_api():
    assert napari_lungseg.read is read
    assert napari_lungseg.write is write


def test_scans_of_a_folder_are_files_and_dicom_folders(tmp_path, write_series):
    write(MASK, tmp_path / "b.nii.gz")
    write(MASK, tmp_path / "a.mha")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / ".hidden.nii").write_text("no")
    (tmp_path / "empty").mkdir()
    write_series(tmp_path / "ct", [0.0, 1.0])
    write(MASK, tmp_path / "radiographs.png")
    assert [path.name for path in scans_in(tmp_path)] == ["a.mha", "b.nii.gz", "ct"]


def test_a_dicom_folder_is_one_scan_and_loose_slices_are_many(tmp_path, write_series, write_slice):
    write_series(tmp_path / "series", [0.0, 1.0, 2.0])
    assert scans_in(tmp_path / "series") == [tmp_path / "series"]
    (tmp_path / "loose").mkdir()
    files = [
        write_slice(tmp_path / "loose" / f"{index}.dcm", np.zeros((4, 6)), (0, 0, index), SeriesInstanceUID=f"1.2.{index + 1}")
        for index in range(3)
    ]
    assert scans_in(tmp_path / "loose") == files


def test_a_folder_without_images_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=re.escape(str(path))):
            scans_in(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_labels_keep_their_names_in_plain_files(tmp_path, ending):
    labels = Volume(np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 3, scaling((1, 1, 1)), names={1: "liver", 2: "groß"})
    again = read(write(labels, tmp_path / f"labels{ending}"))
    assert again.names == labels.names
    np.testing.assert_array_equal(again.array, labels.array)
    assert read(write(replace(labels, names=None), tmp_path / f"plain{ending}")).names is None


def test_names_that_do_not_fit_into_nifti_are_left_out(tmp_path):
    labels = Volume(np.eye(3, dtype=np.uint8)[None], scaling((1, 1, 1)), names={1: "a name " * 20})
    assert read(write(labels, tmp_path / "labels.nii.gz")).names is None


@pytest.mark.parametrize("text", ["made by hand", "napari-lungseg labels", "napari-lungseg labels [1]", 'napari-lungseg labels {"1":2}'])
def test_other_descriptions_are_no_names(text):
    assert names_in_text(text) is None

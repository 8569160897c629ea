"""Folders as media and archives have them: DICOM files some levels below, a DICOMDIR, numbered TIFFs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from dicom_files import write_ct_slice
from pydicom.fileset import FileSet

import napari_lungseg
from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, scans_in

HU = np.random.default_rng(2).integers(-1000, 400, (8, 9))


def write_series(folder: Path, slices: int = 4, uid: str = "1.2.3", number: int = 3) -> Path:
    folder.mkdir(parents=True)
    for index in range(slices):
        place = (0.0, 0.0, 2.5 * index)
        write_ct_slice(folder / f"im{index}.dcm", HU + index, place, SeriesInstanceUID=uid, SeriesNumber=number, InstanceNumber=index + 1)
    return folder


def test_dicom_files_some_folders_below_are_read(tmp_path: Path) -> None:
    write_series(tmp_path / "patient" / "study" / "series")
    volume = napari_lungseg.read(tmp_path)
    assert volume.shape == (4, 8, 9)
    np.testing.assert_array_equal(volume.array[2], HU + 2)


def test_of_several_series_below_the_person_is_asked(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "a")
    write_series(tmp_path / "study" / "b", uid="1.2.4", number=9)
    with pytest.raises(SeriesChoiceError) as refusal:
        napari_lungseg.read(tmp_path)
    assert [choice.key for choice in refusal.value.choices] == ["3", "9"]
    assert napari_lungseg.read(tmp_path, series="9").shape == (4, 8, 9)


def test_files_directly_in_a_folder_are_meant_before_those_below(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    write_series(folder / "older", slices=7)
    assert napari_lungseg.read(folder).shape == (4, 8, 9)


@pytest.mark.parametrize("by", ["folder", "DICOMDIR"])
def test_a_medium_is_read_by_its_folder_or_its_directory(tmp_path: Path, by) -> None:
    files = FileSet()
    for path in sorted(write_series(tmp_path / "source").iterdir()):
        data = pydicom.dcmread(path)
        data.PatientID, data.PatientName, data.StudyID, data.StudyDate, data.StudyTime = "1", "A", "1", "20200101", "101010"
        files.add(data)
    files.write(tmp_path / "medium")
    shutil.rmtree(tmp_path / "source")
    volume = napari_lungseg.read(tmp_path / "medium" / ("" if by == "folder" else by))
    assert volume.shape == (4, 8, 9)
    np.testing.assert_array_equal(volume.array[0], HU)


def test_each_series_below_a_folder_of_patients_is_a_scan(tmp_path: Path) -> None:
    wanted = [write_series(tmp_path / f"patient{number}" / "study" / "series", uid=f"1.2.{number}") for number in (1, 2)]
    (tmp_path / "notes").mkdir()
    assert scans_in(tmp_path) == wanted


def test_a_folder_without_images_on_any_level_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(InputError, match="There are no DICOM files in"):
        napari_lungseg.read(tmp_path)


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    (tmp_path / "series" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "up").symlink_to(tmp_path, target_is_directory=True)
    assert napari_lungseg.read(tmp_path).shape == (4, 8, 9)


def test_numbered_tiffs_are_the_slices_of_a_volume(tmp_path: Path) -> None:
    for index in range(3):
        tifffile.imwrite(tmp_path / f"slice_{index}.tif", (HU + index).astype(np.int16))
    (tmp_path / "readme.txt").write_text("from the scanner")
    volume = napari_lungseg.read(tmp_path)
    np.testing.assert_array_equal(volume.array, np.stack([HU, HU + 1, HU + 2]))
    assert not volume.spacing_known

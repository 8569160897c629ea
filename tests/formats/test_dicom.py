from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import affine_of

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read

EVEN = [10.0, 13.0, 16.0, 19.0, 22.0]


def test_slices_are_sorted_by_position_and_not_by_name_or_number(tmp_path, write_series):
    hu = write_series(tmp_path / "ct", EVEN)
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, hu)
    assert volume.array.dtype == np.int16
    assert volume.unit == "HU"
    np.testing.assert_allclose(volume.spacing, (3.0, 0.75, 0.5))
    np.testing.assert_allclose(volume.affine @ (1, 2, 3, 1), (-20 + 3 * 0.5, -10 + 2 * 0.75, 13, 1))


def test_geometry_and_numbers_agree_with_simpleitk(tmp_path, write_slice):
    """An oblique stack, against ITK's own way of reading a series."""
    rows, columns = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 7))
    for index in range(4):
        position = np.array([3.0, -40.0, 100.0]) + index * 2.5 * np.cross(rows, columns)
        write_slice(tmp_path / f"{3 - index}.dcm", hu[index], position, ImageOrientationPatient=[*rows, *columns])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.affine, affine_of(image), atol=1e-6)


def test_a_single_file_is_a_volume_of_one_slice(tmp_path, write_slice):
    path = write_slice(tmp_path / "IM0001", np.full((4, 6), -700), (1, 2, 3), SpacingBetweenSlices=2.5)
    volume = read(path)
    assert volume.shape == (1, 4, 6)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.75, 0.5))
    np.testing.assert_allclose(volume.affine, affine_of(sitk.ReadImage(str(path), imageIO="GDCMImageIO")))


def test_other_files_in_the_folder_are_passed_over(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN)
    (tmp_path / "notes.txt").write_text("seen by two readers")
    (tmp_path / ".DS_Store").write_bytes(b"\0\1")
    (tmp_path / "thumbs").mkdir()
    np.testing.assert_array_equal(read(tmp_path).array, hu)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Modality": "MR"}, "is a MR file, not CT"),
        ({"PhotometricInterpretation": "RGB"}, "colour"),
        ({"NumberOfFrames": 4}, "does not say where"),
        ({"ImagePositionPatient": None}, "does not say where"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "impossible"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused_by_name(tmp_path, write_series, write_slice, attributes, message):
    write_series(tmp_path, EVEN)
    write_slice(tmp_path / "odd.dcm", np.zeros((4, 6)), (-20, -10, 25), **attributes)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert "odd.dcm" in str(caught.value)


def test_without_a_rescale_the_unit_is_guessed(tmp_path, write_slice):
    write_slice(tmp_path / "a.dcm", np.arange(24).reshape(4, 6), (0, 0, 0), intercept=0, RescaleIntercept=None, RescaleSlope=None)
    assert read(tmp_path / "a.dcm").unit == "arbitrary"


@pytest.mark.parametrize("keep", [0, 100, 400, 0.9])
def test_a_cut_off_slice_is_refused_by_name(tmp_path, write_series, keep):
    write_series(tmp_path, EVEN)
    path = tmp_path / "IM002.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=re.escape("IM002.dcm")):
        read(tmp_path)
    with pytest.raises(InputError, match=re.escape("IM002.dcm")):
        read(path)


def test_folders_without_slices_are_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read(tmp_path)
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM files"):
        read(Path(tmp_path))

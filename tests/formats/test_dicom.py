from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.formats.itk import affine_of

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


def test_slope_and_intercept_are_those_of_each_file(tmp_path, write_slice):
    hu = np.full((4, 6), -500)
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), slope=1, intercept=-1024)
    write_slice(tmp_path / "b.dcm", hu, (0, 0, 2), slope=2, intercept=-1000)
    np.testing.assert_array_equal(read(tmp_path).array, np.full((2, 4, 6), -500))


def test_fractional_slopes_give_fractions(tmp_path, write_slice):
    write_slice(tmp_path / "a.dcm", np.full((4, 6), -10.25), (0, 0, 0), slope=0.25)
    assert read(tmp_path / "a.dcm").array.dtype == np.float32
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, -10.25)


def test_a_compressed_file_reads_the_same(tmp_path, write_slice):
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16))
    plain = write_slice(tmp_path / "plain.dcm", hu, (0, 0, 0))
    packed = pydicom.dcmread(plain)
    packed.compress(pydicom.uid.RLELossless)
    packed.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(read(tmp_path / "packed.dcm").array[0], hu)


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
    ("heights", "message"),
    [
        ([0, 2, 4, 8, 10, 12], r"1 slice is missing between 4\.00 mm and 8\.00 mm"),
        ([0, 2, 4, 10, 12, 14], r"2 slices are missing between 4\.00 mm and 10\.00 mm"),
        ([0, 2, 4, 7.1, 9.1, 11.1], r"the step between 4\.00 mm and 7\.10 mm is 3\.1 mm and not 2 mm"),
        ([0, 2, 4, 4, 6], r"two slices at 4\.00 mm \(IM\d+\.dcm and IM\d+\.dcm\)"),
        ([*np.arange(0, 40, 2.0), *np.arange(39.92, 80, 1.92)], "change from 1.92 to 2 mm"),
    ],
)
def test_missing_uneven_and_doubled_slices_are_refused_with_their_place(tmp_path, write_series, heights, message):
    write_series(tmp_path / "ct", [float(z) for z in heights])
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "ct")
    assert str(tmp_path / "ct") in str(caught.value)


def test_rounded_positions_pass(tmp_path, write_series):
    write_series(tmp_path, [0.0, 0.67, 1.33, 2.0, 2.67, 3.33])
    np.testing.assert_allclose(read(tmp_path).spacing[0], 0.666, atol=1e-3)


def test_several_series_are_listed_without_names_of_patients(tmp_path, write_series, write_slice):
    write_series(tmp_path, EVEN)
    write_slice(tmp_path / "other.dcm", np.zeros((4, 6)), (0, 0, 0), SeriesInstanceUID="1.2.3.5", SeriesNumber=7)
    with pytest.raises(InputError, match="2 series") as caught:
        read(tmp_path)
    assert "series 3: 5 CT files of 6 x 4" in str(caught.value)
    assert "series 7: 1 CT file of 6 x 4" in str(caught.value)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelSpacing": [0.75, 0.6]}, r"pixel spacing \(0\.75 x 0\.6 mm beside 0\.75 x 0\.5 mm\)"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "orientation"),
        ({"Rows": 2, "Columns": 12}, r"size \(2 x 12 beside 4 x 6\)"),
        ({"Modality": "MR"}, "is a MR file, not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "scout"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "inverted"),
        ({"NumberOfFrames": 4}, "multi-frame"),
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


def test_a_tilted_gantry_is_refused(tmp_path, write_slice):
    tilt = np.deg2rad(15)
    for index in range(4):
        write_slice(
            tmp_path / f"{index}.dcm",
            np.zeros((4, 6)),
            (0, 0, 5 * index),
            ImageOrientationPatient=[1, 0, 0, 0, np.cos(tilt).round(6), -np.sin(tilt).round(6)],
        )
    with pytest.raises(InputError, match="tilted gantry"):
        read(tmp_path)


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

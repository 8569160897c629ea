"""Several stacks in one folder, or in one series: told apart, listed, and asked about."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, read

EVEN = [10.0, 13.0, 16.0, 19.0, 22.0]
ACROSS = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}


def choices(path) -> dict[str, str]:
    with pytest.raises(SeriesChoiceError) as caught:
        read(path)
    return {choice.key: choice.text for choice in caught.value.choices}


@pytest.fixture
def two_series(tmp_path, write_series):
    """A soft and a sharp series in one folder."""
    soft = write_series(tmp_path, EVEN, SeriesDescription="Thorax B30f")
    (tmp_path / "more").mkdir()
    sharp = write_series(tmp_path / "more", EVEN[:3], SeriesInstanceUID="1.2.3.5", SeriesNumber=7, SeriesDescription="Thorax B70f") + 1
    for path in (tmp_path / "more").iterdir():
        path.rename(tmp_path / f"sharp_{path.name}")
    (tmp_path / "more").rmdir()
    return tmp_path, soft, sharp - 1


def test_series_are_listed_by_description_size_and_spacing(two_series):
    folder, _, _ = two_series
    assert choices(folder) == {
        "3": "'Thorax B30f', CT, 6 x 4 x 5, 0.5 x 0.75 x 3 mm",
        "7": "'Thorax B70f', CT, 6 x 4 x 3, 0.5 x 0.75 x 3 mm",
    }


@pytest.mark.parametrize("wanted", ["7", "Thorax B70f", "thorax b70F"])
def test_a_series_is_chosen_by_its_number_or_description(two_series, wanted):
    folder, _, sharp = two_series
    np.testing.assert_array_equal(read(folder, series=wanted).array, sharp)


def test_a_series_that_is_not_there_is_refused_with_those_that_are(two_series):
    with pytest.raises(SeriesChoiceError, match=r"no image '5' \(3: 'Thorax B30f'.*; 7: 'Thorax B70f'"):
        read(two_series[0], series="5")


def test_a_description_that_two_series_share_does_not_choose(tmp_path, write_slice):
    for number in (3, 4):
        about = {"SeriesInstanceUID": f"1.2.{number}", "SeriesNumber": number, "SeriesDescription": "Lung"}
        write_slice(tmp_path / f"{number}.dcm", np.zeros((4, 6)), (0, 0, 0), **about)
    with pytest.raises(SeriesChoiceError, match="2 images that 'Lung' fits"):
        read(tmp_path, series="Lung")


def test_nothing_of_the_patient_is_listed(two_series):
    with pytest.raises(SeriesChoiceError) as caught:
        read(two_series[0])
    assert not re.search("Doe|Jane|4711|1901", str(caught.value).replace(str(two_series[0]), ""))


def test_series_of_one_number_are_told_apart(tmp_path, write_slice):
    for uid, count in (("1.2.5", 2), ("1.2.6", 3)):
        for index in range(count):
            write_slice(tmp_path / f"{uid}_{index}.dcm", np.full((4, 6), count), (0, 0, index), SeriesInstanceUID=uid)
    assert list(choices(tmp_path)) == ["3.1", "3.2"]
    assert read(tmp_path, series="3.2").array.max() == 3


def test_reports_and_masks_beside_the_ct_are_passed_over(tmp_path, write_series, write_slice):
    hu = write_series(tmp_path, EVEN)
    write_slice(tmp_path / "mask.dcm", np.zeros((4, 6)), (0, 0, 0), SeriesInstanceUID="1.2.9", Modality="SEG")
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_a_dose_report_beside_the_ct_is_passed_over(tmp_path, write_series, write_slice):
    """It is a picture, says that it is CT, and lies nowhere."""
    hu = write_series(tmp_path, EVEN)
    about = {"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage, "ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_slice(tmp_path / "dose.dcm", np.zeros((8, 8)), (0, 0, 0), SeriesInstanceUID="1.2.9", **about)
    np.testing.assert_array_equal(read(tmp_path).array, hu)


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **ACROSS, "Rows": 8, "Columns": 3},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        ACROSS,
    ],
    ids=["a scout of another size", "a scout in the plane of the slices", "a scout that does not say so"],
)
def test_a_scout_in_the_series_is_split_off(tmp_path, write_series, write_slice, attributes):
    """It must not change the spacing, nor become a slice."""
    hu = write_series(tmp_path, EVEN)
    write_slice(tmp_path / "scout.dcm", np.zeros((4, 6)), (-20, -10, 300), **attributes)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, hu)
    np.testing.assert_allclose(volume.spacing, (3, 0.75, 0.5))


def test_a_scout_alone_is_no_ct(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6)), (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match="scout"):
        read(path)


@pytest.mark.parametrize(("attributes", "size"), [({"PixelSpacing": [0.75, 0.6]}, "6 x 4"), ({"Rows": 2, "Columns": 12}, "12 x 2")])
def test_slices_of_another_size_are_a_stack_of_their_own(tmp_path, write_series, write_slice, attributes, size):
    hu = write_series(tmp_path, EVEN)
    for index in range(2):
        write_slice(tmp_path / f"odd{index}.dcm", np.zeros((4, 6)), (-20, -10, 25 + index), **attributes)
    found = choices(tmp_path)
    assert list(found) == ["3.1", "3.2"]
    assert f"{size} x 2" in found["3.2"]
    np.testing.assert_array_equal(read(tmp_path, series="3.1").array, hu)


@pytest.mark.parametrize(
    ("keyword", "values", "parts"),
    [
        ("AcquisitionNumber", (1, 2), ("acquisition 1", "acquisition 2")),
        ("TemporalPositionIdentifier", (2, 10), ("time 2", "time 10")),
        ("NominalPercentageOfCardiacPhase", (40.0, 75.0), ("phase 40 %", "phase 75 %")),
        ("ConvolutionKernel", ("B30f", "B70f"), ("kernel B30f", "kernel B70f")),
        ("AcquisitionTime", ("101500", "101530"), ("acquired at 101500", "acquired at 101530")),
    ],
)
def test_phases_of_one_series_are_asked_about(tmp_path, write_slice, keyword, values, parts):
    for phase, value in enumerate(values):
        for index in range(4):
            about = {keyword: value, "InstanceNumber": 1 + index * 2 + phase}
            write_slice(tmp_path / f"{index}_{phase}.dcm", np.full((4, 6), 100 * phase + index), (0, 0, 2.5 * index), **about)
    found = choices(tmp_path)
    assert [text.split(", ")[0] for text in found.values()] == list(parts)
    for phase, key in enumerate(found):
        np.testing.assert_array_equal(read(tmp_path, series=key).array[:, 0, 0], 100 * phase + np.arange(4))


def test_phases_that_nothing_names_go_by_their_numbers(tmp_path, write_slice):
    for number in range(6):
        phase, index = divmod(number, 3)
        write_slice(tmp_path / f"{5 - number}.dcm", np.full((4, 6), 100 * phase + index), (0, 0, index), InstanceNumber=number)
    assert [text.split(", ")[0] for text in choices(tmp_path).values()] == ["copy 1", "copy 2"]
    np.testing.assert_array_equal(read(tmp_path, series="3.2").array[:, 0, 0], [100, 101, 102])


def test_the_same_image_twice_counts_once(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN)
    (tmp_path / "copy of IM001.dcm").write_bytes((tmp_path / "IM001.dcm").read_bytes())
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_one_doubled_place_is_named(tmp_path, write_series):
    write_series(tmp_path, [0.0, 2.0, 4.0, 4.0, 6.0])
    with pytest.raises(InputError, match=r"two slices at 4\.00 mm \(IM\d+\.dcm and IM\d+\.dcm\)"):
        read(tmp_path)


def test_a_directory_file_is_no_image(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN)
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2"
    directory.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path).array, hu)

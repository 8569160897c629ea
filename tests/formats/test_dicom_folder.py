"""A folder is what it holds, file by file: what is no slice is left out and told; slices are never left out."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import raw_element
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, read, scans_in

EVEN = [10.0, 13.0, 16.0, 19.0, 22.0]
NOWHERE = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
PLAN = {"Modality": "RTSTRUCT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "PixelSpacing": None, **NOWHERE}


def without_pixels(path):
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)


@pytest.mark.parametrize(
    ("attributes", "has_pixels", "cause"),
    [
        (PLAN, False, "is a RTSTRUCT file, not CT"),
        (PLAN | {"SeriesInstanceUID": None}, False, "is a RTSTRUCT file, not CT"),
        ({"SeriesInstanceUID": "9.9", "PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, True, "is a colour picture"),
        ({"SeriesInstanceUID": "9.9", "PixelSpacing": None}, True, "does not say where its slices lie"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], **NOWHERE}, True, "does not say where its slices lie"),
        ({"SeriesInstanceUID": "9.9", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **NOWHERE}, True, "does not say where"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, True, "is a scout view"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, True, "lies across the other slices"),
        ({"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage, **NOWHERE}, True, "is a screen shot or report"),
        ({"SeriesInstanceUID": "9.9", "Modality": "MR"}, True, "is a MR file, not CT"),
    ],
)
def test_what_lies_beside_the_ct_is_left_out_by_name_and_cause(tmp_path, write_series, write_slice, attributes, has_pixels, cause):
    hu = write_series(tmp_path, EVEN)
    path = write_slice(tmp_path / "other.dcm", np.zeros((4, 6)), (-20, -10, 300), **attributes)
    if not has_pixels:
        without_pixels(path)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, hu)
    assert len(volume.notes) == 1
    assert volume.notes[0].startswith(f"other.dcm was left out: it {cause}")


def test_a_damaged_file_beside_the_ct_is_left_out_by_name(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN)
    (tmp_path / "report.dcm").write_bytes(b"no DICOM")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, hu)
    assert volume.notes == ("report.dcm was left out: it is damaged or not a DICOM file.",)


def test_a_slice_whose_series_is_damaged_too_is_not_left_out(tmp_path, write_series, write_slice):
    write_series(tmp_path, EVEN)
    write_slice(tmp_path / "IM099.dcm", np.zeros((4, 6)), (-20, -10, 300), SeriesInstanceUID="1.2.\x18.4", PixelSpacing=None)
    with pytest.raises(InputError, match=r"IM099\.dcm does not say where its slices lie"):
        read(tmp_path)


def test_many_that_are_left_out_are_counted(tmp_path, write_series, write_slice):
    write_series(tmp_path, EVEN)
    for number in range(6):
        (tmp_path / f"report{number}.dcm").write_bytes(b"no DICOM")
    notes = read(tmp_path).notes
    assert len(notes) == 4
    assert notes[-1] == "3 more files were left out."


def test_nothing_is_told_of_a_plain_series(tmp_path, write_series):
    write_series(tmp_path, EVEN)
    assert read(tmp_path).notes == ()


def test_a_damaged_slice_in_the_middle_is_named_with_the_gap(tmp_path, write_slice):
    for index, name in enumerate(("a", "b", "c", "d", "e")):
        write_slice(tmp_path / f"{name}.dcm", np.zeros((4, 6)), (0, 0, 3 * index))
    (tmp_path / "c.dcm").write_bytes(b"no DICOM")
    with pytest.raises(InputError, match=r"1 slice is missing.*c\.dcm was left out"):
        read(tmp_path)


def test_one_identifier_for_all_slices_hides_none(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN, SOPInstanceUID="1.2.3.99")
    np.testing.assert_array_equal(read(tmp_path).array, hu)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "IM001.dcm").read_bytes())
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_one_identifier_for_two_phases_hides_none(tmp_path, write_slice):
    for phase in (0, 1):
        for index in range(3):
            about = {"SOPInstanceUID": "1.2.3", "InstanceNumber": 3 * phase + index}
            write_slice(tmp_path / f"{phase}{index}.dcm", np.full((4, 6), phase), (0, 0, index), **about)
    with pytest.raises(SeriesChoiceError, match="2 images"):
        read(tmp_path)


def test_a_slice_with_its_columns_turned_round_is_not_dropped(tmp_path, write_series, write_slice):
    write_series(tmp_path, EVEN)
    write_slice(tmp_path / "turned.dcm", np.zeros((4, 6)), (-20, -7.75, 25), ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    with pytest.raises(SeriesChoiceError, match="2 images"):
        read(tmp_path)


def test_two_acquisitions_that_share_a_place_are_one_volume(tmp_path, write_slice):
    """Where both lie the later one is taken, and that is told."""
    for acquisition, places in ((1, range(5)), (2, range(4, 9))):
        for z in places:
            about = {"AcquisitionNumber": acquisition, "InstanceNumber": 10 * acquisition + z}
            write_slice(tmp_path / f"{acquisition}_{z}.dcm", np.full((4, 6), 100 * acquisition + z), (0, 0, 2.5 * z), **about)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array[:, 0, 0], [100, 101, 102, 103, 204, 205, 206, 207, 208])
    assert volume.notes == ("2 acquisitions that follow each other were joined; at 1 shared places the later one was taken.",)


@pytest.fixture
def own_series(tmp_path, write_slice):
    """Slices that each call themselves a series of their own, as of bad de-identification."""
    for number in range(1, 13):
        about = {"SeriesInstanceUID": f"1.9.{number}", "InstanceNumber": number, "SeriesDescription": "Thorax"}
        write_slice(tmp_path / f"{number:03d}.dcm", np.full((4, 6), number), (0, 0, 2.5 * number), **about)
    return tmp_path


def test_slices_that_each_call_themselves_a_series_are_one(own_series):
    volume = read(own_series)
    np.testing.assert_array_equal(volume.array[:, 0, 0], range(1, 13))
    assert "each call themselves a series" in volume.notes[0]
    assert scans_in(own_series) == [own_series]


def test_single_images_of_one_folder_are_listed_in_short(own_series):
    """Of different studies they are no stack."""
    for number, path in enumerate(sorted(own_series.iterdir())):
        data = pydicom.dcmread(path)
        data.StudyInstanceUID = f"1.7.{number + 1}"
        data.save_as(path)
    with pytest.raises(SeriesChoiceError, match="and 4 more") as caught:
        read(own_series)
    assert len(caught.value.choices) == 12
    assert len(scans_in(own_series)) == 12


def bare(path: Path, implicit: bool, front: bytes = b"") -> None:
    """The file without its meta information."""
    data = pydicom.dcmread(path)
    del data.file_meta
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, True
    write_dataset(stream, data)
    path.unlink()
    path.with_suffix("").write_bytes(front + stream.getvalue())


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("front", [b"", bytes(128) + b"DICM"])
def test_files_without_preamble_and_meta_information_are_read_whatever_their_name(tmp_path, write_series, implicit, front):
    hu = write_series(tmp_path, EVEN)
    for path in list(tmp_path.iterdir()):
        bare(path, implicit, front)
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_other_files_that_begin_alike_are_no_dicom(tmp_path, write_series):
    hu = write_series(tmp_path, EVEN)
    (tmp_path / "numbers").write_bytes(struct.pack("<100H", *range(8, 108)))
    (tmp_path / "zeros").write_bytes(bytes(300))
    np.testing.assert_array_equal(read(tmp_path).array, hu)


@pytest.mark.parametrize("missing", ["Modality", "SeriesInstanceUID", "SOPInstanceUID", "StudyInstanceUID"])
def test_what_is_missing_but_not_needed_does_not_matter(tmp_path, write_series, missing):
    hu = write_series(tmp_path, EVEN, **{missing: None})
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_decimal_commas_are_read(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6)), (0, 0, 0), PixelSpacing=[0.75, 0.55])
    whole = path.read_bytes()
    assert b"0.75\\0.55 " in whole
    path.write_bytes(whole.replace(b"0.75\\0.55 ", b"0,75\\0,55 "))
    np.testing.assert_allclose(read(path).spacing[1:], (0.75, 0.55))


RADIOGRAPH = {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "PixelSpacing": None, **NOWHERE}


@pytest.mark.parametrize("modality", ["CR", "DX"])
@pytest.mark.parametrize("inverted", [False, True])
def test_radiographs_open_as_pictures_with_bright_bone(tmp_path, write_slice, modality, inverted):
    bones = np.arange(24).reshape(4, 6) * 100
    stored = 4095 - bones if inverted else bones
    about = RADIOGRAPH | {"Modality": modality, "RescaleSlope": None, "RescaleIntercept": None, "BitsStored": 12, "HighBit": 11}
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    path = write_slice(tmp_path / "chest.dcm", stored, (0, 0, 0), intercept=0.0, PhotometricInterpretation=photometric, **about)
    for one in (path, tmp_path):
        volume = read(one)
        np.testing.assert_array_equal(volume.array, bones)
        assert (volume.unit, volume.spacing_known, volume.oriented) == ("arbitrary", False, False)


def test_two_radiographs_are_asked_about_and_none_beside_a_ct(tmp_path, write_slice, write_series):
    for number in (1, 2):
        write_slice(tmp_path / f"{number}.dcm", np.full((4, 6), number), (0, 0, 0), intercept=0.0, InstanceNumber=number, **RADIOGRAPH)
    with pytest.raises(SeriesChoiceError, match=r"3\.1: 1\.dcm, DX"):
        read(tmp_path)
    assert read(tmp_path, series="3.2").array.max() == 2
    hu = write_series(tmp_path / "ct", EVEN, SeriesInstanceUID="1.2.8")
    for path in (tmp_path / "ct").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "ct").rmdir()
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def written_as(path, *, implicit):
    """Write the elements behind the meta information another way, and leave the name of the transfer syntax as it is."""
    data = path.read_bytes()
    start = 144 + struct.unpack("<I", data[140:144])[0]
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, implicit
    write_dataset(stream, pydicom.dcmread(path))
    path.write_bytes(data[:start] + stream.getvalue())


@pytest.mark.parametrize("implicit", [False, True])
def test_elements_that_are_written_otherwise_than_the_file_names_are_read(tmp_path, write_series, implicit):
    hu = write_series(tmp_path, EVEN)
    for path in tmp_path.iterdir():
        if implicit:
            written_as(path, implicit=True)
        else:  # a name of the same length in its place
            path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"))
    np.testing.assert_array_equal(read(tmp_path).array, hu)


@pytest.mark.parametrize(
    ("attributes", "lacking"),
    [
        (NOWHERE, "ImagePositionPatient and ImageOrientationPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelSpacing": ""}, "PixelSpacing"),
    ],
)
def test_what_a_slice_lacks_is_named(tmp_path, write_series, attributes, lacking):
    write_series(tmp_path, EVEN, **attributes)
    with pytest.raises(InputError, match=f"lie: it lacks {lacking}; export"):
        read(tmp_path)


@pytest.mark.parametrize(("tag", "keyword"), [(0x00200011, "SeriesNumber"), (0x00200013, "InstanceNumber")])
def test_a_number_that_is_none_is_named(tmp_path, write_slice, tag, keyword):
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6)), (0, 0, 0))
    raw_element(path, tag, "IS", b"A1")
    with pytest.raises(InputError, match=f"impossible {keyword}, which should be a whole number"):
        read(path)


@pytest.mark.parametrize(("tag", "kind", "value"), [(0x00080060, "CS", b"ct"), (0x00281054, "LO", b"Hounsfield Units")])
def test_words_are_known_however_they_are_spelt(tmp_path, write_slice, tag, kind, value):
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6)), (0, 0, 0))
    raw_element(path, tag, kind, value)
    assert read(path).unit == "HU"

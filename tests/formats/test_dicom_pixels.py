"""HU, however they are stored and packed."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import packed, with_zeros_behind
from pydicom import uid

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read

LOSSLESS = {
    "RLE": (uid.RLELossless, None),
    "JPEG lossless": (uid.JPEGLossless, lambda a: imagecodecs.jpeg8_encode(a.view("u2"), lossless=True, predictor=4, bitspersample=16)),
    "JPEG lossless, first order": (
        uid.JPEGLosslessSV1,
        lambda a: imagecodecs.jpeg8_encode(a.view("u2"), lossless=True, predictor=1, bitspersample=16),
    ),
    "JPEG-LS": (uid.JPEGLSLossless, lambda a: imagecodecs.jpegls_encode(a.view("u2"))),
    "JPEG 2000": (uid.JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K", reversible=True, level=0)),
}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_files_read_as_stored_and_as_itk_reads_them(tmp_path, write_slice, name, signed):
    syntax, encode = LOSSLESS[name]
    hu = np.random.default_rng(0).integers(-1000, 1000, (32, 48))
    plain = write_slice(tmp_path / "plain.dcm", hu, (0, 0, 0), intercept=0.0 if signed else -1024.0, PixelRepresentation=int(signed))
    if encode is None:
        file = pydicom.dcmread(plain)
        file.compress(syntax)
        file.save_as(tmp_path / "packed.dcm")
    else:
        packed(plain, tmp_path / "packed.dcm", syntax, encode)
    np.testing.assert_array_equal(read(tmp_path / "packed.dcm").array[0], hu)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "packed.dcm")))[0], hu)


@pytest.mark.skipif(not hasattr(imagecodecs, "htj2k_encode"), reason="this imagecodecs can read it, but not write it")
def test_high_throughput_jpeg_2000_reads_as_stored(tmp_path, write_slice):
    """Which ITK cannot read."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (32, 48))
    plain = write_slice(tmp_path / "plain.dcm", hu, (0, 0, 0))
    packed(plain, tmp_path / "packed.dcm", uid.HTJ2KLossless, lambda a: imagecodecs.htj2k_encode(a, reversible=True))
    np.testing.assert_array_equal(read(tmp_path / "packed.dcm").array[0], hu)


LOSSY = {
    "JPEG, 8 bit": (uid.JPEGBaseline8Bit, 8, lambda a: imagecodecs.jpeg8_encode(a.astype("u1"), level=95)),
    "JPEG, 12 bit": (uid.JPEGExtended12Bit, 12, lambda a: imagecodecs.jpeg8_encode(a, level=95, bitspersample=12)),
    "JPEG-LS, near": (uid.JPEGLSNearLossless, 16, lambda a: imagecodecs.jpegls_encode(a, level=2)),
    "JPEG 2000": (uid.JPEG2000, 16, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K", level=80)),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_read_nearly_as_stored(tmp_path, write_slice, name):
    syntax, bits, encode = LOSSY[name]
    hu = np.add.outer(np.arange(32), np.arange(48)) * 2.0
    plain = write_slice(tmp_path / "plain.dcm", hu, (0, 0, 0), intercept=0.0, BitsStored=bits, HighBit=bits - 1)
    packed(plain, tmp_path / "packed.dcm", syntax, encode)
    if bits == 8:
        file = pydicom.dcmread(tmp_path / "packed.dcm")
        file.BitsAllocated = 8
        file.save_as(tmp_path / "packed.dcm")
    found = read(tmp_path / "packed.dcm").array[0]
    np.testing.assert_allclose(found, hu, atol=30)
    np.testing.assert_allclose(found, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "packed.dcm")))[0], atol=1)


def test_a_sign_below_the_sixteenth_bit_is_kept(tmp_path, write_slice):
    """12-bit numbers in two's complement, as JPEG stores them without a sign."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16))
    about = {"intercept": 0.0, "PixelRepresentation": 1, "BitsStored": 12, "HighBit": 11}
    plain = write_slice(tmp_path / "plain.dcm", hu, (0, 0, 0), **about)
    path = packed(plain, tmp_path / "packed.dcm", uid.JPEGLSLossless, lambda a: imagecodecs.jpegls_encode(a.view("u2") & 0xFFF))
    for one in (plain, path):
        np.testing.assert_array_equal(read(one).array[0], hu)


def test_slope_and_intercept_are_those_of_each_file(tmp_path, write_slice):
    hu = np.full((4, 6), -500)
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), slope=1, intercept=-1024)
    write_slice(tmp_path / "b.dcm", hu, (0, 0, 2), slope=2, intercept=-1000)
    np.testing.assert_array_equal(read(tmp_path).array, np.full((2, 4, 6), -500))


@pytest.mark.parametrize(("slope", "kind"), [(0.25, np.float32), (-1.0, np.int16), (-0.5, np.float32)])
def test_slopes_may_be_fractions_or_negative(tmp_path, write_slice, slope, kind):
    hu = np.arange(24).reshape(4, 6) * 2.0 - 700
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), slope=slope, intercept=3000.0 if slope < 0 else -1024.0)
    volume = read(tmp_path / "a.dcm")
    assert volume.array.dtype == kind
    np.testing.assert_array_equal(volume.array[0], hu)


def test_inverted_pictures_have_the_same_hu(tmp_path, write_slice):
    hu = np.arange(24).reshape(4, 6) * 50 - 1000
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array[0], hu)


def test_large_numbers_keep_their_value(tmp_path, write_slice):
    hu = np.array([[-1024, 40000]])
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0))
    assert read(tmp_path / "a.dcm").array.dtype == np.int32
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array[0], hu)


@pytest.mark.parametrize("name", ["JPEG lossless, first order", "JPEG-LS", "JPEG 2000"])
def test_damaged_packed_pixels_are_refused_by_name(tmp_path, write_slice, name):
    syntax, encode = LOSSLESS[name]
    plain = write_slice(tmp_path / "plain.dcm", np.random.default_rng(0).integers(-1000, 1000, (32, 48)), (0, 0, 0))
    packed(plain, tmp_path / "packed.dcm", syntax, lambda a: encode(a)[:40])
    with pytest.raises(InputError, match=r"pixels of .*packed\.dcm"):
        read(tmp_path / "packed.dcm")


def test_an_unknown_packing_is_refused_by_name(tmp_path, write_slice):
    plain = write_slice(tmp_path / "plain.dcm", np.zeros((4, 6)), (0, 0, 0))
    packed(plain, tmp_path / "packed.dcm", uid.MPEG2MPML, lambda a: b"\0" * 16)
    with pytest.raises(InputError, match=r"packed\.dcm"):
        read(tmp_path / "packed.dcm")


@pytest.mark.parametrize(("slope", "doubts"), [(None, 1), ("", 1), (0, 1), (1, 0)])
def test_a_missing_or_zero_slope_counts_as_one_and_is_told(tmp_path, write_slice, slope, doubts):
    hu = np.arange(24).reshape(4, 6) * 50 - 1000
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), RescaleSlope=slope, SpacingBetweenSlices=1)
    volume = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array[0], hu)
    assert volume.unit == "HU"
    assert len(volume.notes) == doubts


@pytest.mark.parametrize("attributes", [{"RescaleSlope": "nan"}, {"RescaleIntercept": "inf"}, {"RescaleIntercept": "-inf"}])
def test_numbers_that_would_make_all_voxels_nothing_are_refused(tmp_path, write_slice, attributes):
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6)), (0, 0, 0), **attributes)
    with pytest.raises(InputError, match=r"a\.dcm has an impossible Rescale"):
        read(path)


@pytest.mark.parametrize(("kind", "unit"), [("HU", "HU"), ("MGML", "arbitrary"), ("HU_MOD", "arbitrary")])
def test_the_unit_is_what_the_file_says(tmp_path, write_slice, kind, unit):
    write_slice(tmp_path / "a.dcm", np.arange(24).reshape(4, 6) * 50 - 1000, (0, 0, 0), RescaleType=kind)
    assert read(tmp_path / "a.dcm").unit == unit


@pytest.mark.parametrize("name", [None, "JPEG-LS", "JPEG 2000"])
def test_bits_above_those_that_count_are_no_part_of_the_number(tmp_path, write_slice, name):
    """As of an overlay that older files keep there."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16))
    plain = write_slice(tmp_path / "a.dcm", hu + 0x1000, (0, 0, 0), BitsStored=12, HighBit=11)
    path = plain if name is None else packed(plain, tmp_path / "b.dcm", *LOSSLESS[name])
    np.testing.assert_array_equal(read(path).array[0], hu)


def test_deflated_files_read_as_stored(tmp_path, write_slice):
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16))
    path = write_slice(tmp_path / "a.dcm", hu, (0, 0, 0))
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    file.save_as(path)
    np.testing.assert_array_equal(read(path).array[0], hu)


def test_big_endian_files_read_as_stored(tmp_path, write_slice):
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16))
    path = write_slice(tmp_path / "a.dcm", hu, (0, 0, 0))
    plain = pydicom.dcmread(path)
    file = pydicom.Dataset({element.tag: element for element in plain})
    file.PixelData = plain.pixel_array.astype(">u2").tobytes()
    file.file_meta = plain.file_meta
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    pydicom.dcmwrite(path, file, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(read(path).array[0], hu)


def test_twelve_bits_packed_in_pairs_read_as_stored(tmp_path, write_slice):
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 6))
    path = write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), BitsAllocated=12, BitsStored=12, HighBit=11)
    first, second = (hu + 1024).astype(np.uint16).reshape(-1, 2).T
    file = pydicom.dcmread(path)
    file.PixelData = np.stack([first & 255, first >> 8 | (second & 15) << 4, second >> 4], axis=1).astype(np.uint8).tobytes()
    file.save_as(path)
    np.testing.assert_array_equal(read(path).array[0], hu)


def test_an_unknown_packing_is_told_by_its_name(tmp_path, write_slice):
    plain = write_slice(tmp_path / "plain.dcm", np.zeros((4, 6)), (0, 0, 0))
    packed(plain, tmp_path / "packed.dcm", uid.MPEG2MPML, lambda a: b"\0" * 16)
    with pytest.raises(InputError, match="MPEG2"):
        read(tmp_path / "packed.dcm")


def promising(path, rows, columns):
    """A small file that says it is large."""
    file = pydicom.dcmread(path)
    file.Rows, file.Columns = rows, columns
    file.save_as(path)
    return path


@pytest.mark.parametrize("name", [None, "JPEG-LS", "JPEG 2000", "JPEG lossless"])
def test_a_size_that_the_pixels_do_not_have_is_refused_before_memory_is_asked_for(tmp_path, write_slice, little_memory, name):
    plain = write_slice(tmp_path / "a.dcm", np.zeros((16, 16)), (0, 0, 0))
    path = plain if name is None else packed(plain, tmp_path / "b.dcm", *LOSSLESS[name])
    with pytest.raises(InputError, match=path.name):
        read(promising(path, 65535, 65535))


def test_a_codestream_of_another_size_than_the_header_is_refused(tmp_path, write_slice, little_memory):
    plain = write_slice(tmp_path / "a.dcm", np.zeros((16, 16)), (0, 0, 0))
    path = packed(plain, tmp_path / "b.dcm", uid.JPEGLSLossless, imagecodecs.jpegls_encode)
    whole = path.read_bytes()
    mark = whole.find(b"\xff\xf7")
    path.write_bytes(whole[: mark + 5] + b"\xff\xff\xff\xff" + whole[mark + 9 :])
    with pytest.raises(InputError, match=r"shape \(65535, 65535\)"):
        read(path)


def test_a_deflated_file_is_inflated_no_further_than_it_promises(tmp_path, write_slice, little_memory):
    """Four gigabytes of zeros behind the pixels."""
    path = write_slice(tmp_path / "a.dcm", np.full((16, 16), 7), (0, 0, 0))
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    file.save_as(path)
    with_zeros_behind(path)
    np.testing.assert_array_equal(read(path).array[0], 7)


def test_an_element_that_promises_more_than_the_file_holds_takes_no_memory(tmp_path, write_slice, little_memory):
    path = write_slice(tmp_path / "a.dcm", np.zeros((16, 16)), (0, 0, 0), SeriesDescription="x" * 60)
    data = path.read_bytes()
    start = data.index(b"\x08\x00\x3e\x10LO")
    path.write_bytes(data[: start + 4] + b"UT\0\0\xf0\xff\xff\xff" + data[start + 8 :])
    with pytest.raises(InputError, match=r"a\.dcm"):
        read(path)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"PixelRepresentation": 257}, r"impossible PixelRepresentation \(257\)"),
        ({"PixelRepresentation": None}, "PixelRepresentation.*as other slices do"),
        ({"RescaleIntercept": None}, "RescaleIntercept.*as other slices do"),
        ({"RescaleIntercept": None, "RescaleSlope": None}, "RescaleIntercept.*as other slices do"),
    ],
)
def test_a_slice_that_does_not_say_what_its_numbers_are_is_refused_beside_others_that_do(tmp_path, write_slice, attributes, why):
    for index in range(4):
        about = {"intercept": 0.0, "PixelRepresentation": 1, **(attributes if index == 2 else {})}
        write_slice(tmp_path / f"{index}.dcm", np.full((4, 6), -500), (0, 0, index), **about)
    with pytest.raises(InputError, match=rf"2\.dcm .*{why}"):
        read(tmp_path)

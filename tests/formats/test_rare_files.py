"""Files of kinds that people rarely have: read as other readers do, or refused by what is the matter."""

from __future__ import annotations

import gzip

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image, ImageOps

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read

HU = np.random.default_rng(0).integers(-1000, 500, (5, 8, 6)).astype("<i2")
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 8 5\nendian: little\nencoding: raw\n"
VECTORS = "space directions: (0.7,0,0) (0,0.7,0) (0,0,2.5)\nspace origin: (1,2,3)\n"


def nrrd(path, fields: str, head: str = NRRD):
    path.write_bytes((head + fields + "\n").encode() + HU.tobytes())
    return path


@pytest.mark.parametrize("name", ["RAS", "right-anterior-superior", "right-anterior-superior-time", "RAST"])
def test_a_space_with_time_has_the_signs_of_the_one_without(tmp_path, name):
    volume = read(nrrd(tmp_path / "a.nrrd", f"space: {name}\n{VECTORS}"))
    np.testing.assert_allclose(volume.affine[:3, 3], [-1, -2, 3])
    np.testing.assert_allclose(volume.affine[:3, :3], [[0, 0, -0.7], [0, -0.7, 0], [2.5, 0, 0]])
    assert volume.oriented


@pytest.mark.parametrize("name", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_a_space_that_is_not_the_patients_does_not_tell_how_the_patient_lies(tmp_path, name):
    volume = read(nrrd(tmp_path / "a.nrrd", f"space: {name}\n{VECTORS}"))
    assert (volume.oriented, volume.spacing_known) == (False, True)


def test_a_space_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read(nrrd(tmp_path / "a.nrrd", f"space: somewhere\n{VECTORS}"))


@pytest.mark.parametrize(("ends", "centers", "first"), [("4.2 5.6 12.5", "", 0.5), ("3.5 4.9 10", "centers: node node node\n", 0.0)])
def test_the_ends_of_axes_tell_the_spacing(tmp_path, ends, centers, first):
    volume = read(nrrd(tmp_path / "a.nrrd", f"axis mins: 0 0 0\naxis maxs: {ends}\n{centers}"))
    assert volume.spacing_known
    np.testing.assert_allclose(volume.spacing, (2.5, 0.7, 0.7))
    np.testing.assert_allclose(volume.affine[:3, 3], np.array([0.7, 0.7, 2.5]) * first)


@pytest.mark.parametrize(
    ("old", "new", "why"), [("endian: little\n", "", "order of its bytes"), ("type: short", "type: float16", "float16")]
)
def test_what_is_missing_or_unknown_in_a_header_is_named(tmp_path, old, new, why):
    with pytest.raises(InputError, match=why):
        read(nrrd(tmp_path / "a.nrrd", "", NRRD.replace(old, new)))


def test_a_field_that_there_is_not_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.nrrd has a field that NRRD does not have \('modality'\)"):
        read(nrrd(tmp_path / "a.nrrd", "modality: CT\n"))


@pytest.mark.parametrize(("line", "why"), [("", "BinaryData is missing"), ("BinaryData = False\n", "BinaryData is not True")])
def test_a_metaimage_that_does_not_call_its_numbers_binary_is_told(tmp_path, line, why):
    head = f"NDims = 3\nDimSize = 6 8 5\n{line}ElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + HU.tobytes())
    with pytest.raises(InputError, match=f"240 numbers as text, as {why}, but does not"):
        read(tmp_path / "a.mha")


def test_gzip_in_many_short_parts_is_one_file(tmp_path):
    nibabel.save(nibabel.Nifti1Image(HU.T, np.eye(4)), tmp_path / "a.nii")
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(data[start : start + 100]) for start in range(0, len(data), 100)))
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").array, HU)


def test_metaimage_tells_its_unit_and_its_type(tmp_path):
    head = "NDims = 3\nDimSize = 6 8 5\nElementSpacing = 70 70 250\nOffset = 10 20 30\nDistanceUnits = um\nBinaryData = True\n"
    end = "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes((head + end).encode() + HU.tobytes())
    volume = read(tmp_path / "a.mha")
    np.testing.assert_allclose(volume.spacing, (0.25, 0.07, 0.07))
    np.testing.assert_allclose(volume.affine[:3, 3], [0.01, 0.02, 0.03])
    (tmp_path / "b.mha").write_bytes((head + end.replace("SHORT", "HALF")).encode() + HU.tobytes())
    with pytest.raises(InputError, match="MET_HALF"):
        read(tmp_path / "b.mha")


def changed(path, change):
    file = pydicom.dcmread(path)
    change(file)
    file.save_as(path)
    return path


def test_numbers_in_the_upper_bits_are_read_by_high_bit(tmp_path, write_slice):
    def lift(file):
        file.PixelData, file.HighBit = (file.pixel_array.astype("<u2") << 4).tobytes(), 15

    path = changed(write_slice(tmp_path / "a.dcm", HU[0], (0, 0, 0), BitsStored=12, HighBit=11), lift)
    np.testing.assert_array_equal(read(path).array[0], HU[0])


def test_a_high_bit_that_is_not_theirs_changes_no_numbers(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", HU[0], (0, 0, 0), BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read(path).array[0], HU[0])


def to_floats(file):
    file.FloatPixelData, file.BitsAllocated = file.pixel_array.astype("<f4").tobytes(), 32
    del file.PixelData


def to_table(file):
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [4096, 0, 16], bytes(8192), "HU"
    file.ModalityLUTSequence = [item]
    del file.RescaleSlope, file.RescaleIntercept


@pytest.mark.parametrize(("change", "why"), [(to_floats, "floating point"), (to_table, "Modality LUT")])
def test_dicom_numbers_that_are_not_read_are_called_by_what_they_are(tmp_path, write_slice, change, why):
    with pytest.raises(InputError, match=why):
        read(changed(write_slice(tmp_path / "a.dcm", HU[0], (0, 0, 0)), change))


def test_the_distance_from_a_lone_slice_is_told_to_be_unknown(tmp_path, write_slice):
    (note,) = read(write_slice(tmp_path / "a.dcm", HU[0], (0, 0, 0))).notes
    assert "1 mm was taken" in note
    assert read(write_slice(tmp_path / "b.dcm", HU[0], (0, 0, 0), SpacingBetweenSlices=2.5)).notes == ()


def test_pages_that_were_written_one_by_one_are_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in HU:
            file.write(plane, contiguous=False)
    volume = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, HU)
    assert "one by one" in volume.notes[0]


def test_a_palette_of_colours_stands_for_labels_and_one_of_greys_for_brightness(tmp_path):
    labels = (np.arange(48).reshape(6, 8) % 3).astype(np.uint8)
    picture = Image.fromarray(labels, "P")
    for name, colours in (("labels", [0, 0, 0, 255, 0, 0, 0, 255, 0]), ("greys", [0, 0, 0, 100, 100, 100, 255, 255, 255])):
        picture.putpalette(colours)
        picture.save(tmp_path / f"{name}.png")
    volume = read(tmp_path / "labels.png")
    np.testing.assert_array_equal(volume.array, labels)
    assert "palette" in volume.notes[0]
    greys = read(tmp_path / "greys.png")
    np.testing.assert_array_equal(greys.array, np.array([0, 100, 255])[labels])
    assert greys.notes == ()


def test_colours_of_16_bits_keep_them(tmp_path):
    grey = (HU[0] + 1000).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.stack([grey] * 3, -1)))
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, grey)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_set_upright_as_viewers_do(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((8, 8), np.uint8))).save(
        tmp_path / "a.jpg", exif=exif
    )
    volume = read(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        np.testing.assert_array_equal(volume.array, np.asarray(ImageOps.exif_transpose(picture)))
    assert bool(volume.notes) == (orientation > 1)

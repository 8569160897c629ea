from __future__ import annotations

import itertools
import struct

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, read, write
from napari_lungseg.volume import Volume, scaling

ENDINGS = [".nii", ".nii.gz", ".nrrd", ".mha"]
SHAPE = (3, 4, 5)
SPACING = (2.5, 0.5, 0.75)


def orientations() -> list[np.ndarray]:
    """The 48 ways in which axes can run along or against x, y and z."""
    return [
        np.eye(3)[:, list(order)] * np.array(signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def rotation() -> np.ndarray:
    """A tilt about all axes."""
    a, b, c = np.deg2rad((20, -35, 10))
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def volumes(tilt: np.ndarray) -> list[Volume]:
    result = []
    for axes in orientations():
        affine = np.eye(4)
        affine[:3, :3] = tilt @ axes * SPACING
        affine[:3, 3] = (-120.5, 33.25, -801.0)
        result.append(Volume(np.arange(60, dtype=np.int16).reshape(SHAPE) - 1000, affine))
    return result


@pytest.mark.parametrize("tilt", [np.eye(3), rotation()], ids=["straight", "oblique"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_geometry_survives_in_every_orientation(tmp_path, ending, tilt):
    """What we write, SimpleITK finds in its place; what SimpleITK finds, we read."""
    path = tmp_path / f"ct{ending}"
    for volume in volumes(tilt):
        write(volume, path)
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == SHAPE[::-1]
        np.testing.assert_allclose(image.GetSpacing(), SPACING[::-1], rtol=1e-6)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
        for index in ((0, 0, 0), (2, 0, 0), (0, 3, 0), (0, 0, 4)):
            place = image.TransformIndexToPhysicalPoint(tuple(int(i) for i in index[::-1]))
            np.testing.assert_allclose(place, (volume.affine @ (*index, 1))[:3], atol=1e-3)
        again = read(path)
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
        np.testing.assert_array_equal(again.array, volume.array)
        assert again.spacing_known


@pytest.mark.parametrize("tilt", [np.eye(3), rotation()], ids=["straight", "oblique"])
def test_nifti_lies_where_nibabel_finds_it(tmp_path, tilt):
    for volume in volumes(tilt):
        write(volume, tmp_path / "ct.nii")
        ras = nibabel.load(tmp_path / "ct.nii").affine
        np.testing.assert_allclose((np.diag([-1, -1, 1, 1]) @ ras)[:, [2, 1, 0, 3]], volume.affine, atol=1e-3)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_numbers_keep_their_type(tmp_path, ending, dtype):
    array = np.arange(60).reshape(SHAPE).astype(dtype)
    again = read(write(Volume(array, scaling(SPACING)), tmp_path / f"a{ending}")).array
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("given", "stored"), [("bool", "uint8"), ("float16", "float32")])
def test_types_that_formats_lack_become_the_next_one(tmp_path, ending, given, stored):
    array = (np.arange(60).reshape(SHAPE) % 2).astype(given)
    again = read(write(Volume(array, scaling(SPACING)), tmp_path / f"a{ending}")).array
    assert again.dtype == stored
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_image_of_two_axes_stays_one(tmp_path, ending):
    image = sitk.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(4, 5))
    image.SetSpacing((0.75, 0.5))
    image.SetOrigin((-7.0, 9.0))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    volume = read(tmp_path / f"a{ending}")
    assert volume.shape == (4, 5)
    assert volume.spacing == (0.5, 0.75)
    again = sitk.ReadImage(str(write(volume, tmp_path / f"b{ending}")))
    assert (again.GetSize(), again.GetSpacing(), again.GetOrigin()) == (image.GetSize(), image.GetSpacing(), image.GetOrigin())


def test_a_slice_cut_from_a_volume_keeps_its_height(tmp_path):
    volume = Volume(np.zeros((4, 5), np.int16), scaling((3.0, 0.5, 0.75), origin=(1.0, 2.0, 300.0)))
    again = read(write(volume, tmp_path / "a.nii"))
    assert again.shape == (1, 4, 5)
    np.testing.assert_allclose(again.affine, volume.affine)


@pytest.mark.parametrize("ending", ENDINGS)
def test_hu_are_told_from_labels(tmp_path, ending):
    ct = np.linspace(-1000, 400, 4096).reshape(16, 16, 16).astype(np.int16)
    assert read(write(Volume(ct, scaling(SPACING)), tmp_path / f"ct{ending}")).unit == "HU"
    assert read(write(Volume((ct > 0).astype(np.uint8), scaling(SPACING)), tmp_path / f"mask{ending}")).unit == "arbitrary"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("compressed", [True, False])
def test_cut_off_files_are_refused_in_one_sentence(tmp_path, capfd, ending, share, compressed):
    path = tmp_path / f"ct{ending}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 30)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("ending", [*ENDINGS, ".mhd", ".nhdr"])
def test_text_under_a_false_name_is_refused(tmp_path, capfd, ending):
    path = tmp_path / f"ct{ending}"
    path.write_text("Not an image.\n" * 100)
    with pytest.raises(InputError, match="damaged or not a"):
        read(path)
    assert capfd.readouterr().err == ""


def test_a_header_without_its_data_is_refused(tmp_path, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(tmp_path / "a.mhd"))
    assert read(tmp_path / "a.mhd").shape == (3, 4, 5)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputError, match=r"a\.raw"):
        read(tmp_path / "a.mhd")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_point_of_time_is_asked_for(tmp_path, ending):
    """What SimpleITK writes of four axes; each volume in its place."""
    array = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
    image = sitk.JoinSeries([sitk.GetImageFromArray(one) for one in array])
    image.SetSpacing((0.75, 0.5, 2.5, 1.0))
    image.SetOrigin((-10.0, 20.0, -300.0, 0.0))
    path = tmp_path / f"four{ending}"
    sitk.WriteImage(image, str(path))
    with pytest.raises(SeriesChoiceError, match=r"holds 2 images \(1: time 1, 5 x 4 x 3, 0\.75 x 0\.5 x 2\.5 mm; 2: time 2"):
        read(path)
    for number, one in enumerate(array, 1):
        volume = read(path, series=str(number))
        np.testing.assert_array_equal(volume.array, one)
        np.testing.assert_allclose(volume.affine, scaling((2.5, 0.5, 0.75), (-10.0, 20.0, -300.0)), atol=1e-5)
    with pytest.raises(SeriesChoiceError, match="no image '3'"):
        read(path, series="3")


def test_a_lone_point_of_time_is_a_volume(tmp_path):
    nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3, 1), np.eye(4)).to_filename(tmp_path / "one.nii")
    assert read(tmp_path / "one.nii").shape == (3, 4, 5)


def test_a_sheared_nifti_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 2] = 0.4
    image = nibabel.Nifti1Image(np.zeros((5, 4, 3), np.int16), None)
    image.set_sform(sheared, code=1)
    image.to_filename(tmp_path / "a.nii")
    with pytest.raises(InputError, match="sheared"):
        read(tmp_path / "a.nii")


def test_colours_are_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="colour"):
        read(tmp_path / "a.mha")


def test_a_sheared_volume_is_written_only_where_it_can_be(tmp_path):
    affine = scaling(SPACING)
    affine[0, 0] = 1.0
    volume = Volume(np.zeros(SHAPE, np.uint8), affine)
    with pytest.raises(InputError, match="sheared"):
        write(volume, tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_allclose(read(write(volume, tmp_path / "a.mha")).affine, affine, atol=1e-6)


def test_a_header_of_another_byte_order_reads(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    array = np.arange(60, dtype=">i2").reshape(5, 4, 3)
    nibabel.Nifti1Image(array, np.eye(4), header).to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    np.testing.assert_array_equal(read(tmp_path / "a.nii").array, array.T)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_what_is_written_here_tells_how_the_patient_lies(tmp_path, ending):
    assert read(write(Volume(np.zeros((2, 3, 4), np.int16), scaling((2.0, 1.0, 1.0))), tmp_path / f"a{ending}")).oriented


def test_a_file_without_orientation_is_told_from_one_with(tmp_path):
    bare = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    bare.header.set_qform(None, code=0)
    bare.header.set_sform(None, code=0)
    nibabel.save(bare, tmp_path / "bare.nii.gz")
    nrrd.write(str(tmp_path / "bare.nrrd"), np.zeros((4, 3, 2), np.int16), {"spacings": [1.0, 1.0, 2.0]})
    for name in ("bare.nii.gz", "bare.nrrd"):
        assert not read(tmp_path / name).oriented
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.eye(4)), tmp_path / "told.nii.gz")
    assert read(tmp_path / "told.nii.gz").oriented

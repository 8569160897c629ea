"""Files that are right and rare: nothing here is stricter than the standards of NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import bz2
import gzip
import struct
import warnings

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from geometry import affine_of

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, read, write
from napari_lungseg.volume import Volume, scaling

VOXELS = np.random.default_rng(0).integers(-1000, 400, (4, 5, 6)).astype(np.int16)
RAS = np.diag([-0.7, -0.7, 2.5, 1.0])
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
SPACE = "space: left-posterior-superior\nspace directions: (0.7,0,0) (0,0.7,0) (0,0,2.5)\nspace origin: (0,0,0)\n"


def saved(path, sform=None, qform=None, codes=(1, 1), dtype=np.int16):
    image = nibabel.Nifti1Image(VOXELS.T.astype(dtype), RAS)
    image.set_sform(sform, codes[0] if sform is not None else 0)
    image.set_qform(qform, codes[1] if qform is not None else 0)
    nibabel.save(image, path)
    return path


def test_nifti_2_is_read(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti2Image(VOXELS.T, RAS), tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name).array, VOXELS)
        np.testing.assert_allclose(read(tmp_path / name).affine, scaling((2.5, 0.7, 0.7)), atol=1e-6)


def test_nifti_is_read_by_its_content_not_its_ending(tmp_path):
    packed = saved(tmp_path / "good.nii.gz", RAS).read_bytes()
    for name, content in (("plain.nii.gz", gzip.decompress(packed)), ("packed.nii", packed), ("behind.nii.gz", packed + b"more" * 8)):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read(tmp_path / name).array, VOXELS)


def test_a_packed_nifti_is_not_taken_for_the_plain_one_beside_it(tmp_path):
    """As ITK does."""
    write(Volume(VOXELS, scaling((1.0, 1.0, 1.0))), tmp_path / "a.nii.gz")
    write(Volume(VOXELS + 1, scaling((1.0, 1.0, 1.0))), tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").array, VOXELS)


@pytest.mark.parametrize("shear", [1e-6, 1e-4, 1e-3, 5e-3])
def test_axes_that_rounding_took_off_right_angles_are_set_right(tmp_path, shear):
    sform = RAS.copy()
    sform[0, 1] = 0.7 * shear
    axes = read(saved(tmp_path / "a.nii", sform)).affine[:3, :3]
    directions = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=3e-6)
    np.testing.assert_allclose(axes, scaling((2.5, 0.7, 0.7))[:3, :3], atol=0.7 * shear)


def test_qform_and_sform_that_mirror_each_other_are_refused(tmp_path):
    mirrored = RAS @ np.array([[-1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for codes in ((1, 1), (2, 1)):
        with pytest.raises(InputError, match="right and left are not certain"):
            read(saved(tmp_path / "a.nii", RAS, mirrored, codes))


def test_the_sform_governs_where_it_is_at_right_angles_else_the_qform(tmp_path):
    shifted, sheared = RAS.copy(), RAS.copy()
    shifted[0, 3], sheared[0, 1] = 5.0, 0.3
    volume = read(saved(tmp_path / "a.nii", RAS, shifted, (2, 1)))
    np.testing.assert_allclose(volume.affine[:3, 3], 0, atol=1e-6)
    assert volume.notes == ("The file tells two places for the image (sform and qform, up to 5 mm apart): the sform is taken.",)
    assert read(saved(tmp_path / "c.nii", RAS, RAS)).notes == ()
    np.testing.assert_allclose(read(saved(tmp_path / "b.nii", sheared, shifted, (2, 1))).affine[:3, 3], (-5, 0, 0), atol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_units_of_nifti_become_millimetres(tmp_path, unit, factor):
    raw = bytearray(saved(tmp_path / "a.nii", RAS).read_bytes())
    raw[123] = unit
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_allclose(read(tmp_path / "a.nii").spacing, np.array([2.5, 0.7, 0.7]) * factor, rtol=1e-6)


@pytest.mark.parametrize(("slope", "intercept", "factor", "shift"), [(2, -10, 2, -10), (0, 5, 1, 0), (np.nan, 5, 1, 0), (1, 0, 1, 0)])
def test_slope_and_intercept_of_nifti_are_applied(tmp_path, slope, intercept, factor, shift):
    raw = bytearray(saved(tmp_path / "a.nii", RAS).read_bytes())
    struct.pack_into("<2f", raw, 112, slope, intercept)
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_allclose(read(tmp_path / "a.nii").array, VOXELS.astype(float) * factor + shift)
    assert read(tmp_path / "a.nii").array.dtype == (np.int16 if factor == 1 else np.float32)


def test_what_does_not_tell_the_size_of_voxels_has_none(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0005\ntype: int16\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n\n" + VOXELS.tobytes()
    )
    (tmp_path / "a.mha").write_bytes((META + "ElementDataFile = LOCAL\n").encode() + VOXELS.tobytes())
    raw = bytearray(saved(tmp_path / "a.nii", None, RAS).read_bytes())
    raw[80:92] = bytes(12)
    (tmp_path / "a.nii").write_bytes(raw)
    for name in ("a.nrrd", "a.mha", "a.nii"):
        volume = read(tmp_path / name)
        assert not volume.spacing_known
        assert volume.spacing == (1.0, 1.0, 1.0)
        np.testing.assert_array_equal(volume.array, VOXELS)


def test_metaimage_headers_written_by_hand_are_read(tmp_path):
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "a.txt").write_text(" ".join(map(str, VOXELS.ravel())) + " \n")
    for number in range(4):
        (tmp_path / f"slice{number + 1:02d}.raw").write_bytes(VOXELS[number].tobytes())
    slices = "\n".join(f"slice{number:02d}.raw" for number in range(1, 5))
    for name, header, tail in (
        ("end.mhd", META + "ElementDataFile = a.raw", b""),
        ("local.mha", META + "ElementDataFile = Local\n", VOXELS.tobytes()),
        ("text.mhd", META.replace("True", "False") + "ElementDataFile = a.txt\n", b""),
        ("big.mha", META + "ElementByteOrderMSB = True\nElementDataFile = LOCAL\n", VOXELS.astype(">i2").tobytes()),
        ("end of file.mha", META + "HeaderSize = -1\nElementDataFile = LOCAL\n", b"anything" + VOXELS.tobytes()),
        ("list.mhd", META + f"ElementDataFile = LIST\n{slices}\n", b""),
        ("pattern.mhd", META + "ElementDataFile = slice%02d.raw 1 4 1\n", b""),
    ):
        (tmp_path / name).write_bytes(header.encode() + tail)
        np.testing.assert_array_equal(read(tmp_path / name).array, VOXELS, name)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii", "hex"])
def test_every_encoding_of_nrrd_is_read(tmp_path, encoding):
    raw = VOXELS.astype("<i2").tobytes()
    data = {
        "raw": raw,
        "gzip": gzip.compress(raw),
        "bzip2": bz2.compress(raw),
        "ascii": " ".join(map(str, VOXELS.ravel())).encode(),
        "hex": raw.hex().encode(),
    }[encoding]
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {encoding}\n{SPACE}"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + b"\n" + data)
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "a.nhdr").write_text(header + "data file: a.bin\n\n")
    for name in ("a.nrrd", "a.nhdr"):
        np.testing.assert_array_equal(read(tmp_path / name).array, VOXELS)
        np.testing.assert_allclose(read(tmp_path / name).affine, scaling((2.5, 0.7, 0.7)))


@pytest.mark.parametrize("kind", ["list", "time", "???"])
def test_times_along_the_first_axis_of_nrrd_are_asked_about(tmp_path, kind):
    """As 3D Slicer writes sequences."""
    header = f"NRRD0004\ntype: short\ndimension: 4\nsizes: 2 6 5 4\nkinds: {kind} domain domain domain\nendian: little\nencoding: raw\n"
    data = np.stack([VOXELS, VOXELS + 1], axis=-1).tobytes()
    (tmp_path / "a.seq.nrrd").write_bytes((header + SPACE.replace("directions:", "directions: none") + "\n").encode() + data)
    with pytest.raises(SeriesChoiceError, match="holds 2 images"):
        read(tmp_path / "a.seq.nrrd")
    for number in (1, 2):
        np.testing.assert_array_equal(read(tmp_path / "a.seq.nrrd", series=str(number)).array, VOXELS + number - 1)


@pytest.mark.parametrize(
    "header",
    [
        {"space": "right-anterior-superior", "space directions": np.diag([0.7, 0.8, 2.5]), "space origin": [1, 2, 3]},
        {"space": "LAS", "space directions": [[0, 0.8, 0], [-0.7, 0, 0.1], [0, 0, 2.5]], "space origin": [1, 2, 3]},
        {"space": "scanner-xyz", "space directions": np.diag([0.7, 0.8, 2.5])},
        {"spacings": [0.7, 0.8, 2.5], "axis mins": [1, 2, 3]},
        {"spacings": [0.7, 0.8, 2.5], "axis mins": [1, 2, 3], "centers": ["node"] * 3},
    ],
)
def test_nrrd_lies_where_simpleitk_finds_it(tmp_path, header):
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS.T, header)
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    np.testing.assert_allclose(read(tmp_path / "a.nrrd").affine, affine_of(image), atol=1e-9)
    np.testing.assert_array_equal(read(tmp_path / "a.nrrd").array, sitk.GetArrayFromImage(image))


def test_units_of_nrrd_become_millimetres(tmp_path):
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n" + SPACE
    for unit, factor in (("um", 0.001), ("cm", 10.0)):
        (tmp_path / "a.nrrd").write_bytes((text + f'space units: "{unit}" "{unit}" "{unit}"\n\n').encode() + VOXELS.tobytes())
        np.testing.assert_allclose(read(tmp_path / "a.nrrd").spacing, np.array([2.5, 0.7, 0.7]) * factor)


def test_segments_keep_names_with_line_breaks_and_umlauts(tmp_path):
    """In a key's value a line break and a backslash are escaped."""
    labels = Volume((VOXELS > 0).astype(np.uint8), scaling((2.5, 0.7, 0.7)))
    name = "Lungenfl\u00fcgel\\rechts\nunten"
    path = write(labels, tmp_path / "a.seg.nrrd", {1: name})
    assert sitk.ReadImage(str(path)).GetMetaData("Segment0_Name") == name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert nrrd.read_header(str(path))["Segment0_LabelValue"] == "1"

"""Where slices lie: gaps, tilted gantries, thickness, and acquisitions in any plane."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import raw_element
from geometry import affine_of, tilt

from napari_lungseg.errors import InputError
from napari_lungseg.formats import UnevenSlicesError, read, write
from napari_lungseg.grid import grid_difference


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ([0, 2, 4, 8, 10, 12], r"1 slice is missing between 4\.00 mm and 8\.00 mm"),
        ([0, 2, 4, 10, 12, 14], r"2 slices are missing between 4\.00 mm and 10\.00 mm"),
        ([0, 2, 4, 7.1, 9.1, 11.1], r"the step between 4\.00 mm and 7\.10 mm is 3\.1 mm and not 2 mm"),
        ([*np.arange(0, 40, 2.0), *np.arange(39.92, 80, 1.92)], "change from 1.92 to 2 mm"),
    ],
)
def test_missing_and_uneven_slices_are_refused_with_their_place(tmp_path, write_series, heights, message):
    write_series(tmp_path / "ct", [float(z) for z in heights])
    with pytest.raises(UnevenSlicesError, match=message) as caught:
        read(tmp_path / "ct")
    assert str(tmp_path / "ct") in str(caught.value)


def ramp(folder, write_slice, heights, **attributes):
    """Slices whose HU are ten times their height."""
    folder.mkdir(exist_ok=True)
    for index, height in enumerate(heights):
        write_slice(folder / f"{index}.dcm", np.full((4, 6), 10.0 * height), (0, 0, height), **attributes)


def test_a_gap_is_filled_on_request(tmp_path, write_slice):
    ramp(tmp_path, write_slice, [0, 2, 4, 10, 12])
    volume = read(tmp_path, fill_gaps=True)
    np.testing.assert_array_equal(volume.array[:, 0, 0], np.arange(0, 121, 20))
    np.testing.assert_allclose(volume.spacing[0], 2.0)
    np.testing.assert_allclose(volume.affine @ (6, 0, 0, 1), (0, 0, 12, 1))
    assert volume.array.dtype == np.int16


def test_uneven_steps_are_made_even_on_request(tmp_path, write_slice):
    ramp(tmp_path, write_slice, [0, 2, 4, 7.1, 9.1, 11.1])
    volume = read(tmp_path, fill_gaps=True)
    assert len(volume.array) == 7
    np.testing.assert_allclose(volume.array[:, 0, 0], np.linspace(0, 111, 7), atol=0.5)


def test_an_even_stack_is_not_touched_by_the_request(tmp_path, write_series):
    hu = write_series(tmp_path, [0.0, 2.0, 4.0])
    np.testing.assert_array_equal(read(tmp_path, fill_gaps=True).array, hu)


def test_rounded_positions_pass(tmp_path, write_series):
    write_series(tmp_path, [0.0, 0.67, 1.33, 2.0, 2.67, 3.33])
    np.testing.assert_allclose(read(tmp_path).spacing[0], 0.666, atol=1e-3)


@pytest.mark.parametrize("step", [0.625, 1.25])
def test_positions_rounded_to_tenths_of_a_millimetre_pass(tmp_path, write_slice, step):
    """Of an oblique stack, too, where each coordinate is rounded."""
    angle = np.deg2rad(15)
    normal, columns = np.array([0, -np.sin(angle), np.cos(angle)]), np.array([0, np.cos(angle), np.sin(angle)])
    for index in range(40):
        about = {"ImageOrientationPatient": [1, 0, 0, *(round(float(value), 8) for value in columns)]}
        write_slice(tmp_path / f"{index}.dcm", np.zeros((4, 6)), [round(float(value), 1) for value in index * step * normal], **about)
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.spacing[0], step, rtol=0.01)
    assert volume.shape == (40, 4, 6)


def test_numbers_that_nothing_depends_on_may_be_none(tmp_path, write_series):
    hu = write_series(tmp_path, [0.0, 2.0, 4.0])
    for path in tmp_path.iterdir():
        for tag in (0x00181120, 0x00180088):  # GantryDetectorTilt, SpacingBetweenSlices
            raw_element(path, tag, "DS", b"abc ")
    np.testing.assert_array_equal(read(tmp_path).array, hu)


def test_thickness_is_not_spacing(tmp_path, write_series):
    """Overlapping slices, 5 mm thick and 2 mm apart."""
    write_series(tmp_path, [0.0, 2.0, 4.0], SliceThickness=5, SpacingBetweenSlices=5)
    np.testing.assert_allclose(read(tmp_path).spacing[0], 2.0)


def test_pixel_spacing_is_row_to_row_first(tmp_path, write_slice):
    hu = np.zeros((4, 6))
    hu[3, 0], hu[0, 5] = 100, 200
    write_slice(tmp_path / "a.dcm", hu, (0, 0, 0), PixelSpacing=[2.0, 0.5])
    volume = read(tmp_path / "a.dcm")
    places = {int(volume.array[index]): volume.affine @ (*index, 1) for index in ((0, 3, 0), (0, 0, 5))}
    np.testing.assert_allclose(places[100], (0, 6, 0, 1))
    np.testing.assert_allclose(places[200], (2.5, 0, 0, 1))


@pytest.mark.parametrize("turn", [np.eye(3), tilt()], ids=["straight", "oblique"])
def test_acquisitions_in_every_plane_lie_where_itk_finds_them(tmp_path, write_slice, turn):
    """Axial, coronal and sagittal, with axes in every direction, stored from either end."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 6))
    for number, (rows, columns) in enumerate(itertools.permutations([*np.eye(3), *-np.eye(3)], 2)):
        if abs(rows @ columns) > 0.5:
            continue
        rows, columns = turn @ rows, turn @ columns
        folder = tmp_path / str(number)
        folder.mkdir()
        for index in range(3):
            position = np.array([3.0, -40.0, 100.0]) + index * 2.5 * np.cross(rows, columns)
            about = {"ImageOrientationPatient": [float(f"{value:.10f}") for value in (*rows, *columns)], "InstanceNumber": 3 - index}
            write_slice(folder / f"{3 - index}.dcm", hu[index], [float(f"{value:.8f}") for value in position], **about)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        volume = read(folder)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(volume.affine, affine_of(image), atol=1e-5)


def tilted(folder, write_slice, degrees, slices=6):
    """A slanted bar through slices of a tilted gantry, whose HU are known at every place of the patient."""
    angle = np.deg2rad(degrees)
    columns = np.array([0, np.cos(angle), -np.sin(angle)])
    rows = np.array([1.0, 0, 0])
    for index in range(slices):
        position = np.array([-3.0, -20.0, 5.0 * index])
        grid = position + np.arange(40)[:, None, None] * 0.75 * columns + np.arange(8)[:, None] * 0.5 * rows
        about = {"ImageOrientationPatient": [1, 0, 0, *(float(f"{value:.10f}") for value in columns[0:])]}
        write_slice(folder / f"{index}.dcm", hu_at(grid), position, **about)


def hu_at(places):
    return np.rint(20 * places[..., 1] + 10 * places[..., 2] + 3 * places[..., 0])


@pytest.mark.parametrize("degrees", [15, -22.5])
def test_a_tilted_gantry_is_sheared_back(tmp_path, write_slice, degrees):
    """Every voxel holds the HU of its place, and the axes stand at right angles."""
    tilted(tmp_path, write_slice, degrees)
    volume = read(tmp_path)
    directions = volume.affine[:3, :3] / volume.spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(volume.spacing, (5 * np.cos(np.deg2rad(degrees)), 0.75, 0.5), rtol=1e-6)
    z, y, x = np.indices(volume.shape)
    places = np.stack([z, y, x, np.ones_like(x)], axis=-1) @ volume.affine.T
    true = hu_at(places[..., :3])
    inside = volume.array > volume.array.min()
    assert inside.mean() > 0.6
    # The edge of a slice is mixed with the air beyond it.
    inside[:, 1:-1] &= inside[:, 2:] & inside[:, :-2]
    inside[:, [0, -1]] = False
    assert np.abs(volume.array - true)[inside].max() <= 2
    assert volume.shape[1] > 40
    (told,) = volume.notes
    assert f"a gantry tilted by {abs(degrees):.1f} degrees" in told
    assert "shifted within their planes" in told


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd", ".mha"])
def test_a_mask_of_a_tilted_gantry_lies_in_the_file_where_it_lies_in_the_patient(tmp_path, write_slice, ending):
    (tmp_path / "ct").mkdir()
    tilted(tmp_path / "ct", write_slice, 20)
    volume = read(tmp_path / "ct")
    mask = volume.with_array((volume.array > np.median(volume.array)).astype(np.uint8))
    written = read(write(mask, tmp_path / f"mask{ending}"))
    assert grid_difference(volume, written) is None
    np.testing.assert_array_equal(written.array, mask.array)


def test_the_tilt_of_a_multi_frame_file_is_told_too(tmp_path, write_enhanced):
    frames = [{"hu": np.zeros((6, 5)), "position": (0, 2.0 * index, 4.0 * index)} for index in range(4)]
    (told,) = read(write_enhanced(tmp_path / "ct.dcm", frames)).notes
    assert f"tilted by {np.degrees(np.arctan(0.5)):.1f} degrees" in told


@pytest.mark.parametrize(("tilt_tag", "is_told"), [(17.5, True), (-17.5, True), (0.0, False), (-0.1, False)])
def test_a_tilt_that_the_files_name_and_their_places_do_not_show_is_told(tmp_path, write_series, tilt_tag, is_told):
    hu = write_series(tmp_path, [0.0, 2.0, 4.0], GantryDetectorTilt=tilt_tag)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, hu)
    assert any("tilted by 17.5 degrees, but their slices lie straight" in note for note in volume.notes) == is_told
    assert bool(volume.notes) == is_told


def test_slices_resampled_along_a_tilted_axis_lie_as_they_say(tmp_path, write_slice):
    normal = tilt()[2]
    orientation = [float(f"{value:.10f}") for value in tilt()[:2].ravel()]
    for index in range(3):
        position = [float(f"{value:.8f}") for value in 3.0 * index * normal]
        write_slice(tmp_path / f"{index}.dcm", np.zeros((4, 6)), position, ImageOrientationPatient=orientation, GantryDetectorTilt=20)
    assert read(tmp_path).notes == ()


def test_slices_that_jump_sideways_are_refused_by_name(tmp_path, write_slice):
    for index, shift in enumerate([0, 0, 4, 0]):
        write_slice(tmp_path / f"{index}.dcm", np.zeros((4, 6)), (shift, 0, 2 * index))
    with pytest.raises(InputError, match=r"sideways against each other, most in 2\.dcm"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("positions", "fill_gaps"),
    [
        ([(0, 0, 0), (1e9, 0, 8)], False),
        ([(0, 0, 0), (1e6, 0, 8)], False),
        ([(0, 0, 0), (0, 0, 1e8)], False),
        ([(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 1e8)], True),
        ([(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 900)], True),
        ([(0, 0, 0), (1e308, 0, 2)], False),
    ],
)
def test_places_where_no_patient_is_are_refused_before_memory_is_asked_for(tmp_path, write_slice, positions, fill_gaps):
    for index, position in enumerate(positions):
        write_slice(tmp_path / f"{index}.dcm", np.zeros((4, 6)), position)
    with pytest.raises(InputError, match=tmp_path.name):
        read(tmp_path, fill_gaps=fill_gaps)


def test_one_slice_that_lies_aside_is_no_tilt_of_all(tmp_path, write_slice):
    for number in range(6):
        write_slice(tmp_path / f"{number}.dcm", np.zeros((4, 6)), (0, 0.22 if number == 0 else 0, 8 * number), PixelSpacing=[0.75, 0.75])
    with pytest.raises(InputError, match="shifted sideways"):
        read(tmp_path)

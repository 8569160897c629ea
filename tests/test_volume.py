from __future__ import annotations

import itertools

import dask.array as da
import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume, axis_order, scaling

SHAPE = (3, 4, 5)
DATA = np.arange(60).reshape(SHAPE)
ORIENTATIONS = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1.0, -1.0), repeat=3)]


def oriented(order: tuple[int, ...], signs: tuple[float, ...], tilt_degrees: float = 0.0) -> Volume:
    """Axes of the array that run along the given axes of LPS, tilted about x and then about z."""
    c, s = np.cos(np.deg2rad(tilt_degrees)), np.sin(np.deg2rad(tilt_degrees))
    tilt = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.eye(3)[:, list(order)] * np.array(signs) * (2.5, 0.5, 0.75)
    affine[:3, 3] = (-100.0, 20.0, 300.0)
    return Volume(DATA, affine)


def place(volume: Volume, value: int) -> np.ndarray:
    (index,) = np.argwhere(np.asarray(volume.array) == value)
    return volume.affine @ (*(0,) * (3 - volume.ndim), *index, 1.0)


@pytest.mark.parametrize("tilt", [0.0, 30.0])
def test_turning_moves_no_voxel_and_restores(tilt):
    for order, signs in ORIENTATIONS:
        volume = oriented(order, signs, tilt)
        turned, orientation = volume.reorient()
        for value in (0, 4, 17, 59):
            np.testing.assert_allclose(place(turned, value), place(volume, value))
        np.testing.assert_array_equal(orientation.restore(turned.array), volume.array)
        np.testing.assert_array_equal(orientation.apply(volume.array), turned.array)
        assert np.shares_memory(turned.array, volume.array)


@pytest.mark.parametrize("tilt", [0.0, 30.0])
def test_turned_axes_run_to_head_back_and_left(tilt):
    for order, signs in ORIENTATIONS:
        turned, _ = oriented(order, signs, tilt).reorient()
        assert axis_order(turned.affine) == (0, 1, 2)
        assert (turned.affine[[2, 1, 0], [0, 1, 2]] > 0).all()


def test_every_axis_is_used_once_however_oblique():
    rng = np.random.default_rng(0)
    for _ in range(200):
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        assert sorted(axis_order(affine)) == [0, 1, 2]


def test_the_axial_axis_comes_from_the_geometry():
    assert oriented((2, 1, 0), (1, 1, 1)).axial_axis == 0
    assert oriented((1, 2, 0), (1, -1, 1)).axial_axis == 1
    assert oriented((0, 1, 2), (1, 1, -1)).axial_axis == 2
    assert Volume(DATA, oriented((0, 1, 2), (1, 1, 1)).affine, spacing_known=False).axial_axis == 0
    assert Volume(DATA[0], scaling((1.0, 1.0))).axial_axis == 0


def test_a_lone_slice_is_looked_at_in_its_own_plane():
    """A coronal reformat of one slice is not cut into axial lines."""
    coronal = np.array([[0, 0, 1.0, 0], [3.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    assert Volume(np.zeros((1, 4, 5)), coronal).axial_axis == 0


def test_cropping_moves_no_voxel():
    volume = oriented((1, 2, 0), (1, -1, 1), 20.0)
    part = volume.crop((slice(1, 3), slice(0, 4), slice(2, 5)))
    assert part.shape == (2, 4, 3)
    np.testing.assert_allclose(place(part, 59), place(volume, 59))
    flat = Volume(DATA[0], scaling((0.5, 0.75), origin=(1.0, 2.0, 3.0)))
    np.testing.assert_allclose(place(flat.crop((slice(1, 4), slice(2, 5))), 19), place(flat, 19))


def test_spacing_and_voxel_volume_are_in_mm_and_ml():
    volume = oriented((1, 2, 0), (1, -1, 1), 20.0)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.5, 0.75))
    np.testing.assert_allclose(volume.voxel_ml, 2.5 * 0.5 * 0.75 / 1000)
    assert Volume(DATA[0], scaling((0.5, 0.75))).spacing == (0.5, 0.75)


def test_lazy_arrays_stay_lazy_when_turned():
    turned, _ = Volume(da.from_array(DATA), oriented((1, 2, 0), (1, -1, 1)).affine).reorient()
    assert isinstance(turned.array, da.Array)


def test_labels_lie_on_the_grid_of_the_image():
    volume = oriented((1, 2, 0), (1, -1, 1))
    labels = volume.with_array(np.zeros(SHAPE, np.uint8))
    np.testing.assert_array_equal(labels.affine, volume.affine)
    assert labels.unit == "arbitrary"
    with pytest.raises(InputError, match="does not lie on a grid"):
        volume.with_array(np.zeros((4, 4, 5)))


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(shape):
    with pytest.raises(InputError, match="axes"):
        Volume(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize("affine", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_affine_that_cannot_be_undone_is_refused(affine):
    with pytest.raises(InputError, match="affine"):
        Volume(DATA, affine)

from __future__ import annotations

import itertools

import dask.array as da
import napari
import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.layers import layer_geometry, volume_from_layer, volume_to_layer

SHAPE = (3, 4, 5)
SPACING = np.array((2.5, 0.5, 0.75))
DATA = np.arange(60, dtype=np.int16).reshape(SHAPE)
TILTS = {"straight": (0, 0, 0), "within the slice": (0, 0, 25), "out of the slice": (15, -30, 10)}


def turn(x: float, y: float, z: float) -> np.ndarray:
    """Rotation about x, then y, then z, in degrees."""
    result = np.eye(3)
    for (i, j), angle in zip(((1, 2), (2, 0), (0, 1)), np.deg2rad((x, y, z))):
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = step @ result
    return result


def volumes(tilt: str) -> list[Volume]:
    """A volume in each of the 48 orientations, tilted, far from the origin."""
    result = []
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = turn(*TILTS[tilt]) @ (np.eye(3)[:, list(order)] * np.array(signs)) * SPACING
        affine[:3, 3] = (-120.5, 233.25, -801.0)
        result.append(Volume(DATA, affine))
    return result


def places(volume: Volume) -> dict[int, np.ndarray]:
    """Where each voxel (by its value) lies, in LPS mm."""
    array = np.asarray(volume.array)
    array = array.reshape((1,) * (3 - array.ndim) + array.shape)
    return {int(array[index]): (volume.affine @ (*index, 1.0))[:3] for index in np.ndindex(array.shape)}


def assert_same_places(one: Volume, other: Volume) -> None:
    a, b = places(one), places(other)
    assert a.keys() == b.keys()
    np.testing.assert_allclose([a[value] for value in sorted(a)], [b[value] for value in sorted(b)], atol=1e-9)


@pytest.mark.parametrize("tilt", TILTS)
def test_every_voxel_keeps_its_place_through_a_layer(tilt):
    for volume in volumes(tilt):
        data, keywords = volume_to_layer(volume)
        layer = Image(data, **keywords)
        assert_same_places(volume_from_layer(layer), volume)
        again = Labels(np.asarray(data).astype(np.int16), **layer_geometry(layer))
        assert_same_places(volume_from_layer(again), volume)


@pytest.mark.parametrize("tilt", ["straight", "within the slice"])
def test_the_world_of_a_layer_is_lps(tilt):
    for volume in volumes(tilt):
        data, keywords = volume_to_layer(volume)
        layer = Image(data, **keywords)
        there = places(volume)
        for index in ((0, 0, 0), *np.ndindex(data.shape)):
            np.testing.assert_allclose(layer.data_to_world(index)[::-1], there[int(data[tuple(index)])], atol=1e-9)
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("z", "y", "x")


def test_a_tilted_volume_stands_upright_about_its_centre():
    for volume in volumes("out of the slice"):
        data, keywords = volume_to_layer(volume)
        layer = Image(data, **keywords)
        np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(4))
        centre = (volume.affine @ (*(np.array(SHAPE) - 1) / 2, 1.0))[:3]
        np.testing.assert_allclose(layer.data_to_world((np.array(data.shape) - 1) / 2)[::-1], centre, atol=1e-9)


def test_a_rounding_error_in_a_direction_is_no_tilt():
    affine = scaling((2.5, 0.5, 0.75))
    affine[:3, :3] = turn(1e-5, 1e-5, 1e-5) @ affine[:3, :3]
    _, keywords = volume_to_layer(Volume(DATA, affine))
    assert "affine" not in keywords
    np.testing.assert_allclose(keywords["scale"], (2.5, 0.5, 0.75))


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 1, 5), (3, 4, 1)])
def test_a_lone_slice_is_shown_in_its_own_plane(shape):
    """A coronal image must not appear as a line."""
    for volume in volumes("straight"):
        lone = Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), volume.affine)
        data, keywords = volume_to_layer(lone)
        assert data.shape[0] == 1
        assert_same_places(volume_from_layer(Image(data, **keywords)), lone)


def test_a_slice_of_two_axes_keeps_its_height():
    volume = Volume(DATA[0], scaling((5.0, 0.5, 0.75), origin=(1.0, 2.0, 300.0)))
    data, keywords = volume_to_layer(volume)
    layer = Image(data, **keywords)
    assert layer.ndim == 2
    assert_same_places(volume_from_layer(layer), volume)


def test_pixels_without_a_size_stay_pixels():
    data, keywords = volume_to_layer(Volume(DATA, scaling((1.0, 1.0, 1.0)), spacing_known=False))
    assert "units" not in keywords
    assert not volume_from_layer(Image(data, **keywords)).spacing_known


TRANSFORMS = {
    "scale": {"scale": (2.0, 0.5, 0.75)},
    "translate": {"translate": (-100.0, 20.0, 7.0)},
    "flip": {"scale": (-2.0, 0.5, -0.75), "translate": (10.0, 0.0, 5.0)},
    "rotate": {"rotate": (20.0, 30.0, -40.0), "scale": (2.0, 0.5, 0.75)},
    "shear": {"shear": (0.1, 0.2, -0.3), "scale": (2.0, 0.5, 0.75), "translate": (1.0, 2.0, 3.0)},
    "affine": {"affine": np.array([[0.0, 2, 0, 5], [0, 0, 3, 6], [1, 0, 0, 7], [0, 0, 0, 1]]), "scale": (2.0, 0.5, 0.75)},
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_all_transforms_of_a_layer_are_carried(name):
    layer = Image(DATA, units=("mm", "mm", "mm"), **TRANSFORMS[name])
    volume = volume_from_layer(layer)
    for index in np.ndindex(SHAPE):
        np.testing.assert_allclose((volume.affine @ (*index, 1.0))[:3], layer.data_to_world(index)[::-1], atol=1e-9)
    mask = Labels(np.zeros(SHAPE, np.uint8), **layer_geometry(layer))
    np.testing.assert_allclose(mask.extent.world, layer.extent.world)
    np.testing.assert_allclose(volume_from_layer(mask).affine, volume.affine, atol=1e-9)


def test_a_shift_by_hand_of_a_tilted_volume_moves_it_by_as_much():
    volume = volumes("out of the slice")[0]
    data, keywords = volume_to_layer(volume)
    layer = Image(data, **keywords)
    layer.translate = np.add(layer.translate, (3.0, 0.0, 4.0))
    moved = volume_from_layer(layer).affine[:3, 3] - volume.affine[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(moved), 5.0)


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("cm", 10.0), ("um", 1e-3), ("micrometer", 1e-3)])
def test_lengths_become_millimetres(unit, mm):
    layer = Image(DATA, units=(unit,) * 3, scale=(2.0, 0.5, 0.75), translate=(1.0, 2.0, 3.0))
    volume = volume_from_layer(layer)
    np.testing.assert_allclose(volume.spacing, np.array((2.0, 0.5, 0.75)) * mm)
    np.testing.assert_allclose(volume.affine[:3, 3], np.array((3.0, 2.0, 1.0)) * mm)
    assert volume.spacing_known


def test_units_may_differ_from_axis_to_axis():
    layer = Image(DATA, units=("cm", "mm", "um"), scale=(0.5, 2.0, 750.0))
    np.testing.assert_allclose(volume_from_layer(layer).spacing, (5.0, 2.0, 0.75))


def test_pixels_with_a_scale_are_taken_as_millimetres_and_without_as_unknown():
    assert not volume_from_layer(Image(DATA)).spacing_known
    assert not volume_from_layer(Image(DATA, translate=(5, 0, 0))).spacing_known
    scaled = volume_from_layer(Image(DATA, scale=(2.0, 1.0, 1.0)))
    assert scaled.spacing_known
    np.testing.assert_allclose(scaled.spacing, (2.0, 1.0, 1.0))
    assert volume_from_layer(Image(DATA, units=("mm",) * 3)).spacing_known


def test_an_axis_of_time_is_no_length():
    with pytest.raises(InputError, match="second"):
        volume_from_layer(Image(DATA, units=("s", "mm", "mm"), name="cine"))


class Watched:
    """An array that counts how much of it was read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.read = 0

    def __getitem__(self, key: object) -> np.ndarray:
        part = self.array[key]
        self.read += part.size
        return part


def test_lazy_data_are_not_read_as_a_whole():
    watched = Watched(np.zeros((200, 64, 64), np.uint8))
    layer = Image(da.from_array(watched, chunks=(1, 64, 64)))
    before = watched.read
    volume = volume_from_layer(layer)
    np.asarray(volume.array[100])
    assert watched.read - before < watched.array.size / 4


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_arrays_of_every_kind_can_be_turned_and_sliced(kind):
    made = {"numpy": lambda: DATA, "dask": lambda: da.from_array(DATA, chunks=2), "zarr": lambda: zarr.array(DATA, chunks=(2, 2, 2))}
    layer = Image(made[kind](), scale=(2.0, -0.5, 0.75), units=("mm",) * 3)
    volume = volume_from_layer(layer)
    np.testing.assert_array_equal(np.asarray(volume.array), DATA)
    turned, orientation = volume.reorient()
    np.testing.assert_array_equal(np.asarray(turned.array), DATA[:, ::-1])
    np.testing.assert_array_equal(orientation.restore(np.asarray(turned.array)), DATA)


def test_the_full_resolution_of_a_multiscale_layer_is_taken():
    full = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    layer = Image([full, full[:, ::2, ::2]], multiscale=True, scale=(1.0, 0.5, 0.5))
    assert volume_from_layer(layer).shape == (1, 64, 64)
    np.testing.assert_allclose(volume_from_layer(layer).spacing, (1.0, 0.5, 0.5))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_colour_picture_becomes_grey(lazy):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    colour = np.stack([grey] * 3, axis=-1)
    volume = volume_from_layer(Image(da.from_array(colour) if lazy else colour, rgb=True))
    assert volume.shape == (4, 5)
    np.testing.assert_array_equal(np.asarray(volume.array), grey)


def test_a_point_of_time_is_taken_in_its_place():
    series = np.stack([DATA, DATA + 100])
    affine = np.eye(5)
    affine[3, 0] = 6.0  # the patient drifts along x
    layer = Image(series, scale=(1.0, *SPACING), units=("s", "mm", "mm", "mm"), affine=affine)
    volume = volume_from_layer(layer, (1,))
    np.testing.assert_array_equal(volume.array, DATA + 100)
    np.testing.assert_allclose(volume.spacing, SPACING)
    np.testing.assert_allclose(volume.affine @ (1, 2, 3, 1), (*np.array(layer.data_to_world((1, 1, 2, 3)))[:0:-1], 1.0))
    with pytest.raises(InputError, match="no volume"):
        volume_from_layer(layer, (2,))


def test_the_unit_is_given_remembered_or_guessed():
    soft = Image(np.full(SHAPE, 40, np.int16), metadata=volume_to_layer(Volume(DATA, np.eye(4), "HU"))[1]["metadata"])
    assert volume_from_layer(soft).unit == "HU"
    assert volume_from_layer(soft, unit="arbitrary").unit == "arbitrary"
    air = np.linspace(-1000, 500, 4096).astype(np.int16).reshape(16, 16, 16)
    assert volume_from_layer(Image(air)).unit == "HU"
    assert volume_from_layer(Image(air.astype(np.uint8))).unit == "arbitrary"


def block(volume: Volume) -> Volume:
    """Bright where it is in the patient's front left upper part: unlike itself in any mirror."""
    array = np.zeros(volume.shape, np.float32)
    centre = (volume.affine @ (*(np.array(volume.shape) - 1) / 2, 1.0))[:3]
    for index in np.ndindex(volume.shape):
        x, y, z = (volume.affine @ (*index, 1.0))[:3] - centre
        array[index] = x > 2 and y < -2 and z > 0
    return Volume(array, volume.affine)


@pytest.fixture
def viewer(make_napari_viewer):
    viewer: napari.Viewer = make_napari_viewer(show=True)
    return viewer


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, -1), (1, -1, 1)])
def test_the_patient_is_seen_from_the_feet_however_stored(viewer, order, signs):
    """On the canvas left is the patient's right, up is the front, and only the upper slices show the block."""
    axes = np.eye(3)[:, [2 - axis for axis in order]] * np.array(signs)
    affine = np.eye(4)
    affine[:3, :3] = axes * 2.0
    affine[:3, 3] = (100, -300, 200)
    data, keywords = volume_to_layer(block(Volume(np.zeros((10, 10, 10), np.float32), affine)))
    layer = viewer.add_image(data, contrast_limits=(0, 1), **keywords)
    viewer.reset_view()
    low, high = layer.extent.world
    viewer.dims.set_point(0, high[0] - 2)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., 0]
    rows, columns = picture.shape
    quarter = {
        (v, h): picture[
            rows // 4 + v * rows // 4 : rows // 4 + (v + 1) * rows // 4,
            columns // 4 + h * columns // 4 : columns // 4 + (h + 1) * columns // 4,
        ].mean()
        for v in (0, 1)
        for h in (0, 1)
    }
    assert quarter[0, 1] > 100
    assert max(quarter[0, 0], quarter[1, 0], quarter[1, 1]) < 30
    viewer.dims.set_point(0, low[0] + 2)
    assert viewer.screenshot(canvas_only=True, flash=False)[rows // 4 : -rows // 4, columns // 4 : -columns // 4, 0].mean() < 30


@pytest.mark.parametrize("tilt", TILTS)
def test_every_slice_shows_and_a_stroke_lands_in_it(viewer, tilt, recwarn):
    for volume in volumes(tilt)[::13]:
        viewer.layers.clear()
        data, keywords = volume_to_layer(volume)
        image = viewer.add_image(data, **keywords)
        labels = viewer.add_labels(np.zeros(data.shape, np.uint8), **layer_geometry(image))
        labels.brush_size = 1
        low, high = labels.extent.world
        for step in range(data.shape[0]):
            viewer.dims.set_point(0, labels.data_to_world((step, 0, 0))[0])
            pointer = (viewer.dims.point[0], *((low + high) / 2)[1:])
            labels.paint(labels.world_to_data(pointer), 1)
            assert labels._data_view.any()  # the stroke is on the slice that is displayed
            assert labels.data[step].any()
    assert not [w for w in recwarn if "Non-orthogonal" in str(w.message)]


def test_that_nobody_knows_how_the_patient_lies_survives_a_layer():
    volume = Volume(np.zeros((3, 4, 5), np.uint8), np.eye(4), spacing_known=False, oriented=False)
    data, keywords = volume_to_layer(volume)
    image = Image(data, **keywords)
    assert not volume_from_layer(image).oriented
    assert not volume_from_layer(Labels(data, **layer_geometry(image))).oriented

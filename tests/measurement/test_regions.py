"""Measures of shapes whose answers are known, on every kind of grid; what cannot be known is left out and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geometry import grids, stored_otherwise, tilt
from scipy import ndimage
from scipy.spatial.distance import pdist
from shapes import ball, cuboid, ellipsoid, grid, solid

import napari_lungseg
from napari_lungseg.errors import InputError
from napari_lungseg.measurement import Measurements, measure
from napari_lungseg.measurement.shape import extremes, feret, hull_corners
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume, scaling

CENTRE = (-40.0, 25.0, 130.0)
PLACES = {
    "straight": {},
    "flipped": {"signs": (-1, 1, 1)},
    "tilted": {"turn": tilt()},
    "tilted and flipped": {"turn": tilt(), "signs": (1, -1, -1)},
}


def coarse(volume: Volume) -> Volume:
    """Every second row and column."""
    return replace(volume, array=volume.array[:, ::2, ::2], affine=volume.affine @ np.diag([1.0, 2.0, 2.0, 1.0]))


CT, LUNGS = coarse(sample_ct()), coarse(sample_lungs())


@pytest.fixture(scope="module")
def measured_lungs() -> Measurements:
    return measure(LUNGS, CT)


def only(labels: Volume, image: Volume | None = None):
    (region,) = measure(labels, image).regions
    return region


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (5.0, 1.0, 1.5)])
def test_a_ball_is_measured_as_a_ball(spacing, place):
    region = only(solid(ball(40.0), 40.0, grid(spacing, **place), CENTRE))
    step = max(spacing)
    assert region.volume_ml == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.005)
    assert region.surface_cm2 == pytest.approx(4 * np.pi * 4**2, rel=0.02)
    assert region.feret_mm == pytest.approx(80.0, abs=step)
    np.testing.assert_allclose(region.centroid_mm, CENTRE, atol=0.1)
    np.testing.assert_allclose(region.oriented_box.size_mm, 80.0, atol=1.2 * step)
    np.testing.assert_allclose(region.oriented_box.centre_mm, CENTRE, atol=step / 2)
    np.testing.assert_allclose(region.box_mm, np.add(CENTRE, [[-40.0], [40.0]]), atol=0.6 * step)
    assert region.profile.area_cm2.max() == pytest.approx(np.pi * 4**2, rel=0.02)
    assert region.cut_off == ()


def test_a_box_along_the_axes_is_measured_exactly():
    array = np.zeros((12, 30, 26), np.uint8)
    array[2:8, 5:25, 3:23] = 1
    region = only(Volume(array, scaling((5.0, 1.0, 2.0), CENTRE)))
    assert region.volume_ml == pytest.approx(30 * 20 * 40 / 1000)
    np.testing.assert_allclose(region.box_mm, np.add(CENTRE, [[5.0, 4.5, 7.5], [45.0, 24.5, 37.5]]))
    np.testing.assert_allclose(region.oriented_box.size_mm, (40.0, 30.0, 20.0))
    np.testing.assert_allclose(np.abs(region.oriented_box.axes), [[1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-9)
    assert region.feret_mm == pytest.approx(np.sqrt(40**2 + 30**2 + 20**2), abs=3.0)  # its corners are cut by half a voxel
    assert region.surface_cm2 == pytest.approx(2 * (4 * 3 + 4 * 2 + 3 * 2), rel=0.08)  # its edges are rounded
    assert region.box_index == ((2, 8), (5, 25), (3, 23))
    assert region.centroid_index == pytest.approx((4.5, 14.5, 12.5))
    np.testing.assert_allclose(region.profile.area_cm2, np.full(6, 8.0))
    np.testing.assert_allclose(region.profile.height_mm, CENTRE[2] + 5.0 * np.arange(2, 8))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_turned_box_has_its_own_edges_and_directions(place):
    turn = tilt().T
    region = only(solid(cuboid(40.0, 25.0, 15.0, turn=turn), 50.0, grid((1.0, 0.8, 0.8), **place), CENTRE))
    np.testing.assert_allclose(region.oriented_box.size_mm, (80.0, 50.0, 30.0), atol=2.0)
    cosines = np.abs(np.array(region.oriented_box.axes) @ turn)
    np.testing.assert_allclose(cosines, np.eye(3), atol=0.05)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_an_ellipsoid_is_as_long_as_its_longest_axis(place):
    region = only(solid(ellipsoid(45.0, 20.0, 10.0, turn=tilt()), 45.0, grid((2.0, 1.0, 1.0), **place), CENTRE))
    assert region.feret_mm == pytest.approx(90.0, abs=2.0)
    assert region.volume_ml == pytest.approx(4 / 3 * np.pi * 45 * 20 * 10 / 1000, rel=0.01)


def test_every_way_to_store_a_case_gives_the_same_measures(measured_lungs):
    labels, ct = LUNGS, CT
    for order, flips in (((2, 0, 1), (1,)), ((0, 2, 1), (0, 2)), ((1, 2, 0), ())):
        stored = Volume(*stored_otherwise(labels.array, labels.affine, order, flips))
        image = Volume(*stored_otherwise(ct.array, ct.affine, order, flips), "HU")
        for one, other in zip(measure(stored, image, names=labels.names).regions, measured_lungs.regions):
            assert (one.name, one.voxels, one.cut_off) == (other.name, other.voxels, other.cut_off)
            assert one.feret_mm == pytest.approx(other.feret_mm)
            assert one.surface_cm2 == pytest.approx(other.surface_cm2, rel=1e-6)
            assert one.density.mass_g == pytest.approx(other.density.mass_g)
            np.testing.assert_allclose(one.centroid_mm, other.centroid_mm)
            np.testing.assert_allclose(one.profile.area_cm2, other.profile.area_cm2)
            # Indices are those of the array that was given.
            mask = stored.array > 0 if one.label is None else stored.array == one.label
            np.testing.assert_allclose(one.centroid_index, np.argwhere(mask).mean(axis=0))
            np.testing.assert_array_equal(one.box_index, np.stack([np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1], 1))


def test_area_times_distance_of_slices_is_the_volume_on_every_grid():
    shape = solid(ellipsoid(12.0, 8.0, 5.0), 12.0, grid((2.0, 1.0, 1.0))).array
    for affine in grids():
        labels = Volume(shape, affine)
        region = only(labels)
        axis = labels.axial_axis
        steps = affine[:3, :3]
        across = np.cross(*(steps[:, other] for other in range(3) if other != axis))
        distance = abs(steps[:, axis] @ across) / np.linalg.norm(across)
        assert region.profile.area_cm2.sum() * distance / 10 == pytest.approx(region.volume_ml)
        assert (np.diff(region.profile.height_mm) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_diameter_is_that_of_all_pairs(seed):
    mask = np.random.default_rng(seed).random((5, 7, 6)) > 0.8
    faces = [np.argwhere(mask) + sign * 0.5 * axis for axis in np.eye(3) for sign in (-1, 1)]
    points = np.concatenate(faces) * (3.0, 1.0, 1.5)
    assert feret(hull_corners(extremes(mask, (0, 1, 2)) * (3.0, 1.0, 1.5))) == pytest.approx(pdist(points).max())


def test_right_and_left_have_names_and_a_ratio_where_the_mask_tells_them_apart():
    measured = napari_lungseg.measure(LUNGS)
    assert [(region.label, region.name) for region in measured.regions] == [(1, "right"), (2, "left"), (None, "together")]
    right, left, both = measured.regions
    assert measured.left_right_ratio == pytest.approx(left.volume_ml / right.volume_ml)
    assert both.volume_ml == pytest.approx(right.volume_ml + left.volume_ml)
    assert right.centroid_mm[0] < left.centroid_mm[0]
    plain = measure(replace(LUNGS, names=None))
    assert [region.name for region in plain.regions] == ["label 1", "label 2", "together"]
    assert plain.left_right_ratio is None


def test_names_tell_the_sides_and_not_the_numbers(measured_lungs):
    right, left, _ = measured_lungs.regions
    swapped = np.choose(LUNGS.array, [0, 2, 1]).astype(np.uint8)
    names = {1: "Left lung", 2: "right_lung", 3: "tumour"}
    for measured in (
        measure(replace(LUNGS, array=swapped, names=names)),
        measure(LUNGS.with_array(swapped), names=names),
    ):
        assert [(region.name, region.voxels) for region in measured.regions[:2]] == [
            ("Left lung", left.voxels),
            ("right_lung", right.voxels),
        ]
        assert measured.left_right_ratio == pytest.approx(left.voxels / right.voxels)


def test_a_mask_at_the_border_is_measured_and_marked():
    labels, ct = LUNGS, CT
    box = (slice(8, 20), slice(None), slice(30, None))
    measured = measure(labels.crop(box), ct.crop(box))
    right, left, _ = measured.regions
    assert right.cut_off == ("feet", "head", "right")
    assert left.cut_off == ("feet", "head")
    assert right.volume_ml == pytest.approx((labels.array[box] == 1).sum() * labels.voxel_ml)
    assert right.surface_cm2 > 0
    assert right.feret_mm > 0
    assert any("Right: cut off" in note and "feet, head, right" in note for note in measured.notes)


def test_a_whole_image_of_one_label_is_measured():
    region = only(Volume(np.ones((4, 5, 6), np.uint8), scaling((2.0, 1.0, 1.0))))
    assert region.cut_off == ("feet", "head", "front", "back", "right", "left")
    assert region.volume_ml == pytest.approx(0.24)


@pytest.mark.parametrize("shape", [(40, 40), (1, 40, 40)])
def test_a_single_slice_has_an_area_but_no_surface(shape):
    y, x = np.mgrid[:40, :40] - 19.5
    disc = ((y * 2.0) ** 2 + x**2 <= 15**2).astype(np.uint8).reshape(shape)
    region = only(Volume(disc, scaling((5.0, 2.0, 1.0)), "arbitrary"))
    assert region.profile.area_cm2 == pytest.approx([np.pi * 1.5**2], rel=0.03)
    assert region.feret_mm == pytest.approx(30.0, abs=1.0)
    assert (region.surface_cm2, region.oriented_box, region.cut_off) == (None, None, ())
    assert len(region.centroid_index) == len(shape)


def test_without_a_size_of_voxels_nothing_is_in_millimetres():
    labels = Volume(LUNGS.array, np.eye(4), spacing_known=False)
    measured = measure(labels, Volume(CT.array, np.eye(4), "HU", spacing_known=False))
    for region in measured.regions:
        assert region.voxels > 0
        assert region.density.laa950_percent > 0
        in_mm = (region.volume_ml, region.surface_cm2, region.feret_mm, region.centroid_mm, region.box_mm, region.oriented_box)
        assert in_mm == (None,) * 6
        assert (region.profile.area_cm2, region.profile.height_mm, region.density.mass_g) == (None, None, None)
        assert region.profile.voxels.sum() == region.voxels
    assert measured.regions[0].cut_off == ("start of axis 0",)
    assert "no known size" in measured.notes[0]


def test_labels_without_geometry_take_that_of_the_image(measured_lungs):
    labels, ct = LUNGS, CT
    array, affine = stored_otherwise(ct.array, ct.affine, (0, 1, 2), (0,))
    flipped = Volume(labels.array[::-1], np.eye(4), spacing_known=False)
    measured = measure(flipped, Volume(array, affine, "HU"))
    for one, other in zip(measured.regions, measured_lungs.regions):
        assert one.density.mean_hu == pytest.approx(other.density.mean_hu)
        np.testing.assert_allclose(one.centroid_mm, other.centroid_mm)


def test_an_image_that_is_not_in_hu_gives_no_densities():
    measured = measure(LUNGS, replace(CT, unit="arbitrary"))
    assert all(region.density is None for region in measured.regions)
    assert "not Hounsfield" in measured.notes[0]


def test_another_grid_is_refused_with_its_difference():
    labels, ct = LUNGS, CT
    moved = ct.affine.copy()
    moved[0, 3] += 5.0
    with pytest.raises(InputError, match=r"labels and the image lie on different grids \(5 mm apart\)"):
        measure(labels, Volume(ct.array, moved, "HU"))
    with pytest.raises(InputError, match="different grids"):
        measure(labels, ct.crop((slice(5, 20), slice(None), slice(None))))


def test_a_cropped_segmentation_is_measured_in_its_place(measured_lungs):
    ct, labels = CT, LUNGS
    box = ndimage.find_objects((np.asarray(labels.array) > 0).astype(int))[0]
    whole, cropped = measured_lungs, measure(labels.crop(box), ct)
    assert [region.voxels for region in cropped.regions] == [region.voxels for region in whole.regions]
    assert [region.density.mean_hu for region in cropped.regions] == [region.density.mean_hu for region in whole.regions]
    assert cropped.notes == whole.notes


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((3, 4, 5), np.uint8), "empty"),
        (np.full((3, 4, 5), 0.5), "not whole"),
        (np.where(np.arange(60).reshape(3, 4, 5) == 7, np.nan, 1.0), "no number"),
        (np.full((3, 4, 5), -3, np.int16), "negative"),
        (np.arange(400).reshape(4, 10, 10), "399 different labels"),
    ],
)
def test_what_is_no_mask_is_refused(array, match):
    with pytest.raises(InputError, match=match):
        measure(Volume(array, np.eye(4)))


def test_whole_numbers_of_any_type_are_labels():
    labels = LUNGS
    sizes = [[region.voxels for region in measure(replace(labels, array=labels.array.astype(kind))).regions] for kind in (np.uint8, float)]
    assert sizes[0] == sizes[1]
    assert only(replace(labels, array=labels.array > 0)).voxels == sizes[0][-1]


def test_progress_is_told_for_each_region():
    told = []
    measure(LUNGS, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

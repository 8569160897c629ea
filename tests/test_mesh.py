"""Surfaces: closed, outward, smooth, of the mask's own volume and place, and files that others read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import trimesh
from geometry import grids, tilt
from scipy.ndimage import gaussian_filter
from shapes import ball, cuboid, grid, solid

from napari_lungseg.errors import InputError
from napari_lungseg.mesh import MeshSettings, enclosed_mm3, surface, surfaces, write_surfaces
from napari_lungseg.sample import sample_lungs
from napari_lungseg.volume import Volume, scaling

CENTRE = (-40.0, 25.0, 130.0)
ALL = MeshSettings(most_faces=None)


def lungs() -> Volume:
    """Two balls, right and left."""
    affine = grid((2.0, 1.0, 1.0))
    right, left = (solid(ball(12.0), 30.0, affine, CENTRE).array for _ in range(2))
    return Volume(np.concatenate([right, 2 * left], axis=2), solid(ball(12.0), 30.0, affine, CENTRE).affine)


@pytest.mark.parametrize(
    ("spacing", "tolerance"), [((1.0, 1.0, 1.0), 0.01), ((2.5, 0.8, 0.8), 0.015), ((8.0, 1.3, 1.3), 0.02)], ids=["even", "thin", "thick"]
)
@pytest.mark.parametrize("turn", [None, tilt()], ids=["straight", "tilted"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)], ids=["", "flipped", "twice flipped"])
def test_a_ball_has_the_area_volume_and_place_of_a_ball(spacing, tolerance, turn, signs):
    labels = solid(ball(40.0), 40.0, grid(spacing, turn, signs), CENTRE)
    found = surface(labels, settings=ALL)
    assert found.is_watertight
    assert found.is_winding_consistent
    assert enclosed_mm3(found) == pytest.approx(labels.array.sum() * labels.voxel_ml * 1000, rel=1e-3)  # positive: outward
    assert found.area == pytest.approx(4 * np.pi * 40**2, rel=tolerance)
    np.testing.assert_allclose(found.center_mass, CENTRE, atol=0.1)
    np.testing.assert_allclose(found.bounds, np.add(CENTRE, [[-40.0], [40.0]]), atol=0.6 * max(spacing))
    assert (np.einsum("ij,ij->i", found.vertex_normals, found.vertices - CENTRE) > 0).all()


def test_every_way_to_store_a_mask_gives_the_same_surface():
    shape = solid(cuboid(20.0, 12.0, 7.0), 22.0, grid((2.0, 1.0, 1.0)))
    areas = {round(surface(Volume(shape.array, affine), settings=ALL).area) for affine in grids()}
    assert len(areas) == 1


@pytest.mark.parametrize("seed", range(6))
def test_ragged_masks_give_closed_surfaces_of_their_volume(seed):
    draw = np.random.default_rng(seed)
    mask = gaussian_filter(draw.standard_normal((14, 17, 15)), 0.6 * (seed % 3)) > 0.1
    labels = Volume(mask.astype(np.uint8), scaling(tuple(draw.choice([0.7, 1.0, 6.0], 3))))
    for settings in (ALL, MeshSettings(most_faces=1500), MeshSettings(smoothing=0)):
        found = surface(labels, settings=settings)
        assert found.is_watertight
        assert enclosed_mm3(found) == pytest.approx(mask.sum() * labels.voxel_ml * 1000, rel=1e-2)


def test_a_single_voxel_has_a_surface():
    array = np.zeros((3, 3, 3), np.uint8)
    array[1, 1, 1] = 1
    assert enclosed_mm3(surface(Volume(array, scaling((5.0, 1.0, 2.0))))) == pytest.approx(10.0, rel=1e-2)


def test_it_is_smooth_where_the_voxels_are_steps():
    labels = solid(ball(30.0), 30.0, grid((5.0, 1.0, 1.0)))
    rough, smooth = (surface(labels, settings=MeshSettings(rounds, None)) for rounds in (0, 20))
    for made, most in ((rough, np.inf), (smooth, 12.0)):
        # The angle between a triangle and the ball behind it, in degrees.
        outward = made.triangles_center / np.linalg.norm(made.triangles_center, axis=1)[:, None]
        turned = np.degrees(np.arccos(np.clip(np.einsum("ij,ij->i", made.face_normals, outward), -1, 1)))
        assert np.average(turned, weights=made.area_faces) < most
    assert smooth.area < rough.area


def test_decimation_keeps_volume_area_and_the_limit():
    labels = sample_lungs()
    full, fewer = (surface(labels, 2, MeshSettings(most_faces=most)) for most in (None, 20_000))
    assert len(full.faces) > 40_000
    assert len(fewer.faces) <= 20_000
    assert fewer.is_watertight
    assert enclosed_mm3(fewer) == pytest.approx(enclosed_mm3(full), rel=1e-3)
    assert fewer.area == pytest.approx(full.area, rel=0.01)


def test_a_mask_at_the_border_of_the_image_is_closed_there():
    labels = Volume(np.ones((6, 10, 10), np.uint8), scaling((2.0, 1.0, 1.0), CENTRE))
    found = surface(labels, settings=MeshSettings(smoothing=0))
    assert found.is_watertight
    np.testing.assert_allclose(found.bounds, np.add(CENTRE, [[-0.5, -0.5, -1.0], [9.5, 9.5, 11.0]]), atol=0.1)


def test_there_is_one_surface_for_each_label():
    found = surfaces(lungs())
    assert list(found) == [1, 2]
    assert found[1].bounds[1, 0] < found[2].bounds[0, 0]


def test_an_empty_mask_has_none():
    empty = Volume(np.zeros((3, 3, 3), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="no voxel above 0"):
        surfaces(empty)
    with pytest.raises(InputError, match="label 7"):
        surface(lungs(), 7)


@pytest.mark.parametrize("ending", [".stl", ".obj", ".ply", ".glb"])
def test_files_hold_the_surfaces_in_lps_millimetres(ending, tmp_path):
    made = surfaces(lungs())
    path = write_surfaces(made, tmp_path / f"lungs{ending}")
    read = trimesh.load(path, file_type=ending[1:], force="scene").to_mesh()
    assert read.is_watertight
    np.testing.assert_allclose(read.bounds, [made[1].bounds[0], made[2].bounds[1]], atol=1e-3)
    assert read.volume == pytest.approx(sum(enclosed_mm3(one) for one in made.values()), rel=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_bytes_of_an_stl_are_what_its_format_says(tmp_path):
    made = surfaces(lungs())
    content = write_surfaces(made, tmp_path / "lungs.stl").read_bytes()
    (count,) = struct.unpack_from("<I", content, 80)
    assert count == sum(len(one.faces) for one in made.values())
    assert len(content) == 84 + 50 * count
    numbers = np.array([struct.unpack_from("<12f", content, 84 + 50 * index) for index in range(count)]).reshape(count, 4, 3)
    normal, (a, b, c) = numbers[:, 0], numbers[:, 1:].transpose(1, 0, 2)
    np.testing.assert_allclose(numbers[:, 1:].min(axis=(0, 1)), made[1].bounds[0], atol=1e-3)
    # Counter-clockwise from outside, and the volume is that of both.
    assert np.einsum("ij,ij->", normal, np.cross(b - a, c - a)) > 0
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(sum(enclosed_mm3(one) for one in made.values()), rel=1e-3)


@pytest.mark.parametrize("ending", [".ply", ".glb"])
def test_files_carry_the_colours_of_the_labels(ending, tmp_path):
    path = write_surfaces(surfaces(lungs()), tmp_path / f"lungs{ending}", {1: "right", 2: "left"})
    scene = trimesh.load(path, force="scene")
    colours = {tuple(int(v) for v in row[:3]) for mesh in scene.geometry.values() for row in mesh.visual.vertex_colors}
    assert colours == {(0x3D, 0xDC, 0x97), (0x4A, 0xA8, 0xFF)}
    if ending == ".glb":
        assert set(scene.geometry) == {"right", "left"}


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path):
    with pytest.raises(InputError, match=r"\.stl, \.obj, \.ply or \.glb"):
        write_surfaces({}, tmp_path / "lungs.vtk")
    with pytest.raises(InputError, match="does not exist"):
        write_surfaces({}, tmp_path / "nowhere" / "lungs.stl")


@pytest.mark.parametrize("wrong", [{"smoothing": -1}, {"smoothing": 1000}, {"most_faces": 3}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        MeshSettings(**wrong)

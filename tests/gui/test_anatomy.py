"""Which way up an image belongs and the letters at its edges, for patients who lie in the world in any way."""

from __future__ import annotations

import numpy as np
import pytest
from geometry import grids
from napari.components import Camera

from napari_lungseg.volume import Volume
from napari_lungseg.widgets.layers import LPS_FROM_WORLD, volume_to_layer
from napari_lungseg.widgets.views.anatomy import PLANES, UPRIGHT, deep, letters, on_canvas, plane_through, shown_axes, upright, world_axes

#: What is on the left and on top of each plane, as radiologists look at it.
SEEN = {"axial": "RA", "coronal": "RS", "sagittal": "AS"}


def worlds() -> list[np.ndarray]:
    """How patients lie in the worlds of volumes of all orientations, tilted ones among them."""
    found = []
    for affine in grids():
        keywords = volume_to_layer(Volume(np.zeros((3, 4, 5), np.uint8), affine))[1]
        directions = np.array(keywords["metadata"].get(LPS_FROM_WORLD, np.eye(4)))[:3, :3][:, ::-1]
        found.append(directions / np.linalg.norm(directions, axis=0))
    return found


def edges(camera: Camera, displayed: tuple[int, ...], directions: np.ndarray) -> dict[str, str]:
    right, up = on_canvas(camera, displayed)
    ends = {"left": -right, "right": right, "top": up, "bottom": -up}
    return {edge: letters(direction, directions) for edge, direction in ends.items()}


@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_is_upright_however_the_patient_lies(plane):
    tilted = 0
    for directions in worlds():
        axes = world_axes(plane, directions)
        camera = Camera(orientation=upright(axes, directions))
        seen = edges(camera, axes[1:], directions)
        # Of tilted volumes the letter of the nearest axis comes first.
        assert seen["left"][0] + seen["top"][0] == SEEN[plane]
        assert plane_through(axes[0], directions) == plane
        tilted += max(len(letter) for letter in seen.values()) > 1
    assert tilted


def test_what_lies_on_the_canvas_is_told_by_the_order_of_the_axes():
    assert shown_axes((0, 1), 2) == shown_axes((0, 1, 2), 2) == shown_axes((0, 1, 2, 3), 2) == (0, 1, 2)
    assert shown_axes((1, 0, 2, 3), 2) == (0, 1, 2)
    assert shown_axes((0, 3, 1, 2), 2) == (2, 0, 1)
    assert shown_axes((1, 0, 2, 3), 3) is None
    assert shown_axes((1, 2, 3, 0), 2) is None


def test_opposite_edges_have_opposite_letters():
    opposite = str.maketrans("RLAPSI", "LRPAIS")
    for directions in worlds():
        axes = world_axes("coronal", directions)
        seen = edges(Camera(orientation=upright(axes, directions)), axes[1:], directions)
        assert seen["left"].translate(opposite) == seen["right"]
        assert seen["top"].translate(opposite) == seen["bottom"]


def test_an_axis_that_runs_between_two_directions_has_both_letters():
    assert letters(np.array([0.0, 0.6, 0.8]), UPRIGHT) == "LP"
    assert letters(np.array([0.0, -0.8, 0.6]), UPRIGHT) == "AL"
    assert letters(np.array([0.97, 0.2, 0.1]), UPRIGHT) == "S"


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_in_3d_nobody_is_seen_in_a_mirror(axes):
    """Looking along the patient's axes, what is on the right and on top follows from them, whatever the order of the dims."""
    for directions in (UPRIGHT, np.eye(3), *worlds()[::7]):
        if np.linalg.det(directions) * np.linalg.det(UPRIGHT) < 0:
            continue
        camera = Camera(orientation=deep(axes, directions, ("towards", "down", "right")))
        for look, up, right in (("P", "S", "L"), ("R", "S", "P"), ("S", "A", "L")):
            ends = {"L": (1, 0, 0), "P": (0, 1, 0), "S": (0, 0, 1), "R": (-1, 0, 0), "A": (0, -1, 0), "I": (0, 0, -1)}
            world = {end: directions.T @ ends[end] for end in (look, up)}
            camera.set_view_direction(*(tuple(world[end][list(axes)]) for end in (look, up)))
            seen = edges(camera, axes, directions)
            assert (seen["right"], seen["top"]) == (right, up)

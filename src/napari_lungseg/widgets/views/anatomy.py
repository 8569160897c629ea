"""Which way up an image belongs, and the letters at its edges; numbers only, no window.

Directions are a matrix (3, 3): its columns are napari's world axes (z, y, x), each as a unit vector in LPS (rows x, y, z).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.volume import axis_order

Directions = npt.NDArray[np.float64]
#: Depth, vertical and horizontal direction in which the world's axes run on the canvas, in napari's words.
Orientation = tuple[str, str, str]

#: Directions of a world that is the patient's LPS space.
UPRIGHT: Directions = np.eye(3)[:, ::-1]
#: The patient's axes (z, y, x) of each plane: through the plane, down the canvas, and across it.
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
#: Colour of each plane, as 3D Slicer has it.
PLANE_COLOURS = {"axial": "#f34a4a", "coronal": "#6eb04b", "sagittal": "#edd54c"}
#: Letters at the positive and negative ends of LPS x, y and z.
_ENDS = (("L", "R"), ("P", "A"), ("S", "I"))
#: What a direction must have of an axis for its letter to be named: more than 20 degrees off it, two are.
_NAMED = 0.35
#: napari's own orientation, in which (z, y, x) is right-handed.
_DEFAULT = ("towards", "down", "right")
_OTHER = {"towards": "away", "away": "towards"}


def shown_axes(order: Sequence[int], displayed: int) -> tuple[int, int, int] | None:
    """World axes (0, 1, 2 for z, y, x) through the canvas, down and across; a picture lies in (y, x).

    Parameters
    ----------
    order : sequence of int
        Axes of the viewer, those on the canvas last.
    displayed : int
        How many are on the canvas.

    Returns
    -------
    tuple of int or None
        None where another axis, such as time, is on the canvas.
    """
    leading = len(order) - 3
    if len(order) < 2 or any(axis < leading for axis in order[-displayed:]):
        return None
    through, down, across = [0, *(axis - leading for axis in order if axis >= leading)][-3:]
    return through, down, across


def world_axes(plane: str, directions: Directions) -> tuple[int, int, int]:
    """World axes (0, 1, 2 for z, y, x) through a plane, down the canvas and across it."""
    nearest = patient_axes(directions)
    through, down, across = PLANES[plane]
    return nearest[through], nearest[down], nearest[across]


def plane_through(axis: int, directions: Directions) -> str:
    """The plane that a world axis goes through."""
    through = patient_axes(directions).index(axis)
    return next(plane for plane, axes in PLANES.items() if axes[0] == through)


def patient_axes(directions: Directions) -> tuple[int, int, int]:
    """World axes that run nearest to the patient's z, y and x."""
    affine = np.eye(4)
    affine[:3, :3] = directions
    return axis_order(affine)


def upright(axes: tuple[int, int, int], directions: Directions) -> Orientation:
    """How the canvas must be turned so that the head, or the front, is on top, and the patient's right (or front) on the left.

    Parameters
    ----------
    axes : tuple of int
        World axes through the canvas, down and across.
    directions : (3, 3) array
        Of the world.
    """
    nearest = patient_axes(directions)
    # Along LPS, what is more is to be found below and on the right; only the head is above.
    vertical, horizontal = (_sign(axis, nearest, directions) for axis in axes[1:])
    if nearest.index(axes[1]) == 0:
        vertical = -vertical
    return deep(axes, directions, ("away", "down" if vertical > 0 else "up", "right" if horizontal > 0 else "left"))


def deep(axes: tuple[int, int, int], directions: Directions, orientation: Orientation) -> Orientation:
    """The orientation, with the depth in which the patient is not seen in a mirror in 3-D."""
    even = np.linalg.det(np.eye(3)[list(axes)]) > 0
    mirrored = np.linalg.det(directions) * (1 if even else -1) < 0
    flips = sum(one != other for one, other in zip(orientation, _DEFAULT))
    depth = orientation[0] if (flips % 2 == 1) == mirrored else _OTHER[orientation[0]]
    return depth, orientation[1], orientation[2]


def on_canvas(camera: Any, displayed: tuple[int, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """World directions (z, y, x) to the right and up on a canvas.

    Parameters
    ----------
    camera : napari.components.Camera
        Of the canvas.
    displayed : tuple of int
        World axes that are displayed: down and across, in 3-D with the depth before them.
    """
    right, up = np.zeros(3), np.zeros(3)
    depth, vertical, horizontal = (str(word) for word in camera.orientation)
    if len(displayed) == 2:
        up[displayed[0]] = 1.0 if vertical == "up" else -1.0
        right[displayed[1]] = 1.0 if horizontal == "right" else -1.0
        return right, up
    flips = sum(one != other for one, other in zip((depth, vertical, horizontal), _DEFAULT))
    view, above = np.array(camera.view_direction), np.array(camera.up_direction)
    right[list(displayed)] = np.cross(view, above) * (-1.0 if flips % 2 else 1.0)
    up[list(displayed)] = above
    return right, up


def letters(direction: npt.NDArray[np.float64], directions: Directions) -> str:
    """Where a world direction (z, y, x) points to in the patient: R, L, A, P, S, I, or two or three of them, the nearest first."""
    lps = directions @ direction
    lps = lps / np.linalg.norm(lps)
    order = sorted(range(3), key=lambda axis: -abs(lps[axis]))
    return "".join(_ENDS[axis][0 if lps[axis] > 0 else 1] for axis in order if abs(lps[axis]) >= _NAMED)


def _sign(axis: int, nearest: tuple[int, int, int], directions: Directions) -> float:
    # Rows are x, y, z; ``nearest`` is in the order z, y, x.
    return float(np.sign(directions[2 - nearest.index(axis), axis]))

"""Solid shapes of known size on grids of every kind."""

import numpy as np

from napari_lungseg.volume import Affine, Volume


def grid(spacing: tuple[float, float, float], turn: np.ndarray | None = None, signs: tuple[float, float, float] = (1, 1, 1)) -> Affine:
    """Affine of axes (z, y, x) with a spacing and directions of their own, and all of them turned."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ (np.eye(3)[:, ::-1] * signs) * spacing
    affine[:3, 3] = (-12.0, 33.0, -80.0)
    return affine


def solid(inside, half_mm: float, affine: Affine, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Volume:
    """Labels of the LPS points (x, y, z) relative to a centre that are ``inside``, on a grid just larger than ``half_mm`` each way."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(2 * np.ceil(half_mm / step)) + 4 for step in steps)
    moved = affine.copy()
    moved[:3, 3] = np.array(centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    points = index @ moved[:3, :3].T + moved[:3, 3] - np.array(centre_mm)
    return Volume(inside(points).astype(np.uint8), moved)


def ball(radius_mm: float):
    return lambda points: np.linalg.norm(points, axis=-1) <= radius_mm


def ellipsoid(*half_mm: float, turn: np.ndarray | None = None):
    return lambda points: np.linalg.norm((points @ (np.eye(3) if turn is None else turn)) / half_mm, axis=-1) <= 1.0


def cuboid(*half_mm: float, turn: np.ndarray | None = None):
    return lambda points: (np.abs(points @ (np.eye(3) if turn is None else turn)) <= half_mm).all(axis=-1)

"""Grids of every kind: axes in any order and direction, tilted, with a spacing of its own along each."""

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.formats import write
from napari_lungseg.volume import Affine, Volume

SPACING = (2.5, 0.5, 0.75)


def tilt() -> np.ndarray:
    """A rotation about all axes."""
    a, b, c = np.deg2rad((20, -35, 10))
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def grids() -> Iterator[Affine]:
    """All 48 straight affines of an anisotropic image, and all of them tilted."""
    for turn, order, signs in itertools.product(
        (np.eye(3), tilt()), itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)
    ):
        affine = np.eye(4)
        affine[:3, :3] = turn @ (np.eye(3)[:, list(order)] * signs) * SPACING
        affine[:3, 3] = (-120.5, 33.25, -801.0)
        yield affine


def stored_otherwise(array: np.ndarray, affine: Affine, order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[np.ndarray, Affine]:
    """The same image with its axes in another order and direction."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(order):
        turn[old, new] = -1 if new in flips else 1
        turn[old, 3] = array.shape[old] - 1 if new in flips else 0
    return np.flip(array.transpose(order), flips), affine @ turn


def affine_of(image: Any) -> Affine:
    """Affine of a SimpleITK image, from array index (z, y, x, 1) to LPS mm."""
    axes = image.GetDimension()
    linear = np.array(image.GetDirection()).reshape(axes, axes) * np.array(image.GetSpacing())
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:axes, 3 - axes : 3] = linear[:, ::-1]
    affine[:axes, 3] = image.GetOrigin()
    return affine


def write_in_two_places(volume: Volume, path: Path) -> Path:
    """Write a .nii whose qform lies 10 mm beside its sform, of which its reader has something to tell."""
    write(volume, path)
    data = bytearray(path.read_bytes())
    (offset,) = struct.unpack_from("<f", data, 268)
    struct.pack_into("<f", data, 268, offset + 10)
    path.write_bytes(data)
    return path

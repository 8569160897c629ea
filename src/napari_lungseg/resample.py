"""From the pixels of an image to those of a network, and back: one code for training and for every runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_lungseg.architecture import OnnxConfig, UNetConfig

Plane = npt.NDArray[np.float32]


def network_plane(values: Plane, grid: tuple[int, int], config: UNetConfig | OnnxConfig) -> Plane:
    """A normalised slice (H, W) at the network's pixel size (``grid``), padded by air to sides that the network takes."""
    plane = np.full(padded(grid, config), -1.0, np.float32)
    plane[: grid[0], : grid[1]] = resize(values, grid)
    return plane


def padded(grid: tuple[int, int], config: UNetConfig | OnnxConfig) -> tuple[int, int]:
    """Rows and columns that the network reads."""
    # Twice the stride at least: instance norm wants more than one pixel on the lowest level.
    rows, columns = (max(2, -(-side // config.stride)) * config.stride for side in grid)
    return rows, columns


def resize(plane: Plane, size: tuple[int, int]) -> Plane:
    """(H, W) at another size: bilinear, averaging where it gets smaller, as torch does it with ``antialias``."""
    if plane.shape == size:
        return plane
    return np.asarray(Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.BILINEAR))

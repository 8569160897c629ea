"""Where a training view lies: rotation, translation, flip, scale, elastic deformation, resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.training.dataset import LabelledSlice


@dataclass(frozen=True)
class SpatialSettings:
    """Ranges of the geometric augmentation; a probability of 0 or a range of 0 switches a part off.

    Attributes
    ----------
    any_rotation : float
        Probability of a rotation through the full circle (patients on their side or belly).
    rotation_deg : float
        Else a rotation within plus or minus this.
    translation_mm : float
        Shift of the view's centre from the body's.
    log_scale : float
        The zoom is exp(u) with u within plus or minus this.
    log_aspect : float
        Stretch of one axis against the other.
    flip : float
        Probability of a left-right flip.
    elastic : float
        Probability of an elastic deformation.
    elastic_mm : float
        Standard deviation of its displacements.
    """

    any_rotation: float = 0.35
    rotation_deg: float = 20.0
    translation_mm: float = 35.0
    log_scale: float = 0.25
    log_aspect: float = 0.1
    flip: float = 0.5
    elastic: float = 0.3
    elastic_mm: float = 5.0


def coordinates(size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of a view, each (size, size), from -1 to 1."""
    axis = torch.linspace(-1.0, 1.0, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def smooth_field(size: int, cells: int, rng: np.random.Generator) -> Tensor:
    """Smooth random field (size, size) of about unit variance with ``cells`` bumps a side."""
    noise = torch.from_numpy(rng.standard_normal((1, 1, cells + 3, cells + 3)).astype(np.float32))
    field = F.interpolate(noise, size=(size + 2, size + 2), mode="bicubic", align_corners=True)[0, 0, 1:-1, 1:-1]
    return (field - field.mean()) / (field.std() + 1e-6)


def view(
    item: LabelledSlice, size: int, pixel_mm: float, settings: SpatialSettings, strength: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, float]:
    """A square look at a slice.

    Parameters
    ----------
    item : LabelledSlice
        The slice.
    size, pixel_mm : int, float
        Pixels a side of the view, and how many millimetres each shows at zoom 1.
    settings : SpatialSettings
        Ranges.
    strength : float
        0 .. 1, scales the ranges.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, label : (size, size) tensors
        The case's own numbers; 0 or 1.
    down_rad : float
        Direction in the view (x right, y down) in which gravity pulled on a patient lying on the back.
    """
    height, width = item.image.shape
    if rng.random() < settings.any_rotation * strength:
        angle = rng.uniform(-math.pi, math.pi)
    else:
        angle = math.radians(rng.uniform(-1, 1) * settings.rotation_deg * strength)
    zoom = math.exp(rng.uniform(-1, 1) * settings.log_scale * strength)
    aspect = math.exp(rng.uniform(-1, 1) * settings.log_aspect * strength)
    flip = -1.0 if rng.random() < settings.flip else 1.0
    half = size * pixel_mm / 2.0
    cos, sin = math.cos(angle), math.sin(angle)
    shift = rng.uniform(-1, 1, 2) * settings.translation_mm * strength
    # Rows: view coordinates in -1 .. 1 to slice coordinates in -1 .. 1 (x, y), over millimetres.
    half_width, half_height = width * item.spacing_mm[1] / 2.0, height * item.spacing_mm[0] / 2.0
    scale_x, scale_y = half * zoom * aspect * flip, half * zoom / aspect
    theta = torch.tensor(
        [
            [cos * scale_x / half_width, -sin * scale_y / half_width, shift[0] / half_width],
            [sin * scale_x / half_height, cos * scale_y / half_height, shift[1] / half_height],
        ],
        dtype=torch.float32,
    )
    grid = F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    if rng.random() < settings.elastic * strength:
        cells = int(rng.integers(3, 7))
        grid[..., 0] += smooth_field(size, cells, rng) * settings.elastic_mm * rng.random() / half_width
        grid[..., 1] += smooth_field(size, cells, rng) * settings.elastic_mm * rng.random() / half_height
    image = torch.from_numpy(item.image.astype(np.float32))
    outside = item.intensity_range[0]
    label = torch.from_numpy(item.label.astype(np.float32))
    both = torch.stack((image - outside, label))[None]
    sampled = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # The slice's downward axis (0, 1) seen from the view: the inverse rotation, then the flip.
    down = math.atan2(cos, sin * flip)
    return sampled[0] + outside, (sampled[1] >= 0.5).float(), down

"""Choose where a training view lies: rotation, translation, flip, scale, elastic deformation, resolution."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.training.augmentation.options import SpatialSettings
from napari_lungseg.training.samples import IGNORE, LabelledSlice


def coordinates(size: int) -> tuple[Tensor, Tensor]:
    """Make rows and columns of a view, each (size, size), from -1 to 1."""
    axis = torch.linspace(-1.0, 1.0, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def turned(dy: Tensor, dx: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Make coordinates along and across a direction."""
    return dx * math.cos(angle) + dy * math.sin(angle), -dx * math.sin(angle) + dy * math.cos(angle)


def smooth_field(size: int, cells: int, rng: np.random.Generator) -> Tensor:
    """Draw a smooth random field (size, size) of about unit variance with ``cells`` bumps a side."""
    noise = torch.from_numpy(rng.standard_normal((1, 1, cells + 3, cells + 3)).astype(np.float32))
    field = F.interpolate(noise, size=(size + 2, size + 2), mode="bicubic", align_corners=True)[0, 0, 1:-1, 1:-1]
    return (field - field.mean()) / (field.std() + 1e-6)


def view(
    item: LabelledSlice,
    size: int,
    pixel_mm: float,
    settings: SpatialSettings,
    strength: float,
    rng: np.random.Generator,
    foreground_share: float = 0.0,
) -> tuple[Tensor, Tensor, float]:
    """Sample a square view of a slice.

    Parameters
    ----------
    item : LabelledSlice
        The slice.
    size, pixel_mm : int, float
        Pixels a side of the view, and how many millimetres each shows at zoom 1.
    settings : SpatialSettings
        Ranges.
    strength : float
        Scales the ranges.
    rng : numpy.random.Generator
        Source of chance.
    foreground_share : float
        Chance that a view which is smaller than the slice is centred on a labelled pixel; else it lies anywhere on the slice.

    Returns
    -------
    image : (size, size) tensor
        The case's own numbers.
    label : (size, size) tensor of uint8
        As the slice's; beyond its edge background, or ``IGNORE`` where the slice has such pixels.
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
    half_width, half_height = width * item.spacing_mm[1] / 2.0, height * item.spacing_mm[0] / 2.0
    shift = _centre(item, (half_width, half_height), half, rng, foreground_share)
    shift = shift + rng.uniform(-1, 1, 2) * settings.translation_mm * strength
    # Rows: view coordinates in -1 .. 1 to slice coordinates in -1 .. 1 (x, y), over millimetres.
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
    outside = item.intensity_range[0]
    # Where two labels meet, the one that covers more of the pixel; on a tie a class before the background.
    values = sorted(item.values - {0}) or [0]
    masks = [torch.from_numpy((item.label == value).astype(np.float32)) for value in values]
    planes = torch.stack((torch.from_numpy(item.image.astype(np.float32)) - outside, *masks))[None]
    sampled = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    covers, which = sampled[1:].max(dim=0)
    label = torch.tensor(values, dtype=torch.uint8)[which]
    label[covers < 1.0 - sampled[1:].sum(dim=0)] = 0
    if IGNORE in item.values:
        # Beyond the edge of a slice that was not judged as a whole, nobody has judged either.
        label[(grid[0].abs() > 1.0).any(dim=-1)] = IGNORE
    # The slice's downward axis (0, 1) seen from the view: the inverse rotation, then the flip.
    down = math.atan2(cos, sin * flip)
    return sampled[0] + outside, label, down


def _centre(
    item: LabelledSlice, half_slice: tuple[float, float], half_view: float, rng: np.random.Generator, foreground_share: float
) -> npt.NDArray[np.float64]:
    """Choose where the view's centre lies, (x, y) in mm from the slice's."""
    slack = np.array([max(0.0, half - half_view) for half in half_slice])
    if not slack.any():
        return np.zeros(2)
    if rng.random() < foreground_share:
        labelled = np.flatnonzero((item.label > 0) & (item.label != IGNORE))
        if labelled.size:
            row, column = np.unravel_index(labelled[int(rng.integers(labelled.size))], item.label.shape)
            place = np.array([(column + 0.5) * item.spacing_mm[1], (row + 0.5) * item.spacing_mm[0]]) - half_slice
            return np.clip(place, -slack, slack)
    return rng.uniform(-1, 1, 2) * slack

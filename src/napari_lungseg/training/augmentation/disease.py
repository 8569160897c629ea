"""Draw disease into known lung masks, so that the mask covers lung that is no longer dark.

Densities are Hounsfield units; the ranges are those that radiology textbooks give (Hansell et al. 2008,
doi 10.1148/radiol.2462070712, for the terms). Every function takes an image and a lung mask (S, S) and
returns them changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.training.augmentation.spatial import coordinates, smooth_field, turned

Drawn = tuple[Tensor, Tensor]


def _blend(image: Tensor, amount: Tensor, target: Tensor | float) -> Tensor:
    return image + amount * (target - image)


def _slope(size: int, direction: float) -> Tensor:
    """Make a plane that rises by 2 across the view along ``direction`` (radians, x right, y down)."""
    y, x = coordinates(size)
    return x * math.cos(direction) + y * math.sin(direction)


def _share(field: Tensor, lung: Tensor, share: float, softness: float) -> Tensor:
    """Map ``field`` to 0 .. 1: 1 where it is among the highest ``share`` of its values inside the lung."""
    inside = field[lung > 0]
    if inside.numel() > 4096:
        inside = inside[:: inside.numel() // 4096]
    level = torch.quantile(inside, min(max(1.0 - share, 0.0), 1.0))
    return torch.sigmoid((field - level) / softness) * lung


def _soft(lung: Tensor) -> Tensor:
    """Blur the mask's edge as the image's is, so that no dark rim is left around what is drawn."""
    return torch.clamp(2.0 * F.avg_pool2d(lung[None, None], 3, 1, 1)[0, 0], max=1.0)


def _one_lung(lung: Tensor, rng: np.random.Generator) -> Tensor:
    parts, count = ndimage.label(lung.numpy() > 0)
    if count < 2:
        return lung
    sizes = np.bincount(parts.ravel())[1:].astype(float)
    chosen = rng.choice(count, p=sizes / sizes.sum()) + 1
    return torch.from_numpy((parts == chosen).astype(np.float32))


def _texture(size: int, rng: np.random.Generator) -> Tensor:
    return smooth_field(size, size // 6, rng)


def _bronchi(size: int, rng: np.random.Generator) -> Tensor:
    """Make 0 .. 1 on thin branching lines, as bronchi that still hold air run through airless lung."""
    ridge = smooth_field(size, int(rng.integers(20, 45)), rng).abs()
    return torch.sigmoid((0.12 - ridge) / 0.03)


def consolidation(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw airless lung: smooth patches of soft-tissue density, vessels no longer seen, air in some bronchi."""
    size = image.shape[-1]
    region = _one_lung(lung, rng) if rng.random() < 0.5 else lung
    field = smooth_field(size, int(rng.integers(3, 10)), rng) + 0.5 * smooth_field(size, int(rng.integers(10, 30)), rng)
    direction = down if rng.random() < 0.6 else rng.uniform(-math.pi, math.pi)
    field = field + rng.uniform(0, 5) * _slope(size, direction)
    share = 1.0 if rng.random() < 0.12 else rng.uniform(0.05, 0.95)
    amount = _share(field, region, share, rng.uniform(0.02, 0.4))
    # Blur within the edge, so that the pleural border takes on the new density as well.
    amount = torch.maximum(amount, F.max_pool2d(amount[None, None], 3, 1, 1)[0, 0] * _soft(region))
    # Airless lung differs from fluid in its place by contrast agent, vessels and air in bronchi.
    whole = share > 0.8
    density = rng.uniform(40, 130) if whole and rng.random() < 0.5 else rng.uniform(-120, 90)
    drawn = _blend(image, amount * rng.uniform(0.85, 1.0), density + rng.uniform(5, 40) * _texture(size, rng))
    if rng.random() < (0.6 if whole else 0.3):
        drawn = _blend(drawn, amount * _bronchi(size, rng) * rng.uniform(0.2, 0.9), -950.0)
    if rng.random() < (0.6 if whole else 0.2):
        # Vessels that took up contrast agent shine through.
        vessels = torch.sigmoid((image + 250.0) / 60.0) * amount
        drawn = drawn + vessels * rng.uniform(20, 140)
    return torch.maximum(image, drawn) if rng.random() < 0.5 else drawn, lung


def ground_glass(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw hazy lung through which vessels are still seen, sometimes with a net of lines (crazy paving)."""
    size = image.shape[-1]
    field = smooth_field(size, int(rng.integers(3, 14)), rng) + 0.4 * smooth_field(size, int(rng.integers(14, 40)), rng)
    amount = _share(field, lung, rng.uniform(0.1, 1.0), rng.uniform(0.05, 0.6))
    image = image + amount * rng.uniform(100, 550) * torch.clamp(-image / 900.0, 0.0, 1.0)
    if rng.random() < 0.3:
        image = image + amount * rng.uniform(50, 250) * torch.sigmoid((0.2 - _texture(size, rng).abs()) / 0.1)
    return image, lung


def nodules(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw one to six round opacities of 3 to 15 mm radius anywhere in the lung."""
    points = torch.nonzero(lung)
    y, x = coordinates(image.shape[-1])
    half_mm = image.shape[-1] * pixel_mm / 2.0
    for _ in range(int(rng.integers(1, 7))):
        cy, cx = points[int(rng.integers(len(points)))].tolist()
        distance = torch.hypot(y - y[cy, 0], x - x[0, cx]) * half_mm
        amount = torch.sigmoid((rng.uniform(3, 15) - distance) / rng.uniform(0.4, 1.5)) * _soft(lung)
        image = _blend(image, amount, rng.uniform(-150, 150))
    return image, lung


def mass(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw a tumour against chest wall or mediastinum, of their density; only the lung's part of it is drawn."""
    size = image.shape[-1]
    mask = lung.numpy() > 0
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    y, x = coordinates(size)
    half_mm = size * pixel_mm / 2.0
    for _ in range(1 if rng.random() < 0.7 else 2):
        cy, cx = border[int(rng.integers(len(border)))]
        radius = rng.uniform(8, 45)
        stretch, turn = math.exp(rng.uniform(-0.5, 0.5)), rng.uniform(0, math.pi)
        dy, dx = (y - y[cy, 0]) * half_mm, (x - x[0, cx]) * half_mm
        along, across = turned(dy, dx, turn)
        rough = rng.uniform(0, 0.25) * radius * smooth_field(size, int(rng.integers(6, 24)), rng)
        distance = torch.hypot(along * stretch, across / stretch) + rough
        amount = torch.sigmoid((radius - distance) / rng.uniform(0.4, 2.5)) * _soft(lung)
        density = rng.uniform(0, 100) + rng.uniform(0, 25) * _texture(size, rng)
        if rng.random() < 0.15:
            hollow = torch.sigmoid((0.5 * radius - distance) / 1.5)
            density = density + hollow * (-950.0 - density)
        image = _blend(image, amount, density)
    return image, lung


def atelectasis(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw collapsed lung: a dense band in the lowest part."""
    size = image.shape[-1]
    field = _slope(size, down + rng.normal(0, 0.4)) + rng.uniform(0, 0.15) * smooth_field(size, int(rng.integers(3, 9)), rng)
    region = _one_lung(lung, rng) if rng.random() < 0.5 else lung
    amount = _share(field, region, rng.uniform(0.03, 0.45), rng.uniform(0.003, 0.05))
    amount = torch.maximum(amount, F.max_pool2d(amount[None, None], 3, 1, 1)[0, 0] * _soft(region))
    return _blend(image, amount, rng.uniform(-60, 110) + 15.0 * _texture(size, rng)), lung


def emphysema(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw destroyed lung, nearly as dark as air, in patches or large bullae."""
    size = image.shape[-1]
    field = smooth_field(size, int(rng.integers(4, 60)), rng)
    amount = _share(field, lung, rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.3))
    return torch.minimum(image, _blend(image, amount, rng.uniform(-1015, -940))), lung


def fibrosis(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw a net of thick lines and small cysts towards the pleura."""
    size = image.shape[-1]
    depth_mm = torch.from_numpy(ndimage.distance_transform_edt(lung.numpy()).astype(np.float32)) * pixel_mm
    amount = torch.sigmoid((rng.uniform(4, 25) * (1 + 0.4 * smooth_field(size, 6, rng)) - depth_mm) / 2.0) * lung
    net = smooth_field(size, int(rng.integers(40, 90)), rng).abs()
    lines = torch.sigmoid((rng.uniform(0.3, 0.6) - net) / 0.12)
    image = _blend(image, amount * lines, rng.uniform(-350, 50))
    return _blend(image, amount * (1 - lines) * rng.uniform(0, 0.5), -960.0), lung


def effusion(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw pleural fluid in the lowest part, which is not lung, often with collapsed lung beside it, which is."""
    size = image.shape[-1]
    region = _one_lung(lung, rng) if rng.random() < 0.6 else lung
    y, x = coordinates(size)
    # A crescent: low, and lower at the rib than inside.
    points = torch.nonzero(region).float()
    centre_y, centre_x = points.mean(dim=0).tolist()
    from_centre = torch.hypot(y - y[int(centre_y), 0], x - x[0, int(centre_x)])
    field = _slope(size, down + rng.normal(0, 0.25)) + rng.uniform(0, 0.8) * from_centre + 0.03 * smooth_field(size, 5, rng)
    # Where gravity does not lead, septa keep the fluid in a pocket.
    if rng.random() < 0.15:
        field = smooth_field(size, int(rng.integers(2, 5)), rng) + _slope(size, rng.uniform(-math.pi, math.pi))
    share = rng.uniform(0.03, 0.6) if rng.random() < 0.75 else rng.uniform(0.6, 0.97)
    fluid = (_share(field, region, share, 1e-3) >= 0.5).float()
    rim = torch.maximum(fluid, F.max_pool2d(fluid[None, None], 3, 1, 1)[0, 0] * _soft(region))
    kept = lung * (1 - fluid)
    if rng.random() < 0.6:
        collapsed = _share(field, region, min(0.98, share * rng.uniform(1.1, 2.0)), rng.uniform(1e-3, 0.02)) * (1 - fluid)
        image = _blend(image, collapsed * _soft(region), rng.uniform(30, 130) + 10.0 * _texture(size, rng))
        if rng.random() < 0.4:
            image = _blend(image, collapsed * _bronchi(size, rng) * rng.uniform(0.2, 0.9), -950.0)
    return _blend(image, rim, rng.uniform(-10, 35)), kept


def pneumothorax(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw free air above the lung: not lung, evenly black, behind a thin line of pleura."""
    size = image.shape[-1]
    region = _one_lung(lung, rng)
    field = -_slope(size, down + rng.normal(0, 0.3)) + 0.03 * smooth_field(size, 4, rng)
    air = (_share(field, region, rng.uniform(0.05, 0.5), 1e-3) >= 0.5).float()
    pleura = (F.max_pool2d(air[None, None], 3, 1, 1)[0, 0] - air) * region
    image = _blend(image, air, -1000.0 + 4.0 * _texture(size, rng))
    return _blend(image, pleura * rng.uniform(0.4, 0.9), 0.0), lung * (1 - air)


def removed(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw what fills a side of the chest whose lung was taken out or pressed flat by fluid: not lung.

    It is even fluid without vessels; in the first weeks with air above a level.
    """
    size = image.shape[-1]
    region = _one_lung(lung, rng)
    rim = torch.maximum(region, _soft(region))
    image = _blend(image, rim, rng.uniform(-5, 40) + rng.uniform(0, 4) * _texture(size, rng))
    if rng.random() < 0.35:
        air = (_share(-_slope(size, down + rng.normal(0, 0.05)), region, rng.uniform(0.05, 0.9), 1e-3) >= 0.5).float()
        image = _blend(image, air, -1000.0 + 4.0 * _texture(size, rng))
    return image, lung * (1 - region)


#: Each disease with how often it is chosen; heavier for those that a first model got wrong.
DISEASES: tuple[tuple[Callable[..., Drawn], float], ...] = (
    (consolidation, 3.0),
    (ground_glass, 1.5),
    (nodules, 1.0),
    (mass, 3.0),
    (atelectasis, 1.5),
    (emphysema, 0.7),
    (fibrosis, 0.8),
    (effusion, 2.5),
    (removed, 1.0),
    (pneumothorax, 0.4),
)

_CHANCES = np.array([chance for _, chance in DISEASES])


def draw_disease(image: Tensor, lung: Tensor, down: float, pixel_mm: float, rng: np.random.Generator) -> Drawn:
    """Draw one or two diseases, chosen at random; slices with hardly any lung stay as they are.

    Parameters
    ----------
    image, lung : (S, S) tensors
        HU, and the mask as 0 and 1.
    down : float
        Direction of gravity in the view, in radians (x right, y down).
    pixel_mm : float
        Size of a pixel.
    rng : numpy.random.Generator
        Source of chance.
    """
    least = 200.0 / pixel_mm**2
    for _ in range(1 if rng.random() < 0.65 else 2):
        if float(lung.sum()) < least:
            break
        chosen = DISEASES[int(rng.choice(len(DISEASES), p=_CHANCES / _CHANCES.sum()))][0]
        image, lung = chosen(image, lung, down, pixel_mm, rng)
    return image, lung

"""Draw what could be taken for lung: gas in bowel and stomach, air in soft tissue, arms, tables, cut-off fields of view."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_lungseg.training.augmentation.spatial import coordinates, smooth_field, turned

AIR_HU = -1000.0


def gas(image: Tensor, lung: Tensor, pixel_mm: float, rng: np.random.Generator) -> Tensor:
    """Draw pockets of gas, some with an air-fluid level, and mottled content of stomach and bowel, in soft tissue away from the lung."""
    size = image.shape[-1]
    tissue = (image > -250.0) & (lung == 0)
    depth = ndimage.distance_transform_edt(tissue.numpy()) * pixel_mm
    y, x = coordinates(size)
    half_mm = size * pixel_mm / 2.0
    for _ in range(int(rng.integers(1, 7))):
        radius = rng.uniform(3, 60)
        points = np.argwhere(depth > min(radius + 5.0, 0.8 * depth.max()))
        if len(points) == 0 or depth.max() < 8.0:
            break
        cy, cx = points[int(rng.integers(len(points)))]
        radius = min(radius, float(depth[cy, cx]) - 3.0)
        turn, stretch = rng.uniform(0, math.pi), math.exp(rng.uniform(0, 0.8))
        dy, dx = (y - y[cy, 0]) * half_mm, (x - x[0, cx]) * half_mm
        along, across = turned(dy, dx, turn)
        distance = torch.hypot(along, across * stretch) + 0.2 * radius * smooth_field(size, int(rng.integers(5, 20)), rng)
        amount = torch.sigmoid((radius - distance) / rng.uniform(0.4, 1.2)) * tissue
        if rng.random() < 0.3:
            amount = amount * torch.sigmoid((rng.uniform(-0.5, 0.5) * radius - dy) / 0.5)
        kind = rng.random()
        if kind < 0.35:
            # A meal or stool: soft tissue full of small bubbles, which must not pass for consolidation with air in its bronchi.
            bubbles = smooth_field(size, int(rng.integers(40, 130)), rng)
            density = rng.uniform(-150, 70) - 900.0 * torch.sigmoid((bubbles - rng.uniform(0.8, 2.2)) / 0.2)
        else:
            density = rng.uniform(-1010, -880) + torch.zeros(size, size)
            if kind < 0.6:
                density = density + rng.uniform(100, 700) * torch.sigmoid(smooth_field(size, int(rng.integers(30, 90)), rng) * 3)
        image = image + amount * (density - image)
    return image


def dissecting_air(image: Tensor, lung: Tensor, pixel_mm: float, rng: np.random.Generator) -> Tensor:
    """Draw air between muscles, under the skin or in the mediastinum: dark streaks in soft tissue, which are not lung."""
    size = image.shape[-1]
    tissue = (image > -250.0) & (lung == 0)
    points = torch.nonzero(tissue)
    if len(points) == 0:
        return image
    y, x = coordinates(size)
    half_mm = size * pixel_mm / 2.0
    for _ in range(int(rng.integers(1, 4))):
        cy, cx = points[int(rng.integers(len(points)))].tolist()
        turn, stretch = rng.uniform(0, math.pi), math.exp(rng.uniform(0, 1.2))
        dy, dx = (y - y[cy, 0]) * half_mm, (x - x[0, cx]) * half_mm
        along, across = turned(dy, dx, turn)
        near = torch.sigmoid((rng.uniform(10, 90) - torch.hypot(along, across * stretch)) / 4.0)
        # Level lines of a smooth field branch and join as planes between muscles do.
        field = smooth_field(size, int(rng.integers(8, 40)), rng)
        streaks = torch.sigmoid((rng.uniform(0.08, 0.5) - field.abs()) / 0.05)
        image = image + near * streaks * tissue * rng.uniform(0.5, 1.0) * (AIR_HU - image)
    return image


def arms(image: Tensor, lung: Tensor, pixel_mm: float, rng: np.random.Generator) -> Tensor:
    """Draw one or two arms beside or above the body, soft tissue around bone."""
    size = image.shape[-1]
    outside = (image < -600.0) & (lung == 0)
    y, x = coordinates(size)
    half_mm = size * pixel_mm / 2.0
    for _ in range(int(rng.integers(1, 3))):
        angle, reach = rng.uniform(-math.pi, math.pi), rng.uniform(0.8, 1.1)
        cy, cx = reach * math.sin(angle), reach * math.cos(angle)
        distance = torch.hypot((y - cy) * half_mm, (x - cx) * half_mm * math.exp(rng.uniform(-0.3, 0.3)))
        radius = rng.uniform(25, 60)
        image = torch.where(outside & (distance < radius), torch.full_like(image, rng.uniform(-100, 70)), image)
        image = torch.where(outside & (distance < 0.3 * radius), torch.full_like(image, rng.uniform(200, 900)), image)
    return image


def table(image: Tensor, lung: Tensor, pixel_mm: float, rng: np.random.Generator) -> Tensor:
    """Draw bright curved lines of a couch or a board, outside the body."""
    size = image.shape[-1]
    outside = (image < -600.0) & (lung == 0)
    y, x = coordinates(size)
    angle = rng.uniform(-math.pi, math.pi)
    along, across = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    level = rng.uniform(0.5, 0.95) + rng.uniform(-0.5, 0.5) * along**2
    for offset in (0.0, rng.uniform(0.03, 0.2)):
        line = (across - level - offset).abs() * size * pixel_mm / 2.0 < rng.uniform(0.7, 3.0)
        image = torch.where(outside & line, torch.full_like(image, rng.uniform(-700, 200)), image)
    return image


def field_of_view(image: Tensor, label: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut off everything beyond a circle, as at the edge of a reconstruction; what lies there is background."""
    y, x = coordinates(image.shape[-1])
    centre = rng.uniform(-0.25, 0.25, 2)
    seen = torch.hypot(y - centre[0], x - centre[1]) < rng.uniform(0.55, 1.1)
    return torch.where(seen, image, torch.full_like(image, -1024.0)), label * seen

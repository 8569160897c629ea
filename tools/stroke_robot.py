"""Errors of masks, and a robot that draws strokes into them as a person would: short, misplaced and of uneven width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

#: Errors that lie within this distance (mm) of their border are left: a brush is for rims.
RIM_MM = 1.5
#: The smallest error that is looked at: on a slice (cm2).
SMALLEST_CM2 = 0.5
#: Part of the strokes that are only dots.
DOTS = 0.15
#: Diameter (mm) of the robot's pen.
PEN_MM = 3.0
#: A soft-tissue window, in which lung is black.
NARROW_HU = (-160.0, 240.0)


class Error(NamedTuple):
    """A connected error of a mask.

    Attributes
    ----------
    missing : bool
        Lung that is not in the mask; else what is in it and is no lung.
    where : (Z, Y, X) array of bool
        Its voxels, without a rim.
    index : int
        The slice on which it is largest.
    ml : float
        Its volume.
    """

    missing: bool
    where: np.ndarray
    index: int
    ml: float


def disc(pixel_mm: float) -> np.ndarray:
    """A disc on a slice; what it does not fit into is a rim."""
    radius = max(1, round(RIM_MM / pixel_mm))
    row, column = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray((row**2 + column**2 <= radius**2)[None])


def errors(mask: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...], smallest_ml: float = 0.0) -> list[Error]:
    """Errors of a (Z, Y, X) mask, the largest first."""
    found = []
    for missing in (True, False):
        wrong = (truth > 0) & (mask == 0) if missing else (truth == 0) & (mask > 0)
        parts, _ = ndimage.label(ndimage.binary_opening(wrong, disc(spacing[1])))
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            part = parts[box] == number
            areas = part.sum(axis=(1, 2)) * spacing[1] * spacing[2] / 100
            ml = part.sum() * float(np.prod(spacing)) / 1000
            if areas.max() >= SMALLEST_CM2 and ml >= smallest_ml:
                where = np.zeros(mask.shape, bool)
                where[box] = part
                found.append(Error(missing, where, box[0].start + int(areas.argmax()), ml))
    return sorted(found, key=lambda error: -error.ml)


def draw(wrong: np.ndarray, spacing: tuple[float, float], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw a stroke along a (Y, X) error, from about its middle, or a dot; gives its pixels and its length in mm."""
    scale = np.array(spacing)
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1), sampling=spacing)[1:-1, 1:-1]
    places = np.argwhere(depth >= 0.6 * depth.max())
    centre = places[rng.integers(len(places))]
    points = np.argwhere(wrong) * scale
    spread, axes = np.linalg.eigh(np.cov(points.T) + 1e-6 * np.eye(2) if len(points) > 1 else np.eye(2))
    turn = rng.normal(0, 0.25)
    along = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ axes[:, -1]
    half = min(0.9 * np.sqrt(spread[-1]), 30.0) * rng.uniform(0.6, 1.1) * (rng.random() > DOTS)
    line = np.zeros(wrong.shape, bool)
    line[tuple(centre)] = True
    length = 0.0
    for way in (-along, along):
        for mm in np.arange(0, half, 0.3):
            place = np.rint((centre * scale + mm * way + rng.normal(0, 0.3, 2)) / scale).astype(int)
            if (place < 0).any() or (place >= wrong.shape).any() or not wrong[tuple(place)]:
                break
            line[tuple(place)] = True
            length += 0.3
    pen = PEN_MM / 2 * rng.uniform(0.8, 1.2)
    return ndimage.distance_transform_edt(~line, sampling=spacing) <= pen, length


def narrowed(image: np.ndarray) -> np.ndarray:
    """A CT as a soft-tissue window of 8 bits shows it."""
    low, high = NARROW_HU
    return np.asarray((np.clip(image, low, high) - low) / (high - low) * 255).astype(np.uint8)


def wrong_masks(image: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Masks that are wrong in several ways, made from a CT and its lungs without a network."""
    smooth = np.stack([ndimage.gaussian_filter(one.astype(np.float32), 1) for one in image])
    lungs = truth > 0
    yield ndimage.binary_opening(lungs & (smooth < rng.uniform(-750, -250)), np.ones((1, 3, 3), bool))
    body = np.stack([_body(one) for one in smooth])
    yield lungs | (body & (smooth < -500))
    yield lungs & ~_beyond_a_plane(lungs, spacing, rng)
    yield lungs | _alike_beside(smooth, lungs, body, spacing, rng)


def _body(smooth: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(smooth > -400)
    if not count:
        return np.zeros(smooth.shape, bool)
    return np.asarray(ndimage.binary_fill_holes(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])))


def _beyond_a_plane(lungs: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """All that lies on one side of a plane through the lungs' outer part."""
    places = np.argwhere(lungs)
    normal: Any = rng.normal(0, 1, 3) / np.array([0.5, 1, 1])
    normal /= np.linalg.norm(normal)
    along = (places * spacing) @ normal
    limit = np.quantile(along, rng.uniform(0.75, 0.97))
    beyond = np.zeros(lungs.shape, bool)
    beyond[tuple(places[along > limit].T)] = True
    return beyond


def _alike_beside(
    smooth: np.ndarray, lungs: np.ndarray, body: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """A part of the body beside the lungs, of one intensity."""
    distance = ndimage.distance_transform_edt(~lungs, sampling=spacing)
    places = np.argwhere((distance > 4) & (distance < 30) & body)
    if not len(places):
        return np.zeros(lungs.shape, bool)
    centre = places[rng.integers(len(places))]
    axes = np.ogrid[tuple(slice(0, size) for size in lungs.shape)]
    radii = rng.uniform(12, 45, 3)
    ball = sum(((axis - middle) * step / radius) ** 2 for axis, middle, step, radius in zip(axes, centre, spacing, radii, strict=True)) < 1
    return ball & ~lungs & body & (np.abs(smooth - smooth[tuple(centre)]) < rng.uniform(40, 120))

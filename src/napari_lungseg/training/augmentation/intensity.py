"""Change how a training view looks: kernel, noise, resolution, window, contrast."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.training.augmentation.options import IntensitySettings


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[None, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])[0, 0]


def degrade(image: Tensor, low: float, high: float, settings: IntensitySettings, strength: float, rng: np.random.Generator) -> Tensor:
    """Change kernel, noise, resolution, contrast and brightness, in the image's own numbers.

    Parameters
    ----------
    image : (S, S) tensor
        Numbers as in the file.
    low, high : float
        The range that will be mapped to -1 .. 1; sizes of changes are relative to a range of 1624 HU.
    settings : IntensitySettings
        What may happen.
    strength : float
        0 .. 1, scales the probabilities.
    rng : numpy.random.Generator
        Source of chance.
    """
    unit = (high - low) / 1624.0
    if rng.random() < settings.low_resolution * strength:
        factor = rng.uniform(1.0, max(1.0, settings.low_resolution_times))
        size = image.shape[-1]
        small = F.interpolate(image[None, None], size=(int(size / factor),) * 2, mode="bilinear", antialias=True)
        image = F.interpolate(small, size=(size, size), mode="bilinear")[0, 0]
    if rng.random() < settings.kernel * strength:
        sigma = settings.kernel_px * rng.uniform(0.25, 1.0)
        blurred = _blur(image, sigma)
        image = blurred if rng.random() < 0.5 else image + rng.uniform(0.3, 1.5) * (image - blurred)
    if rng.random() < settings.noise * strength:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape)).astype(np.float32))
        if rng.random() < 0.6:
            noise = _blur(noise, rng.uniform(0.5, 1.5))
            noise = noise / (noise.std() + 1e-6)
        image = image + noise * (settings.noise_hu * unit * rng.random() ** 2)
    if rng.random() < settings.contrast * strength:
        image = (image - low) * math.exp(rng.uniform(-1, 1) * settings.log_contrast) + low
    if rng.random() < settings.brightness * strength:
        image = image + rng.uniform(-1, 1) * settings.brightness_hu * unit
    return image


def express(
    image: Tensor, low: float, high: float, is_hu: bool, settings: IntensitySettings, strength: float, rng: np.random.Generator
) -> Tensor:
    """Map to -1 .. 1 as prediction does, or through a random window, or with random greys for the densities."""
    if is_hu and rng.random() < settings.eight_bit * strength:
        level, width = rng.uniform(-750, 80), math.exp(rng.uniform(math.log(300), math.log(2200)))
        seen = torch.clamp((image - level) / width + 0.5, 0.0, 1.0)
        return (seen * 255.0).round() * (2.0 / 255.0) - 1.0
    seen = torch.clamp((image - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0)
    if rng.random() < settings.recolour * strength:
        knots = int(rng.integers(5, 12))
        greys = torch.from_numpy(rng.uniform(-1, 1, knots + 1).astype(np.float32))
        place = (seen + 1.0) * (0.5 * knots)
        below = place.floor().clamp(max=knots - 1)
        left = greys[below.long()]
        return left + (greys[below.long() + 1] - left) * (place - below)
    if rng.random() < settings.gamma * strength:
        seen = 2.0 * ((seen + 1.0) / 2.0) ** math.exp(rng.uniform(-1, 1) * settings.log_gamma) - 1.0
    return seen

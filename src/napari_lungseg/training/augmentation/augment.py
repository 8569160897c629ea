"""Make one training view from one slice: geometry, disease, distractors, intensity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_lungseg.training.augmentation.disease import draw_disease
from napari_lungseg.training.augmentation.distractors import arms, dissecting_air, field_of_view, gas, table
from napari_lungseg.training.augmentation.intensity import degrade, express
from napari_lungseg.training.augmentation.options import AugmentSettings
from napari_lungseg.training.augmentation.spatial import view
from napari_lungseg.training.samples import IGNORE, LabelledSlice


def augment(
    item: LabelledSlice,
    size: int,
    pixel_mm: float,
    settings: AugmentSettings,
    strength: float,
    rng: np.random.Generator,
    *,
    lung: int | None = 1,
    foreground_share: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Make a training view.

    Parameters
    ----------
    item : LabelledSlice
        What to look at.
    size, pixel_mm : int, float
        Pixels a side, and their size.
    settings : AugmentSettings
        What may happen.
    strength : float
        0 .. 1, ramps everything up, on top of the settings' own strength.
    rng : numpy.random.Generator
        Source of chance; the same state gives the same view.
    lung : int or None
        Class that is lung, so that disease can be drawn into it; None where there is none.
    foreground_share : float
        As in :func:`~napari_lungseg.training.augmentation.spatial.view`.

    Returns
    -------
    image : (1, size, size) tensor
        -1 .. 1.
    label : (size, size) tensor of uint8
        0 background, 1 .. n classes, ``IGNORE``.
    """
    strength *= settings.strength
    image, label, down = view(item, size, pixel_mm, settings.spatial, strength, rng, foreground_share)
    low, high = item.intensity_range
    # Nothing is drawn where it is not known what is lung and what is not.
    known = item.is_hu and lung is not None and IGNORE not in item.values

    def happens(chance: float) -> bool:
        return known and bool(rng.random() < chance * strength)

    if lung is not None and happens(settings.disease):
        healthy = torch.eq(label, lung)
        image, diseased = draw_disease(image, healthy.to(image.dtype), down, pixel_mm, rng)
        label[healthy & (diseased == 0)] = 0
    labelled = torch.where(label > 0, 1.0, 0.0)
    if happens(settings.gas):
        image = gas(image, labelled, pixel_mm, rng)
    if happens(settings.dissecting_air):
        image = dissecting_air(image, labelled, pixel_mm, rng)
    if happens(settings.arms):
        image = arms(image, labelled, pixel_mm, rng)
    if happens(settings.table):
        image = table(image, labelled, pixel_mm, rng)
    if happens(settings.cut_off):
        image, label = field_of_view(image, label, rng)
    image = degrade(image, low, high, settings.intensity, strength, rng)
    image = express(image, low, high, item.is_hu, settings.intensity, strength, rng)
    return image[None], label


def preview(
    item: LabelledSlice, settings: AugmentSettings, pixel_mm: float, seed: int, *, size: int = 320, lung: int | None = 1
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Make one training view as 8-bit greys, to look at.

    Parameters
    ----------
    item : LabelledSlice
        The slice.
    settings : AugmentSettings
        What may happen.
    pixel_mm : float
        The model's pixel size.
    seed : int
        Another one gives another view.
    size : int
        Pixels a side.
    lung : int or None
        As in :func:`augment`.

    Returns
    -------
    image : (size, size) array of uint8
        Greys.
    label : (size, size) array of uint8
        As the slice's.
    """
    image, label = augment(item, size, pixel_mm, settings, 1.0, np.random.default_rng(seed), lung=lung)
    return ((image[0].numpy() + 1.0) * 127.5).round().clip(0, 255).astype(np.uint8), label.numpy()

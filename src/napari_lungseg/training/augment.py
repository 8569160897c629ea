"""One training view from one labelled slice: geometry, disease, surroundings, intensity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from napari_lungseg.training.dataset import LabelledSlice
from napari_lungseg.training.disease import draw_disease
from napari_lungseg.training.intensity import IntensitySettings, degrade, express
from napari_lungseg.training.spatial import SpatialSettings, view
from napari_lungseg.training.surroundings import arms, field_of_view, gas, table


@dataclass(frozen=True)
class AugmentSettings:
    """Everything that may happen to a slice; probabilities, 0 switches a part off.

    Attributes
    ----------
    spatial : SpatialSettings
        Rotation, translation, flip, scale, elastic.
    intensity : IntensitySettings
        Kernel, noise, window, contrast.
    disease : float
        Disease drawn into the lung (HU images only, as the next four).
    gas : float
        Gas outside the lung.
    arms, table : float
        Things beside the body.
    cut_off : float
        A circular field of view.
    """

    spatial: SpatialSettings = field(default_factory=SpatialSettings)
    intensity: IntensitySettings = field(default_factory=IntensitySettings)
    disease: float = 0.45
    gas: float = 0.25
    arms: float = 0.1
    table: float = 0.15
    cut_off: float = 0.12


def augment(
    item: LabelledSlice, size: int, pixel_mm: float, settings: AugmentSettings, strength: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A training view.

    Parameters
    ----------
    item : LabelledSlice
        What to look at.
    size, pixel_mm : int, float
        Pixels a side, and their size.
    settings : AugmentSettings
        What may happen.
    strength : float
        0 .. 1, ramps everything up.
    rng : numpy.random.Generator
        Source of chance; the same state gives the same view.

    Returns
    -------
    image, label : (1, size, size) tensors
        -1 .. 1, and 0 or 1.
    """
    image, label, down = view(item, size, pixel_mm, settings.spatial, strength, rng)
    low, high = item.intensity_range

    def happens(chance: float) -> bool:
        return item.is_hu and bool(rng.random() < chance * strength)

    if happens(settings.disease):
        image, label = draw_disease(image, label, down, pixel_mm, rng)
    if happens(settings.gas):
        image = gas(image, label, pixel_mm, rng)
    if happens(settings.arms):
        image = arms(image, label, pixel_mm, rng)
    if happens(settings.table):
        image = table(image, label, pixel_mm, rng)
    if happens(settings.cut_off):
        image, label = field_of_view(image, label, rng)
    image = degrade(image, low, high, settings.intensity, strength, rng)
    image = express(image, low, high, item.is_hu, settings.intensity, strength, rng)
    return image[None], label[None]

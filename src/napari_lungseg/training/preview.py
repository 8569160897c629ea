"""What the augmentation does, to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_lungseg.training.augment import augment
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.samples import LabelledSlice


def preview(
    item: LabelledSlice, settings: AugmentSettings, pixel_mm: float, seed: int, *, size: int = 320, lung: int | None = 1
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One training view, as the network would see it.

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
        As in :func:`~.augment.augment`.

    Returns
    -------
    image : (size, size) array of uint8
        Greys.
    label : (size, size) array of uint8
        As the slice's.
    """
    image, label = augment(item, size, pixel_mm, settings, 1.0, np.random.default_rng(seed), lung=lung)
    return ((image[0].numpy() + 1.0) * 127.5).round().clip(0, 255).astype(np.uint8), label.numpy()

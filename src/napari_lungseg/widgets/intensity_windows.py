"""Window presets: the range of intensities that is shown from black to white."""

from __future__ import annotations

import numpy as np
from napari.layers import Image

from napari_lungseg.translation import mark
from napari_lungseg.widgets.view import voxel_shape

#: Level and width in HU, as is usual on CT workstations.
WINDOWS = {mark("Lung"): (-600.0, 1500.0), mark("Mediastinum"): (40.0, 400.0), mark("Bone"): (400.0, 1800.0)}
FROM_DATA = mark("From data")
#: Voxels that are looked at for a window from the data.
SAMPLE = 200_000
#: Part of the voxels that may be darker, and brighter, than the window shows.
CUT = 0.005


def set_window(image: Image, name: str) -> None:
    """Show an image in one of :data:`WINDOWS`, or as its own voxels suggest."""
    low, high = _from_data(image) if name == FROM_DATA else window_limits(name)
    bottom, top = image.contrast_limits_range
    # napari cuts limits off at the range of its sliders.
    image.contrast_limits_range = min(bottom, low), max(top, high)
    image.contrast_limits = low, high


def window_limits(name: str) -> tuple[float, float]:
    """What is black and what is white, in HU, in one of :data:`WINDOWS`."""
    level, width = WINDOWS[name]
    return level - width / 2, level + width / 2


def _from_data(image: Image) -> tuple[float, float]:
    data = image.data[-1] if image.multiscale else image.data
    thin = max(1, round((np.prod(voxel_shape(image)) / SAMPLE) ** (1 / data.ndim)))
    values = np.asarray(data[(slice(None, None, thin),) * data.ndim])
    low, high = np.nanquantile(values[np.isfinite(values)], [CUT, 1 - CUT]) if np.isfinite(values).any() else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))

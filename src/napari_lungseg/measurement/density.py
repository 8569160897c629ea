"""Measures of Hounsfield units."""

from __future__ import annotations

import numpy as np

from napari_lungseg.measurement.values import Density, Histogram
from napari_lungseg.volume import Array

#: Ranges of density, from the first number up to the second in HU: those of the 3D Slicer extension Lung CT Analyzer (R. Bumm and
#: others, default thresholds of LungCTAnalyzer.py). There the lowest begins at -1050 and the highest ends at 3000 HU; here they are
#: open, so that noise in air and metal are not lost.
RANGES_HU = {
    "emphysema": (-np.inf, -950.0),
    "inflated": (-950.0, -750.0),
    "infiltrated": (-750.0, -400.0),
    "collapsed": (-400.0, 0.0),
    "vessels": (0.0, np.inf),
}
PERCENTILES = (5, 25, 50, 75, 95)
_LOW_HU = -950.0
#: Limits and steps of the histogram.
_EDGES = np.arange(-1100.0, 301.0, 10.0)


def density(values: Array, voxel_ml: float | None) -> Density:
    """Measure the densities of a region.

    Parameters
    ----------
    values : (voxels,) array
        HU of its voxels, at least one.
    voxel_ml : float or None
        Volume of a voxel; None where it is not known.
    """
    perc15, *percentiles = (float(value) for value in np.percentile(values, [15, *PERCENTILES]))
    mean = float(values.mean(dtype=np.float64))
    # How many lie below each limit.
    below = {limit: int(np.count_nonzero(values < limit)) for span in RANGES_HU.values() for limit in span}
    counts, _ = np.histogram(np.clip(values, _EDGES[0], _EDGES[-1] - 1.0), _EDGES)
    return Density(
        mean_hu=mean,
        sd_hu=float(values.std(dtype=np.float64)),
        percentiles_hu=dict(zip(PERCENTILES, percentiles)),
        perc15_hu=perc15,
        laa950_percent=100.0 * below[_LOW_HU] / values.size,
        ranges_percent={name: 100.0 * (below[end] - below[start]) / values.size for name, (start, end) in RANGES_HU.items()},
        mass_g=None if voxel_ml is None else (mean + 1000.0) / 1000.0 * values.size * voxel_ml,
        histogram=Histogram(_EDGES, counts),
    )

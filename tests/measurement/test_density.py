"""Measures of Hounsfield units, against values that are plain to see."""

from __future__ import annotations

import numpy as np
import pytest

from napari_lungseg.measurement import measure
from napari_lungseg.measurement.density import RANGES_HU, density
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume, scaling


def test_each_range_takes_its_lower_limit():
    values = np.array([-3000, -1050, -951, -950, -751, -750, -401, -400, -1, 0, 3000, 5000], np.int16)
    found = density(values, None)
    assert found.ranges_percent == pytest.approx(dict.fromkeys(RANGES_HU, 100 * 2 / 12) | {"emphysema": 25.0, "vessels": 25.0})
    assert sum(found.ranges_percent.values()) == pytest.approx(100.0)
    assert found.laa950_percent == pytest.approx(25.0)


def test_percentiles_mean_and_deviation_are_those_of_the_voxels():
    values = np.random.default_rng(0).normal(-800, 90, 5000).round().astype(np.int16)
    found = density(values, None)
    assert found.perc15_hu == pytest.approx(np.quantile(values, 0.15))
    assert found.percentiles_hu == pytest.approx({p: np.percentile(values, p) for p in (5, 25, 50, 75, 95)})
    assert (found.mean_hu, found.sd_hu) == pytest.approx((values.mean(), values.std()))


@pytest.mark.parametrize(("hu", "grams_per_ml"), [(-1000, 0.0), (0, 1.0), (-800, 0.2), (50, 1.05)])
def test_air_weighs_nothing_and_water_one_gram_per_millilitre(hu, grams_per_ml):
    found = density(np.full(1000, hu, np.int16), voxel_ml=0.002)
    assert found.mass_g == pytest.approx(2.0 * grams_per_ml)


def test_the_histogram_counts_every_voxel_once():
    values = np.array([-3000, -1100, -1091, -1090, 0, 299, 300, 2000], np.int16)
    histogram = density(values, None).histogram
    assert histogram.voxels.sum() == values.size
    assert (histogram.voxels[0], histogram.voxels[1], histogram.voxels[-1]) == (3, 1, 3)
    assert histogram.voxels[np.searchsorted(histogram.edges_hu, 0)] == 1


def test_only_the_voxels_of_a_region_count():
    ct, labels = sample_ct(), sample_lungs()
    for region in measure(labels, ct).regions:
        values = ct.array[labels.array > 0 if region.label is None else labels.array == region.label]
        assert region.density.mean_hu == pytest.approx(values.mean())
        assert region.density.laa950_percent == pytest.approx(100 * (values < -950).mean())
        assert region.density.mass_g == pytest.approx(((values + 1000.0) / 1000 * ct.voxel_ml).sum())


def test_voxels_without_a_number_are_left_out():
    array = np.full((2, 3, 4), -800.0)
    array[0] = np.nan
    labels = np.ones((2, 3, 4), np.uint8)
    labels[0, 0, 0] = 2
    first, second, _ = measure(Volume(labels, scaling((1.0, 1.0, 1.0))), Volume(array, scaling((1.0, 1.0, 1.0)), "HU")).regions
    assert first.density.mean_hu == -800.0
    assert second.density is None

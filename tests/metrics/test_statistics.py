import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from napari_lungseg.metrics import describe


def test_a_score_is_described_as_numpy_and_scipy_do():
    values = np.random.default_rng(3).normal(0.97, 0.02, 23)
    told = describe(list(values))
    assert (told.cases, told.infinite) == (23, 0)
    assert told.mean == pytest.approx(values.mean())
    assert told.sd == pytest.approx(np.std(values, ddof=1))
    assert told.median == pytest.approx(np.median(values))
    assert (told.p5, told.p95) == pytest.approx(tuple(np.percentile(values, [5, 95])))
    interval = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile").confidence_interval
    # Two draws of 10,000 resamples differ by some percent of the interval's width.
    assert (told.mean_low, told.mean_high) == pytest.approx(tuple(interval), abs=0.05 * (interval.high - interval.low))


def test_the_interval_is_the_same_every_time():
    assert describe([0.9, 0.95, 0.97, 0.99]) == describe([0.9, 0.95, 0.97, 0.99])


def test_a_missed_lung_does_not_hide_in_the_mean_and_leaves_the_median():
    told = describe([1.0, 2.0, 3.0, 4.0, math.inf])
    assert (told.cases, told.infinite, told.median) == (5, 1, 3.0)
    assert told.mean == told.mean_high == told.p95 == math.inf
    assert math.isnan(told.sd)
    assert told.p5 == pytest.approx(1.2)
    assert math.isfinite(told.mean_low)


def test_one_case_has_no_spread():
    told = describe([0.9])
    assert (told.mean, told.median, told.p5, told.p95) == (0.9, 0.9, 0.9, 0.9)
    assert math.isnan(told.sd)
    assert math.isnan(told.mean_low)
    assert math.isnan(told.mean_high)

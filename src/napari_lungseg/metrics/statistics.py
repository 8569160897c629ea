"""What a score is over many cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Resamples of the bootstrap, and the seed with which they are always the same.
RESAMPLES = 10_000
SEED = 0
#: Resamples drawn at a time, which bounds the memory that many cases take.
_BATCH = 500


@dataclass(frozen=True)
class Statistics:
    """A score over cases.

    An infinite distance (a structure that was missed, or found where there is none) makes the mean infinite and the standard deviation
    NaN; median and percentiles stay what they are.

    Attributes
    ----------
    cases : int
        How many there are.
    infinite : int
        How many of these are infinite.
    mean, sd : float
        Mean and standard deviation of the sample (divisor n - 1; NaN for one case).
    median, p5, p95 : float
        Percentiles 50, 5 and 95, linear between ranks: rule 7 of Hyndman and Fan 1996, numpy's own.
    mean_low, mean_high : float
        95 % interval of the mean from a bootstrap over cases (Efron and Tibshirani 1993, chapter 13): the percentiles 2.5 and 97.5 of
        the means of 10,000 resamples of as many cases, drawn with replacement; the same ones every time. NaN for one case. Several cases of
        one patient count as if they were independent: the interval is then too narrow.
    """

    cases: int
    infinite: int
    mean: float
    sd: float
    median: float
    p5: float
    p95: float
    mean_low: float
    mean_high: float


def describe(values: Sequence[float]) -> Statistics:
    """Statistics of one score; at least one value."""
    known = np.asarray(values, dtype=np.float64)
    several, infinite = len(known) > 1, int(np.isinf(known).sum())
    nan = float("nan")
    low, high = _interval(known) if several else (nan, nan)
    return Statistics(
        cases=len(known),
        infinite=infinite,
        mean=float(known.mean()),
        sd=float(known.std(ddof=1)) if several and not infinite else nan,
        median=percentile(known, 50),
        p5=percentile(known, 5),
        p95=percentile(known, 95),
        mean_low=low,
        mean_high=high,
    )


def percentile(values: npt.NDArray[np.float64], percent: float) -> float:
    """As numpy's, but between a finite and an infinite value infinite, where numpy says NaN."""
    ranked = np.sort(values)
    place = (len(ranked) - 1) * percent / 100
    lower, upper = ranked[math.floor(place)], ranked[math.ceil(place)]
    return float(lower if lower == upper else lower + (upper - lower) * (place - math.floor(place)))


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    random = np.random.default_rng(SEED)
    count = len(values)
    means = np.concatenate([values[random.integers(0, count, (_BATCH, count))].mean(axis=1) for _ in range(RESAMPLES // _BATCH)])
    return percentile(means, 2.5), percentile(means, 97.5)

"""Medians and ratios with intervals that assume no distribution.

Source of the rules: Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC15.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST_ROUNDS = 6  # of five values not even lowest to highest holds the median in 95 % of cases: 1 − 2 · ½⁵ = 94 %
RESAMPLES = 2000  # puts an interval's end within about 1 % of its width
Z = 1.959964  # the normal quantile of 95 %

Interval = tuple[float, float]


def median(samples: Sequence[float]) -> float:
    """The median. ValueError where there is none."""
    if not len(samples):
        raise ValueError("no samples: a median needs at least one")
    return float(np.median(samples))


def median_interval(samples: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median by ranks, whatever the distribution; None for fewer than FEWEST_ROUNDS samples.

    Ranks ⌊(n − z√n)/2⌋ and ⌈1 + (n + z√n)/2⌉ (Hoefler & Belli); below n = 8 that is the lowest and the highest.
    """
    n = len(samples)
    if n < FEWEST_ROUNDS:
        return None
    ordered = np.sort(np.asarray(samples, np.float64))
    low = max(1, math.floor((n - Z * math.sqrt(n)) / 2))
    high = min(n, math.ceil(1 + (n + Z * math.sqrt(n)) / 2))
    return float(ordered[low - 1]), float(ordered[high - 1])


def ratio_of_medians(
    above: Sequence[float], below: Sequence[float], *, paired: bool = True, seed: int = 0
) -> tuple[float, Interval | None]:
    """median(above) / median(below), and its 95 % interval from a percentile bootstrap.

    paired: sample i of both comes from round i, and whole rounds are drawn again, so that a drift of the clock speed,
            which a round's runs share, cancels. Else each side is drawn by itself.
    The interval is None with fewer than FEWEST_ROUNDS samples on a side (it would cover far less than 95 %). From there
    on it covers 94 to 99 % of simulated rounds with noise, drift and outliers.
    """
    if paired and len(above) != len(below):
        raise ValueError(f"paired samples must be as many on both sides, not {len(above)} and {len(below)}")
    ratio = median(above) / median(below)
    if min(len(above), len(below)) < FEWEST_ROUNDS:
        return ratio, None
    a, b = np.asarray(above, np.float64), np.asarray(below, np.float64)
    rng = np.random.default_rng(seed)
    rounds = rng.integers(0, len(a), (RESAMPLES, len(a)))
    others = rounds if paired else rng.integers(0, len(b), (RESAMPLES, len(b)))
    ratios = np.median(a[rounds], axis=1) / np.median(b[others], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return ratio, (float(low), float(high))


def spread(samples: Sequence[float]) -> float:
    """Half the distance between the quartiles, as a share of the median: 0.01 is a quiet machine, 0.1 a busy one."""
    low, middle, high = np.quantile(np.asarray(samples, np.float64), (0.25, 0.5, 0.75))
    return float((high - low) / 2 / middle) if middle else 0.0


def two_digits(value: float) -> int:
    """A positive number rounded to two significant digits, at least 1: a size that people can read."""
    if value < 1:
        return 1
    digits: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return round(value / digits) * digits

"""Medians and ratios with intervals that assume no distribution, and how many rounds would make one narrow.

Sources: Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC15, for the rules; Hettmansperger &
Sheather, "Confidence intervals based on interpolated order statistics", Statistics & Probability Letters 4 (1986), for
the interval of a median; Zou & Donner, "Construction of confidence limits about effect measures", Statistics in
Medicine 27 (2008), for that of a ratio of two. `bench/intervals.py` shows how often they hold a known truth.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FEWEST_ROUNDS = 6  # of five values not even lowest to highest holds the median in 95 % of cases: 1 − 2 · ½⁵ = 94 %
MOST_ROUNDS = 100  # the interval narrows with the square root: ten times as many would make it three times narrower
LEVEL = 0.96  # what "95 %" aims at: interpolating errs by up to half of one percent, and what is said must hold
EACH = 0.93  # of each median, for 95 % of a ratio of two: joining their intervals adds up to 3 % where samples are few
TOO_WIDE = 0.05  # half a width, of the value: wider, and 95 % efficiency cannot be told from 90 %

Interval = tuple[float, float]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Samples = Sequence[float] | Floats


class Needed(NamedTuple):
    """How long a measurement would have to be: so many rounds, which take so many seconds."""

    rounds: int
    seconds: float


def median(samples: Samples) -> float:
    """The median. ValueError where there is none."""
    if not len(samples):
        raise ValueError("no samples: a median needs at least one")
    return float(np.median(samples))


def median_interval(samples: Samples, level: float = LEVEL) -> Interval | None:
    """The 95 % interval of the median, whatever the distribution; None for fewer than FEWEST_ROUNDS samples.

    Between two order statistics on each side, because ranks alone come in steps: of ten samples, lowest but one to
    highest but one hold the median in 98 % of cases, the next pair inwards in 89 %. It holds 95 to 97 % of simulated
    medians for 6 samples and for 100, with normal, skewed and outlying noise (Hettmansperger & Sheather).
    """
    n = len(samples)
    if n < FEWEST_ROUNDS:
        return None
    ordered = np.sort(np.asarray(samples, np.float64))
    rank, inwards = _ranks(n, level)
    low, high = ordered[rank - 1], ordered[n - rank]
    return float(low + inwards * (ordered[rank] - low)), float(high - inwards * (high - ordered[n - rank - 1]))


def paired_ratio(above: Samples, below: Samples) -> tuple[float, Interval | None]:
    """The median of above[i] / below[i], and its 95 % interval; sample i of both comes from round i.

    What the runs of a round share (clock speed, a neighbour) cancels within each ratio. It does not in the ratio of the
    two medians, which may come from different rounds: over 20 rounds that scatters 1.3 times as much with a drift of
    5 % and noise of 3 %, and twice as much with 10 % and 1 %. The interval is None with fewer than FEWEST_ROUNDS.
    """
    if len(above) != len(below):
        raise ValueError(f"paired samples must be as many on both sides, not {len(above)} and {len(below)}")
    ratios = np.asarray(above, np.float64) / np.asarray(below, np.float64)
    return median(ratios), median_interval(ratios)


def ratio_of_medians(above: Samples, below: Samples) -> tuple[float, Interval | None]:
    """median(above) / median(below) of samples that do not pair, and its 95 % interval; samples are above 0.

    On a logarithmic scale the ratio is a difference, and each of its ends is as far away as the two medians' own ends
    are together, at right angles (Zou & Donner). It holds 94 to 97 % of simulated ratios. The interval is None with
    fewer than FEWEST_ROUNDS samples on a side.
    """
    ratio = median(above) / median(below)
    ends_above, ends_below = median_interval(above, EACH), median_interval(below, EACH)
    if ends_above is None or ends_below is None:
        return ratio, None
    (sunk, risen), (sinks, rises) = (
        [math.log(end / median(of)) for end in ends] for of, ends in ((above, ends_above), (below, ends_below))
    )
    return ratio, (ratio * math.exp(-math.hypot(sunk, rises)), ratio * math.exp(math.hypot(risen, sinks)))


def needed(
    value: float, interval: Interval | None, rounds: int, seconds: float, wanted: float = TOO_WIDE
) -> Needed | None:
    """What would bring an interval to value · (1 ± wanted), given what it is after `rounds` that took `seconds`.

    None where it is that narrow already. A width falls with the square root of the rounds. Without an interval yet it
    is the fewest rounds that give one.
    """
    if rounds < 1 or value <= 0:
        raise ValueError(f"rounds and value must be above 0, not {rounds} and {value:g}; measure at least one round")
    if interval is None:
        enough = FEWEST_ROUNDS
    else:
        half_width = (interval[1] - interval[0]) / 2 / value
        if half_width <= wanted:
            return None
        enough = math.ceil(rounds * (half_width / wanted) ** 2)
    return Needed(enough, enough * seconds / rounds)


@functools.lru_cache
def _ranks(n: int, level: float) -> tuple[int, float]:
    """(rank, share): the interval's ends lie at this rank from either end, moved by this share to the next inwards.

    Ranks k and n + 1 − k hold the median with 1 − 2 · P(B < k), B being how many of n fair coins show heads. Between
    the last k that holds at least the level and the next, Hettmansperger & Sheather's weight, which is near to exact
    for every symmetric distribution and close for others.
    """
    rank, held = 0, 1.0
    while True:
        # Heads, rank times of n, by logarithms: the number of ways overflows from n = 1030 on.
        ways = math.lgamma(n + 1) - math.lgamma(rank + 1) - math.lgamma(n - rank + 1)
        inner = held - 2 * math.exp(ways - n * math.log(2))
        if inner < level:
            break
        rank, held = rank + 1, inner
    step = (held - level) / (held - inner)
    return rank, (n - rank) * step / (rank + (n - 2 * rank) * step)


def spread(samples: Samples) -> float:
    """Half the distance between the quartiles, as a share of the median: 0.01 is a quiet machine, 0.1 a busy one."""
    low, middle, high = np.quantile(np.asarray(samples, np.float64), (0.25, 0.5, 0.75))
    return float((high - low) / 2 / middle) if middle else 0.0


def two_digits(value: float) -> int:
    """A positive number rounded to two significant digits, at least 1: a size that people can read."""
    if value < 1:
        return 1
    digits: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return round(value / digits) * digits

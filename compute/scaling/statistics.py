"""Medians and ratios with intervals that assume no distribution, and how many rounds would make one narrow.

Sources: Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC15, for the rules; Hettmansperger &
Sheather, "Confidence intervals based on interpolated order statistics", Statistics & Probability Letters 4 (1986), for
the interval of a median; Zou & Donner, "Construction of confidence limits about effect measures", Statistics in
Medicine 27 (2008), for that of a ratio of two; Bayley & Hammersley, "The 'effective' number of independent observations
in an autocorrelated time series", Supplement to the Journal of the Royal Statistical Society 8 (1946), for rounds that
drift; Hodges & Lehmann, "Estimates of location based on rank tests", Annals of Mathematical Statistics 34 (1963), for
the ratio over all pairs. `bench/intervals.py` and `bench/gates.py` show how often they hold a known truth.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

FEWEST_ROUNDS = 6  # of five values not even lowest to highest holds the median in 95 % of cases: 1 − 2 · ½⁵ = 94 %
MOST_ROUNDS = 100  # the interval narrows with the square root: ten times as many would make it three times narrower
LEVEL = 0.952  # what "95 %" aims at: interpolating errs by up to half of one percent, and what is said must hold
EACH = 0.911  # of each of two medians, for 95 % of their ratio: with few samples joining two intervals adds up to 3 %
BATCHES = (
    100  # medians of so many groups of neighbours stand for more samples: less dependent, and all pairs fit in memory
)
EXACT = 2500  # pairs: up to here ranks are counted; beyond, the normal distribution errs by less than 1 %
LEAST = 5e-324  # seconds: the smallest float, so that a time of 0 has a logarithm
TOO_WIDE = 0.05  # half of an interval, of the value: if it is wider, 95 % efficiency cannot be told from 90 %

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
    return _middle(np.sort(np.asarray(samples, np.float64)))


def _middle(ordered: Floats) -> float:
    """The median of samples in order: to the bit what `np.median` gives, which takes ten times as long for a few."""
    n = len(ordered)
    if math.isnan(ordered[-1]):  # they come last
        return math.nan
    return float(ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2)


def median_interval(samples: Samples, level: float = LEVEL) -> Interval | None:
    """The 95 % interval of the median, whatever the distribution; None for fewer than FEWEST_ROUNDS samples.

    samples: in the order in which they were taken. Where they drift they count as fewer, see `independent`.
    level:   another one; None where lowest to highest do not reach it.

    Between two order statistics on each side, because ranks alone come in steps: of ten samples, lowest but one to
    highest but one hold the median in 98 % of cases, the next pair inwards in 89 %. It holds 95 to 97 % of simulated
    medians for 6 samples and for 100, with normal, skewed and outlying noise (Hettmansperger & Sheather).
    """
    n = len(samples)
    if n < FEWEST_ROUNDS:
        return None
    taken = np.asarray(samples, np.float64)
    counted = min(n, max(independent(taken), FEWEST_ROUNDS, _fewest(level)))
    rank, inwards = _ranks(counted, level)
    if not rank:
        return None
    # The same share of these lies outside as of `counted` independent ones.
    place = (rank - 0.5 + inwards) * n / counted - 0.5
    low, high = np.interp([place, n - 1 - place], np.arange(n), np.sort(taken))
    return float(low), float(high)


def independent(samples: Floats) -> int:
    """How many independent samples would tell as much of the median as these, given in the order they were taken.

    n · (1 − r) / (1 + r), r being the correlation of neighbours (Bayley & Hammersley): what drifts over several rounds
    is in all of them. Ranks are correlated, so that no outlier hides a drift. From few samples r comes out too low, by
    (1 + 3r) / n (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954), which is added.
    """
    n, ordered = len(samples), np.sort(samples)
    off = np.searchsorted(ordered, samples, "left") + np.searchsorted(ordered, samples, "right") - n  # twice as far
    scatter = float(off @ off)
    r = float(off[1:] @ off[:-1]) / scatter if scatter else 0.0
    r = min(max(r + (1 + 3 * r) / n, 0.0), 1.0)
    return int(n * (1 - r) / (1 + r)) if scatter else n


def _fewest(level: float) -> int:
    """The fewest samples of which lowest to highest hold the median at that level: 1 − 2 · ½ⁿ of cases."""
    return math.ceil(1 - math.log2(1 - level))


def paired_ratio(above: Samples, below: Samples, level: float = LEVEL) -> tuple[float, Interval | None]:
    """The median of above[i] / below[i], and its 95 % interval; sample i of both comes from round i.

    What the runs of a round share (clock speed, a neighbour) cancels within each ratio. It does not in the ratio of the
    two medians, which may come from different rounds: over 20 rounds that scatters 1.3 times as much with a drift of
    5 % and noise of 3 %, and twice as much with 10 % and 1 %. The interval is None with fewer than FEWEST_ROUNDS.
    """
    if len(above) != len(below):
        raise ValueError(f"paired samples must be as many on both sides, not {len(above)} and {len(below)}")
    ratios = np.asarray(above, np.float64) / np.asarray(below, np.float64)
    return median(ratios), median_interval(ratios, level)


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


def ratio_over_pairs(above: Samples, below: Samples, level: float = 0.95) -> tuple[float, Interval | None]:
    """The median of above[i] / below[j] over all pairs, and its interval at that level; samples are above 0.

    It is for samples that do not pair, such as those of two files. It assumes that one side's distribution is the
    other's times a factor, whatever it looks like; then it holds the factor at least that often. Ranks over all pairs
    reach high levels with few samples: six on each side carry 99.7 %, where the median of six carries 97 % at most. The
    interval is None with fewer than FEWEST_ROUNDS samples on a side, or too few for the level.
    """
    logs = [np.log(np.maximum(_batched(np.asarray(side, np.float64)), LEAST)) for side in (above, below)]
    pairs = np.sort(np.subtract.outer(*logs), axis=None)
    ratio = _power(_middle(pairs))
    if min(len(above), len(below)) < FEWEST_ROUNDS:
        return ratio, None
    rank = _pair_rank(*sorted(len(side) for side in logs), (1 - level) / 2)
    if rank < 1:
        return ratio, None
    return ratio, (_power(float(pairs[rank - 1])), _power(float(pairs[-rank])))


def _power(log: float) -> float:
    """e to the log, never zero and never infinite: times may lie as far apart as floats do."""
    return math.exp(min(max(log, -700.0), 700.0))


def _batched(samples: Floats) -> Floats:
    """The samples, or medians of BATCHES runs of neighbours where there are twice as many and more."""
    if len(samples) < 2 * BATCHES:
        return samples
    return np.array([median(batch) for batch in np.array_split(samples, BATCHES)])


@functools.lru_cache
def _pair_rank(few: int, many: int, outside: float) -> int:
    """The rank among all pairs' differences, from either end, beyond which the truth lies at most this often.

    The chance that it lies beyond rank k is that of Mann and Whitney's U being below k. 0 where the truth lies even
    beyond the extremes more often.
    """
    pairs = few * many
    if pairs > EXACT:
        deviation = math.sqrt(pairs * (few + many + 1) / 12)
        return max(0, math.floor(pairs / 2 - 0.5 + NormalDist().inv_cdf(outside) * deviation))
    # Recurrence over the largest sample: if it is of the first side, U is that of i - 1 and j samples, and j more.
    chances: list[Floats] = [np.ones(1)] * (many + 1)
    for i in range(1, few + 1):
        row = [np.ones(1)]
        for j in range(1, many + 1):
            both = np.zeros(i * j + 1)
            both[j:] += i / (i + j) * chances[j]
            both[: i * (j - 1) + 1] += j / (i + j) * row[j - 1]
            row.append(both)
        chances = row
    return int(np.searchsorted(np.cumsum(chances[many]), outside, side="right"))


def divide_with_interval(ratio: float, interval: Interval, by: float, by_interval: Interval) -> tuple[float, Interval]:
    """ratio / by, and its interval from those of both, which are independent (Zou & Donner)."""
    low, high = by_interval
    below = math.hypot(math.log(ratio) - math.log(interval[0]), math.log(high) - math.log(by))
    above = math.hypot(math.log(interval[1]) - math.log(ratio), math.log(by) - math.log(low))
    quotient = math.log(ratio) - math.log(by)
    return _power(quotient), (_power(quotient - below), _power(quotient + above))


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

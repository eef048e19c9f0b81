"""Each law fitted to one configuration: figures with intervals, or None where the points do not determine it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute.scaling.laws import fitting
from compute.scaling.laws.fitting import Estimate, Floats, estimate
from compute.scaling.statistics import FEWEST_ROUNDS

NOT_IDENTIFIABLE = "not identifiable"
FLAT, RISING, FALLING = "flat", "rising", "falling"
FEWEST_COUNTS = 5  # for the USL: three coefficients, and two counts that can contradict them
WIDE = 0.5  # of σ or α, which run from 0 to 1: an interval that contains half of all values says nothing
FLAT_WITHIN = 0.10  # of N × T at the most workers: noise of 3 % over twelve rounds cannot exclude a smaller rise
LEAST_RISE = 0.01  # of N × T: a smaller rise explains nothing, even if it is certain


@dataclass(frozen=True, eq=False)
class Timings:
    """Worker counts, 1 first; drawn times of a unit of work (fitting.draw), a column a count; the baseline's times."""

    counts: Floats
    times: Floats
    base: Floats
    rounds: int
    weak: bool = False


@dataclass(frozen=True)
class Model:
    """A fitted law: its figures for the report, and its speedups for worker counts, a row a drawing."""

    figures: Mapping[str, Any]
    speedups: Callable[[Floats], Floats]


def usl(timings: Timings) -> Model | None:
    """The USL; None with fewer than FEWEST_COUNTS counts, too few rounds, or an interval of α as wide as WIDE."""
    if len(timings.counts) < FEWEST_COUNTS or timings.rounds < FEWEST_ROUNDS:
        return None
    coefficients = alpha, beta, gamma = fitting.usl(timings.counts, timings.times)
    if _says_nothing(estimate(alpha)):
        return None
    best = fitting.usl_best(alpha, beta)
    figures = {
        **with_ci("alpha", estimate(alpha)),
        **with_ci("beta", estimate(beta)),
        **with_ci("gamma", estimate(gamma)),
        **with_ci("roof", estimate(fitting.divide(gamma, alpha))),
        **with_ci("best_workers", estimate(best)),
        **with_ci("best_speedup", estimate(timings.base * fitting.usl_rate(best, *coefficients))),
        "overhead": _split(timings.counts, float(alpha[0]), float(beta[0])),
    }

    def speedups(counts: Floats) -> Floats:
        return timings.base[:, None] * fitting.usl_rate(counts, *(c[:, None] for c in coefficients))

    return Model(figures, speedups)


def _split(counts: Floats, alpha: float, beta: float) -> list[list[float]]:
    """[N, work, contention, coherency] as shares of N × T. R's usl has ½β(N − 1) here, which does not sum."""
    rows: list[list[float]] = []
    for n in counts.tolist():
        parts = 1.0, alpha * (n - 1), beta * n * (n - 1)
        rows.append([int(n), *(part / sum(parts) for part in parts)])
    return rows


def amdahl(timings: Timings) -> Model | None:
    """Amdahl's law; None with too few rounds, or an interval of the serial fraction as wide as WIDE.

    Two counts determine it. With one count above 1 it is Karp–Flatt with an interval: no further count can contradict
    it, so it is marked as not tested.
    """
    if timings.rounds < FEWEST_ROUNDS:
        return None
    sigma, seconds = fitting.amdahl(timings.counts, timings.times)
    if _says_nothing(estimate(sigma)):
        return None
    scale = timings.base / seconds  # the baseline is not quite as fast as one worker

    def speedups(counts: Floats) -> Floats:
        drawn = sigma[:, None]
        return scale[:, None] / (drawn + (1 - drawn) / counts)

    return Model(_one_fraction(timings, sigma, seconds, fitting.divide(scale, sigma)), speedups)


def gustafson(timings: Timings) -> Model | None:
    """Gustafson's law, for weak scaling; None where Amdahl's would be."""
    if timings.rounds < FEWEST_ROUNDS:
        return None
    sigma, seconds = fitting.gustafson(timings.counts, timings.times * timings.counts)
    if _says_nothing(estimate(sigma)):
        return None
    scale = timings.base / seconds

    def speedups(counts: Floats) -> Floats:
        return scale[:, None] * (counts - sigma[:, None] * (counts - 1))

    return Model(_one_fraction(timings, sigma, seconds, np.full_like(sigma, np.inf)), speedups)


def _one_fraction(timings: Timings, sigma: Floats, seconds: Floats, limit: Floats) -> Mapping[str, Any]:
    return {
        **with_ci("serial_fraction", estimate(sigma)),
        "seconds": float(seconds[0]),
        **with_ci("limit", estimate(limit)),
        "tested": len(timings.counts) > 2,
    }


def trend(timings: Timings) -> tuple[str, Estimate | None]:
    """What Karp–Flatt's e does over N, and by how much as a share of N × T at the most workers (fitting.rise)."""
    if len(timings.counts) < 3 or timings.rounds < FEWEST_ROUNDS:
        return NOT_IDENTIFIABLE, None
    rise = estimate(fitting.rise(timings.counts, timings.times))
    if rise.low > 0 and rise.value > LEAST_RISE:
        # A rise that stays below 0 is no overhead: it means that one worker is slower than each of many.
        above = fitting.karp_flatt(timings.counts, timings.times)[0, -1] > 0
        return (RISING if above else NOT_IDENTIFIABLE), rise
    if rise.high < 0 and rise.value < -LEAST_RISE:
        return FALLING, rise
    return (FLAT if rise.low > -FLAT_WITHIN and rise.high < FLAT_WITHIN else NOT_IDENTIFIABLE), rise


def _says_nothing(fraction: Estimate) -> bool:
    return fraction.high - fraction.low > WIDE


def with_ci(name: str, figure: Estimate | None) -> dict[str, Any]:
    """{name, name_ci}, with None for what has no bound."""
    if figure is None:
        return {name: None, f"{name}_ci": None}
    value, low, high = (x if math.isfinite(x) else None for x in figure)
    return {name: value, f"{name}_ci": [low, high]}

"""Amdahl, Gustafson and the USL fitted to times, and Karp–Flatt, for many drawings of the rounds at once.

`times` has a row a drawing: row 0 are the medians that were measured, every other row the medians of whole rounds drawn
again; a column a worker count. All functions work on all rows, so that `estimate` reads any figure with its interval.

Sources: Amdahl 1967, Gustafson 1988, Karp & Flatt 1990, Gunther's Universal Scalability Law. All of them are linear in
their coefficients when written for times (Gustafson: for rates), so that least squares in relative error, with
coefficients from 0 on, has an exact answer: no start values, no iterations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 10_000  # puts an interval's end within about half a percent of its width, in a millisecond

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Estimate(NamedTuple):
    """A figure with its 95 % interval; each inf where there is no bound."""

    value: float
    low: float
    high: float


def draw(samples: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """The medians of each column of samples, then those of `resamples` drawings: (1 + resamples, columns).

    Columns of one length are rounds: each is brought to the level of the median round first, so that what its runs
    share (clock speed, a neighbour) cancels, and a drawing takes the same rounds of all columns. Where lengths differ
    they are no rounds, and each column is drawn by itself.
    """
    columns = [np.asarray(column, np.float64) for column in samples]
    rng = np.random.default_rng(seed)
    if len({len(column) for column in columns}) > 1:
        return np.stack([_medians(column, _drawings(column, rng, resamples)) for column in columns], -1)
    rounds = np.stack(columns, -1)
    level = np.exp(np.log(rounds).mean(1))
    level /= np.median(level)
    drawings = _drawings(level, rng, resamples)
    levelled = np.stack([_medians(column / level, drawings) for column in columns], -1)
    return levelled * _medians(level, drawings)[:, None]


def _drawings(column: Floats, rng: np.random.Generator, resamples: int) -> np.ndarray[Any, Any]:
    return rng.integers(0, len(column), (resamples, len(column)))


def _medians(column: Floats, drawings: np.ndarray[Any, Any]) -> Floats:
    """The median of the column, then that of each drawing of it."""
    return np.concatenate([[np.median(column)], np.median(column[drawings], axis=1)])


def estimate(values: Floats) -> Estimate:
    """A figure of every drawing as its measured value and the percentile interval of the others."""
    # By rank, not interpolated: some drawings of a best worker count or a limit are infinite.
    low, high = np.quantile(values[1:], (0.025, 0.975), method="nearest")
    return Estimate(float(values[0]), float(low), float(high))


def amdahl(counts: Floats, times: Floats) -> tuple[Floats, Floats]:
    """(σ, T_1) of T_N = T_1 (σ + (1 − σ)/N), σ in 0..1. Two distinct counts at least."""
    flat, shared = _fit(np.stack([np.ones_like(counts), 1 / counts], -1), times).T
    return flat / (flat + shared), flat + shared


def gustafson(counts: Floats, times: Floats) -> tuple[Floats, Floats]:
    """(σ, T_1) of N·T_1/T_N = N − σ(N − 1), σ in 0..1, for times of work that grows with N. Two distinct counts.

    In rates it is linear: 1/T_N = (1 − σ)/T_1 + σ/T_1/N; a small relative error of a rate is that of its time.
    """
    kept, lost = _fit(np.stack([np.ones_like(counts), 1 / counts], -1), 1 / times).T
    return lost / (kept + lost), 1 / (kept + lost)


def usl(counts: Floats, times: Floats) -> tuple[Floats, Floats, Floats]:
    """(α, β, γ) of T_N = (1 + α(N − 1) + βN(N − 1)) / γN: contention, coherency, runs a second of one worker.

    α and β from 0 on; α above 1 is more than serial. Three distinct counts at least; five for an answer worth having.
    """
    n = counts
    alone, contention, coherency = _fit(np.stack([1 / n, (n - 1) / n, n - 1], -1), times).T
    # Times that only grow with N leave nothing for 1/N; a γ of infinity would make α and β infinite too.
    alone = np.maximum(alone, 1e-9 * times[:, 0])
    return contention / alone, coherency / alone, 1 / alone


def usl_rate(n: Floats, alpha: Floats, beta: Floats, gamma: Floats) -> Floats:
    """X(N) = γN / (1 + α(N − 1) + βN(N − 1)); its limit γ/α where N is infinite and β is 0."""
    finite = np.where(np.isfinite(n), n, 1.0)
    rate = gamma * finite / (1 + alpha * (finite - 1) + beta * finite * (finite - 1))
    return np.where(np.isfinite(n), rate, divide(gamma, alpha))


def usl_best(alpha: Floats, beta: Floats) -> Floats:
    """The worker count of the highest rate, √((1 − α)/β); at least 1, and infinite where β is 0."""
    best = np.sqrt(divide(np.maximum(1 - alpha, 0), beta))
    return np.where(alpha < 1, np.maximum(best, 1), 1.0)


def divide(a: Floats, b: Floats) -> Floats:
    """a / b, infinite where b is 0."""
    quotient: Floats = np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.inf), where=b > 0)
    return quotient


def karp_flatt(counts: Floats, times: Floats) -> Floats:
    """e = (1/S − 1/N) / (1 − 1/N) for every count after the first, which is 1."""
    n = counts[1:]
    e: Floats = (times[:, 1:] / times[:, :1] - 1 / n) / (1 - 1 / n)
    return e


def rise(counts: Floats, times: Floats) -> Floats:
    """How much of N × T at the largest N is what e rose by between the smallest N above 1 and there, along a line.

    Under the USL e = α + βN, so a line is right. Each e weighs by its precision: the error of T_N / T_1 is relative.
    """
    n, e = counts[1:], karp_flatt(counts, times)
    weights = ((1 - 1 / n) * times[0, 0] / times[0, 1:]) ** 2
    off = n - np.average(n, weights=weights)
    slope = (e * weights * off).sum(1) / (weights * off**2).sum()
    share: Floats = slope * (n[-1] - n[0]) * (n[-1] - 1) / (n[-1] * times[:, -1] / times[:, 0])
    return share


def _fit(columns: Floats, times: Floats) -> Floats:
    """Coefficients from 0 on, one row a drawing, with the least squares of columns · x / times − 1."""
    return non_negative(columns / times[..., None], np.ones_like(times))


def non_negative(a: Floats, y: Floats) -> Floats:
    """x ≥ 0 with the least |a·x − y|², for every row: a (rows, m, k), y (rows, m), for a few columns k.

    The answer is the unconstrained one of some set of columns; with three there are seven sets to look at.
    """
    norm = np.sqrt((a**2).sum(1))
    a = a / norm[:, None, :]
    rows, columns = norm.shape
    best, least = np.zeros((rows, columns)), np.full(rows, math.inf)
    for size in range(columns, 0, -1):
        for chosen in itertools.combinations(range(columns), size):
            part = a[:, :, chosen]
            turned = part.swapaxes(1, 2)
            x = np.linalg.solve(turned @ part, turned @ y[..., None])
            miss = ((part @ x)[..., 0] - y) ** 2
            better = (x[..., 0] >= 0).all(1) & (miss.sum(1) < least)
            least = np.where(better, miss.sum(1), least)
            solution = np.zeros((rows, columns))
            solution[:, chosen] = x[..., 0]
            best = np.where(better[:, None], solution, best)
    fitted: Floats = best / norm
    return fitted

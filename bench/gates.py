"""How often `nfold check` cries wolf, and how often it finds a slowdown that is there: `make proof`.

Pairs of files are invented: fourteen points each, with noise of several kinds. Between a program and itself, no more
than one comparison in forty may be called a regression. Where one of the points takes 10 % longer, none may pass as
fine more often than its interval allows, and where the intervals carry it, it is found. The last kind is there to show
what no interval knows: a point that becomes slower while it is measured is slower. Prints the table and keeps it in
bench/results/. A minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import kept
import numpy as np

from compute import machine
from compute.scaling.comparing.gate import Limits, judge_pairs
from compute.scaling.comparing.pairs import pair_up
from compute.scaling.dataset import Point
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

POINTS, TRIALS = 14, 400
ROUNDS = (6, 8, 12, 24)
SLOWER = 1.10

Noise = Callable[[np.random.Generator, int], np.ndarray]


def lognormal(sigma: float) -> Noise:
    """Noise of so much, alike on both sides."""

    def of(rng: np.random.Generator, rounds: int) -> np.ndarray:
        return np.exp(sigma * rng.standard_normal(rounds))

    of.__doc__ = f"lognormal, {sigma:.0%}"
    return of


def outlying(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """2 %, and one run in ten 1.1 to 2 times as long"""
    return lognormal(0.02)(rng, rounds) * np.where(rng.random(rounds) < 0.1, rng.uniform(1.1, 2, rounds), 1.0)


def skewed(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """a shortest time and an exponential tail of 5 %"""
    return 1 + 0.05 * rng.standard_exponential(rounds)


def two_modes(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """1 %, and two modes 10 % apart, one run in three in the slower"""
    return lognormal(0.01)(rng, rounds) * np.where(rng.random(rounds) < 1 / 3, 1.1, 1.0)


def another_day(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """2 %, and 1 % that a point's whole run shares"""
    return lognormal(0.02)(rng, rounds) * np.exp(0.01 * rng.standard_normal())


def wandering(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """1 %, and a walk of 0.5 % a round"""
    return lognormal(0.01)(rng, rounds) * np.exp(np.cumsum(0.005 * rng.standard_normal(rounds)))


NOISES: tuple[Noise, ...] = (
    *map(lognormal, (0.01, 0.03, 0.10, 0.30)),
    outlying,
    skewed,
    two_modes,
    another_day,
    wandering,
)


def a_file(rng: np.random.Generator, noise: Noise, rounds: int, slower: float = 1.0) -> Scaling:
    """Results of POINTS points; the first takes `slower` times as long as it should."""
    points = []
    for number in range(POINTS):
        samples = tuple((slower if number == 0 else 1.0) * noise(rng, rounds))
        points.append(Point("triad", 1000, "nogil", "threads", number + 1, samples[0], samples, mode="strong"))
    return Scaling(compare_points(points))


def outcomes(noise: Noise, rounds: int, slower: float = 1.0, trials: int = TRIALS) -> Counter[str]:
    """How often each outcome was given, of so many pairs of files."""
    rng = np.random.default_rng([rounds, NOISES.index(noise), round(1000 * slower)])
    counts: Counter[str] = Counter()
    for _ in range(trials):
        before, after = a_file(rng, noise, rounds), a_file(rng, noise, rounds, slower)
        counts[judge_pairs(pair_up(before, after), after, Limits()).outcome] += 1
    return counts


def main() -> None:
    lines = [
        f"numpy {np.__version__}; {machine.describe()['date']}. {TRIALS} pairs of files a row, {POINTS} points each.",
        "Shares of the outcomes in %, where 5 % are allowed. The first point of the slower program takes 10 % longer.",
        "",
        "| noise | rounds | itself: fine | inconclusive | regression | slower: fine | inconclusive | regression |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for noise in NOISES:
        for rounds in ROUNDS:
            shares = [
                f"{100 * counts[outcome] / TRIALS:.1f}"
                for counts in (outcomes(noise, rounds), outcomes(noise, rounds, SLOWER))
                for outcome in ("fine", "inconclusive", "regression")
            ]
            lines.append(f"| {noise.__doc__} | {rounds} | {' | '.join(shares)} |")
            print(lines[-1], flush=True)
    # Under no day: the noise is invented, and so the table is the same on every machine.
    kept.write(kept.RESULTS / "gates.md", "\n".join(["# How often the gate is right", "", *lines, ""]))


if __name__ == "__main__":
    main()

"""How often the intervals hold a truth that is known: `make proof`.

Rounds are invented: a serial time and a parallel one, with noise of several kinds, 2,000 times over. An interval that
says 95 % should hold the truth in 93 to 97 % of them, and two equal things should be called different in under 5 %.
The second table is about noise that lasts for some rounds in one of the two, so that rounds are no independent samples:
what the interval holds beside one that counts every round in full, and how much wider it is.
Prints the tables and keeps them in bench/results/. About a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import kept
import numpy as np

from compute import machine
from compute.scaling import rounds as compute_rounds
from compute.scaling import statistics

ROUNDS = (6, 10, 20, 50, 100)
TURN = compute_rounds.TURN  # rounds that come at once in the main job
TRIALS = 2000  # a share of 96 % of them is known to half of one percent
SERIAL, SPEEDUP = 4.0, 1.9

Shape = tuple[int, int]
Noise = tuple[np.ndarray, np.ndarray]
Noises = Callable[[np.random.Generator, Shape], Noise]


def _normal(rng: np.random.Generator, shape: Shape, sigma: float) -> np.ndarray:
    return np.exp(sigma * rng.standard_normal(shape))


def _outliers(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.where(rng.random(shape) < 0.1, rng.uniform(1.1, 2, shape), 1.0)


def quiet(rng: np.random.Generator, shape: Shape) -> Noise:
    """lognormal, 3 %"""
    return _normal(rng, shape, 0.03), _normal(rng, shape, 0.03)


def drifting(rng: np.random.Generator, shape: Shape) -> Noise:
    """3 %, and 5 % that a round shares"""
    drift = _normal(rng, shape, 0.05)
    return drift * _normal(rng, shape, 0.03), drift * _normal(rng, shape, 0.03)


def wandering(rng: np.random.Generator, shape: Shape) -> Noise:
    """2 %, and a random walk of 3 % a round"""
    walk = np.exp(np.cumsum(0.03 * rng.standard_normal(shape), axis=1))
    return walk * _normal(rng, shape, 0.02), walk * _normal(rng, shape, 0.02)


def outlying(rng: np.random.Generator, shape: Shape) -> Noise:
    """3 %, drift, and one run in ten 1.1 to 2 times as long"""
    drift = _normal(rng, shape, 0.05)
    return tuple(drift * _normal(rng, shape, 0.03) * _outliers(rng, shape) for _ in range(2))


def skewed(rng: np.random.Generator, shape: Shape) -> Noise:
    """a shortest time and an exponential tail of 5 %, drift"""
    drift = _normal(rng, shape, 0.05)
    return tuple(drift * (1 + 0.05 * rng.standard_exponential(shape)) for _ in range(2))


def unequal(rng: np.random.Generator, shape: Shape) -> Noise:
    """1 % in one, 5 % in the other, drift"""
    drift = _normal(rng, shape, 0.05)
    return drift * _normal(rng, shape, 0.01), drift * _normal(rng, shape, 0.05)


NOISES: tuple[Noises, ...] = (
    quiet,
    drifting,
    wandering,
    outlying,
    skewed,
    unequal,
)


def lasting(keeps: float) -> Noises:
    def noise(rng: np.random.Generator, shape: Shape) -> Noise:
        own = rng.standard_normal(shape)
        for k in range(1, shape[1]):
            own[:, k] = keeps * own[:, k - 1] + np.sqrt(1 - keeps**2) * own[:, k]
        return np.ones(shape), np.exp(0.02 * own)

    noise.__doc__ = f"2 % in one, of which a round keeps {keeps:.0%} of the one before (AR(1))"
    return noise


def by_turns(share: float) -> Noises:
    def noise(rng: np.random.Generator, shape: Shape) -> Noise:
        turns = np.repeat(rng.standard_normal(shape), TURN, axis=1)[:, : shape[1]]
        own = np.sqrt(share) * turns + np.sqrt(1 - share) * rng.standard_normal(shape)
        return np.ones(shape), np.exp(0.02 * own)

    noise.__doc__ = f"2 % in one, {share:.0%} of its variance shared by the {TURN} rounds of a turn"
    return noise


class Held(NamedTuple):
    """Shares of the trials in which the interval of a figure held what is true; claims: in which A differed from A."""

    speedup: float
    claims: float
    median: float | None
    unpaired: float | None


def held(noise: Noises, rounds: int, *, trials: int = TRIALS) -> Held:
    """What so many trials of so many rounds show; median and unpaired are None for a walk: its rounds are not alike."""
    rng = np.random.default_rng([rounds, NOISES.index(noise)])
    one, other = noise(rng, (trials, rounds))
    serial, parallel = SERIAL * one, SERIAL / SPEEDUP * other
    shares = [
        np.mean([_within(truth, statistics.paired_ratio(a, b)[1]) for a, b in zip(above, below, strict=True)])
        for truth, above, below in ((SPEEDUP, serial, parallel), (1.0, *noise(rng, (trials, rounds))))
    ]
    if noise is wandering:
        return Held(shares[0], 1 - shares[1], None, None)
    middles = [SERIAL * np.median(side) for side in noise(rng, (1, 500_000))]
    medians = np.mean([_within(middles[0], statistics.median_interval(times)) for times in serial])
    # What a round shares is drawn for each side by itself: that is what runs that do not pair look like.
    parallel = SERIAL / SPEEDUP * noise(rng, (trials, rounds))[1]
    truth = SPEEDUP * middles[0] / middles[1]
    intervals = [statistics.ratio_of_medians(a, b)[1] for a, b in zip(serial, parallel, strict=True)]
    return Held(shares[0], 1 - shares[1], medians, np.mean([_within(truth, interval) for interval in intervals]))


def _within(truth: float, interval: statistics.Interval | None) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


class Lasting(NamedTuple):
    """Shares of the trials in which an interval held what is true; wider: the width of the first over the second's.

    plain: with the same rounds in an order that shows no drift, so that each counts in full.
    apart: how often the intervals of two measurements of one thing do not overlap; plain_apart: those of the second.
    """

    held: float
    plain: float
    apart: float
    plain_apart: float
    wider: float


def lasts(noise: Noises, rounds: int, *, trials: int = TRIALS) -> Lasting:
    """What so many trials of so many rounds show of noise that lasts, or of any."""
    rng = np.random.default_rng([rounds, 1])
    one, other = noise(rng, (trials, rounds))
    ratios = one / other
    own = np.array([statistics.median_interval(row) for row in ratios])
    plain = np.array([statistics.median_interval(_alternating(row)) for row in ratios])
    shares = [np.mean((ends[:, 0] <= 1) & (ends[:, 1] >= 1)) for ends in (own, plain)]
    apart = [np.mean((ends[::2, 0] > ends[1::2, 1]) | (ends[1::2, 0] > ends[::2, 1])) for ends in (own, plain)]
    return Lasting(*shares, *apart, float(np.mean(np.diff(own)) / np.mean(np.diff(plain))))


def _alternating(row: np.ndarray) -> np.ndarray:
    """The same values, one of the lower half and one of the upper in turn."""
    ordered, half = np.sort(row), -(-len(row) // 2)
    mixed = np.empty_like(row)
    mixed[::2], mixed[1::2] = ordered[:half], ordered[half:]
    return mixed


LAST: tuple[Noises, ...] = (*(lasting(keeps) for keeps in (0.0, 0.3, 0.5, 0.7, 0.9)), by_turns(0.3), by_turns(0.6))


def main() -> None:
    lines = [
        f"numpy {np.__version__}; {machine.describe()['date']}. {TRIALS:,} trials a row; 1 % of doubt.",
        "Shares of the trials in which the 95 % interval held the truth; A/A: in which it told two equals apart.",
        "",
        "| noise | rounds | speedup, paired rounds | A/A claims | median | ratio of medians, not paired |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for noise in NOISES:
        for rounds in ROUNDS:
            shares = held(noise, rounds)
            cells = " | ".join("–" if share is None else f"{share:.1%}" for share in shares)
            lines.append(f"| {noise.__doc__} | {rounds} | {cells} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        "| noise that lasts | rounds | held | counting each in full | two alike told apart | counting each | wider |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines[-3:]), flush=True)
    for noise in LAST:
        for rounds in ROUNDS[:3]:
            found = lasts(noise, rounds)
            cells = " | ".join(f"{share:.1%}" for share in found[:4])
            lines.append(f"| {noise.__doc__} | {rounds} | {cells} | {found.wider:.2f} × |")
            print(lines[-1], flush=True)
    # Under no day: the noise is invented, and so the table is the same on every machine.
    kept.write(kept.RESULTS / "intervals.md", "\n".join(["# How often the intervals hold the truth", "", *lines, ""]))


if __name__ == "__main__":
    main()

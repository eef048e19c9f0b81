"""Medians, ratios and their intervals, held to known truth."""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.scaling import statistics

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import intervals  # noqa: E402

sys.path.remove(str(BENCH))

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


def test_median_is_the_middle():
    assert statistics.median([3.0, 1.0, 2.0]) == 2.0
    assert statistics.median([1.0, 2.0]) == 1.5


def test_a_median_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="needs at least one"):
        statistics.median([])


@pytest.mark.parametrize("n", range(1, 6))
def test_five_samples_carry_no_interval(n):
    assert statistics.median_interval([1.0] * n) is None
    assert statistics.paired_ratio([2.0] * n, [1.0] * n) == (2.0, None)
    assert statistics.ratio_of_medians([2.0] * n, [1.0] * n) == (2.0, None)


def test_interval_lies_between_the_ranks_around_its_level():
    # Of six: lowest to highest hold the median in 31/32 of cases, the next pair in 25/32. Hettmansperger & Sheather.
    step = (31 / 32 - statistics.LEVEL) / (31 / 32 - 25 / 32)
    inwards = 5 * step / (1 + 4 * step)
    low, high = statistics.median_interval([40.0, 10.0, 60.0, 30.0, 20.0, 100.0])
    assert (low, high) == (pytest.approx(10 + 10 * inwards), pytest.approx(100 - 40 * inwards))


@pytest.mark.parametrize("n", [6, 7, 10, 20, 100, 1029, 1031, 5000])
def test_ranks_hold_at_least_the_level_and_the_next_ones_inwards_do_not(n):
    rank, inwards = statistics._ranks(n, statistics.LEVEL)
    outside = sum(math.comb(n, k) for k in range(rank))
    assert 1 - 2 * (outside / 2**n) >= statistics.LEVEL > 1 - 2 * ((outside + math.comb(n, rank)) / 2**n)
    assert 0 <= inwards < 1


@settings(max_examples=50)
@given(TIMES)
def test_interval_holds_the_median(samples):
    interval = statistics.median_interval(samples)
    assert interval is None or interval[0] <= statistics.median(samples) <= interval[1]


PAIRS = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=6, max_size=30)


@settings(max_examples=50)
@given(PAIRS)
def test_paired_ratio_is_the_median_of_the_rounds_own(pairs):
    above, below = zip(*pairs, strict=True)
    ratios = [a / b for a, b in pairs]
    ratio, (low, high) = statistics.paired_ratio(above, below)
    assert ratio == statistics.median(ratios)
    assert min(ratios) <= low <= ratio <= high <= max(ratios)


@settings(max_examples=50)
@given(PAIRS)
def test_ratio_of_medians_is_repeatable_and_between_the_extremes(pairs):
    above, below = zip(*pairs, strict=True)
    ratio, (low, high) = statistics.ratio_of_medians(above, below)
    assert statistics.ratio_of_medians(above, below) == (ratio, (low, high))
    assert ratio == statistics.median(above) / statistics.median(below)
    assert min(above) / max(below) <= low <= high <= max(above) / min(below)


def test_a_drift_that_both_share_cancels_in_pairs_and_only_in_pairs():
    drift = np.linspace(1.0, 2.0, 12)
    assert statistics.paired_ratio(2 * drift, drift) == (2.0, (2.0, 2.0))
    _, (low, high) = statistics.ratio_of_medians(2 * drift, drift)
    assert low < 1.9 < 2.1 < high


def test_pairs_must_pair():
    with pytest.raises(ValueError, match="not 6 and 7"):
        statistics.paired_ratio([1.0] * 6, [1.0] * 7)
    assert statistics.ratio_of_medians([1.0] * 6, [1.0] * 7) == (1.0, (1.0, 1.0))


@pytest.mark.parametrize("n", [6, 7, 20])
def test_bootstrap_medians_are_those_of_samples_drawn_again(n):
    rng = np.random.default_rng(n)
    samples = rng.standard_normal(n)
    plainly = np.median(samples[rng.integers(0, n, (20_000, n))], axis=1)
    shortly = statistics._medians_drawn_again(samples, rng)
    shares = [np.mean(drawn[:, None] <= samples, axis=0) for drawn in (plainly, shortly)]
    assert (
        np.abs(shares[0] - shares[1]).max() < 0.025
    )  # the scatter of a share of 10,000 is 0.5 %, and 0.35 % of 20,000


@pytest.mark.parametrize("rounds", intervals.ROUNDS)
def test_intervals_hold_the_truth_as_often_as_they_say(rounds):
    by_noise = [intervals.held(noise, rounds, unpaired=False) for noise in intervals.NOISES]
    assert all(0.93 <= shares.speedup <= 0.97 for shares in by_noise)
    assert all(0.93 <= shares.median <= 0.97 for shares in by_noise if shares.median is not None)
    assert np.mean([shares.claims for shares in by_noise]) < 0.05  # of A that it differs from A


def test_intervals_of_ratios_that_do_not_pair_hold_the_truth():
    shares = intervals.held(intervals.quiet, 10, trials=500)
    assert 0.93 <= shares.unpaired <= 0.99  # of 500 trials at 96.5 %, within three standard deviations


def test_rounds_needed_grow_with_the_square_of_what_is_wanted():
    within_an_eighth = (1.75, 2.25)
    assert statistics.needed(2.0, within_an_eighth, 10, 5.0, wanted=1 / 16) == (40, 20.0)
    assert statistics.needed(2.0, within_an_eighth, 10, 5.0, wanted=1 / 80) == (1000, 500.0)
    assert statistics.needed(2.0, within_an_eighth, 10, 5.0, wanted=1 / 8) is None


def test_without_an_interval_the_fewest_rounds_are_needed():
    assert statistics.needed(2.0, None, 3, 6.0) == (statistics.FEWEST_ROUNDS, 12.0)


@pytest.mark.parametrize(("value", "rounds"), [(0.0, 6), (-1.0, 6), (1.0, 0)])
def test_nothing_measured_needs_what_nobody_can_say(value, rounds):
    with pytest.raises(ValueError, match="must be above 0"):
        statistics.needed(value, (0.5, 1.5), rounds, 1.0)


def test_so_many_rounds_do_make_the_interval_that_narrow():
    rng = np.random.default_rng(5)

    def half_width(n):
        ends = [statistics.median_interval(np.exp(0.1 * rng.standard_normal(n))) for _ in range(300)]
        return float(np.median([high - low for low, high in ends])) / 2

    enough = statistics.needed(1.0, (1 - (wide := half_width(10)), 1 + wide), 10, 1.0, wanted=0.03)
    assert half_width(enough.rounds) == pytest.approx(0.03, rel=0.1)


def test_spread_is_relative_to_the_median():
    assert statistics.spread([1.0] * 5) == 0
    assert statistics.spread([9.0, 10.0, 11.0]) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.2, 1), (1, 1), (7.6, 8), (99.4, 99), (123, 120), (99_900, 100_000), (1.26e9, 1_300_000_000)],
)
def test_two_digits(value, rounded):
    assert statistics.two_digits(value) == rounded


def test_two_digits_never_falls_as_the_value_grows():
    values = [statistics.two_digits(x) for x in np.geomspace(1, 1e12, 500)]
    assert all(a <= b for a, b in itertools.pairwise(values))

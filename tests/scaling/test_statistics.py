"""Medians, ratios and their intervals, held to known truth."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
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


@given(st.lists(st.floats(-1e300, 1e300) | st.just(math.nan) | st.integers(0, 2**60), min_size=1, max_size=30))
def test_it_is_numpys_to_the_bit(samples):
    assert math.isnan(found := statistics.median(samples)) or found == np.median(samples)
    assert math.isnan(found) == np.isnan(np.median(samples))


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


@given(TIMES)
def test_interval_holds_the_median(samples):
    interval = statistics.median_interval(samples)
    assert interval is None or interval[0] <= statistics.median(samples) <= interval[1]


PAIRS = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=6, max_size=30)


@given(PAIRS)
def test_paired_ratio_is_the_median_of_the_rounds_own(pairs):
    above, below = zip(*pairs, strict=True)
    ratios = [a / b for a, b in pairs]
    ratio, (low, high) = statistics.paired_ratio(above, below)
    assert ratio == statistics.median(ratios)
    assert min(ratios) <= low <= ratio <= high <= max(ratios)


@given(PAIRS)
def test_ratio_of_medians_is_between_the_extremes_and_turns_over(pairs):
    above, below = zip(*pairs, strict=True)
    ratio, (low, high) = statistics.ratio_of_medians(above, below)
    _, turned = statistics.ratio_of_medians(below, above)
    assert (1 / high, 1 / low) == pytest.approx(turned)
    assert ratio == statistics.median(above) / statistics.median(below)
    assert min(above) / max(below) * (1 - 1e-9) <= low <= ratio <= high <= max(above) / min(below) * (1 + 1e-9)


def test_a_drift_that_both_share_cancels_in_pairs_and_only_in_pairs():
    drift = np.linspace(1.0, 2.0, 12)
    assert statistics.paired_ratio(2 * drift, drift) == (2.0, (2.0, 2.0))
    _, (low, high) = statistics.ratio_of_medians(2 * drift, drift)
    assert low < 1.9 < 2.1 < high


def test_pairs_must_pair():
    with pytest.raises(ValueError, match="not 6 and 7"):
        statistics.paired_ratio([1.0] * 6, [1.0] * 7)
    assert statistics.ratio_of_medians([1.0] * 6, [1.0] * 7) == (1.0, (1.0, 1.0))


# `make proof` has them all.
@pytest.mark.parametrize("rounds", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in intervals.ROUNDS[2::2])])
def test_intervals_hold_the_truth_as_often_as_they_say(rounds):
    by_noise = [intervals.held(noise, rounds) for noise in intervals.NOISES]
    assert all(0.93 <= shares.speedup <= 0.97 for shares in by_noise)
    assert all(0.93 <= shares.median <= 0.97 for shares in by_noise if shares.median is not None)
    assert all(0.93 <= shares.unpaired <= 0.97 for shares in by_noise if shares.unpaired is not None)
    assert np.mean([shares.claims for shares in by_noise]) < 0.05  # of A that it differs from A


def drifting(rng, rho, n):
    """Noise of which each value keeps so much of the one before it (AR(1)), with a standard deviation of 1."""
    noise = rng.standard_normal(n)
    for k in range(1, n):
        noise[k] = rho * noise[k - 1] + math.sqrt(1 - rho**2) * noise[k]
    return noise


def test_samples_that_do_not_drift_count_in_full():
    assert statistics.independent(np.ones(20)) == 20
    assert statistics.independent(np.array([1.0, 2.0] * 10)) == 20
    rng = np.random.default_rng(0)
    assert np.mean([statistics.independent(rng.standard_normal(50)) for _ in range(500)]) > 0.8 * 50


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_samples_that_drift_count_as_so_many_as_their_correlation_leaves(rho):
    rng = np.random.default_rng(1)
    counted = [statistics.independent(drifting(rng, rho, 200)) for _ in range(200)]
    assert np.mean(counted) == pytest.approx(200 * (1 - rho) / (1 + rho), rel=0.2)
    assert statistics.independent(np.arange(200.0)) < 5


def test_an_outlier_hides_no_drift():
    drift = np.arange(40.0)
    spoilt = drift.copy()
    spoilt[20] = 1e6
    assert statistics.independent(spoilt) == pytest.approx(statistics.independent(drift), abs=3)


def test_an_interval_of_a_drift_is_wider_than_that_of_the_same_samples_in_no_order():
    drift = np.linspace(1.0, 2.0, 30)
    shuffled = np.random.default_rng(2).permutation(drift)
    low, high = statistics.median_interval(drift)
    least, most = statistics.median_interval(shuffled)
    assert 1.0 <= low < least < 1.5 < most < high <= 2.0
    assert statistics.median_interval(drift, 0.9999) is not None  # and no level that samples reach is lost by it


@pytest.mark.parametrize("noise", intervals.LAST, ids=lambda noise: noise.__doc__)
def test_where_noise_lasts_for_some_rounds_intervals_hold_more_than_if_each_counted_in_full(noise):
    found = intervals.lasts(noise, 20, trials=1000)
    if noise is intervals.LAST[0]:  # it does not last
        assert 0.93 <= found.held <= 0.975
        assert found.wider < 1.15
        return
    assert found.held - found.plain > 0.4 * (0.95 - found.plain)  # twenty rounds know little of what lasts for ten
    assert found.apart <= found.plain_apart / 2

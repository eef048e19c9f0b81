"""The ratio over all pairs, held to known truth; how often the gate cries wolf, and what it finds."""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import pairs, quick_first

from compute.scaling import statistics

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import gates  # noqa: E402

sys.path.remove(str(BENCH))

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=6, max_size=20)


@pytest.mark.parametrize(("few", "many"), [(1, 1), (2, 3), (4, 4), (3, 6)])
@pytest.mark.parametrize("outside", [0.01, 0.025, 0.2, 0.4])
def test_the_rank_is_that_of_mann_and_whitney_counted_one_by_one(few, many, outside):
    places = list(itertools.combinations(range(few + many), few))
    u = [sum(place - k for k, place in enumerate(taken)) for taken in places]
    below = [sum(x < rank for x in u) / len(u) for rank in range(few * many + 1)]
    rank = statistics._pair_rank(few, many, outside)
    assert below[rank] <= outside + 1e-12
    assert rank == few * many or below[rank + 1] > outside - 1e-12


def test_the_curve_that_stands_in_for_large_counts_is_close():
    for outside in 0.025, 0.001:
        counted = statistics._pair_rank(50, 50, outside)
        spread = math.sqrt(50 * 50 * 101 / 12)
        curve = 1250 - 0.5 + statistics.NormalDist().inv_cdf(outside) * spread
        assert counted == pytest.approx(curve, rel=0.01)
    assert statistics._pair_rank(100, 100, 0.025) == pytest.approx(4198, rel=0.005)


def test_samples_that_are_apart_have_a_ratio_that_is_known():
    ratio, (low, high) = statistics.ratio_over_pairs([2.0] * 6, [1.0] * 6)
    assert (ratio, low, high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))


@pytest.mark.parametrize("n", range(1, 6))
def test_five_samples_carry_no_interval(n):
    assert statistics.ratio_over_pairs([2.0] * n, [1.0] * 20) == (pytest.approx(2.0), None)
    assert statistics.ratio_over_pairs([2.0] * 20, [1.0] * n) == (pytest.approx(2.0), None)


def test_six_carry_997_per_thousand_and_no_more():
    assert statistics.ratio_over_pairs([2.0] * 6, [1.0] * 6, 0.997)[1] is not None
    assert statistics.ratio_over_pairs([2.0] * 6, [1.0] * 6, 0.999)[1] is None
    assert statistics.median_interval([1.0] * 6, 0.997) is None


@given(TIMES, TIMES)
def test_the_ratio_is_in_its_interval_and_turns_over(above, below):
    ratio, (low, high) = statistics.ratio_over_pairs(above, below)
    turned, (turned_low, turned_high) = statistics.ratio_over_pairs(below, above)
    assert low <= ratio <= high
    assert (1 / turned, 1 / turned_high, 1 / turned_low) == pytest.approx((ratio, low, high))
    wider = statistics.ratio_over_pairs(above, below, 0.99)[1]
    assert wider is None or (wider[0] <= low and high <= wider[1])


def test_times_as_far_apart_as_floats_are_have_a_finite_ratio():
    ratio, (low, high) = statistics.ratio_over_pairs([1e308] * 6, [5e-324] * 6)
    assert 1 < low <= ratio <= high < math.inf
    scaled, (low, high) = statistics.divide_with_interval(ratio, (low, high), 1e-300, (1e-300, 1e-300))
    assert 1 < low <= scaled <= high < math.inf


def test_many_samples_are_taken_together_by_neighbours():
    rng = np.random.default_rng(1)
    noise = [np.exp(0.1 * rng.standard_normal(20_000)) for _ in range(2)]
    _, (low, high) = statistics.ratio_over_pairs(1.02 * noise[0], noise[1])
    assert 1.0 < low < 1.02 < high < 1.04
    walk = np.exp(np.cumsum(0.001 * rng.standard_normal(20_000)))  # neighbours are alike: no 20,000 samples of anything
    _, (low, high) = statistics.ratio_over_pairs(walk, noise[1])
    assert high / low > 1.02


@pytest.mark.parametrize(
    ("noise", "rounds"), pairs(gates.NOISES[::2], gates.ROUNDS[::2]), ids=lambda x: x.__doc__ if callable(x) else None
)
def test_a_program_and_itself_are_called_a_regression_in_one_of_forty_at_most(noise, rounds):
    counts = gates.outcomes(noise, rounds, trials=100)
    assert counts["regression"] <= 6  # of 100: the chance of more, of one in forty, is 1 %


@pytest.mark.parametrize("noise", quick_first(3, gates.NOISES), ids=lambda noise: noise.__doc__)
def test_ten_percent_is_never_passed_as_fine(noise):
    counts = gates.outcomes(noise, 8, gates.SLOWER, trials=60)
    assert counts["fine"] <= 2


@pytest.mark.parametrize(("noise", "rounds", "found"), quick_first(1, [(0, 6, 60), (1, 12, 58), (4, 24, 55)]))
def test_ten_percent_is_found_where_the_intervals_carry_it(noise, rounds, found):
    assert gates.outcomes(gates.NOISES[noise], rounds, gates.SLOWER, trials=60)["regression"] >= found

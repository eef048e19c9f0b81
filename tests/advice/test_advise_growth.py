"""How advise tells growth from times at several sizes: invented times, exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.advice import growth


def compiled(name: str) -> bool:
    return name != "python"


@given(st.floats(0, 4), st.floats(1e-3, 1))
def test_a_power_is_told_by_times_at_several_sizes(p, first):
    times = {float(n): first * (n / 100) ** p for n in (100, 200, 400, 800)}
    assert growth.power(times) == pytest.approx(p, abs=1e-6)
    assert growth.predict(times, 80_000.0) == pytest.approx(first * 800**p, rel=1e-6)


def test_one_size_tells_no_growth_and_neither_do_times_that_are_mostly_dispatching():
    assert growth.power({100.0: 1.0}) is None
    assert growth.power({100.0: 50e-6, 200.0: 51e-6, 400.0: 60e-6}) is None
    assert growth.power({100.0: 50e-6, 200.0: 0.9e-3, 400.0: 4e-3}) is None
    assert growth.power({100.0: 0.1, 101.0: 0.2}) is None  # too near: noise


def test_where_growth_is_not_told_another_variant_s_is_taken():
    compiled_times = {15.0: 0.01, 30.0: 10.0}
    assert growth.predict({15.0: 0.5e-3}, 30.0, compiled_times) == pytest.approx(0.5)
    assert growth.predict({10.0: 0.5e-3}, 20.0, None) == pytest.approx(1e-3)  # else the cost's own


def test_n_log_n_is_foretold_within_a_tenth_of_what_it_takes():
    def seconds(n: float) -> float:
        return 1e-6 * n * math.log2(n)

    times = {float(n): seconds(n) for n in (1000, 2000, 4000, 8000)}
    assert growth.predict(times, 800_000.0) == pytest.approx(seconds(800_000), rel=0.2)


def test_growth_that_a_fixed_cost_hides_is_seen_where_it_begins():
    # 0.1 s and n µs: flat up to ten thousands.
    times = {float(n): 0.1 + 1e-6 * n for n in (100, 1600, 25_600, 409_600)}
    assert growth.power(dict(list(times.items())[:2])) == pytest.approx(0, abs=0.01)
    assert growth.power(times) > 0.5
    assert growth.stepping_stones([100, 409_600], float, int) == [100, 1600, 25_600, 409_600]
    assert growth.stepping_stones([100, 400, 1600], float, int) == [100, 400, 1600]
    assert growth.stepping_stones([7], float, int) == [7]


def test_how_far_a_budget_reaches():
    assert growth.reachable({100.0: 0.01, 200.0: 0.04}, 4.0) == pytest.approx(2000)
    assert growth.reachable({100.0: 1e-6}, 1.0) == pytest.approx(1e8)  # not told: as its cost says
    assert growth.reachable({100.0: 9.0}, 4.0) == 100


def looks(asked: int, enough: float, seconds) -> list[int]:
    seen: dict[int, float] = {}
    while (size := growth.next_look(seen, asked, enough)) is not None:
        seen[size] = seconds(size)
    return list(seen)


def test_sizes_double_until_one_takes_long_enough():
    assert looks(4096, 0.05, lambda n: n * 1e-4) == [16, 32, 64, 128, 256, 512]
    assert looks(4096, 0.05, lambda n: 30e-6) == [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]  # never: the asked one
    assert looks(8, 0.05, lambda n: 30e-6) == [1, 2, 4, 8]
    assert looks(1, 0.05, lambda n: 9.0) == [1]


def test_where_the_first_size_takes_long_smaller_ones_tell_the_growth():
    assert looks(4096, 0.05, lambda n: n * 1.0) == [16, 8]
    assert looks(100, 0.05, lambda n: 1.0) == [1, 3]  # there is none below 1


def test_what_grows_steeply_is_looked_at_in_smaller_steps():
    seen = looks(40 * 64, 1000.0, lambda n: 1e-9 * n**6)
    last, *_, before = seen[-1], seen[-2]
    assert (last / before) ** 6 <= growth.STEP * 1.05


def test_a_variant_is_left_out_where_no_number_of_workers_makes_up_for_it():
    forecasts = {"nogil": 0.044, "python": 4.3}
    assert growth.variants_to_drop(forecasts, {"nogil": 1.0, "python": 50.0}, 2, compiled) == {
        "python": pytest.approx(97.7, 0.01)
    }
    assert growth.variants_to_drop({"nogil": 1.0, "python": 2.5}, {"nogil": 1.0, "python": 1.0}, 2, compiled) == {}


def test_a_compiled_variant_is_never_left_out_for_want_of_sizes_that_tell():
    # At a tiny size waking and dispatching are all there is: 60 µs against 20.
    forecasts = {"nogil": 60.0, "python": 2.0}
    assert growth.variants_to_drop(forecasts, {"nogil": math.inf, "python": math.inf}, 2, compiled) == {}
    # What is told counts, what is not does not: a small forecast that nothing bears is not the fastest.
    assert "nogil" not in growth.variants_to_drop(forecasts, {"nogil": 1.0, "python": math.inf}, 2, compiled)


def test_the_further_a_forecast_reaches_the_less_it_leaves_out():
    forecasts = {"packed": 1.0, "nogil": 4.0}
    assert "nogil" in growth.variants_to_drop(forecasts, {"packed": 1.0, "nogil": 1.0}, 2, compiled)
    assert growth.variants_to_drop(forecasts, {"packed": 100.0, "nogil": 400.0}, 2, compiled) == {}

"""What advise decides: choices, break-even sizes and first costs, from invented measurements, exactly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from example_candidates import candidate
from hypothesis import given, settings
from hypothesis import strategies as st

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from compute.advice import decision, growth
from compute.advice.decision import CostScale, Crossing
from compute.advice.search import Search
from compute.scaling.calibration import LARGEST
from compute.scaling.dataset import Point

LINEAR = CostScale(float, round)  # of a kernel whose cost is its size
SLOWLY = LINEAR.to_the_power(growth.LEAST)  # of one whose time was hardly seen to grow
SQUARE = CostScale(lambda size: size**2.0, lambda cost: round(cost**0.5))


def test_the_fastest_is_advised_where_nothing_comes_near_it():
    found = [candidate(Serial(), 0.023), candidate(Threads(2), 0.0121), candidate(Processes(2), 0.0150)]
    assert decision.choose(found) == (found[1], [])


def test_of_those_within_noise_the_simplest_is_advised():
    serial, joblib = candidate(Serial(), 0.023), candidate(Joblib(2), 0.0120)
    processes, threads = candidate(Processes(2), 0.0121), candidate(Threads(2), 0.0122, width=0.02)
    assert decision.choose([serial, joblib, processes, threads]) == (
        threads,
        [joblib, processes],
    )  # alike but for their time


def test_fewer_workers_are_simpler():
    two, four = candidate(Threads(2), 0.0101), candidate(Threads(4), 0.0100)
    assert decision.choose([candidate(Serial(), 0.02), four, two]) == (two, [four])


def test_serial_is_advised_where_it_is_within_noise_of_the_fastest():
    serial, threads = candidate(Serial(), 0.0101), candidate(Threads(2), 0.0100)
    assert decision.choose([serial, threads]) == (serial, [threads])


def test_wide_intervals_do_not_make_twice_as_slow_the_same():
    serial, threads = candidate(Serial(), 0.0077, width=0.5), candidate(Threads(2), 0.0031, width=0.5)
    assert decision.choose([serial, threads]) == (threads, [])


def test_what_is_slower_than_serial_is_never_within_noise():
    # Threads' wide interval reaches down to the fastest, but their median is above serial's.
    serial, prange = candidate(Serial(), 0.020), candidate(Prange(2), 0.0150)
    threads = candidate(Threads(2), 0.021, width=0.5)
    assert decision.choose([serial, prange, threads]) == (prange, [])


def test_serial_is_its_fastest_variant():
    blas, nogil = candidate(Serial(), 0.010, "blas"), candidate(Serial(), 0.020)
    threads = candidate(Threads(2), 0.0105)
    assert decision.best_serial([nogil, blas, threads]) == blas
    assert decision.choose([nogil, blas, threads])[0] == blas


def test_serial_is_not_advised_where_something_clearly_beats_it():
    # The fastest has a wide interval that reaches serial's; threads are a little slower and clearly below it.
    serial, prange = candidate(Serial(), 0.020), candidate(Prange(2), 0.0150, width=0.5)
    threads, joblib = candidate(Threads(2), 0.0160), candidate(Joblib(2), 0.0199, width=0.3)
    assert decision.choose([serial, prange, threads, joblib])[0] == threads


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([Threads(2), Threads(4), Prange(2), Processes(2)]), st.floats(0.5, 2), st.floats(0, 0.9)
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one[0],
    ),
    st.floats(0, 0.9),
)
def test_the_advice_and_the_break_evens_agree_at_the_size_that_was_asked(others, width):
    def at(size, factor):
        return [
            candidate(Serial(), 1.0 * factor, width=width, size=size),
            *(candidate(on, s * factor, width=w, size=size) for on, s, w in others),
        ]

    by_size = {1000: at(1000, 1.0), 4000: at(4000, 4.0)}
    use, _ = decision.choose(by_size[4000])
    wins = {one.backend for one in decision.break_evens(by_size, LINEAR) if one.warm.how in ("measured", "always")}
    assert use.backend == "serial" if not wins else use.backend in wins
    assert use.interval[0] <= min(by_size[4000], key=lambda c: c.seconds).interval[1]


def test_a_speedup_that_so_many_workers_cannot_give_is_doubtful():
    serial, python = candidate(Serial(), 1.0), candidate(Serial(), 40.0, "python")
    four, two = candidate(Threads(4), 0.4), candidate(Threads(2), 0.048)
    waits = candidate(Processes(2), 20.5, "python")
    found = [serial, python, four, two, waits]
    assert decision.doubtful(found, cpus=None) == [two]  # 20.8 times
    assert decision.doubtful(found, cpus=2) == [four, two]  # four workers share two CPUs
    assert decision.doubtful([serial, candidate(Threads(2), 0.49)], cpus=2) == []  # 2.04: clocks wander


BACKENDS = st.sampled_from([Threads(2), Threads(4), Prange(2), Processes(2), Joblib(2), Coroutines(2)])
SECONDS = st.floats(1e-6, 10.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(BACKENDS, SECONDS, st.floats(0, 0.9)), max_size=6), SECONDS, st.floats(0, 0.9))
def test_nothing_slower_than_serial_is_ever_advised(others, seconds, width):
    serial = candidate(Serial(), seconds, width=width)
    found = [serial, *(candidate(on, s, width=w) for on, s, w in others)]
    use, equals = decision.choose(found)
    assert all(c.seconds <= serial.seconds for c in (use, *equals))
    fastest = min(found, key=lambda c: c.seconds)
    assert use.interval[0] <= fastest.interval[1]
    assert use.seconds <= decision.NEAR * fastest.seconds


@pytest.mark.parametrize(
    ("ours", "serial", "expected"),
    [
        ([9, 9, 9, 9], [1, 2, 4, 8], Crossing(8000, "never")),
        ([0.5, 1, 2, 4], [1, 2, 4, 8], Crossing(1000, "always")),
        # 2 behind at 2000, 2 ahead at 4000.
        ([4, 4, 2, 4], [1, 2, 4, 8], Crossing(3000, "measured")),
        # A win that is lost again is none.
        ([0.5, 4, 2, 4], [1, 2, 4, 8], Crossing(3000, "measured")),
        # What both pay alike changes nothing.
        ([10.5, 14, 12, 14], [11, 12, 14, 18], Crossing(3000, "measured")),
        # Just as fast does not win.
        ([4, 2, 2, 4], [1, 2, 4, 8], Crossing(2000, "measured")),
        ([9, 9, 9, 8], [1, 2, 4, 8], Crossing(8000, "never")),
    ],
)
def test_where_two_curves_cross(ours, serial, expected):
    assert decision.crossing([1000, 2000, 4000, 8000], ours, serial, LINEAR) == expected


def test_curves_cross_in_between_by_cost_not_by_size():
    assert decision.crossing([100, 700], [4, 2], [3, 3], SQUARE) == Crossing(500, "measured")


@given(st.floats(1e-5, 1e-1), st.floats(1.2, 60), st.integers(200, 10**7))
def test_a_crossing_is_found_within_the_digits_that_it_is_told_in(overhead, speedup, at):
    # serial = a·n and ours = overhead + serial / speedup cross at n = `at`; sizes a factor of 4 apart.
    a = overhead / (at * (1 - 1 / speedup))
    sizes = [max(1, round(at * 4.0 ** (k - 0.3))) for k in range(-3, 5)]
    serial = [a * n for n in sizes]
    found = decision.crossing(sizes, [overhead + t / speedup for t in serial], serial, LINEAR)
    assert found.how == "measured"
    assert found.size == pytest.approx(at, rel=0.06)


def test_a_projection_says_how_much_more_work_pays_for_opening():
    # 1 s more to begin with, 0.01 s less at this size: after 100 times the work they are even.
    assert decision.payoff(0.01, 1.51, 0.02, 0.52) == pytest.approx(100)
    assert decision.payoff(0.019, 1.5, 0.02, 0.5) is None  # hardly faster warm: noise would foretell it
    assert decision.payoff(0.03, 1.5, 0.02, 0.5) is None  # slower warm: never
    assert decision.payoff(0.01, 1000.0, 0.02, 0.5) is None  # too far to be foretold


def test_break_evens_warm_and_cold():
    sizes = {1000: (0.001, 0.002), 2000: (0.002, 0.0025), 4000: (0.004, 0.002), 8000: (0.008, 0.004)}
    by_size = {
        size: [
            candidate(Serial(), serial, size=size, loading=0.5),
            candidate(Threads(2), threads, size=size, loading=0.5),
            candidate(Threads(4), 1.0, size=size, loading=0.5),  # the best of a backend counts
            candidate(Processes(2), threads, size=size, opening=0.3, loading=0.5),
        ]
        for size, (serial, threads) in sizes.items()
    }
    threads, processes = decision.break_evens(by_size, LINEAR)
    assert (threads.backend, processes.backend) == ("threads", "processes")
    assert threads.warm == processes.warm == Crossing(2400, "measured")
    assert threads.cold == Crossing(2400, "measured")
    assert processes.cold == Crossing(8000 * 75, "projected")  # 0.3 s for 0.004 s each


def test_closer_looks_are_taken_between_losing_and_winning():
    def at(size, threads):
        return [candidate(Serial(), size * 1e-6, size=size), candidate(Threads(2), threads, size=size)]

    assert decision.gaps({1000: at(1000, 9.0), 4000: at(4000, 0.001)}, LINEAR) == [2000]
    assert decision.gaps({1000: at(1000, 9.0), 1400: at(1400, 0.001)}, LINEAR) == []  # close enough
    assert decision.gaps({1000: at(1000, 1e-9), 4000: at(4000, 1e-9)}, LINEAR) == []  # wins everywhere
    assert decision.gaps({1000: at(1000, 9.0), 4000: at(4000, 9.0)}, LINEAR) == []  # nowhere


def test_a_ladder_goes_down_by_cost_to_where_no_pool_is_woken():
    assert decision.ladder(64_000, 0.064, 1e-3, 4, LINEAR) == [1000, 4000, 16000]
    assert decision.ladder(64_000, 1e-5, 1e-3, 4, LINEAR) == []
    assert decision.ladder(4, 1.0, 1e-3, 4, LINEAR) == [1]
    assert decision.ladder(400, 64e-3, 1e-3, 4, SQUARE) == [50, 100, 200]


def point(backend, workers, variant, startup, compiling, samples=(1.0, 2.0, 3.0), size=7) -> Point:
    return Point("k", size, variant, backend, workers, samples[0], tuple(samples), startup=startup, compile=compiling)


def test_each_is_charged_what_the_first_of_its_kind_paid():
    costs = decision.first_costs(
        [
            point("serial", 1, "nogil", 0.0, 0.6),
            point("threads", 2, "nogil", 0.001, 0.01),  # found serial's compiled code
            point("processes", 4, "nogil", 0.9, 0.3),
            point("processes", 2, "nogil", 0.1, 0.2),  # found the fork server
            point("serial", 1, "python", 0.0, 0.02),
            point("threads", 2, "python", 0.001, 0.03),
        ],
        importing=1.0,
    )
    assert costs == {
        ("serial", 1, "nogil"): (0.0, 1.6),
        ("threads", 2, "nogil"): (0.001, 1.6),
        ("processes", 4, "nogil"): (0.9, 1.3),
        ("processes", 2, "nogil"): (0.9, 1.3),
        ("serial", 1, "python"): (0.0, 0.03),  # needs no numba
        ("threads", 2, "python"): (0.001, 1.03),
    }


def test_no_first_use_wins_before_a_warm_run_does():
    by_size = {
        size: [
            candidate(Serial(), seconds, size=size, opening=0.5),  # numba happened to load slowly for serial
            candidate(Threads(2), 2 * seconds, size=size, opening=0.2),
        ]
        for size, seconds in ((1000, 0.01), (2000, 0.02))
    }
    (threads,) = decision.break_evens(by_size, LINEAR)
    assert threads.warm == threads.cold == Crossing(2000, "never")


def test_candidates_are_sorted_and_their_cold_time_is_the_sum():
    points = [point("serial", 1, "nogil", 0.0, 0.5), point("threads", 2, "nogil", 0.25, 0.5, samples=(0.5, 0.7, 0.6))]
    found = decision.candidates(points, decision.first_costs(points), [Serial(), Threads(2)])
    assert list(found) == [7]
    threads, serial = found[7]
    assert (threads.on, threads.seconds, threads.runs) == (Threads(2), 0.6, 3)
    assert threads.interval == pytest.approx((0.5 * (1 - 0.5 / 3), 0.7 * (1 + 0.5 / 3)))  # too few runs for a real one
    assert threads.cold == pytest.approx(0.25 + 0.5 + 0.6)
    assert (serial.on, serial.seconds) == (Serial(), 2.0)


def test_a_size_beyond_all_that_there_are_is_no_break_even():
    """Where a hundred times the time is a size of a hundred to the tenth times, it never pays."""
    found = [candidate(Serial(), 0.0100), candidate(Threads(2), 0.0055, opening=0.5)]
    (projected,) = decision.break_evens({100_000: found}, LINEAR)
    assert projected.cold.how == "projected"
    (never,) = decision.break_evens({100_000: found}, SLOWLY)
    assert never.cold.how == "never"


@pytest.mark.parametrize("rise", [1.0005, 1.01, 1.5, 4.0, 1e4])
def test_sizes_are_numbers_however_little_times_grow(rise):
    """Noise makes a time that does not grow at all rise by a thousandth from one size to the next."""
    bench = SimpleNamespace(
        contenders=[SimpleNamespace(kernel=SimpleNamespace(variant="nogil"))],
        alone={"nogil": {1000.0: 0.01, 10_000.0: 0.01 * rise}},
        cost=float,
    )
    scale = Search.cost_scale.fget(SimpleNamespace(bench=bench))
    for share in (1.0, 100.0, 1e6):
        assert 10_000 - 1 <= scale.size(share * scale.cost(10_000)) <= 2 * LARGEST

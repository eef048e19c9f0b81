"""The gauges, and what follows from their rates."""

import numpy as np
import pytest
from compiler import needs_compiler

from compute import machine
from compute.scaling import ceiling
from compute.scaling.ceiling import Ceilings, gauges, memory_share, pins, rate, registers
from compute.timeline import SPAN, LaneTotals, Timeline
from kernels import Plan, count_primes, kernel, triad

RATES = Ceilings({("compute", 1): [1.0, 2.0, 1.0], ("compute", 4): [3.6, 7.4, 3.8],
                  ("memory", 1): [1.0] * 3, ("memory", 4): [2.0, 1.9, 2.1]})  # fmt: skip


def test_a_ceiling_is_the_median_of_the_rounds_ratios():
    assert RATES.speedup("compute", 4) == 3.7
    assert RATES.speedup("memory", 4) == 2.0
    assert RATES.speedup("memory", 1) == 1.0
    assert RATES.speedup("memory", 8) is None
    assert RATES.rate_alone("compute") == 1.0


def test_between_the_two_kinds_the_times_add_up():
    assert RATES.blend(4, 0.0) == pytest.approx(3.7)
    assert RATES.blend(4, 1.0) == pytest.approx(2.0)
    assert RATES.blend(4, 0.5) == pytest.approx(1 / (0.5 / 3.7 + 0.5 / 2.0))
    assert RATES.blend(8, 0.5) is None


def test_no_machine_allows_more_than_n():
    assert Ceilings({("compute", 1): [1.0], ("compute", 2): [2.5]}).speedup("compute", 2) == 2.0


def test_no_machine_allows_less_than_one_nor_more_than_its_cpus():
    crowd = {("compute", 1): [1.0], ("compute", 2): [0.9], ("compute", 4): [2.3]}
    assert Ceilings(crowd, 2).speedup("compute", 2) == 1.0
    assert Ceilings(crowd, 2).speedup("compute", 4) == 2.0
    assert Ceilings(crowd).speedup("compute", 4) == 2.3


@pytest.mark.parametrize(("usable", "cpus"), [(1, 64), (2, 64), (2, 2)])
def test_where_lanes_are_many_those_that_were_measured_speak_for_more(monkeypatch, usable, cpus):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: usable)
    most = ceiling.most_lanes()
    of = Ceilings({("compute", n): [1.0 + (n > 1)] for n in (1, most)}, cpus)
    assert of.controls(4 * most) == of.controls(most) is not None
    assert of.speedup("compute", 4 * most) == 2.0


def test_without_the_triad_all_is_computing():
    assert Ceilings({("compute", 1): [1.0], ("compute", 2): [1.9]}).blend(2, 1.0) == 1.9


def test_a_lane_that_came_late_does_not_lower_the_rate():
    lanes = (LaneTotals(0, 1, 1, 6, 0.0, 3.0, 3.0), LaneTotals(1, 1, 2, 2, 2.0, 3.0, 1.0))
    assert rate(Timeline(np.empty(0, SPAN), lanes)) == (6 / 3 + 2 / 1) / 8


@needs_compiler
def test_the_controls_run_at_one_and_at_every_count():
    with gauges([2]) as made:
        assert [gauge.key for gauge in made] == [("compute", 1), ("memory", 1), ("compute", 2), ("memory", 2)]
        assert all(gauge.run() > 0 for gauge in made)


def test_without_numba_there_are_none(monkeypatch):
    monkeypatch.setattr(ceiling, "numba_is_here", lambda: False)
    with gauges([2]) as made:
        assert made == []


@needs_compiler
def test_where_memory_is_short_there_is_no_triad(monkeypatch):
    monkeypatch.setattr(machine, "memory_available", lambda *_: 1 << 20)
    with gauges([1]) as made:
        assert [gauge.bound for gauge in made] == ["compute"]


def test_the_register_control_is_the_same_both_ways():
    assert np.array_equal(registers.python(3, 5), registers.nogil(3, 5))


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([[0], [1]], 2, (0, 1)),
        ([[0, 2], [1, 3]], 2, (0, 1)),  # one hardware thread of each core first
        ([[0, 2], [1, 3]], 4, (0, 1, 2, 3)),
        ([[4], [6]], 3, ()),
    ],
)
def test_lanes_get_distinct_cores_while_there_are_any(monkeypatch, cores, workers, expected):
    monkeypatch.setattr(machine, "cores", lambda *_: cores)
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: sum(map(len, cores)))
    assert pins(workers) == expected


@kernel
def unsaid(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


def test_the_kind_is_what_the_kernel_says_or_what_its_bytes_show():
    assert memory_share(count_primes, Plan(1), 1.0, 1e9) == 0.0
    streams = triad.plan(np.zeros(10**6), np.zeros(10**6), 2.0)  # 24 MB
    assert memory_share(triad, streams, 0.024, 4e9) == memory_share(triad, streams, 0.024, None) == 1.0
    assert memory_share(triad, streams, 0.024, 11e9) == 0.0  # at a ninth of that rate it waits for other things
    plan = unsaid.plan(np.zeros(10**6))
    assert memory_share(unsaid, plan, 0.016, 2e9) == pytest.approx(0.5)  # 16 MB in 16 ms is half of 2 GB/s
    assert memory_share(unsaid, plan, 0.016, None) == 0.0
    assert memory_share(unsaid, unsaid.plan(np.zeros(100)), 1e-7, 2e9) == 0.0  # all in the cache

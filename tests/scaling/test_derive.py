"""Figures that follow from samples."""

from dataclasses import replace

import pytest
from example_points import a_point

from compute.scaling.derive import Baselines, compare_points
from compute.scaling.statistics import median_interval

SERIAL = a_point(samples=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], work=7.0)


def test_everything_that_follows_from_the_samples():
    serial, two = compare_points([SERIAL, a_point("threads", 2, [s / 1.6 for s in SERIAL.samples], work=7.0)])
    assert (serial.seconds, serial.rounds, serial.rate) == (3.5, 6, 2.0)
    assert serial.seconds_ci == median_interval(SERIAL.samples)
    assert (serial.speedup, serial.speedup_ci, serial.efficiency, serial.baseline) == (1.0, (1.0, 1.0), 1.0, "serial")
    assert two.speedup == pytest.approx(1.6)
    assert two.speedup_ci == pytest.approx((1.6, 1.6))  # the drift is the same in both, round by round
    assert (two.efficiency, two.baseline) == (pytest.approx(0.8), "serial")


@pytest.mark.parametrize("other", [{"kernel": "primes"}, {"size": 513}, {"variant": "python"}, {"arguments": "512, 9"}])
def test_the_baseline_is_the_same_kernel_size_arguments_and_variant(other):
    _, two = compare_points([SERIAL, a_point("threads", 2, **other)])
    assert (two.speedup, two.speedup_ci, two.efficiency, two.baseline) == (None, None, None, None)


def test_one_worker_stands_in_for_serial_only_where_there_is_none():
    one, two = a_point("threads", 1, [2.0] * 6), a_point("threads", 2, [1.0] * 6)
    assert [(p.speedup, p.baseline) for p in compare_points([one, two])] == [(1.0, "one worker"), (2.0, "one worker")]
    assert [(p.speedup, p.baseline) for p in compare_points([SERIAL, one, two])][1:] == [
        (1.75, "serial"),
        (3.5, "serial"),
    ]


def test_speedup_is_the_median_of_the_rounds_own_ratios_where_they_pair():
    two = a_point("threads", 2, [1.0, 1.0, 1.0, 2.0, 2.5, 4.0])
    assert [p.speedup for p in compare_points([SERIAL, two])] == [1.0, 2.0]  # of 1, 2, 3, 2, 2 and 1.5
    assert [p.speedup for p in compare_points([SERIAL, two], paired=False)] == [1.0, 3.5 / 1.5]


def test_three_rounds_give_a_speedup_and_no_interval():
    _, two = compare_points([a_point(samples=[2.0] * 3), a_point("threads", 2, [1.0] * 3)])
    assert (two.speedup, two.speedup_ci, two.seconds_ci, two.rounds) == (2.0, None, None, 3)


def test_comparing_twice_changes_nothing():
    once = compare_points([SERIAL, a_point("threads", 2)])
    assert compare_points(once) == once
    assert compare_points(replace(p, seconds=0.1) for p in once) == once


def test_a_baseline_is_of_the_same_work_in_the_same_file_and_mode():
    here, there = (a_point(file=file, mode="strong") for file in ("a.json", "b.json"))
    alone = a_point("threads", file="b.json", mode="weak")
    baselines = Baselines([here, there, alone])
    assert baselines.of(a_point("threads", 2, file="a.json", mode="strong")) == ("serial", here)
    assert baselines.of(a_point("threads", 2, file="b.json", mode="strong")) == ("serial", there)
    assert baselines.of(a_point("threads", 2, file="b.json", mode="weak")) == ("one worker", alone)
    assert baselines.of(a_point("threads", 2, size=1, file="a.json", mode="strong")) == (None, None)

"""Where a sleeping lane wakes, and that it may run anywhere from then on."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from example_kernels import nothing
from patience import PATIENCE

from compute import Threads, machine
from compute.lanes import usage
from kernels import Plan, kernel

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity of threads here")


@kernel(plan=lambda n: Plan(n, shape=(n,), grain=1), compiled=False)
def choices(lo, hi, out):
    """How many CPUs the lane may run on; long enough for every lane to come."""
    time.sleep(0.05)
    out[lo:hi] = len(os.sched_getaffinity(0))


def asleep(pool):
    deadline = time.monotonic() + PATIENCE
    while not all(lane.sleeps for lane in pool._threads._lanes):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def noted(monkeypatch):
    """The threads that are held to a CPU, and to which, from now on."""
    held, pin_to = [], usage.pin_to

    def noting(cpu, thread=0):
        held.append((cpu, thread))
        return pin_to(cpu, thread)

    monkeypatch.setattr(usage, "pin_to", noting)
    return held


def test_with_a_lane_for_every_cpu_the_sleeping_ones_wake_on_cpus_of_their_own(monkeypatch):
    cpus = machine.allowed_cpus()
    held = noted(monkeypatch)
    with Threads(len(cpus)).open() as pool:
        for _ in range(3):
            asleep(pool)
            held.clear()
            result = pool.run(choices, 2 * len(cpus))
            assert result.value.tolist() == [len(cpus)] * 2 * len(cpus)  # none is held while it works
            assert len({lane.thread for lane in result.timeline.lanes}) == len(cpus)
            places, threads = [cpu for cpu, _ in held], {thread for _, thread in held}
            assert len(set(places)) == len(places) == len(threads) == len(cpus) - 1
            assert set(places) <= set(cpus)
            assert os.getpid() not in threads


def test_with_fewer_lanes_than_cpus_the_system_chooses(monkeypatch):
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 1, 2, 3])
    held = noted(monkeypatch)
    with Threads(2).open() as pool:
        asleep(pool)
        pool.run(nothing, 4)
    assert held == []


def test_where_it_is_refused_a_lane_wakes_all_the_same(monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 1])
    with Threads(2).open() as pool:
        asleep(pool)
        assert np.all(pool.run(choices, 4).value == len(os.sched_getaffinity(0)))


def test_a_lane_that_a_ctrl_c_kept_asleep_is_let_go_by_the_next_run():
    cpus = machine.allowed_cpus()
    with Threads(2).open() as pool:
        asleep(pool)
        for cpu in cpus:  # each cut off before the job was given
            pool._threads._lanes[0].wake_on(cpu)
        assert pool.run(choices, 4).value.tolist() == [len(cpus)] * 4

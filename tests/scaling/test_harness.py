"""The timer's step, a run of nothing, and the warnings about times that are too short for either."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from compute import Prange, Processes, Serial, Threads
from compute.scaling import harness
from compute.scaling.dataset import Point


class Clock:
    """A clock that ticks once in three readings."""

    def __init__(self, *ticks: float) -> None:
        self.ticks, self.readings = ticks, 0

    def __call__(self) -> float:
        self.readings += 1
        whole, rest = divmod(self.readings // 3, len(self.ticks))
        return whole * sum(self.ticks) + sum(self.ticks[:rest])


def test_resolution_is_the_smallest_step_that_is_not_zero(monkeypatch):
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=Clock(0.25, 0.125, 0.5)))
    assert harness.resolution() == 0.125


def test_this_clock_has_a_step_and_knows_its_own():
    assert time.get_clock_info("perf_counter").resolution <= harness.resolution() * (1 + 1e-9)


class Pool:
    """Takes 9 s for the first run and then 1, 2, 3 … s; workers: 4."""

    workers = 4

    def __init__(self) -> None:
        self.warmed: list[object] = []
        self.runs: list[object] = []

    def warm(self, kernel, *args, variant):
        self.warmed.append((kernel, args, variant))

    def run(self, kernel, *args, variant):
        self.runs.append((kernel, args, variant))
        return SimpleNamespace(seconds=float(len(self.runs) - 1 or 9))


def test_overhead_is_the_median_run_of_nothing_on_a_warm_pool():
    pool = Pool()
    assert harness.overhead(pool, "python") == (harness.RUNS + 1) / 2  # of 1 … RUNS; the first run does not count
    assert pool.warmed == [(harness.nothing, (4,), "python")]
    assert set(pool.runs) == {(harness.nothing, (4,), "python")}


@pytest.mark.parametrize("backend", [Serial(), Threads(2), Processes(2)], ids=repr)
def test_nothing_has_a_chunk_for_each_lane_on_every_pool(backend):
    with backend.open() as pool:
        lanes = pool.run(harness.nothing, pool.workers).timeline.lanes
        assert sum(lane.chunks for lane in lanes) == pool.workers
        assert harness.overhead(pool) > 0


@pytest.mark.parametrize("seconds", [1.0, 2e-3])
def test_a_long_time_is_not_warned_of(seconds):
    assert list(harness.warn("triad", seconds, resolution=1e-7, overhead=1e-4)) == []


def test_a_time_that_is_mostly_the_run_itself_is_warned_of():
    assert list(harness.warn("triad · threads 2", 5e-4, resolution=1e-7, overhead=1e-4)) == [
        "triad · threads 2: the run itself takes 20 % of 500 µs without computing anything;"
        " take a size that runs for 2.00 ms or longer"
    ]


def test_a_time_of_a_few_steps_of_the_timer_is_warned_of():
    assert list(harness.warn("triad", 0.05, resolution=0.015625, overhead=1e-6)) == [
        "triad: 50.0 ms is under 10 steps of the timer, which are 15.6 ms each;"
        " take a size that runs for 156 ms or longer"
    ]
    assert list(harness.warn("triad", 0.15625, resolution=0.015625, overhead=0.0)) == []


def test_both_reasons_are_told():
    assert len(list(harness.warn("triad", 1e-7, resolution=1e-7, overhead=1e-4))) == 2


def test_the_first_touch_is_what_it_takes_beyond_a_later_one(monkeypatch):
    """A clock that stands at 0, 5, 5, 6 s: the first pass over 16 MB took 5 s, the second 1 s."""
    ticks = iter([0.0, 5.0, 5.0, 6.0, 6.0])
    monkeypatch.setattr(harness, "time", SimpleNamespace(thread_time=lambda: next(ticks)))
    assert harness.first_touch(["heap"]) == {"first_touch of heap": 4.0 * harness.MEGABYTE / harness.TOUCHED}


def test_every_kind_of_memory_has_a_first_touch():
    found = harness.first_touch(["heap", "shared", "mapped"])
    assert list(found) == ["first_touch of heap", "first_touch of mapped", "first_touch of shared"]
    assert all(0 <= seconds < 1 for seconds in found.values())


def ran(backend, workers, seconds, kernel="triad"):
    return Point(kernel, 100, "nogil", backend, workers, seconds, (seconds,))


def test_backends_on_which_a_run_of_nothing_is_a_good_part_of_a_run_are_named_once():
    costs = {
        "overhead": 1e-5,
        "overhead of joblib 2": 5e-4,
        "overhead of joblib 1": 3e-4,
        "overhead of threads 2": 2e-5,
    }
    points = [
        ran("serial", 1, 0.01), ran("threads", 2, 0.005), ran("joblib", 1, 0.01), ran("joblib", 2, 0.005),
        ran("joblib", 2, 0.1, "matmul"), ran("prange", 2, 1e-6),
    ]  # fmt: skip
    assert list(harness.about_runs(points, costs)) == [
        "an empty run takes a good part of some times: joblib 2, 500 µs of 5.00 ms (10 %, triad · nogil); a larger"
        " budget makes runs longer"
    ]
    assert list(harness.about_runs([ran("joblib", 2, 0.1)], costs)) == []
    assert list(harness.about_runs(points, {"overhead": 1.0})) == []


def test_what_starting_takes_beside_the_work_itself_is_told_of_one_worker():
    """Work that streams memory leaves Python and the workers cold: a run of nothing is quicker than what it starts."""
    costs = {"overhead of joblib 1": 3e-4, "overhead of joblib 2": 3e-4}
    ledger = {"startup": 1e-3, "transfer": 2e-4}
    one, two = (replace(ran("joblib", n, 0.02), ledger=ledger) for n in (1, 2))
    assert list(harness.about_runs([two], costs)) == []  # where one lane may have waited for the other
    assert list(harness.about_runs([one, two], costs)) == [
        "an empty run takes a good part of some times: joblib 1, 300 µs of 20.0 ms, and 1.20 ms beside this work (6 %,"
        " triad · nogil); a larger budget makes runs longer"
    ]


def test_where_shared_memory_is_short_it_is_not_touched(monkeypatch):
    """A container may have 8 MB of it, enough for the arrays of whoever measures there."""
    monkeypatch.setattr(harness.machine, "shared_memory_free", lambda *_: 2**23)
    assert list(harness.first_touch(["heap", "shared"])) == ["first_touch of heap"]


def test_a_pool_that_cannot_run_nothing_has_no_overhead():
    """Prange, where no compiler is."""
    with Threads(2).open() as threads, Prange(1).open() as prange, pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "nothing", harness.nothing.python)
        assert list(harness.overheads([threads, prange])) == ["overhead of threads 2"]

"""What lanes note of themselves where a run is observed, on every backend; and where the system tells nothing."""

import os
import sys

import numpy as np
import pytest

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, usage
from compute.control import PIN, UNKNOWN, Control
from compute.scaling.ceiling import pins
from kernels import Plan, count_primes

ON = [Serial(), Threads(2), Prange(2), Processes(2), Joblib(2), Joblib(2, kind="threading"), Coroutines(2)]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells all of it")


@linux
@pytest.mark.parametrize("backend", ON, ids=repr)
def test_lanes_are_pinned_and_let_go_and_note_what_they_used(backend):
    before = os.sched_getaffinity(0)
    cpus = pins(backend.workers)
    with backend.open() as pool:
        pool.warm(count_primes, 10**7)
        with pool.observed(cpus):
            lanes = pool.run(count_primes, 10**7).timeline.lanes
        after = pool.run(count_primes, 10**7).timeline.lanes
    assert os.sched_getaffinity(0) == before
    one_thread = backend.name == "coroutines"  # all of it on the first lane's CPU
    told = [cpus[0 if one_thread else lane.lane] if cpus else None for lane in lanes]
    assert [lane.cpu_number for lane in lanes] == told
    assert all(lane.cpu_number is None and lane.process_cpu is None for lane in after)
    thread = lanes[:1] if one_thread else lanes
    for lane in thread:
        assert lane.process_cpu is not None
        assert lane.process_cpu >= lane.cpu * 0.9
        if os.path.exists(usage.SCHEDSTAT):
            assert lane.queued is not None
            assert 0 <= lane.queued <= lane.wall + 0.1
        assert None not in (lane.voluntary, lane.involuntary, lane.faults)


@linux
def test_prange_lanes_say_which_thread_they_were():
    with Prange(2).open() as pool:
        pool.warm(count_primes, 10**7)
        with pool.observed():
            lanes = pool.run(count_primes, 3 * 10**7).timeline.lanes
    assert len({lane.thread for lane in lanes}) == len(lanes)


def a_control(*cpus):
    control = Control(np.zeros(Control.length(1, 1), np.int64))
    control.lay_out(Plan(1), 1, detailed=True, pins=cpus)
    return control


def test_a_cpu_that_is_refused_is_not_claimed():
    control = a_control(100_000)
    with usage.noted(control.words, 0):
        pass
    assert control.words[Control.line(0) + PIN] == 0


def test_where_the_system_tells_nothing_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(usage, "SCHEDSTAT", str(tmp_path / "none"))
    monkeypatch.setattr(usage, "RUSAGE_THREAD", None)
    control = a_control()
    with usage.noted(control.words, 0):
        pass
    assert usage.read()[:4] == (UNKNOWN,) * 4
    assert Control._details(control.words[Control.line(0) : Control.line(1)])["queued"] is None


@pytest.mark.parametrize("text", ["", "12", "a b c"])
def test_a_file_that_says_something_else_says_nothing(monkeypatch, tmp_path, text):
    (tmp_path / "schedstat").write_text(text)
    monkeypatch.setattr(usage, "SCHEDSTAT", str(tmp_path / "schedstat"))
    assert usage.read()[0] == UNKNOWN

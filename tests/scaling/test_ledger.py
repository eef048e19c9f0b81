"""The ledger of invented timelines, to the second; and of real runs in which seconds were planted."""

import math
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute import Serial, Threads
from compute.lanes import usage
from compute.scaling import ledger
from compute.scaling.build_point import Run, _details, system_beyond_serial
from compute.timeline import SPAN, LaneTotals, Timeline
from kernels import Plan, kernel

SECTIONS = {"plan": 0.5, "transfer": 0.25, "dispatch": 8.0, "finish": 0.25}


def lane(number, start, stop, cpu, **more):
    return LaneTotals(number, 1, number, 1, start, stop, cpu, **more)


def timeline(*lanes, sections=SECTIONS, sending=0.0):
    return Timeline(np.empty(0, SPAN), lanes, sections, dispatched=100.0, sending=sending)


def test_every_core_second_is_accounted_for():
    two = timeline(lane(0, 101.0, 107.0, 4.0, queued=1.0), lane(1, 100.5, 105.0, 4.5, queued=0.0))
    assert ledger.entries(two, 9.0, 2, useful=7.0) == {
        "useful": 7.0,
        "inflation": 1.5,  # 4 + 4.5 of CPU, for what takes 7
        "waiting": 0.0,
        "blocked": 1.0,  # 6 in the loop, 4 of them on a CPU, 1 waiting for one
        "runqueue": 1.0,
        "idle": 2.0,  # the first computed until 107, the second had left at 105
        "startup": 1.0 + 0.5 + 2 * 1.0,  # both ways: from 100 to the lanes' starts, and from 107 to 108
        "transfer": 0.5,
        "serialisation": 0.0,
        "network": 0.0,
        "scheduler": 0.0,
        "serial": 1.5,
        "unexplained": 0.0,
    }
    assert ledger.unknown(two) == ()


def test_the_waits_of_the_work_are_waiting_and_what_is_beyond_is_blocked():
    two = timeline(lane(0, 100.0, 108.0, 1.0, queued=1.0), lane(1, 100.0, 108.0, 1.0, queued=1.0))
    found = ledger.entries(two, 9.0, 2, useful=2.0, waits=8.0)
    assert (found["waiting"], found["blocked"], found["runqueue"]) == (8.0, 4.0, 2.0)
    assert ledger.entries(two, 9.0, 2, useful=2.0, waits=99.0)["waiting"] == 12.0
    assert ledger.waited(two) == 12.0


def test_messages_are_transfer_and_not_start_up():
    one = timeline(lane(0, 103.0, 108.0, 5.0, queued=0.0, loading=1.5), sending=1.0)
    found = ledger.entries(one, 9.0, 1, useful=5.0)
    assert found["transfer"] == 0.25 + 1.0 + 1.5
    assert found["startup"] == 0.5
    assert sum(found.values()) == 9.0


def test_a_lane_that_gets_groups_of_chunks_by_messages():
    groups = {"queued": 0.0, "away": 2.0, "loading": 0.25}
    two = timeline(
        lane(0, 102.0, 107.0, 3.0, lull=0.0, packing=1.0, carrying=0.5, **groups),
        lane(1, 103.0, 106.0, 1.0, lull=0.5, packing=2.5, carrying=9.0, **groups),  # of 6.0 without a chunk
    )
    two = replace(two, pickling=0.125)
    found = ledger.entries(two, 9.0, 2, useful=4.0)
    assert found == {
        "useful": 4.0,
        "inflation": 0.0,
        "waiting": 0.0,
        "blocked": 0.0,
        "runqueue": 0.0,
        "idle": 1.0 + 0.5,
        "startup": 0.0,
        "transfer": 2 * 0.125,
        "serialisation": 2 * 0.125 + 1.0 + 2.5,
        "network": 0.5 + 3.0,
        "scheduler": 5.0 - 1.5,  # 2 before, 2 between and 1 after the groups
        "serial": 1.5,
        "unexplained": 0.0,
    }


def test_a_worker_that_never_came_was_on_its_way():
    alone = timeline(lane(0, 100.0, 108.0, 8.0, queued=0.0))
    assert ledger.entries(alone, 9.0, 2, useful=8.0)["startup"] == 8.0


def spent(process, system, work=1.0):
    return Run(9.0, timeline(LaneTotals(0, process, 0, 1, 100.0, 108.0, 8.0)), work, system)


def test_the_system_s_part_is_told_beyond_the_serial_run_s_for_the_same_work():
    here = os.getpid()
    pairs = [(spent(here, 0.75), spent(here, 0.25)), (spent(here, 0.5), spent(here, 0.5))]
    assert system_beyond_serial(pairs) == {"system": 0.25}
    assert system_beyond_serial([(spent(here, 0.75, work=3.0), spent(here, 0.25))]) == {"system": 0.0}


@pytest.mark.parametrize(("process", "system"), [(1, 0.75), (os.getpid(), math.nan)], ids=["elsewhere", "untold"])
def test_of_lanes_elsewhere_or_an_untold_system_nothing_is_said(process, system):
    assert system_beyond_serial([(spent(process, system), spent(os.getpid(), 0.25))]) == {}


@pytest.mark.skipif(usage.RUSAGE_THREAD is None, reason="this system does not tell")
def test_the_system_s_own_time_is_this_process_s_and_nan_where_nothing_tells(monkeypatch):
    assert usage.in_the_system() == pytest.approx(os.times().system, abs=0.05)  # in ticks of 10 ms
    monkeypatch.setattr(usage, "RUSAGE_THREAD", None)
    assert math.isnan(usage.in_the_system())


def test_what_the_system_does_not_tell_is_in_its_neighbour_and_said():
    unknown = timeline(lane(0, 100.0, 108.0, 5.0))
    found = ledger.entries(unknown, 9.0, 1, useful=5.0)
    assert (found["blocked"], found["runqueue"]) == (3.0, 0.0)
    assert ledger.unknown(unknown) == ("runqueue",)
    half = timeline(lane(0, 100.0, 108.0, 5.0), lane(1, 100.0, 108.0, 5.0, queued=0.0, voluntary=0))
    assert ledger.unknown(half) == ("runqueue",)
    assert ledger.details(half) == {}  # no sleep was seen, but one lane did not look
    assert ledger.unknown(timeline()) == ()  # nobody came: nobody queued


def test_time_that_no_section_covers_is_unexplained():
    assert ledger.entries(timeline(lane(0, 100.0, 108.0, 8.0, queued=0.0)), 10.0, 1, useful=8.0)["unexplained"] == 1.0


seconds = st.floats(0, 100)


@given(
    st.lists(st.tuples(seconds, seconds, seconds, seconds, st.none() | seconds), max_size=4),
    seconds, seconds, st.integers(1, 6),
)  # fmt: skip
def test_it_sums_whatever_the_clocks_said(lanes, useful, wall, workers):
    made = [
        lane(k, 100 + start, 100 + start + long, cpu, queued=q, packing=packing, carrying=q, lull=cpu, away=q)
        for k, (start, long, cpu, q, packing) in enumerate(lanes)
    ]
    found = ledger.entries(timeline(*made), wall, workers, useful)
    assert tuple(found) == ledger.ENTRIES
    assert sum(found.values()) == pytest.approx(workers * wall, abs=1e-6)
    assert all(found[name] >= 0 for name in ledger.ENTRIES if name not in ("inflation", "unexplained"))


def test_the_pop_tree_multiplies_up():
    two = timeline(lane(0, 100.0, 108.0, 8.0), lane(1, 100.0, 104.0, 4.0))
    found = ledger.efficiencies(two, 10.0, 2, useful=9.0)
    assert found == pytest.approx(
        {"load_balance": 0.75, "communication": 0.8, "parallel": 0.6, "computation": 0.75, "global": 0.45}
    )
    assert ledger.efficiencies(timeline(), 10.0, 2, useful=9.0) == {}


def test_cpu_of_threads_that_are_no_lanes_is_counted_once_a_process():
    two = timeline(lane(0, 100.0, 108.0, 4.0, process_cpu=11.0), lane(1, 100.0, 108.0, 4.0, process_cpu=10.5))
    assert ledger.details(two) == {"nested": 3.0}


@pytest.mark.parametrize(
    ("beside", "told"), [([0.0, 3.0, 0.0, 0.5], 0.0), ([3.0, 2.0], 2.0), ([2.0, 3.0, 0.0], 2.0), ([3.0], 3.0)]
)
def test_threads_that_are_no_lanes_are_there_in_most_rounds_or_a_chance(beside, told):
    rounds = [timeline(lane(0, 100.0, 108.0, 4.0, process_cpu=4.0 + more, faults=1)) for more in beside]
    middle = range(len(beside))[1:3] if len(beside) > 2 else range(len(beside))
    assert _details(rounds, middle) == {"nested": told, "faults": 1.0}


def test_the_mean_of_two_rounds():
    assert ledger.mean([{"useful": 1.0}, {"useful": 2.0}]) == {"useful": 1.5}


# Real runs, in which what is to be found was put.

LOCK = threading.Lock()


def planned(seconds, chunks=2):
    return Plan(chunks, (seconds,), grain=1)


@kernel(plan=planned, compiled=False)
def sleeps(lo, hi, out, seconds):
    time.sleep(seconds * (lo + 1))
    out[lo] = lo


def planned_slowly(seconds):
    time.sleep(seconds)
    return Plan(2, (), grain=1)


@kernel(plan=planned_slowly, compiled=False)
def nothing(lo, hi, out):
    out[lo] = lo


def observed(kernel, *args, on):
    with on.open() as pool:
        pool.warm(kernel, *args)
        with pool.observed():
            result = pool.run(kernel, *args)
    useful = 0.0
    return ledger.entries(result.timeline, result.seconds, on.workers, useful), result


def test_planted_waiting_is_blocked_and_the_rest_of_the_longer_lane_is_idle():
    found, _ = observed(sleeps, 0.2, on=Threads(2))
    assert found["blocked"] >= 0.9 * (0.2 + 0.4)  # 99 % where no lane waits for a CPU as it begins or wakes
    assert found["idle"] > 0.05  # 0.2, but for how late a busy machine wakes the lanes


def test_a_planted_serial_section_costs_every_worker():
    found, result = observed(nothing, 0.2, on=Threads(2))
    assert 2 * 0.2 <= found["serial"] <= 2 * result.seconds


def test_an_observed_run_knows_what_a_plain_one_does_not():
    _, result = observed(sleeps, 0.01, on=Serial())
    plain = Serial().open().run(sleeps, 0.01).timeline.lanes[0]
    (known,) = result.timeline.lanes
    assert (plain.queued, plain.voluntary, plain.process_cpu) == (None, None, None)
    assert known.process_cpu is not None

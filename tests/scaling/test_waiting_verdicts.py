"""Work that waits: its ledger, its ceiling and its verdicts."""

from __future__ import annotations

import asyncio
import time

import evidences
import pytest
from compiler import needs_compiler

from compute import Coroutines, Processes, Threads, scale
from compute.scaling.ceiling import Ceilings
from compute.scaling.verdict.judgement import judge
from kernels import each


def asleep(x):
    time.sleep(0.02)


async def awaits(x):
    await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("workers", "waits", "ceiling"), [(100, 1.0, 100), (100, 0.7, 2 / 0.3), (4, 0.7, 4), (2, 0.0, 2)]
)
def test_the_ceiling_is_n_for_waits_and_the_cpus_for_the_rest(workers, waits, ceiling):
    gauges = Ceilings({("compute", 1): [1.0], ("compute", 2): [2.0], ("compute", 4): [2.0]}, cpus=2)
    assert gauges.of_work(workers, 0.0, waits) == pytest.approx(ceiling)


def test_without_gauges_only_what_waits_alone_has_a_ceiling():
    assert Ceilings({}, cpus=2).of_work(100, 0.0, 1.0) == 100
    assert Ceilings({}, cpus=2).of_work(100, 0.0, 0.5) is None


CASES = {
    "overlaps": (
        {"workers": 100, "speedup": 97.0, "ceiling": 100.0, "waits": 0.99, "waiting": 0.97},
        "none",
        "I/O-bound: the waits overlap 97.0-fold of 100",
    ),
    "gil": (
        {"workers": 100, "speedup": 3.2, "ceiling": 6.6, "waits": 0.7, "blocked": 0.6, "waiting": 0.02, "gil": 0.95},
        "gil",
        "mixed: 30 % computes under the GIL, which holds 100 to 3.33-fold",
    ),
    "held": (
        {"workers": 8, "speedup": 6.3, "ceiling": 6.6, "waits": 0.7, "waiting": 0.5, "processes": 8, "cpus": 2},
        "computing",
        "mixed: 30 % computes, and 2 CPUs allow 6.60",
    ),
    "a blocking body on one thread": (
        {"workers": 20, "speedup": 1.0, "ceiling": 20.0, "waits": 0.99, "blocked": 0.9, "backend": "coroutines"},
        "one thread",
        "waiting holds it; await in an async function, or use threads",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case):
    known, cause, told = CASES[case]
    verdict = judge(evidences.of(**known))
    assert verdict.cause == cause, verdict.sentence
    assert told in verdict.sentence


def test_more_lanes_than_cpus_are_no_crowd_where_they_wait():
    assert not evidences.of(workers=100, cpus=2, waits=0.9).has_more_lanes_than_cpus
    assert evidences.of(workers=100, cpus=2).has_more_lanes_than_cpus


@needs_compiler
def test_what_waits_is_measured_as_such():
    scaling = scale(each(asleep), range(8), on=[Threads(8), Processes(2), Coroutines(8)], rounds=2)
    points = {p.backend: p for p in scaling.points}
    serial = points["serial"]
    assert serial.ledger["waiting"] > 0.5 * serial.seconds
    assert serial.ledger["blocked"] == 0
    assert points["threads"].ceiling > 4
    assert points["coroutines"].cause == "one thread"
    assert not any("share" in warning for warning in scaling.warnings)
    assert "waiting" in str(scaling)


def test_what_computes_does_not_wait():
    scaling = scale(each(lambda x: sum(range(20_000))), range(8), on=[Threads(2)], rounds=1)
    assert all(p.ledger["waiting"] == 0 for p in scaling.points)
    assert "waiting:" not in str(scaling)

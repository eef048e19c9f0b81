"""Lanes that run Python side by side without a GIL: what they lose, by invented evidence, and how that is kept."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from evidences import cause, of, told
from example_points import MACHINE, a_point, a_scaling

from compute.scaling import build_point, results
from compute.scaling.build_point import Run
from compute.scaling.ceiling import Ceilings
from compute.scaling.collecting import collect_evidence
from compute.scaling.derive import compare_points
from compute.scaling.ledger import ENTRIES
from compute.scaling.results import Scaling
from compute.scaling.tables import table
from compute.scaling.verdict.judgement import judge, judge_points
from compute.scaling.verdict.point_verdict import verdict_of
from compute.scaling.workload import Work
from compute.timeline import SPAN, LaneTotals, Timeline
from compute.traits import PROCESSES, Traits
from kernels import mandelbrot

FREE = {"variant": "python", "has_gil": False}
INFLATED = {**FREE, "inflation": 0.4}


def test_contention_by_processes_that_have_none():
    assert told(judge(of(**INFLATED, elsewhere_inflation=0.02))) == (
        "contention",
        "contention inside the interpreter: CPU inflation 40 % of core-seconds where the same body on processes has"
        " 2 %; give each lane its own copy, in locals, of what all use (constants are immortal), or use processes",
        {"contention": pytest.approx(0.4 - 0.025)},  # without what the machine denies anybody
    )


@pytest.mark.parametrize(
    ("known", "named"),
    [
        ({"elsewhere_inflation": 0.09}, "contention"),
        ({"elsewhere_inflation": 0.2}, "unknown"),  # of the machine: processes have it as well
        ({"elsewhere_inflation": 0.02, "has_gil": True}, "unknown"),  # its lanes take turns
        ({"elsewhere_inflation": 0.02, "compiled": True}, "unknown"),  # machine code touches no object
        ({"elsewhere_inflation": 0.02, "processes": 2}, "unknown"),
        ({"elsewhere_inflation": 0.02, "backend": "processes"}, "unknown"),
        ({"elsewhere_inflation": 0.02, "backend": "coroutines"}, "one thread"),
        ({"elsewhere_inflation": 0.02, "traits": PROCESSES}, "unknown"),
        ({"elsewhere_inflation": 0.0}, "contention"),
        ({"elsewhere_inflation": 0.02, "chunk_seconds": 1e-6, "ticket_seconds": 1e-6}, "small chunks"),
    ],
)
def test_its_neighbours(known, named):
    assert cause(**INFLATED | known) == named


def test_without_processes_beside_it_nothing_is_named_and_the_remedy_is_to_measure_them():
    assert judge(of(**INFLATED)).sentence == (
        "CPU inflation 40 % of core-seconds: lanes needed more CPU than serial did; without a GIL, objects that all"
        " lanes use may be why; measure processes beside it, which share none"
    )
    assert "caches, cores that share hardware" in judge(of(**INFLATED, elsewhere_inflation=0.3)).sentence
    assert "caches, cores that share hardware" in judge(of(**INFLATED | {"has_gil": True})).sentence


def test_what_blocks_lanes_without_a_gil_may_be_an_object_s_own_lock():
    assert judge(of(**FREE, blocked=0.4, elsewhere_blocked=0.01)).sentence == (
        "blocked 40 % of core-seconds, without a GIL: consistent with a lock, which an object may have for itself, or"
        " waiting for data; hold it for less, or give each lane its own"
    )
    assert "have for itself" not in judge(of(**FREE | {"compiled": True}, blocked=0.4)).sentence


def test_the_larger_of_blocked_and_inflation_is_named():
    both = {**FREE, "elsewhere_inflation": 0.01, "elsewhere_blocked": 0.01}
    assert cause(**both, inflation=0.3, blocked=0.1) == "contention"
    assert cause(**both, inflation=0.1, blocked=0.3) == "lock"


NOTHING = dict.fromkeys(ENTRIES, 0.0)


def points(has_gil=False, elsewhere=0.02):
    """Serial, two threads and two processes, of which the threads inflate."""

    def point(backend, workers, seconds, traits, **entries):
        ledger = {**NOTHING, "useful": 1.0, **entries}
        about = {"variant": "python", "ledger": ledger, "processes": workers if traits == PROCESSES else 1}
        evidence = None if has_gil is None else {"has_gil": has_gil}
        return a_point(backend, workers, [seconds] * 6, **about, evidence=evidence, traits=traits.names())

    return compare_points(
        [
            point("serial", 1, 1.0, Traits(shares_thread=True)),
            point("threads", 2, 0.8, Traits(), inflation=0.6),
            point("processes", 2, 0.5 + elsewhere / 2, PROCESSES, inflation=elsewhere),
        ]
    )


def judged(has_gil=False):
    return judge_points(collect_evidence(points(has_gil), mandelbrot, Ceilings({}, 2), []))


def test_evidence_is_of_the_same_variant_on_as_many_processes():
    serial, threads, processes = judged()
    assert threads.evidence["elsewhere_inflation"] == pytest.approx(0.02 / 1.02)
    assert (serial.evidence["elsewhere_inflation"], processes.evidence["elsewhere_inflation"]) == (None, None)
    assert [p.cause for p in (serial, threads, processes)] == ["none", "contention", "none"]
    assert verdict_of(threads).name == "contention inside the interpreter"


def test_processes_that_needed_less_than_serial_inflate_by_nothing_and_a_file_says_so():
    made = judge_points(collect_evidence(points(elsewhere=-0.01), mandelbrot, Ceilings({}, 2), []))
    assert made[1].evidence["elsewhere_inflation"] == 0.0
    assert "where the same body on processes has 0 %" in made[1].verdict
    assert results.from_data(json.loads(Scaling(made).as_json()), "a.json").points == made


@pytest.mark.parametrize(("has_gil", "named"), [(False, "contention"), (True, "unknown"), (None, "unknown")])
def test_a_file_keeps_whether_there_was_a_gil_and_one_that_does_not_say_had_it(has_gil, named):
    data = json.loads(Scaling(judged(has_gil)).as_json())
    assert data["points"][1]["evidence"]["has_gil"] is has_gil
    assert results.from_data(data, "a.json").points[1].cause == named
    del data["points"][1]["evidence"]["has_gil"]
    assert results.from_data(data, "a.json").points[1].cause == "unknown"


class Pool:
    """As much of a pool as a point is made of."""

    workers, startup, cpus_elsewhere = 1, 0.0, None
    backend = type("Named", (), {"name": "threads", "traits": Traits()})()


@pytest.mark.parametrize("gils", [(False, False), (False, True), (True, True)])
def test_a_point_had_a_gil_where_one_was_on_by_the_end_of_a_run(gils):
    timeline = Timeline(np.empty(0, SPAN), (LaneTotals(0, os.getpid(), 0, 1, 100.0, 108.0, 8.0),), dispatched=99.0)
    runs = [Run(9.0, timeline, 1.0, has_gil=gil) for gil in gils]
    point = build_point.make_point(Pool(), mandelbrot.python, Work(mandelbrot, ((8, 8),)), runs, runs, Ceilings({}, 1))
    assert point.evidence["has_gil"] is any(gils)


@pytest.mark.parametrize(
    ("told", "words"), [(True, "Python 3.14.0 (GIL),"), (False, "Python 3.14.0 (no GIL),"), (None, "Python 3.14.0,")]
)
def test_a_report_says_whether_there_was_a_gil(told, words):
    about = {**MACHINE, "gil": told}
    assert words in table.heading(Scaling(a_scaling().points, about))

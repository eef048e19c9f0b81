"""Lesson 4: its judgement on invented figures, both outcomes, and a short real run."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from compute.lessons import gil, text
from compute.lessons.conduct import lesson
from compute.lessons.experiment import Course, Experiment
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD
from compute.machine import has_gil

PYTHON = {"python": "3.13.0", "implementation": "CPython", "gil": True, "path": "/usr/bin/python3"}


def evidence(two: float, *, has_gil: bool = True, cpus: int = 2, rounds: int = 6) -> dict[str, Any]:
    """What was measured where two threads take so many times the seconds of one."""
    one = [0.100 + 0.0001 * k for k in range(rounds)]
    switched = {name: [s * two for s in one] for name in ("2", "4", "2, switching every 5.00 ms")}
    waited = {"wall": 0.2, "cpu": 0.1, "queued": 0.02, "switches": 40}
    return {
        "n": 1000,
        "cpus": cpus,
        "gil": has_gil,
        "usual_interval": 0.005,
        "samples": {"1": one} | switched,
        "crowded": 0.0,
        "waited": {"1": waited, "2": waited, "4": waited},
    }


def test_threads_that_take_turns_hold_the_statement() -> None:
    judgement = gil.judge(evidence(1.02))
    assert judgement.word == HOLDS
    assert judgement.found == "two threads are 0.98 times as fast as one"
    assert judgement.why.endswith("each of two is blocked by the GIL for 40 % of its time")
    named = {figure.name: figure for figure in judgement.figures}
    assert named["2 threads: speedup"].value == pytest.approx(1 / 1.02)
    assert named["2 threads: of their time, blocked"].value == pytest.approx(0.4)
    assert named["2 threads: switches in a run"].value == 40


@pytest.mark.parametrize("has_gil", [True, False])
def test_others_who_have_the_cpus_refute_nothing(has_gil: bool) -> None:
    judgement = gil.judge(evidence(0.52, has_gil=has_gil) | {"crowded": 0.8})
    assert judgement.word == UNTOLD
    assert judgement.why.startswith("others have the CPUs, for which even one thread queues for 80 % of its time")
    assert gil.judge(evidence(1.02) | {"crowded": 0.8}).word == HOLDS


def test_a_queue_for_cpus_is_told_apart_from_the_gil() -> None:
    told = evidence(1.02)
    told["waited"]["2"] = {"wall": 0.2, "cpu": 0.06, "queued": 0.12, "switches": 40}
    assert gil.judge(told).why.endswith(
        "blocked by the GIL for 10 % of its time, and queues for 60 % for a CPU that others have"
    )


def test_threads_that_run_side_by_side_do_not() -> None:
    judgement = gil.judge(evidence(0.52, has_gil=False))
    assert judgement.word == FAILS
    assert judgement.why == "this interpreter has no GIL, so its threads run Python side by side"


def test_without_a_gil_and_without_a_speedup_something_else_is_named() -> None:
    judgement = gil.judge(evidence(1.0, has_gil=False))
    assert judgement.word == HOLDS
    assert "something else holds its threads up" in judgement.why


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (evidence(1.0, cpus=1), "with one usable CPU"),
        (evidence(1.0, cpus=1) | {"crowded": 0.8}, "with one usable CPU"),
        (evidence(1.0, rounds=5), "measure for longer"),
    ],
)
def test_what_cannot_be_told_is_not_told(told: dict[str, Any], why: str) -> None:
    judgement = gil.judge(told)
    assert judgement.word == UNTOLD
    assert why in judgement.why


def test_a_report_has_the_statement_the_verdict_and_the_code_that_is_timed() -> None:
    report = text.render(Course((Experiment(gil.LESSON, evidence(1.02), PYTHON),)))
    assert gil.LESSON.statement in report
    assert HOLDS in report
    assert "pool.run(collatz, n)" in report
    assert max(map(len, report.splitlines())) <= 80


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    usual = sys.getswitchinterval()
    told = lesson("gil", seconds=1.0).evidence
    assert sys.getswitchinterval() == usual
    assert min(told["samples"]["1"]) > gil.SHORTEST / 10  # every thread has its turns
    if has_gil():
        assert min(told["samples"]["4"]) > min(told["samples"]["1"]) / 3
        assert told["waited"]["4"]["cpu"] < 0.8 * told["waited"]["4"]["wall"]

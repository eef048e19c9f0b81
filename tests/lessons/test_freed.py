"""Lesson 5: its judgement on invented figures, both outcomes, and a short real run."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from short import held_on_one_cpu

from compute.backends.interpreters.subinterpreter import unavailable
from compute.lessons import freed
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from kernels.definition import numba_is_here

NONE_HERE = "subinterpreters need CPython 3.13 or newer"


def evidence(two: dict[str, float], *, rounds: int = 6, **told: Any) -> dict[str, Any]:
    """What was measured where two workers take so many times the seconds of one."""
    one = [0.100 + 0.0001 * k for k in range(rounds)]
    return {
        "samples": {name: {"1": one, "2": [s * share for s in one]} for name, share in two.items()},
        "crowded": 0.01,
        "missing": {},
        "cpus": 2,
        "gil": True,
        "can_be_without": False,
        "elsewhere": None,
    } | told


def test_what_holds_no_gil_runs_side_by_side() -> None:
    told = evidence({freed.PYTHON: 1.0, freed.COMPILED: 0.51, freed.INTERPRETERS: 0.6})
    judgement = freed.judge(told)
    assert judgement.word == HOLDS
    assert judgement.found == (
        "a second worker makes Python on threads 1.00, machine code on threads 1.96 and Python on interpreters 1.67"
        " times as fast"
    )
    assert judgement.why.startswith("machine code lets go of the GIL and each interpreter has a GIL of its own; ")
    assert [figure.value for figure in judgement.figures] == pytest.approx([1.0, 1 / 0.51, 1 / 0.6])


def test_python_on_threads_counts_where_there_is_no_gil() -> None:
    judgement = freed.judge(evidence({freed.PYTHON: 0.55}, gil=False, can_be_without=True))
    assert judgement.word == HOLDS
    assert judgement.why == "this interpreter has no GIL: its threads run Python side by side"
    assert freed.judge(evidence({freed.PYTHON: 1.0}, gil=False)).word == FAILS
    assert freed.judge(evidence({freed.PYTHON: 1.0, freed.COMPILED: 0.5})).word == HOLDS


def test_machine_code_that_gains_nothing_does_not_hold_it() -> None:
    judgement = freed.judge(evidence({freed.PYTHON: 1.0, freed.COMPILED: 1.0}))
    assert judgement.word == FAILS
    assert judgement.why.startswith("machine code on threads had a second CPU and gained nothing by it")


def test_where_others_had_the_cpus_it_cannot_be_told() -> None:
    told = evidence({freed.COMPILED: 1.0, freed.INTERPRETERS: 0.5})
    judgement = freed.judge(told | {"crowded": 0.45})
    assert judgement.word == UNTOLD
    assert judgement.why.startswith("others have the CPUs, for which even one thread queues for 45 % of its time")
    assert freed.judge(told).word == FAILS


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (evidence({freed.COMPILED: 0.5}, cpus=1), "with one usable CPU"),
        (evidence({freed.COMPILED: 0.5}, rounds=5), "measure for longer"),
        (evidence({freed.PYTHON: 1.0}), "nothing here runs without the GIL"),
        (evidence({}), "nothing here runs without the GIL"),
    ],
)
def test_what_cannot_be_told_is_not_told(told: dict[str, Any], why: str) -> None:
    judgement = freed.judge(told)
    assert judgement.word == UNTOLD
    assert why in judgement.why


def test_it_says_what_is_missing_and_how_to_see_it_without_a_gil() -> None:
    told = evidence({freed.COMPILED: 0.5}, missing={freed.INTERPRETERS: NONE_HERE})
    assert f"no {freed.INTERPRETERS} here: {NONE_HERE}" in freed.judge(told).why
    assert "such as python3.14t, is not here: nfold lessons 5 --python PATH" in freed.judge(told).why
    found = freed.judge(told | {"elsewhere": "/opt/python3.14t"})
    assert "/opt/python3.14t has no GIL: nfold lessons 5 --python /opt/python3.14t" in found.why
    assert "PYTHON_GIL=0" in freed.judge(told | {"can_be_without": True}).why


def test_a_short_real_run() -> None:
    told = freed.measure(Setting(0.3))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert set(told["samples"]) | set(told["missing"]) == {freed.PYTHON, freed.COMPILED, freed.INTERPRETERS}
    assert freed.PYTHON in told["samples"]
    assert (freed.COMPILED in told["samples"]) == numba_is_here()
    assert (freed.INTERPRETERS in told["samples"]) == (unavailable() is None)
    assert all(len(taken[count]) >= 6 for taken in told["samples"].values() for count in ("1", "2"))
    judgement = freed.judge(told)
    if told["cpus"] == 1:
        assert judgement.word == UNTOLD


@pytest.mark.slow
def test_on_one_cpu_it_cannot_be_told() -> None:
    judgement = held_on_one_cpu(freed.LESSON)
    if hasattr(os, "sched_setaffinity"):
        assert judgement.word == UNTOLD
        assert "with one usable CPU nothing can run side by side" in judgement.why

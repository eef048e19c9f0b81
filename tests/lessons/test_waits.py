"""Lesson 2: how many waits overlap, on invented figures and in a short real run."""

from __future__ import annotations

from typing import Any

import pytest

from compute.lessons import waits
from compute.lessons.conduct import lesson
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD

LANES = {waits.SERIAL: 1, "threads": 100, "coroutines": 100, "processes": 10}


def evidence(rounds: int = 6, missing: dict[str, str] | None = None, **overlaps: float) -> dict[str, Any]:
    """What was measured where each way has so many waits at a time."""
    overlaps = {"threads": 80.0, "coroutines": 90.0, "processes": 9.5} | overlaps
    serial = [1.0 + 0.001 * k for k in range(rounds)]
    samples = {waits.SERIAL: serial} | {name: [s / fold for s in serial] for name, fold in overlaps.items()}
    for name in missing or {}:
        del samples[name]
    return {
        "cpus": 2,
        "wait": 0.01,
        "lanes": {name: LANES[name] for name in samples},
        "samples": samples,
        "cpu": {name: [0.004] * rounds for name in samples},
        "missing": missing or {},
        "crowded": 0.0,
    }


def test_lanes_whose_waits_overlap_hold_the_statement() -> None:
    judgement = waits.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == (
        "100 waits of 10.0 ms take 1.00 s one after the other;"
        " 100 threads 80.0, 100 coroutines 90.0 and 10 processes 9.50 times as fast"
    )
    assert "100 threads used one for 4.00 ms, coroutines for 4.00 ms" in judgement.why
    named = {figure.name: figure for figure in judgement.figures}
    assert named["100 threads: overlap"].value == pytest.approx(80)
    assert named["100 threads: CPU for a wait"].value == pytest.approx(40e-6)
    assert judgement.pictures[0].series[1].values == (100.0, 100.0, 10.0)


def test_lanes_that_are_kept_busy_do_not() -> None:
    told = evidence(threads=20)
    told["cpu"]["threads"] = [0.04] * 6  # of 50 ms
    judgement = waits.judge(told)
    assert judgement.word == FAILS
    assert judgement.why == "the 100 threads computed for 40.0 ms of 50.1 ms: handing over took a CPU"


def test_nor_do_lanes_that_come_late() -> None:
    judgement = waits.judge(evidence(processes=3))
    assert judgement.word == FAILS
    assert judgement.why.startswith("the 10 processes came late out of their waits")


def test_waits_that_are_too_short_to_overlap_tell_nothing() -> None:
    judgement = waits.judge(evidence(threads=20) | {"wait": 0.001})
    assert judgement.word == UNTOLD
    assert judgement.why == "waits of 1.00 ms are hardly longer than handing over takes; measure for longer"


def test_others_who_have_the_cpus_refute_nothing() -> None:
    judgement = waits.judge(evidence(threads=20) | {"crowded": 0.8})
    assert judgement.word == UNTOLD
    assert judgement.why.startswith("others have the CPUs")
    assert waits.judge(evidence() | {"crowded": 0.8}).word == HOLDS


def test_what_cannot_be_told_is_not_told() -> None:
    judgement = waits.judge(evidence(rounds=5))
    assert judgement.word == UNTOLD
    assert judgement.why.endswith("measure for longer")


def test_what_cannot_be_opened_here_is_said() -> None:
    judgement = waits.judge(evidence(missing={"processes": "no /dev/shm"}))
    assert judgement.word == HOLDS
    assert judgement.why.endswith("; no processes here: no /dev/shm")


@pytest.mark.parametrize("missing", [["threads"], ["coroutines"], ["threads", "coroutines"]])
def test_without_many_lanes_nothing_is_told(missing: list[str]) -> None:
    judgement = waits.judge(evidence(missing=dict.fromkeys(missing, "can't start new thread")))
    assert judgement.word == UNTOLD
    assert judgement.why.endswith(f"no {missing[-1]} here: can't start new thread")


def test_a_short_real_run(no_leaks: None) -> None:
    told = lesson("waits", seconds=2.0).evidence
    serial = told["samples"][waits.SERIAL]
    assert min(serial) >= 100 * told["wait"]
    for name in ("threads", "coroutines"):
        assert min(serial) > 3 * min(told["samples"][name]), name
    assert min(serial) > min(told["samples"]["processes"])
    assert len(serial) >= 6

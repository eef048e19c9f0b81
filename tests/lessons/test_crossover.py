"""Lesson 10: who wins at which share of computing, on invented figures and in a short real run."""

from __future__ import annotations

from typing import Any

import pytest

from compute.lessons import crossover
from compute.lessons.conduct import lesson
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD

SHARES = [0.0, 0.1, 0.25, 0.5, 1.0]
LANES = {"serial": 1, "threads": 24, "coroutines": 24, "processes": 4}
WHY_MORE = "measure for longer"


def evidence(rounds: int = 6, *, gil: bool = True, cpus: int = 2, **speedups: list[float]) -> dict[str, Any]:
    """What was measured where each way has these speedups, by share."""
    speedups = {
        "threads": [20.0, 8.0, 3.5, 1.9, 1.0],
        "coroutines": [22.0, 9.0, 3.8, 1.95, 1.0],
        "processes": [4.0, 4.0, 3.9, 3.0, 1.9],
    } | speedups
    serial = [0.1 + 0.0001 * k for k in range(rounds)]
    samples = {name: [[s / fold for s in serial] for fold in folds] for name, folds in speedups.items()}
    return {
        "cpus": cpus,
        "gil": gil,
        "whole": 0.004,
        "shares": SHARES,
        "lanes": LANES,
        "samples": {"serial": [serial] * len(SHARES)} | samples,
        "missing": {},
        "crowded": 0.0,
    }


def test_lanes_that_win_where_tasks_wait_and_processes_where_they_compute_hold_the_statement() -> None:
    judgement = crossover.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == (
        "tasks that wait are 22.0 times as fast by 24 coroutines and 4.00 by 4 processes; tasks that compute 1.00 by"
        " threads and 1.90 by processes, which win from 25 % computing on"
    )
    named = {figure.name: figure for figure in judgement.figures}
    assert named["24 threads, tasks computing 50 %: speedup"].value == pytest.approx(1.9)
    crossing = named["processes win from tasks on that compute"].value
    assert 0.1 < crossing < 0.25  # 4/9 at 10 %, 3.9/3.8 at 25 %
    picture = judgement.pictures[0]
    assert picture.x == (0.0, 10.0, 25.0, 50.0, 100.0)
    assert [series.name for series in picture.series] == ["threads", "coroutines", "processes", "serial"]


def test_threads_that_compute_side_by_side_do_not() -> None:
    judgement = crossover.judge(evidence(gil=False, threads=[20.0, 9.0, 6.0, 3.5, 1.9]))
    assert judgement.word == FAILS
    assert judgement.why.startswith("this interpreter has no GIL")
    assert "win from" not in judgement.found


def test_others_who_have_the_cpus_refute_nothing() -> None:
    judgement = crossover.judge(evidence(threads=[20.0, 9.0, 6.0, 3.5, 4.0]) | {"crowded": 0.8})
    assert judgement.word == UNTOLD
    assert judgement.why.startswith("others have the CPUs")
    assert crossover.judge(evidence() | {"crowded": 0.8}).word == HOLDS


def test_nor_does_a_single_cpu() -> None:
    judgement = crossover.judge(evidence(cpus=1, processes=[2.0, 2.0, 1.8, 1.5, 0.98]))
    assert judgement.word == FAILS
    assert judgement.why == "with one usable CPU nothing computes side by side, by whatever lanes"
    crowded = crossover.judge(evidence(cpus=1, processes=[2.0, 2.0, 1.8, 1.5, 0.98]) | {"crowded": 0.8})
    assert (crowded.word, crowded.why) == (UNTOLD, judgement.why)


def test_nor_do_lanes_whose_waits_do_not_overlap() -> None:
    judgement = crossover.judge(evidence(threads=[1.0] * 5, coroutines=[1.0] * 5))
    assert judgement.word == FAILS
    assert judgement.why.startswith("4 processes wait as well as 24 lanes here")
    assert {f.name: f.value for f in judgement.figures}["processes win from tasks on that compute"] == 0.0


@pytest.mark.parametrize("told", [evidence(rounds=5), evidence(cpus=4)])
def test_what_cannot_be_told_is_not_told(told: dict[str, Any]) -> None:
    if len(told["samples"]["serial"][0]) > 5:
        told["samples"]["processes"][-1] = [0.088, 0.088, 0.088, 0.096, 0.096, 0.096]  # 1.14 and 1.04 times as fast
    judgement = crossover.judge(told)
    assert judgement.word == UNTOLD
    assert judgement.why.endswith(WHY_MORE)


def test_without_processes_nothing_is_compared() -> None:
    told = evidence()
    del told["samples"]["processes"]
    judgement = crossover.judge(told | {"missing": {"processes": "no /dev/shm"}})
    assert judgement.word == UNTOLD
    assert judgement.why == "there are no processes to compare with: no /dev/shm"


def test_without_one_of_the_lanes_the_other_is_compared() -> None:
    told = evidence()
    del told["samples"]["threads"]
    assert crossover.judge(told | {"missing": {"threads": "can't start new thread"}}).word == HOLDS
    del told["samples"]["coroutines"]
    judgement = crossover.judge(told | {"missing": {"threads": "can't start new thread", "coroutines": "no"}})
    assert judgement.word == UNTOLD
    assert judgement.why == "there are no threads to compare with: can't start new thread"


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    told = lesson("crossover", seconds=2.0).evidence
    samples = {name: [min(rounds) for rounds in by_share] for name, by_share in told["samples"].items()}
    for name in ("threads", "coroutines"):
        assert samples["serial"][0] > 3 * samples[name][0], name  # waits overlap,
        assert samples[name][-1] > 3 * samples[name][0], name  # and computing does not
    assert all(len(rounds) >= 6 for by_share in told["samples"].values() for rounds in by_share)

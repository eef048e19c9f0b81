"""Lesson 3: N-fold at best, on invented figures and in a short real run."""

from __future__ import annotations

from typing import Any

import pytest

from compute import machine
from compute.lessons import ideal
from compute.lessons.conduct import lesson
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD
from kernels.definition import numba_is_here


def point(
    backend: str,
    speedup: float,
    workers: int = 2,
    ceiling: float | None = 1.97,
    wide: float = 0.01,
    cause: str = "imbalance",
) -> Any:
    return {
        "backend": backend,
        "workers": workers,
        "seconds": 0.1,
        "speedup": speedup,
        "interval": [speedup - wide, speedup + wide] if wide else None,
        "ceiling": ceiling,
        "attainable": ceiling and speedup / ceiling,
        "cause": cause,
        "verdict": f"{cause}, as planted",
    }


def evidence(*points: Any, cpus: int = 2, cores: int = 2, gil: bool = True, variant: str = "nogil") -> dict[str, Any]:
    serial = point("serial", 1.0, 1, None)
    return {
        "cpus": cpus,
        "cores": cores,
        "gil": gil,
        "variant": variant,
        "n": 1000,
        "points": [serial, *points],
        "warnings": [],
    }


def test_n_fold_at_best_holds_the_statement() -> None:
    judgement = ideal.judge(evidence(point("threads", 1.95), point("processes", 1.9)))
    assert judgement.word == HOLDS
    assert judgement.found == (
        "2 threads 1.95 and 2 processes 1.90 times as fast as one core, of 1.97 that this machine allows"
    )
    assert judgement.why == "each lane has a CPU, and no lock or memory that it shares with another"
    named = {figure.name: figure for figure in judgement.figures}
    assert named["2 threads: speedup"].interval == pytest.approx((1.94, 1.96))
    assert named["2 lanes: allowed by this machine"].value == 1.97


def test_more_than_n_fold_does_not() -> None:
    judgement = ideal.judge(evidence(point("threads", 2.4), point("processes", 1.9)))
    assert judgement.word == FAILS
    assert judgement.why.startswith("more than N is no merit of N CPUs")


def test_what_took_the_rest_is_named() -> None:
    told = evidence(point("threads", 1.3, ceiling=1.4), point("processes", 1.1, ceiling=1.4), cores=1)
    judgement = ideal.judge(told)
    assert judgement.word == HOLDS
    assert judgement.why == (
        "a perfect loop gets no more than 1.40 here: 2 CPUs are hardware threads of 1 core, which they share;"
        " processes: imbalance, as planted"
    )


def test_what_took_it_from_both_is_named_once() -> None:
    noisy = [point(backend, 1.1, cause="noise") for backend in ("threads", "processes")]
    assert ideal.judge(evidence(*noisy)).why == "threads and processes: noise, as planted"


def test_several_counts_are_a_picture() -> None:
    points = [point("threads", 1.95), point("threads", 3.7, 4, 3.9), point("processes", 3.6, 4, 3.9)]
    judgement = ideal.judge(evidence(*points, cpus=4, cores=4))
    assert judgement.found.startswith("4 threads 3.70 and 4 processes 3.60 times")
    picture = judgement.pictures[0]
    assert picture.x == ("1", "2", "4")
    values = {series.name: series.values for series in picture.series}
    assert values == {
        "threads": (1.0, 1.95, 3.7),
        "processes": (1.0, None, 3.6),
        "allowed": (1.0, 1.97, 3.9),
        "ideal": (1.0, 2.0, 4.0),
    }


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (evidence(cpus=1), "with one usable CPU there is no N"),
        (evidence(), "no pool of workers could be opened"),
        (evidence(point("threads", 1.95, wide=0)), "there were too few rounds for intervals; measure for longer"),
        (
            evidence(point("threads", 1.95, wide=0.8)),
            "the rounds do not tell whether that is more than N; measure for longer",
        ),
    ],
)
def test_what_cannot_be_told_is_not_told(told: dict[str, Any], why: str) -> None:
    judgement = ideal.judge(told)
    assert judgement.word == UNTOLD
    assert judgement.why == why


@pytest.mark.parametrize(("gil", "said"), [(True, "take turns at the GIL"), (False, "have no GIL to wait for")])
def test_without_numba_it_says_what_is_missing(gil: bool, said: str) -> None:
    points = point("threads", 1.0, ceiling=None), point("processes", 1.9, ceiling=None)
    judgement = ideal.judge(evidence(*points, gil=gil, variant="python"))
    assert judgement.word == HOLDS
    assert said in judgement.why
    assert "without numba" in judgement.why
    assert judgement.pictures[0].about == "Speedup of a loop in Python by lanes, and the ideal"


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    told = lesson("ideal", seconds=2.0).evidence
    assert (told["points"] == []) == (machine.usable_cpus() == 1)
    if told["points"]:
        assert [p["backend"] for p in told["points"][:2]] == ["serial", "threads"]
        assert {p["ceiling"] is not None for p in told["points"] if p["workers"] > 1} == {numba_is_here()}
        assert all(p["speedup"] < 3 * p["workers"] for p in told["points"])

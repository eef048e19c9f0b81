"""Lesson 9: its judgement on invented counts, all outcomes, and short real runs."""

from __future__ import annotations

from typing import Any

import pytest
from short import held_on_one_cpu

from compute import machine
from compute.lessons import conduct, race
from compute.lessons.experiment import source
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from compute.lessons.race import ATOMIC, CALL, LOCK, PLAIN
from kernels.definition import numba_is_here

ROUNDS = 6
TRIES = (
    20  # short lessons until an update is lost: where others have the CPUs, one thread may end before another begins
)


def evidence(plain: int, call: int, lock: int = 0, atomic: int | None = 0, gil: bool = True, cpus: int = 2) -> Any:
    """So many of 1,000 updates were lost in every round; atomic: None where it was not tried."""
    lost = {PLAIN: plain, CALL: call, LOCK: lock} | ({} if atomic is None else {ATOMIC: atomic})
    return {
        "gil": gil,
        "cpus": cpus,
        "updates": dict.fromkeys(lost, 1000),
        "lost": {name: [count] * ROUNDS for name, count in lost.items()},
        "samples": {name: [1e-4] * ROUNDS for name in lost},
    }


def test_with_a_gil_a_call_loses_what_one_line_does_not() -> None:
    judgement = race.judge(evidence(0, 400))
    assert judgement.word == HOLDS
    assert judgement.found == (
        "of 6,000 updates through a call 2,400 were lost, of 6,000 with += none; with a lock and with an atomic add"
        " none of 12,000"
    )
    assert "Since 3.10 this interpreter hands it over only at calls and where loops jump back" in judgement.why
    assert "no document promises it" in judgement.why
    figures = {figure.name: figure for figure in judgement.figures}
    assert (figures[f"{CALL}: updates lost"].value, figures[f"{CALL}: updates lost"].unit) == (0.4, "%")
    assert figures[f"{LOCK}: an update"].value == pytest.approx(1e-7)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (evidence(300, 400, gil=False), "two threads do so at the same moment, also within +="),
        (evidence(3, 4, gil=False, cpus=1), "a thread may lose its CPU between, also within +="),
        (evidence(0, 4, gil=False), "two threads do so at the same moment"),
        (evidence(3, 4), "handed over between these steps, also of +="),
    ],
)
def test_what_one_line_loses_is_explained_by_the_interpreter(told: Any, why: str) -> None:
    judgement = race.judge(told)
    assert judgement.word == HOLDS
    assert why in judgement.why
    assert "Since 3.10" not in judgement.why


@pytest.mark.parametrize("guarded", [{"lock": 1}, {"atomic": 1}])
def test_a_guarded_update_that_is_lost_contradicts_the_statement(guarded: dict[str, int]) -> None:
    judgement = race.judge(evidence(0, 400, **guarded))
    assert judgement.word == FAILS
    assert judgement.found.endswith("6 of 12,000")
    assert "which must not be" in judgement.why


def test_where_nothing_was_lost_nothing_is_claimed() -> None:
    judgement = race.judge(evidence(0, 0))
    assert judgement.word == UNTOLD
    assert "in 6 rounds promises nothing" in judgement.why


def test_without_a_compiler_the_atomic_add_is_said_to_be_missing() -> None:
    judgement = race.judge(evidence(0, 400, atomic=None))
    assert judgement.word == HOLDS
    assert judgement.found.endswith("with a lock none of 6,000")
    assert judgement.why.endswith("The atomic add was not tried: it needs numba's compiler, which is not here")


@pytest.mark.slow
def test_two_real_threads_lose_updates_and_no_guarded_one() -> None:
    for _ in range(TRIES):
        held = conduct.run_lesson(race.LESSON, Setting(1.0))
        lost = held.evidence["lost"]
        if sum(lost[CALL]):
            break
    assert sum(lost[LOCK]) == 0
    assert (ATOMIC in lost) == numba_is_here()
    assert sum(lost.get(ATOMIC, [0])) == 0
    assert {len(counts) for counts in lost.values()} == {len(s) for s in held.evidence["samples"].values()}
    lossy = sum(lost[CALL]) + sum(lost[PLAIN]) > 0
    # Without a GIL, threads have to be on two CPUs at the same moment, which others may have.
    assert lossy or not machine.has_gil()
    assert held.judgement.word == (HOLDS if lossy else UNTOLD)
    assert ("Since 3.10" in held.judgement.why) == (machine.has_gil() and not sum(lost[PLAIN]))


@pytest.mark.slow
def test_one_cpu_is_enough_for_a_judgement() -> None:
    judgement = held_on_one_cpu(race.LESSON)
    assert judgement.word != FAILS


def test_the_code_is_short() -> None:
    lines = [line for line in source(race.LESSON).splitlines() if line]
    assert len(lines) < 15
    assert "atomics.fetch_add(words, 0, 1)" in lines[-1]

"""Lesson 7: its judgement on invented figures, both outcomes, and a short real run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from short import held_on_one_cpu

from compute import machine
from compute.lessons import cooperative
from compute.lessons.cooperative import CALL, ONE_GO, PARTS, THREAD
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from compute.lessons.rounds import FEWEST
from compute.scaling.statistics import median
from compute.scaling.verify import WrongAnswer


def evidence(rounds: int = FEWEST, **told: Any) -> dict[str, Any]:
    """What was measured where one computes for 0.1 s."""
    late = {ONE_GO: 0.1, PARTS: 0.001, THREAD: 0.005, CALL: 0.1} | told.pop("late", {})
    return {
        "held_up": {name: [s * (1 + k / 1000) for k in range(rounds)] for name, s in late.items()},
        "crowded": 0.0,
        "took": {ONE_GO: [0.1] * rounds, PARTS: [0.102] * rounds},
        "sleeps": 2000,
        "slept": [0.002] * rounds,
        "pieces": 100,
        "gil": True,
        "cpus": 2,
        "interval": 0.005,
    } | told


def test_a_coroutine_that_holds_up_the_others_holds_the_statement() -> None:
    judgement = cooperative.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == (
        "a coroutine that computes for 100 ms holds up the others for 100 ms, a thread for 5.01 ms"
    )
    assert "awaits between 100 pieces holds them up for 1.00 ms, at 1.00 µs for each await" in judgement.why
    assert "one call of C holds threads up for 100 ms" in judgement.why
    named = {figure.name: figure.value for figure in judgement.figures}
    assert named["coroutine over thread: held up"] == pytest.approx(20)
    assert named["computing in 100 pieces: time over one go"] == pytest.approx(1.02)
    assert named["await asyncio.sleep(0)"] == pytest.approx(1e-6)


def test_threads_without_a_gil_do_not_wait_for_a_switch() -> None:
    judgement = cooperative.judge(evidence(gil=False, late={THREAD: 0.0001, CALL: 0.0001}))
    assert judgement.word == HOLDS
    assert judgement.why.endswith("threads, with no GIL, do not wait")


def test_a_thread_that_holds_up_the_others_does_not() -> None:
    judgement = cooperative.judge(evidence(late={THREAD: 0.1}, interval=1.0))
    assert judgement.word == FAILS
    assert "the switch interval is 1.00 s" in judgement.why
    assert "all share one CPU" in cooperative.judge(evidence(late={THREAD: 0.1}, cpus=1)).why


def test_where_others_had_the_cpus_it_cannot_be_told() -> None:
    judgement = cooperative.judge(evidence(late={THREAD: 0.06}, crowded=0.8))
    assert judgement.word == UNTOLD
    assert "queues for 80 % of its time" in judgement.why
    assert cooperative.judge(evidence(late={THREAD: 0.06}, crowded=0.1)).word == FAILS
    assert cooperative.judge(evidence(crowded=0.8)).word == HOLDS


def test_what_cannot_be_told_is_not_told() -> None:
    judgement = cooperative.judge(evidence(rounds=FEWEST - 1))
    assert judgement.word == UNTOLD
    assert "measure for longer" in judgement.why


def test_a_wrong_sum_is_never_timed() -> None:
    with pytest.raises(WrongAnswer, match="gave 5, not 6"):
        cooperative._beside_a_thread(lambda: 5, 6)


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    told = cooperative.measure(Setting(2.0))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    late = {name: median(samples) for name, samples in told["held_up"].items()}
    least = {name: min(samples) for name, samples in told["held_up"].items()}  # other programs make waits longer
    assert late[ONE_GO] > median(told["took"][ONE_GO]) / 3
    # Alone it is twenty times. Where fifteen programs share each CPU, every wait is as long as their turns together.
    assert late[ONE_GO] > 1.5 * least[THREAD]
    assert late[ONE_GO] > 1.5 * least[PARTS]
    if machine.has_gil():
        assert late[CALL] > 1.5 * least[THREAD]
    assert cooperative.judge(told).word in (HOLDS, UNTOLD)


@pytest.mark.slow
def test_on_one_cpu_it_is_held_as_well() -> None:
    assert held_on_one_cpu(cooperative.LESSON).found.startswith("a coroutine that computes for ")

"""Lesson 1: what kind of task each is, on invented figures and in a short real run; the reader's own task."""

from __future__ import annotations

import asyncio
import functools
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from patience import PATIENCE

from compute.advice import waiting
from compute.lessons import kinds
from compute.lessons.conduct import lesson
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD

SHARES = {"squares": 0.99, "unpack": 0.98, "sleep": 0.01, "reply": 0.02, "both": 0.4}


def calls(share: float, count: int = 6, queued: float = 0.0, children: float = 0.0) -> list[dict[str, float]]:
    """Calls of 10 ms of their own, on a CPU for that share of it, and queueing for some time more."""
    return [{"cpu": 0.01 * share, "wall": 0.01 + queued, "queued": queued, "children": children} for _ in range(count)]


def evidence(own: dict[str, Any] | None = None, count: int = 6, **shares: float) -> dict[str, Any]:
    return {"tasks": {name: calls(share, count) for name, share in (SHARES | shares).items()}, "own": own}


def test_tasks_of_their_known_kinds_hold_the_statement() -> None:
    judgement = kinds.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == "squares and unpack are CPU-bound, sleep and reply are I/O-bound, both is mixed"
    assert "sleep has one for 1 % of its time, squares for 99 %" in judgement.why
    assert judgement.figures[0].name == "squares: of its time on a CPU"
    assert judgement.figures[0].value == pytest.approx(0.99)
    assert judgement.pictures[0].x == tuple(SHARES)


def test_one_of_another_kind_does_not() -> None:
    judgement = kinds.judge(evidence(reply=0.5))
    assert judgement.word == FAILS
    assert judgement.found == "squares and unpack are CPU-bound, sleep is I/O-bound, reply and both are mixed"
    assert judgement.why.startswith("reply is known to be I/O-bound: ")


UNDECIDED = evidence()
UNDECIDED["tasks"]["both"] = [*calls(0.79, 3), *calls(0.81, 3)]


@pytest.mark.parametrize("told", [evidence(count=5), UNDECIDED], ids=["five calls", "on a line"])
def test_what_the_calls_do_not_tell_is_not_told(told: dict[str, Any]) -> None:
    judgement = kinds.judge(told)
    assert judgement.word == UNTOLD
    assert judgement.why.endswith("measure for longer")


def test_time_in_a_queue_for_a_cpu_is_not_waited_for_what_is_outside() -> None:
    figure = kinds.computing("busy machine", calls(0.99, queued=0.03))
    assert figure.value == pytest.approx(0.99)
    assert kinds.kind(figure) == kinds.CPU_BOUND


def test_nor_does_a_queue_beside_its_time_make_threads_of_it() -> None:
    late = [cost | {"queued": cost["wall"]} for cost in calls(0.99)]
    assert kinds.computing("busy machine", late).value == 1.0


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (calls(0.99), "mine:work is CPU-bound: it computes for 99 % of its time, so CPUs are what it needs"),
        (calls(0.02), "mine:work is I/O-bound: it computes for 2 % of its time, so threads or coroutines overlap"),
        (
            calls(0.4),
            "mine:work is mixed: it computes for 40 % of its time, so lanes overlap its waits, up to 2.5-fold",
        ),
        (calls(0.4, 1), "mine:work is mixed by the look of 1 call: it computes"),
        (calls(0.95, 2), "mine:work is CPU-bound by the look of 2 calls: it"),
        (calls(0.02, children=0.009), "mine:work waits for processes of its own, which compute for 90 % of its time"),
        (calls(1.9), "mine:work is CPU-bound: it computes for 190 % of its time"),  # on two threads
    ],
)
def test_what_the_reader_s_own_task_is(told: list[dict[str, float]], said: str) -> None:
    judgement = kinds.judge(evidence({"name": "mine:work", "calls": told}))
    assert judgement.word == HOLDS  # whatever it is
    assert said in judgement.found
    assert judgement.figures[-1].name == "mine:work: of its time on a CPU"
    assert judgement.pictures[0].x[-1] == "mine:work"


def test_the_lines_are_those_that_advise_draws() -> None:
    assert pytest.approx(1 - waiting.SOME) == kinds.COMPUTES
    assert pytest.approx(1 - waiting.MOST) == kinds.WAITS


def test_a_short_real_run(no_leaks: None) -> None:
    experiment = lesson("kinds", seconds=1.0)
    shares = {name: kinds.computing(name, told).value for name, told in experiment.evidence["tasks"].items()}
    assert min(shares["squares"], shares["unpack"]) > 3 * max(shares["sleep"], shares["reply"])
    assert shares["squares"] > shares["both"] > shares["sleep"]
    assert len(experiment.evidence["tasks"]["reply"]) >= 6
    assert experiment.evidence["own"] is None


async def nap() -> None:
    await asyncio.sleep(0.02)


def own_share(task: Any) -> tuple[float, dict[str, Any]]:
    told = lesson(1, task=task, seconds=0.3).evidence["own"]
    return kinds.computing("own", told["calls"]).value, told


@pytest.mark.slow
def test_a_task_of_one_s_own_really_measured(no_leaks: None) -> None:
    share, told = own_share(kinds.squares)
    assert share > 0.5
    assert told["name"] == "squares"
    assert own_share(nap)[0] < 0.3
    assert own_share(functools.partial(time.sleep, 0.02))[0] < 0.3


def test_a_coroutine_function_is_measured_where_a_loop_runs() -> None:
    async def in_a_notebook() -> float:
        return own_share(nap)[0]

    assert asyncio.run(in_a_notebook()) < 0.3


def test_processes_that_a_task_starts_are_seen() -> None:
    script = "sum(k * k for k in range(2_000_000))"
    _, told = own_share(lambda: subprocess.run([sys.executable, "-c", script], check=True))
    assert kinds.statistics.median([call["children"] for call in told["calls"]]) > 0.01


def test_what_a_task_raises_is_raised() -> None:
    def bad() -> None:
        raise ZeroDivisionError("of mine")

    with pytest.raises(ZeroDivisionError, match="of mine"):
        lesson(1, task=bad, seconds=0.3)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (7, "task must be a function without arguments, not 7"),
        (lambda x: x, "task must be callable without arguments, and <lambda> is not"),
        ((k for k in "ab").__next__, None),
    ],
)
def test_what_cannot_be_a_task_is_refused_before_anything_is_measured(task: Any, said: str | None) -> None:
    from compute.lessons.own import as_task

    if said is None:
        assert as_task(task).call is task
        return
    with pytest.raises(TypeError, match=said):
        lesson(1, task=task)


def test_a_generator_function_computes_nothing_and_is_refused() -> None:
    def values():
        yield 1

    with pytest.raises(TypeError, match="values is a generator function"):
        lesson(1, task=values)


def test_a_lesson_that_takes_no_task_refuses_one() -> None:
    with pytest.raises(ValueError, match=r"a task of your own is for lesson 1 \(kinds\); leave it out here"):
        lesson(4, task=kinds.squares)


async def sleep_for_long() -> None:
    await asyncio.sleep(PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals are POSIX's")
@pytest.mark.parametrize("task", [sleep_for_long, functools.partial(time.sleep, PATIENCE)], ids=["async", "plain"])
def test_a_ctrl_c_ends_a_task_that_waits_for_long(task: Any, no_leaks: None) -> None:
    former = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            lesson(1, task=task, seconds=0.3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)

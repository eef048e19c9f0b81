"""What lessons time with: sizes, rounds, coroutines under any event loop."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from compute.lessons.lesson import Setting
from compute.lessons.rounds import FEWEST, awaited, enough, in_rounds
from compute.scaling.verify import WrongAnswer


def test_a_size_is_not_taken_from_a_run_that_had_to_wait() -> None:
    waits = iter([0.05])  # the first run, of one microsecond's work, is late

    def run(size: int) -> None:
        time.sleep(next(waits, 0.0))
        until = time.perf_counter() + size * 1e-6
        while time.perf_counter() < until:
            pass

    assert enough(run, 1, 0.01) > 100


def test_a_size_has_a_limit() -> None:
    assert enough(lambda size: None, 1, 1.0, most=100) == 100


def test_ways_may_tell_their_own_seconds() -> None:
    told = itertools.count(1)
    samples = in_rounds({"a": lambda: next(told)}, Setting(0.01), tells=True)
    assert samples == {"a": [float(2 + k) for k in range(len(samples["a"]))]}
    assert len(samples["a"]) >= FEWEST


def test_a_wrong_answer_is_no_sample() -> None:
    answers = iter([1, 1, 2])
    with pytest.raises(WrongAnswer, match="a gave 2, not 1"):
        in_rounds({"a": lambda: next(answers)}, Setting(0.01), answer=1)


def test_a_coroutine_is_awaited_also_where_a_loop_is_running() -> None:
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async def in_a_notebook() -> int:
        return awaited(add, 1, 2)

    assert awaited(add, 1, 2) == asyncio.run(in_a_notebook()) == 3

"""Advice on work that waits: what kind of task it is, and lanes beyond the CPUs."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from compute import Threads, advise
from compute.advice import waiting
from kernels import each, triad


def waits(x):
    time.sleep(0.01)


async def awaits(x):
    await asyncio.sleep(0.01)


def computes(x):
    return sum(range(20_000))


def fails(x):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("function", "waiting_part"), [(waits, True), (awaits, True), (computes, False), (fails, False)]
)
def test_what_waits_is_told_from_what_computes(function, waiting_part):
    assert bool(waiting.share(each(function), (range(5),), {})) == waiting_part


def test_what_a_kernel_says_needs_no_look():
    assert waiting.share(triad, (1.0, 2.0, 3.0), {}) == 0


@pytest.mark.slow
def test_more_lanes_than_cpus_are_tried_and_advised():
    advice = advise(each(waits), range(20), on=["threads", "processes"], budget=12)
    assert isinstance(advice.use.on, Threads)
    assert advice.use.on.workers >= 10
    assert "I/O-bound: on one core it waits for" in str(advice)
    assert json.loads(advice.as_json())["waits"] == advice.waits > 0.5
    assert advice.doubtful == ()


@pytest.mark.parametrize(
    ("asked", "kernel", "chunks", "found"),
    [
        (["threads"], each(waits), 60, [("threads", 50), ("threads", 10)]),
        (["threads"], each(awaits), 10, [("threads", 10), ("coroutines", 10)]),
        (["threads"], each(waits), 3, [("threads", 3)]),
        (["processes", "prange"], each(waits), 60, []),
        ([Threads(2)], each(waits), 60, []),
    ],
)
def test_which_lanes_are_tried(asked, kernel, chunks, found):
    assert [(backend.name, backend.workers) for backend in waiting.more_lanes(asked, kernel, chunks)] == found


@pytest.mark.parametrize(
    ("part", "bound", "told"),
    [(0.98, None, "I/O-bound"), (0.7, None, "mixed"), (0.0, None, "CPU-bound"), (0.0, "memory", "memory-bound")],
)
def test_the_kind_of_task_in_words(part, bound, told):
    assert waiting.sentence(part, bound).startswith(told)

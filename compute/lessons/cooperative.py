"""Lesson 7: coroutines hand over where they say so, threads are made to hand over."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from compute import machine
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import awaited, enough, in_rounds, is_above, noting_crowds, ratio, seconds, too_crowded
from compute.scaling import statistics
from compute.scaling.formatting import seconds as in_words
from compute.scaling.verify import WrongAnswer

RUN = 0.1  # s for which one computes: twenty of Python's switch intervals, and what people notice
PIECES = 100  # parts of the same work, for the one that hands over in between
TICK = 0.001  # s of each sleep of the one beside it
SLEEPS = 2000  # of zero seconds, in one run
LONGER = 3.0  # times as long as threads are held up: if coroutines are held up for less, a busy machine may be why
ONE_GO, PARTS, THREAD, CALL = (
    "coroutine that does not await",
    "coroutine that awaits between pieces",
    "thread",
    "thread in one call of C",
)


def compute(lo, hi):
    return sum(i * i % 7 for i in range(lo, hi))


def compute_in_one_call_of_c(n):
    return sum(range(n))


async def compute_in_pieces(n, piece):
    total = 0
    for lo in range(0, n, piece):
        total += compute(lo, min(lo + piece, n))
        await asyncio.sleep(0)
    return total


async def compute_in_one_go(n):
    return compute(0, n)


async def sleep_no_time(times):
    for _ in range(times):
        await asyncio.sleep(0)


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds for which another one was held up, by what computed meanwhile; and what handing over costs."""
    run = min(RUN, setting.seconds / 20)
    n = enough(functools.partial(compute, 0), 1000, run)
    calls = enough(compute_in_one_call_of_c, 1000, run)
    piece = max(1, n // PIECES)
    total, total_of_calls = compute(0, n), calls * (calls - 1) // 2
    one_go, in_pieces = (lambda: compute_in_one_go(n)), (lambda: compute_in_pieces(n, piece))
    held_up = {
        ONE_GO: lambda: awaited(_beside_a_coroutine, one_go, total),
        PARTS: lambda: awaited(_beside_a_coroutine, in_pieces, total),
        THREAD: lambda: _beside_a_thread(lambda: compute(0, n), total),
        CALL: lambda: _beside_a_thread(lambda: compute_in_one_call_of_c(calls), total_of_calls),
    }
    costs = {ONE_GO: lambda: awaited(compute_in_one_go, n), PARTS: lambda: awaited(compute_in_pieces, n, piece)}
    evidence = {
        "held_up": in_rounds(held_up, setting, 0.6, tells=True),
        "took": in_rounds(costs, setting, 0.3, answer=total),
        "sleeps": SLEEPS,
        "slept": in_rounds({"sleep": lambda: awaited(sleep_no_time, SLEEPS)}, setting, 0.1)["sleep"],
        "pieces": -(-n // piece),
        "gil": machine.has_gil(),
        "cpus": machine.usable_cpus(),
        "interval": sys.getswitchinterval(),
    }
    return evidence


async def _beside_a_coroutine(compute: Callable[[], Coroutine[Any, Any, int]], total: int) -> float:
    """The most seconds by which a coroutine that sleeps for a moment was late, while another one computed."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            late.append(time.perf_counter() - began - TICK)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(3 * TICK)
    late.clear()
    computing = asyncio.create_task(compute())
    _check(await computing, total)
    await asyncio.sleep(3 * TICK)  # its turn comes
    ticking.cancel()
    return max(late)


def _beside_a_thread(compute: Callable[[], int], total: int) -> float:
    """The same of two threads."""
    late: list[float] = []
    over = threading.Event()

    def tick() -> None:
        while not over.is_set():
            began = time.perf_counter()
            time.sleep(TICK)
            late.append(time.perf_counter() - began - TICK)

    ticking = threading.Thread(target=tick)
    try:
        ticking.start()
        time.sleep(3 * TICK)
        late.clear()
        _check(compute(), total)
        time.sleep(3 * TICK)
    finally:
        over.set()
        if ticking.is_alive():
            ticking.join()
    return max(late)


def _check(value: int, total: int) -> None:
    if value != total:
        raise WrongAnswer(f"the computing beside it gave {value!r}, not {total!r}: how long it held up says nothing")


def judge(evidence: Evidence) -> Judgement:
    late, took = evidence["held_up"], evidence["took"]
    waits = {name: seconds(f"held up by a {name}", samples) for name, samples in late.items()}
    longer = ratio("coroutine over thread: held up", late[ONE_GO], late[THREAD])
    costs = ratio(f"computing in {evidence['pieces']} pieces: time over one go", took[PARTS], took[ONE_GO])
    sleep = seconds("await asyncio.sleep(0)", evidence["slept"], evidence["sleeps"])
    holds = is_above(longer, LONGER)
    crowd = None if holds else too_crowded(evidence["crowded"])
    return Judgement(
        None if crowd else holds,
        f"a coroutine that computes for {in_words(statistics.median(took[ONE_GO]))} holds up the others for"
        f" {in_words(waits[ONE_GO].value)}, a thread for {in_words(waits[THREAD].value)}",
        crowd or _why(evidence, holds, {name: figure.value for name, figure in waits.items()}, sleep.value),
        (longer, *waits.values(), costs, sleep),
        (_picture(waits),),
    )


def _why(evidence: Evidence, holds: bool | None, waits: Mapping[str, float], sleep: float) -> str:
    interval = in_words(evidence["interval"])
    if holds is None:
        return f"the rounds do not tell whether that is over {LONGER:g} times as long; measure for longer"
    if not holds:
        crowded = ", and all share one CPU" if evidence["cpus"] < 2 else ""
        return f"threads are not let run at once here: the switch interval is {interval}{crowded}"
    remedy = (
        f"one that awaits between {evidence['pieces']} pieces holds them up for {in_words(waits[PARTS])}, at"
        f" {in_words(sleep)} for each await asyncio.sleep(0)"
    )
    if not evidence["gil"]:
        return f"an event loop runs nothing else until a coroutine awaits: {remedy}; threads, with no GIL, do not wait"
    return (
        f"an event loop runs nothing else until a coroutine awaits: {remedy}; a thread is made to let go of the GIL"
        f" after {interval}, but only between bytecodes: one call of C holds threads up for {in_words(waits[CALL])}"
    )


def _picture(waits: Mapping[str, Figure]) -> Picture:
    return Picture(
        "For how long others are held up, by who computes",
        tuple(waits),
        (Series.of("held up", waits.values()),),
        y_label="held up",
        unit="s",
        logarithmic="y",
    )


LESSON = Lesson(
    7,
    "cooperative",
    "Pre-emptive and cooperative",
    "Coroutines hand over explicitly: one that computes without an await holds up all others; a thread does not.",
    (compute, compute_in_one_call_of_c, compute_in_pieces),
    measure,
    judge,
)

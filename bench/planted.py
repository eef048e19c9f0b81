"""Kernels and circumstances that each have one known reason not to be N-fold, and one that has none.

`make proof` measures each many times and counts how often the verdict names what was planted. A cause is planted with
the public means that a user has: a kernel of one's own, a backend, a busy machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute import Processes, Threads, machine
from compute.backends.backend import Backend
from compute.scaling.ceiling import gauges
from kernels import Plan, kernel

STEPS = 40_000  # of a loop, about 60 us on one core
CHUNKS = 512
ROWS, WIDTH = 1024, 1 << 16  # doubles: half a GB
SHORT = 1.5  # of one lane's memory bandwidth on two: the second adds less than half, and plainly memory is short
PAIRS = 15  # of the triad on one lane and on two, 0.1 s in all; their ratios lie within a tenth of each other
QUOTA, PERIOD = 1.2, 100_000  # CPUs, and us: as a container of 1200 millicores has them
LOCK = threading.Lock()


def work(steps: int, x: float) -> float:
    """So many dependent steps on one number."""
    for _ in range(steps):
        x = x * 0.5 + 1.0
    return x


def plan_steps(steps: int) -> Plan:
    return Plan(CHUNKS, (steps,), grain=1)


@kernel(plan=plan_steps, bound="compute")
def healthy(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work in chunks that are long against a ticket."""
    for i in range(lo, hi):
        out[i] = work(steps, 1.0 + i)


@kernel(plan=plan_steps, bound="compute")
def heavy_chunk(lo: int, hi: int, out: Any, steps: int) -> None:
    """The last chunk is as long as all the others."""
    for i in range(lo, hi):
        out[i] = work(steps * (out.size if i == out.size - 1 else 1), 1.0 + i)


@kernel(plan=plan_steps, bound="compute")
def in_python(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work, which as Python holds the GIL."""
    for i in range(lo, hi):
        x = 1.0 + i
        for _ in range(steps // 50):
            x = x * 0.5 + 1.0
        out[i] = x


@kernel(plan=plan_steps, compiled=False, bound="compute")
def under_a_lock(lo: int, hi: int, out: Any, steps: int) -> None:
    """Work that releases the GIL, and holds one lock."""
    compiled = _compiled_work()
    for i in range(lo, hi):
        with LOCK:
            out[i] = compiled(steps, 1.0 + i)


def plan_serially(steps: int) -> Plan:
    _compiled_work()(steps * CHUNKS // 2, 1.0)
    return plan_steps(steps)


@kernel(plan=plan_serially, bound="compute")
def serial_section(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work, after half as much that only the caller does."""
    for i in range(lo, hi):
        out[i] = work(steps, 1.0 + i)


def plan_tiny(chunks: int) -> Plan:
    return Plan(chunks, (), grain=1)


@kernel(plan=plan_tiny, bound="compute")
def tiny_chunks(lo: int, hi: int, out: Any) -> None:
    """A million chunks of one addition."""
    for i in range(lo, hi):
        out[i] = i + 1.0


def plan_rows(a: Any) -> Plan:
    return Plan(len(a), (a,), shape=(len(a),), grain=1)


@kernel(plan=plan_rows)
def streams_memory(lo: int, hi: int, out: Any, a: Any) -> None:
    """Four sums over each row, side by side: as fast as rows come from memory."""
    for i in range(lo, hi):
        row = a[i]
        s = t = u = v = 0.0
        for j in range(0, row.size, 8):  # one number of each cache line: nothing but the line's coming
            s, t, u, v = t + row[j], u, v, s
        out[i] = s + t + u + v


def plan_pickled(words: list[float], steps: int) -> Plan:
    return Plan(CHUNKS, (words, steps), grain=1)


@kernel(plan=plan_pickled, compiled=False, bound="compute")
def pickled_argument(lo: int, hi: int, out: Any, words: list[float], steps: int) -> None:
    """Even work, whose argument is a long list: it goes to every worker as a pickle, in every run."""
    compiled = _compiled_work()
    for i in range(lo, hi):
        out[i] = compiled(steps // 4, words[i])


class Line:
    """What all lanes use: its numbers are objects, which are counted each time that somebody reads them."""

    def __init__(self, slope: float, offset: float) -> None:
        self.slope, self.offset = slope, offset

    def at(self, x: float) -> float:
        return x * self.slope + self.offset


LINE, BOTH = Line(float("0.5"), float("1.0")), (float("0.5"), float("1.0"))
SEEN: dict[int, float] = dict.fromkeys(range(8), 0.0)
DICE = random.Random(0)


@kernel(plan=plan_steps, compiled=False, bound="compute")
def counts_references(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work on two numbers of the module, whose reference counts all lanes write."""
    for i in range(lo, hi):
        x = 1.0 + i
        for _ in range(steps // 100):
            slope, offset = BOTH
            x = x * slope + offset
        out[i] = x


@kernel(plan=plan_steps, compiled=False, bound="compute")
def asks_one_object(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work in the method of an object that all lanes find by its name."""
    for i in range(lo, hi):
        x = 1.0 + i
        for _ in range(steps // 200):
            x = LINE.at(x)
        out[i] = x


@kernel(plan=plan_steps, compiled=False, bound="compute")
def fills_one_table(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work, each step of which is noted in a dictionary that lets one lane in at a time."""
    for i in range(lo, hi):
        x = 1.0 + i
        for step in range(steps // 100):
            x = x * 0.5 + 1.0
            SEEN[step & 7] = x
        out[i] = x


@kernel(plan=plan_steps, compiled=False, bound="compute")
def draws_from_one_generator(lo: int, hi: int, out: Any, steps: int) -> None:
    """Even work on random numbers, drawn from a generator that lets one lane in at a time."""
    for i in range(lo, hi):
        for _ in range(steps // 100):
            DICE.random()
        out[i] = i


def plan_matrices(side: int) -> Plan:
    return Plan(16, (np.ones((side, side)),), grain=1)


@kernel(plan=plan_matrices, compiled=False, bound="compute")
def nested_blas(lo: int, hi: int, out: Any, a: Any) -> None:
    """Products for which every lane lets BLAS use as many threads as there are CPUs."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(os.cpu_count(), user_api="blas"):
        for i in range(lo, hi):
            out[i] = (a @ a)[0, 0]


@functools.cache
def rows() -> tuple[Any, ...]:
    return (np.ones((ROWS, WIDTH)),)


_made: list[Any] = []


def _compiled_work() -> Any:
    if not _made:
        from kernels.compilation.compiler import compiled

        _made.append(compiled(work))
    return _made[0]


@contextlib.contextmanager
def busy_processes() -> Iterator[None]:
    """A busy process for each CPU, as a neighbour would have."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    time.sleep(0.2)
    try:
        yield
    finally:
        for one in burning:
            one.kill()
            one.wait()


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """An affinity mask of one CPU, for this process and all that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def a_quota() -> Iterator[None]:
    """A gauge group of QUOTA CPUs for this process and all that it starts. OSError where it may make none."""
    version, here = next(machine.groups(machine.ROOT, "cpu"))
    inside = here / "nfold-planted"
    inside.mkdir()
    try:
        limit = int(QUOTA * PERIOD)
        (inside / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")).write_text(
            f"{limit} {PERIOD}" if version == 2 else str(limit)
        )
        (inside / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        for process in (inside / "cgroup.procs").read_text().split():
            (here / "cgroup.procs").write_text(process)
        inside.rmdir()


@contextlib.contextmanager
def a_gil(on: bool = True) -> Iterator[None]:
    """An interpreter whose threads take turns, or one whose threads do not. OSError where this is another one."""
    if machine.has_gil() is not on:
        raise OSError(f"this Python has {'a' if machine.has_gil() else 'no'} GIL")
    yield


without_a_gil = functools.partial(a_gil, on=False)


def memory_is_short() -> bool:
    """Whether two lanes of the triad get under SHORT times what one gets, in runs of its own: no verdict sees them.

    On a virtual machine that changes: for some minutes two lanes got 1.15 times as much, for the next ones 1.9 times,
    and then two lanes of no kernel are short of memory.
    """
    with gauges([2]) as made:
        triad = {one.pool.workers: one for one in made if one.bound == "memory"}
        ratios = [triad[2].run() / triad[1].run() for _ in range(PAIRS)] if triad else [2.0]
    return statistics.median(ratios) < SHORT


@dataclass(frozen=True)
class Case:
    """What is planted, and the cause that the verdict of its two workers is to name.

    beside: what else is measured in the same rounds, for the verdict to compare with.
    took: whether the machine lets it be planted at this moment, where that is not certain; nothing of it is in a
          verdict.
    """

    name: str
    cause: str
    kernel: Any
    args: Callable[[], tuple[Any, ...]]
    variant: str
    on: Backend
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    took: Callable[[], bool] = lambda: True
    beside: tuple[Backend, ...] = ()


def _steps() -> tuple[Any, ...]:
    return (STEPS,)


CASES = (
    Case("nothing", "none", healthy, _steps, "nogil", Threads(2)),
    Case("nothing, in processes", "none", healthy, _steps, "nogil", Processes(2)),
    Case("one heavy chunk", "imbalance", heavy_chunk, lambda: (STEPS // 2,), "nogil", Threads(2)),
    Case("a lock", "lock", under_a_lock, _steps, "python", Threads(2)),
    Case("a serial section in plan", "serial section", serial_section, _steps, "nogil", Threads(2)),
    Case("a loop that holds the GIL", "gil", in_python, _steps, "python", Threads(2), a_gil),
    *(
        Case(name, "contention", body, _steps, "python", Threads(2), without_a_gil, beside=(Processes(2),))
        for name, body in (
            ("without a GIL, numbers that all lanes use", counts_references),
            ("without a GIL, an object that all lanes ask", asks_one_object),
            ("without a GIL, a dictionary that all lanes fill", fills_one_table),
            ("without a GIL, a generator that all lanes draw from", draws_from_one_generator),
        )
    ),
    Case("without a GIL, nothing", "none", in_python, _steps, "python", Threads(2), without_a_gil),
    Case("memory saturated", "memory bandwidth", streams_memory, rows, "nogil", Threads(2), took=memory_is_short),
    Case("tiny chunks", "small chunks", tiny_chunks, lambda: (1_000_000,), "nogil", Threads(2)),
    Case(
        "a large pickled argument",
        "transfer",
        pickled_argument,
        lambda: ([1.5] * 1_000_000, STEPS),
        "python",
        Processes(2),
    ),
    Case("busy processes", "noise", healthy, _steps, "nogil", Threads(2), busy_processes),
    Case(
        "BLAS of two threads under two workers", "nested threads", nested_blas, lambda: (400,), "python", Processes(2)
    ),
    Case("one CPU for two workers", "oversubscription", healthy, _steps, "nogil", Threads(2), one_cpu),
    # Some periods long: in a shorter run the quota need not be used up.
    Case("a quota of 1.2 CPUs", "quota", healthy, lambda: (20 * STEPS,), "nogil", Threads(2), a_quota),
)

"""Waiting without sleeping, for a moment: what a lane or its caller does before it goes to sleep.

A sleeping thread takes 20 to 60 us to wake on a virtual machine. A spinning one sees a word change in 0.1 us, but keeps
a CPU from others. So the spin is short, and there is none where lanes outnumber the CPUs. README.md beside this file
says more.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from compute import machine
from compute.lanes import interrupts
from compute.lanes.control import DONE, INSIDE, N_CHUNKS, N_LANES, Words, line_of
from kernels.compilation import importing, ready
from kernels.definition import numba_is_here

SPIN = 50_000  # ns: about as long as sleeping and waking take, so that at worst the wait costs twice as much


def spin_time(threads: int) -> int:
    """How long each of so many threads may spin, in ns: not at all where they outnumber the CPUs."""
    return SPIN if numba_is_here() and threads <= machine.usable_cpus() else 0


def waiting_cpus(lanes: int) -> list[int] | list[None]:
    """The CPU on which each lane is to wait for a job: one each where there is a lane for every CPU, else None.

    Linux tends to wake a thread on the CPU of the thread that woke it. Two lanes then share a CPU until the scheduler's
    next balancing, milliseconds later. With fewer lanes than CPUs the scheduler chooses better than we could: it knows
    which CPUs are busy with other programs.
    """
    cpus = machine.allowed_cpus()
    return cpus if sys.platform == "linux" and lanes == len(cpus) else [None] * lanes


def current_cpu() -> int:
    """The CPU that this thread runs on; -1 where the system does not tell it."""
    return int(_libc().sched_getcpu()) if sys.platform == "linux" else -1


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def until_over(control: Words, limit: int) -> bool:
    """Spin until a run is over (see ControlArray.is_over), or for `limit` ns. Returns whether it is over."""
    return bool(limit and _compiled("over")(control, limit))


def until_rung(bell: Words, heard: int, limit: int) -> None:
    """Spin until the bell has been rung (bell[0] += 1) more often than was heard, or for `limit` ns."""
    if limit:
        _compiled("rung")(bell, heard, limit)


def add(words: Words, index: int, value: int) -> int:
    """Add atomically to a word; return what was there before. Needs numba."""
    before: int = _compiled("added")(words, index, value)
    return before


@functools.cache
@interrupts.put_off()
def _compiled(name: str) -> Callable[..., Any]:
    """One of the loops in machine code."""

    def make() -> Any:
        return importing.compiler().compiled(_loops()[name], ready_as)

    ready_as, numbers = f"{__name__}:{name}", {"over": 1, "rung": 2, "added": 2}[name]
    made: Callable[..., Any] = ready.function(ready_as, make, (np.zeros(1, np.int64), *numbers * (0,)))
    return made


@functools.cache
def _loops() -> dict[str, Callable[..., Any]]:
    """The loops to compile."""
    from kernels.vectors import atomics

    def over(control: Any, limit: Any) -> Any:
        from_here = int(control[DONE])
        end = from_here + int(control[N_CHUNKS])
        until = atomics.monotonic_ns() + limit
        while True:
            while from_here < end and atomics.load(control, from_here) != 0:
                from_here += 1
            if from_here == end:
                inside = 0
                for lane in range(int(control[N_LANES])):
                    inside += atomics.load(control, line_of(lane) + INSIDE)
                if inside == 0:
                    return True
            if atomics.monotonic_ns() > until:
                return False
            atomics.pause()

    def rung(bell: Any, heard: Any, limit: Any) -> None:
        until = atomics.monotonic_ns() + limit
        while atomics.load(bell, 0) == heard and atomics.monotonic_ns() < until:
            atomics.pause()

    def added(words: Any, index: Any, value: Any) -> Any:
        return atomics.fetch_add(words, index, value)

    return {"over": over, "rung": rung, "added": added}

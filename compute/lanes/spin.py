"""Waiting without sleeping, for a moment: what a lane or its caller does before it goes to sleep.

A sleeping thread takes 20 to 60 us to wake on a virtual machine. A spinning one sees a word change in 0.1 us, but keeps
a CPU from others. So the spin is short, and there is none where lanes outnumber the CPUs. README.md beside this file
says more.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from compute import machine
from compute.lanes import shared_words
from compute.lanes.control import Words
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
    return bool(limit and shared_words.calls().over(control, limit))


def until_rung(bell: Words, heard: int, limit: int) -> None:
    """Spin until the bell has been rung (bell[0] += 1) more often than was heard, or for `limit` ns."""
    if limit:
        shared_words.calls().rung(bell, heard, limit)


def add(words: Words, index: int, value: int) -> int:
    """Add atomically to a word; return what was there before. Needs numba."""
    before: int = shared_words.calls().added(words, index, value)
    return before

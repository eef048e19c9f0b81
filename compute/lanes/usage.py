"""A thread's figures from the operating system, and its pinning to a CPU.

The figures are the time in the run queue, context switches and page faults. Only observed runs read them. The code that
runs a lane loop on a thread calls `arrive` before it and `leave` after it; the loop itself calls `begin` and `end`.
`native_usage` has the same four functions for compiled lanes.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from compute.lanes import interrupts
from compute.lanes.control import BEFORE, FILE, PIN, QUEUED, READINGS, UNKNOWN, Words, line_of

try:
    import resource

    RUSAGE_THREAD: int | None = resource.RUSAGE_THREAD
except (ImportError, AttributeError):  # Windows has neither, macOS not the second
    RUSAGE_THREAD = None

SCHEDSTAT = "/proc/thread-self/schedstat"  # ns on a CPU, ns waiting for one, turns (Linux; not in gVisor)


class _Schedstat:
    """The open file of the thread that made it. In a run, opening it takes 10 to 30 us, reading an open one 2 to 4."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.file = UNKNOWN
        with contextlib.suppress(OSError):
            self.file = os.open(SCHEDSTAT, os.O_RDONLY)
            weakref.finalize(self, os.close, self.file)


_own = threading.local()


def schedstat() -> int:
    """A descriptor of this thread's schedstat, open until it ends or calls `forget`; UNKNOWN where there is none."""
    kept: _Schedstat | None = getattr(_own, "schedstat", None)
    if kept is None or kept.process != os.getpid():  # a fork has a copy of the file, which is its parent's
        kept = _own.schedstat = _Schedstat()
    return kept.file


def forget() -> None:
    """Close this thread's schedstat, if it is open."""
    _own.schedstat = None


def queued() -> float:
    """Seconds for which this thread has waited for a CPU so far; 0.0 where the system does not tell it."""
    try:
        with interrupts.put_off(), open(SCHEDSTAT, "rb") as file:  # cut off as it is opened, nobody would close it
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def sleeps() -> int | None:
    """How often this thread has gone to sleep so far; None where the system does not tell it."""
    return None if RUSAGE_THREAD is None else resource.getrusage(RUSAGE_THREAD).ru_nvcsw


def arrive(control: Words, line: int, former: set[int]) -> None:
    """Prepare this thread for an observed lane: put its schedstat into the lane's line, pin it to the CPU given there.

    former: what `leave` needs is added, the CPUs on which it could run before. A pin that is refused is cleared.
    """
    file = schedstat()
    control[line + FILE] = UNKNOWN if file == UNKNOWN else file + 1
    pin = int(control[line + PIN])
    before = pin_to(pin - 1) if pin else set()
    if before is None:
        control[line + PIN] = 0
    former.update(before or ())


def leave(control: Words, line: int, former: set[int]) -> None:
    """Let this thread run on the CPUs that it had before `arrive`. Its schedstat stays open for the next lane."""
    let_go(former)


def pin_to(cpu: int, thread: int = 0) -> set[int] | None:
    """Pin a thread to one CPU. Returns the CPUs on which it could run before, empty if only there; None if refused.

    thread: its native id; this one unless given.
    """
    try:
        former = os.sched_getaffinity(thread)
        if former == {cpu}:
            return set()
        os.sched_setaffinity(thread, {cpu})
    except (OSError, AttributeError):
        return None
    return former


def let_go(former: set[int]) -> None:
    """Let this thread run on these CPUs again; nothing where the set is empty."""
    if former:
        with contextlib.suppress(OSError):  # none of them is allowed any more
            os.sched_setaffinity(0, former)


@contextlib.contextmanager
def held_to(cpu: int | None) -> Iterator[bool]:
    """Pin this thread to one CPU within the block. Yields whether it is pinned; with None it is not."""
    former = None if cpu is None else pin_to(cpu)
    try:
        yield former is not None
    finally:
        let_go(former or set())


@contextlib.contextmanager
def shared_thread_usage(control: Words, me: int) -> Iterator[None]:
    """Record this thread's usage within the block on one lane's line, for all lanes that share the thread."""
    line, former = line_of(me), set[int]()
    arrive(control, line, former)
    file = int(control[line + FILE])
    control[line + FILE] = 0  # so that no lane records anything itself
    before = read(file)
    try:
        yield
    finally:
        _add(control, line, before, read(file))
        leave(control, line, former)


def begin(control: Words, line: int) -> None:
    """Record what the lane's thread has used so far."""
    for word, reading in enumerate(read(int(control[line + FILE])), line + BEFORE):
        control[word] = reading


def end(control: Words, line: int) -> None:
    """Add to the lane's line what its thread has used since `begin`."""
    before = control[line + BEFORE : line + BEFORE + READINGS].tolist()
    _add(control, line, before, read(int(control[line + FILE])))


def _add(control: Words, line: int, before: Iterable[int], now: Iterable[int]) -> None:
    for word, (was, then) in enumerate(zip(before, now, strict=True), line + QUEUED):
        control[word] = UNKNOWN if UNKNOWN in (was, then) else control[word] + then - was


def read(file: int) -> tuple[int, int, int, int, int]:
    """The readings at this moment: of this thread since it began; the last one is of the process.

    file: as in a lane's line.
    """
    process_cpu = time.process_time_ns()
    queued = _queued(file - 1)
    if RUSAGE_THREAD is None:
        return queued, UNKNOWN, UNKNOWN, UNKNOWN, process_cpu
    used = rusage()
    return queued, used.ru_nvcsw, used.ru_nivcsw, used.ru_minflt, process_cpu


def rusage() -> Any:
    """getrusage of this thread; only where RUSAGE_THREAD is known."""
    assert RUSAGE_THREAD is not None
    return resource.getrusage(RUSAGE_THREAD)


def in_the_system() -> float:
    """CPU seconds that all threads of this process have spent in the kernel; NaN where that is unknown."""
    return math.nan if RUSAGE_THREAD is None else resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _queued(file: int) -> int:
    if file < 0:
        return UNKNOWN
    try:
        return int(os.pread(file, 96, 0).split()[1])
    except (OSError, IndexError, ValueError):
        return UNKNOWN

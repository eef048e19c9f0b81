"""What the system knows of a lane's thread beside its clocks: waiting for a CPU, switches, faults; and its pinning.

For lanes that run as Python calls; compute.native_usage is the same for those inside a compiled parallel region. Only
detailed runs pay for it: about 30 us a lane.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from compute.control import (
    FAULTS,
    INSIDE,
    INVOLUNTARY,
    PIN,
    PROCESS_CPU,
    QUEUED,
    UNKNOWN,
    VOLUNTARY,
    Control,
    Words,
)

try:
    import resource

    RUSAGE_THREAD: int | None = resource.RUSAGE_THREAD
except (ImportError, AttributeError):  # Windows has neither, macOS not the second
    RUSAGE_THREAD = None

READINGS = QUEUED, VOLUNTARY, INVOLUNTARY, FAULTS, PROCESS_CPU
SCHEDSTAT = "/proc/thread-self/schedstat"  # ns on a CPU, ns waiting for one, turns (Linux; not in gVisor)


@contextlib.contextmanager
def noted(control: Words, me: int) -> Iterator[None]:
    """Pin this thread to the CPU that the lane's line names, and add to the line what the thread used meanwhile."""
    line = Control.line(me)
    with pinned(control, line):
        before = read()
        try:
            yield
        finally:
            for word, was, now in zip(READINGS, before, read(), strict=True):
                control[line + word] = UNKNOWN if UNKNOWN in (was, now) else control[line + word] + now - was
            control[line + INSIDE] = 0


@contextlib.contextmanager
def pinned(control: Words, line: int) -> Iterator[None]:
    """Hold this thread to the CPU of the lane's line; a pin that the system refuses is taken out of the line."""
    pin = int(control[line + PIN])
    with held_to(pin - 1 if pin else None) as held:
        if pin and not held:
            control[line + PIN] = 0
        yield


@contextlib.contextmanager
def held_to(cpu: int | None) -> Iterator[bool]:
    """Hold this thread to one CPU, and let it go afterwards; whether it is held. None holds it to none."""
    before: set[int] = set()
    held = False
    if cpu is not None:
        with contextlib.suppress(OSError, AttributeError):
            now = os.sched_getaffinity(0)
            if now != {cpu}:
                os.sched_setaffinity(0, {cpu})
                before = now
            held = True
    try:
        yield held
    finally:
        if before:
            with contextlib.suppress(OSError):  # none of them is allowed any more
                os.sched_setaffinity(0, before)


def read() -> tuple[int, int, int, int, int]:
    """The READINGS at this moment: of this thread since it began, of the process the last."""
    process_cpu = time.process_time_ns()
    queued = _queued()
    if RUSAGE_THREAD is None:
        return queued, UNKNOWN, UNKNOWN, UNKNOWN, process_cpu
    used = rusage()
    return queued, used.ru_nvcsw, used.ru_nivcsw, used.ru_minflt, process_cpu


def rusage() -> Any:
    """getrusage of this thread; only where RUSAGE_THREAD is known."""
    assert RUSAGE_THREAD is not None
    return resource.getrusage(RUSAGE_THREAD)


def _queued() -> int:
    try:
        file = os.open(SCHEDSTAT, os.O_RDONLY)
    except OSError:
        return UNKNOWN
    try:
        return int(os.read(file, 96).split()[1])
    except (OSError, IndexError, ValueError):
        return UNKNOWN
    finally:
        os.close(file)

"""compute.usage for lanes inside a compiled parallel region: the same figures, by calls to the C library.

The functions are found by the linker, by name, so that compiled callers can be cached. Imports numba: only compiled
code comes here. Linux alone has them all; elsewhere, `begin` and `end` know nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import types

from compute.control import INSIDE, PIN, THREAD, UNKNOWN
from compute.usage import READINGS
from kernels import atomics

LINUX = sys.platform == "linux" and sys.maxsize > 2**32  # the structures below are those of its 64-bit ABI

# Where getrusage(RUSAGE_THREAD) puts them, in int64 words.
THREAD_SELF, RUSAGE, MINFLT, NVCSW, NIVCSW = 1, 18, 8, 16, 17
SETS = 16  # words of a CPU set: 1,024 CPUs
PATH = tuple(b"/proc/thread-self/schedstat\0")
SPACE = 32

# What a lane keeps between begin and end: its former CPU set, then its five readings.
KEPT = SETS + 5

_int, _pointer = types.intc, types.voidptr
_getrusage = types.ExternalFunction("getrusage", _int(_int, _pointer))
_open = types.ExternalFunction("open", _int(_pointer, _int))
_read = types.ExternalFunction("read", types.intp(_int, _pointer, types.uintp))
_close = types.ExternalFunction("close", _int(_int))
_gettid = types.ExternalFunction("gettid", _int())
_getaffinity = types.ExternalFunction("sched_getaffinity", _int(_int, types.uintp, _pointer))
_setaffinity = types.ExternalFunction("sched_setaffinity", _int(_int, types.uintp, _pointer))


def begin(control: Any, line: Any) -> Any:
    """Pin this thread to the CPU that the lane's line names; what `end` needs."""
    kept = np.zeros(KEPT, np.int64)
    control[line + THREAD] = _gettid()
    pin = int(control[line + PIN])
    if pin > 64 * SETS:
        control[line + PIN] = 0
    elif pin != 0:
        wanted = np.zeros(SETS, np.int64)
        wanted[(pin - 1) // 64] = np.int64(1) << ((pin - 1) % 64)
        if _getaffinity(0, 8 * SETS, kept.ctypes) < 0:
            kept[:SETS], control[line + PIN] = 0, 0
        elif (kept[:SETS] == wanted).all():
            kept[:SETS] = 0
        elif _setaffinity(0, 8 * SETS, wanted.ctypes) != 0:
            kept[:SETS], control[line + PIN] = 0, 0
    take_readings(kept[SETS:])
    return kept


def end(control: Any, line: Any, kept: Any) -> None:
    """Add to the lane's line what the thread used since `begin`; let it run where it could before."""
    now = np.zeros(5, np.int64)
    take_readings(now)
    for k in range(5):
        word = line + READINGS[k]
        was = kept[SETS + k]
        control[word] = UNKNOWN if was == UNKNOWN or now[k] == UNKNOWN else control[word] + now[k] - was
    control[line + INSIDE] = 0
    if kept[:SETS].any():
        _setaffinity(0, 8 * SETS, kept.ctypes)


def take_readings(into: Any) -> None:
    """compute.usage.read(), into five words."""
    used = np.zeros(RUSAGE, np.int64)
    into[:] = UNKNOWN
    into[0] = queued()
    if _getrusage(THREAD_SELF, used.ctypes) == 0:
        into[1], into[2], into[3] = used[NVCSW], used[NIVCSW], used[MINFLT]
    into[4] = atomics.process_cpu_ns()


def queued() -> Any:
    """ns that this thread waited for a CPU: the second number of its schedstat."""
    path = np.array(PATH, np.uint8)
    text = np.zeros(96, np.uint8)
    file = _open(path.ctypes, 0)
    if file < 0:
        return UNKNOWN
    length = _read(file, text.ctypes, 96)
    _close(file)
    numbers, value = 0, 0
    for k in range(length):
        if text[k] == SPACE:
            numbers += 1
        elif numbers == 1:
            value = 10 * value + text[k] - 48
    return value if numbers == 2 else UNKNOWN

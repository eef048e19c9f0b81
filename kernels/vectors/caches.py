"""The sizes of this machine's caches, and arrays that begin with a cache line. They change speed, never an answer."""

from __future__ import annotations

import ctypes
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from kernels.vectors.memory import check_memory

BYTES_PER_LINE = 64  # of a cache line, on x86 and most ARM
FLOATS_PER_LINE = BYTES_PER_LINE // 8  # float64 to a cache line
_USUAL = {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}


@functools.cache
def cache_bytes(level: int) -> int:
    """Bytes of the first CPU's data cache of a level, from Linux; a usual size where they are not known."""
    size = _told(level, "size")
    return int(size.rstrip("K")) << 10 if size.rstrip("K").isdecimal() else _USUAL[level]


@functools.cache
def cache_cpus(level: int) -> int:
    """How many CPUs share that cache, such as the hardware threads of a core; 1 where it is not known."""
    ends = [part.split("-") for part in _told(level, "shared_cpu_list").split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends if "".join(end).isdecimal()) or 1


def _told(level: int, what: str) -> str:
    """What Linux says of the first CPU's data cache of a level; "" where it does not."""
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (cache / "level").read_text() == f"{level}\n" and (cache / "type").read_text() != "Instruction\n":
                return (cache / what).read_text().strip()
        except OSError:
            continue
    return ""


LARGE_BYTES = cache_bytes(3)  # arrays larger than the last-level cache are written with non-temporal stores


def empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """np.empty, but the first element begins a cache line; numpy's own large arrays begin 16 bytes into a page.

    MemoryError names what is needed and what there is: the system gives more than it has, and kills who then uses it.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * np.dtype(dtype).itemsize
    check_memory(size)
    room = np.empty(size + BYTES_PER_LINE, np.uint8)
    # Reading the address by room.__array_interface__ costs 5 us when caches are cold, by room.ctypes 18 us.
    begin = -ctypes.addressof(ctypes.c_char.from_buffer(room.data)) % BYTES_PER_LINE
    array: np.ndarray[Any, Any] = room[begin : begin + size].view(dtype).reshape(shape)
    return array

"""The sizes of this machine's caches, and arrays that begin with a cache line. They change speed, never an answer."""

from __future__ import annotations

import ctypes
import functools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernels.vectors.memory import ROOT, check_memory, text

BYTES_PER_LINE = 64  # of a cache line, on x86 and most ARM
FLOATS_PER_LINE = BYTES_PER_LINE // 8  # float64 to a cache line
_USUAL = {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}


class Cache(NamedTuple):
    """A cache of the first CPU, as Linux tells of it. bytes: 0 where it is not known. cpus: those that share it."""

    level: str
    kind: str  # Data, Instruction or Unified
    bytes: int
    cpus: str


def first_cpus_caches(root: Path = ROOT) -> list[Cache]:
    """The caches of the first CPU, the smallest first; none where the system does not tell."""
    folders = sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*"))
    names = "level", "type", "size", "shared_cpu_list"
    read = ([text(folder / name) for name in names] for folder in folders)
    return [Cache(level, kind, _size(size), cpus) for level, kind, size, cpus in read]


def _size(listed: str) -> int:
    size = re.fullmatch(r"(\d+)([KMG]?)", listed)
    return int(size[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[size[2]] if size else 0


@functools.cache
def _data_caches() -> dict[str, Cache]:
    return {cache.level: cache for cache in first_cpus_caches() if cache.kind != "Instruction"}


def cache_bytes(level: int) -> int:
    """Bytes of the first CPU's data cache of a level, from Linux; a usual size where they are not known."""
    cache = _data_caches().get(str(level))
    return (cache.bytes if cache else 0) or _USUAL[level]


def cache_cpus(level: int) -> int:
    """How many CPUs share that cache, such as the hardware threads of a core; 1 where it is not known."""
    cache = _data_caches().get(str(level))
    ends = [part.split("-") for part in (cache.cpus if cache else "").split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends if "".join(end).isdecimal()) or 1


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

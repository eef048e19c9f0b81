"""Arrays that every lane can see: in the heap, in multiprocessing.shared_memory, or in a memory-mapped file."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from compute import machine
from compute.memory.ownership import Lending
from compute.memory.segments import ArenaKind, Array, Endings, Segment, check_memory, create_segment, segment_of
from compute.memory.spool import Spool
from kernels.vectors.caches import empty

ALIGNED = 2**12  # bytes from which arrays begin at a cache line: less gains nothing, and aligning costs a run 20 us
SMALL = 2**20  # bytes: a segment that costs more to make than to keep
SMALL_LASTS = 8  # runs that a small one is kept for: where lanes are late, runs take turns between several of them
IDLE = 32  # segments that are kept: a run needs a few, and each of hundreds would hold a descriptor
PAGE = 2**12  # bytes: of a page as most systems have it
SPOILT = 0xFF  # a byte that makes every float64 a NaN, and every integer one that no answer holds


class Block:
    """Memory of this process's heap that is lent again and again."""

    serials = itertools.count(1)

    def __init__(self, size: int) -> None:
        self.memory: Any = empty(size, np.uint8).data
        self.serial, self.lending = (0, next(self.serials)), Lending()

    def __len__(self) -> int:
        return len(self.memory)


class Arena:
    """Where a pool's arrays live. What one run needed is kept for the next, and little more than that.

    What was lent while this process forked is not: the child may hold it. It is freed when nobody maps it any more.

    empty(shape, dtype) is np.empty in this arena; place(array) is the array itself where the lanes can see it, else
    a copy that they can. Memory is checked against what is free before any of it is taken.

    keeps: whether all that was lent is kept until it is closed, and lent again for the same size only, so that a run
    that is repeated gets the very same pages, whatever ran in between.
    """

    def __init__(self, kind: ArenaKind, folder: str | None = None, *, keeps: bool = False) -> None:
        self.kind = kind
        self.source: Arena | None = None  # lends what this one would, where there is one
        self._keeps, self._folder = keeps, folder
        self._told: set[int] = set()  # why its memory is none that is shared, of which users were told
        self._lock = threading.Lock()
        self._lent: Endings[Segment | Block] = Endings()
        self._idle: dict[Segment | Block, int] = {}  # and for how many runs
        self._spool: Spool | None = None  # of the latest run that had one
        self._spool_age = 0  # runs that ended since it was kept; its own is the first

    def sees(self, array: Array) -> bool:
        """Whether every lane can see this array's memory."""
        return self.kind == "heap" or segment_of(array) is not None

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        """A new, uninitialised C-ordered array. MemoryError names what is needed and what there is."""
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise ValueError(f"dtype {dtype} holds Python objects, which no other process can see; use a numeric dtype")
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        if any(extent < 0 for extent in shape):
            raise ValueError(f"shape {shape} has a negative extent; each must be at least 0")
        size = dtype.itemsize
        for extent in shape:
            size *= int(extent)
        if self.source is not None and size >= PAGE:
            return self.source.empty(shape, dtype)
        if self.kind == "heap" and not self._keeps:
            check_memory(size)
            return empty(shape, dtype) if size >= ALIGNED else np.empty(shape, dtype)
        array: Array = self._root(size)[:size].view(dtype).reshape(shape)
        return array

    def _root(self, size: int) -> Array:
        with self._lock:
            self._collect()
            most = -(-size // PAGE) * PAGE if self._keeps else max(2 * size, 2**16)
            fitting = [segment for segment in self._idle if size <= len(segment) <= most]
            if fitting:
                # By serial, too: where nothing else decides, a run that is repeated gets the same segments again.
                segment = min(fitting, key=lambda segment: (len(segment), segment.serial))
                del self._idle[segment]
            else:
                if self._keeps and self._is_short_of(size):
                    self._idle.clear()
                check_memory(size)
                segment = self._new(size)
            # Every view that numpy makes of this array refers to this very object: its death is the last view's death.
            root = _bytes_of(segment)
            segment.lending.begin()
            self._lent.watch(segment, root)
            return root

    def _new(self, size: int) -> Segment | Block:
        if self.kind == "heap":
            return Block(-(-size // PAGE) * PAGE)
        return create_segment(size, self.kind, self._folder, self._told)

    def _is_short_of(self, size: int) -> bool:
        """Whether so much is not free: then what is kept is worth less than what is asked for."""
        free = machine.shared_memory_free() if self.kind == "shared" else None
        return size > min(machine.memory_available(), math.inf if free is None else free)

    def spoil(self) -> None:
        """Write over all that is kept and not lent: what the next run leaves out is no answer of the run before."""
        with self._lock:
            self._collect()
            for segment in self._idle:
                _bytes_of(segment)[:] = SPOILT

    def _collect(self) -> None:
        for segment in self._lent.latest():
            if not segment.lending.is_copied:  # or a fork of this process may still look at it
                segment.lending.end()
                self._idle[segment] = 0

    def spool(self, chunks: int, grain: int, name: str) -> Spool:
        """For the results of a run of so many chunks: the one of the run before, where that was alike and is free."""
        with self._lock:
            former, self._spool = self._spool, None
        if former is not None:
            if former.serves(chunks, grain, name):
                return former
            former.close()
        return Spool(chunks, grain, name, in_memory=self.kind == "shared", folder=self._folder)

    def keep_spool(self, spool: Spool) -> None:
        """After its run: the next one may have it."""
        with self._lock:
            former, self._spool, self._spool_age = self._spool, spool, 0
        if former is not None:
            former.close()

    def place(self, array: Array) -> Array:
        """The array where every lane can see it: itself, or one copy."""
        return array if self.sees(array) else self.copy(array)

    def copy(self, array: Array) -> Array:
        """A copy that every lane can see: each element in memory is copied once, however often the array shows it.

        Axes that repeat (`np.broadcast_to`), overlap (`sliding_window_view`) or run backwards do so in the copy.
        """
        lowest, reach = _lowest(array)
        if reach < lowest.nbytes:
            placed = self._overlapping(lowest, reach)
        else:
            # Where one axis is contiguous the axes keep their order: BLAS then sums the copy the same way, to the bit.
            strides = [abs(stride) for stride in array.strides]
            contiguous = array.itemsize in strides
            axes = sorted(range(array.ndim), key=lambda axis: -strides[axis] if contiguous else axis)
            placed = self.empty([lowest.shape[axis] for axis in axes], array.dtype).transpose(np.argsort(axes))
            np.copyto(placed, lowest)
        if placed.shape != array.shape or any(stride < 0 for stride in array.strides):
            return _shown_like(array, placed)
        return placed

    def _overlapping(self, array: Array, reach: int) -> Array:
        """A copy of all the memory between an array's first and last byte, seen with the array's own strides."""
        memory = self.empty(reach, np.uint8)
        first = array[(slice(1),) * array.ndim].reshape(1).view(np.uint8)
        np.copyto(memory, np.lib.stride_tricks.as_strided(first, (reach,), (1,)))
        return np.ndarray(array.shape, array.dtype, memory, 0, array.strides)

    def forget_idle(self) -> None:
        """After a run: let go of segments that nobody looks at and that the latest runs did not need."""
        if self.kind == "heap" or self._keeps:
            return
        with self._lock:
            self._collect()
            aged = ((segment, age + 1) for segment, age in self._idle.items())
            kept = [(segment, age) for segment, age in aged if age <= (SMALL_LASTS if len(segment) <= SMALL else 1)]
            self._idle = dict(kept[:IDLE])
            self._spool_age += 1
            if self._spool is not None and self._spool_age > 1:
                self._spool.close()
                self._spool = None

    def close(self) -> None:
        """Let go of everything; arrays that are still held stay valid."""
        with self._lock:
            self._lent.forget()
            self._idle.clear()
            if self._spool is not None:
                self._spool.close()
                self._spool = None


def _bytes_of(segment: Segment | Block) -> Array:
    return np.frombuffer(segment.memory if isinstance(segment, Block) else segment, np.uint8)


@contextmanager
def kept_pages(arenas: Iterable[Arena]) -> Iterator[list[Arena]]:
    """Within it, these arenas lend from others that keep what they have lent: one for each kind, which it gives.

    So all pools of a kind take the same pages, and find them as they have left them.
    """
    arenas, sources = list(arenas), dict[ArenaKind, Arena]()
    for arena in arenas:
        arena.source = sources.setdefault(arena.kind, Arena(arena.kind, keeps=True))
    try:
        yield list(sources.values())
    finally:
        for arena in arenas:
            arena.source = None
        for source in sources.values():
            source.close()


def _lowest(array: Array) -> tuple[Array, int]:
    """The array from its lowest address on, each element that an axis repeats shown once; the bytes that it spans."""
    if array.nbytes == 0:
        return array, 0
    cuts = [slice(1) if not stride else slice(None, None, -1 if stride < 0 else 1) for stride in array.strides]
    lowest = array[tuple(cuts)]
    spans = ((extent - 1) * stride for extent, stride in zip(lowest.shape, lowest.strides, strict=True) if extent > 1)
    return lowest, array.itemsize + sum(spans)


def _shown_like(array: Array, placed: Array) -> Array:
    """The copy of what `_lowest` gave, with the axes repeated and turned round as they are in the array."""
    turned = placed[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    strides = [stride if shown else 0 for stride, shown in zip(turned.strides, array.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(turned, array.shape, strides)


class Shared:
    """Arrays that every process worker sees without a copy: `shared.empty(shape)`, `shared.array(values)`."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        """np.empty in shared memory, freed when its last view is gone."""
        with closing(Arena("shared")) as arena:
            return arena.empty(shape, dtype)

    def array(self, values: Any, dtype: Any = None) -> Array:
        """np.array in shared memory: one copy."""
        with closing(Arena("shared")) as arena:
            return arena.place(np.asarray(values, dtype))


shared = Shared()

"""Arrays that every lane can see: in the heap, in multiprocessing.shared_memory, or in a memory-mapped file."""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from compute import machine
from compute.memory.copying import copy_into
from compute.memory.ends import EndWatcher
from compute.memory.ownership import Lending
from compute.memory.segments import ArenaKind, Array, Segment, create_segment, segment_of
from compute.memory.spool import Spool
from kernels.definition import recycled
from kernels.vectors.caches import empty
from kernels.vectors.memory import check_memory, memory_available

ALIGNED = 2**12  # bytes from which arrays begin at a cache line: smaller ones gain nothing, and aligning costs 20 us
SMALL = 2**20  # bytes: a segment up to this size costs more to make than to keep
SMALL_LASTS = 8  # runs for which a small one is kept: where lanes are late, runs alternate between several of them
IDLE = 32  # segments that are kept: a run needs a few, and each of hundreds would hold a descriptor
PAGE = 2**12  # bytes: the size of a page on most systems
GAPS = 1.25  # memory per element's bytes from which an array is copied before its memory is sent: a copy costs less
SPOILT = 0xFF  # a byte that makes every float64 a NaN, and every integer an implausible value (-1)


class HeapBlock:
    """Memory of this process's heap that is lent again and again."""

    serials = itertools.count(1)

    def __init__(self, size: int) -> None:
        self.memory: Any = empty(size, np.uint8).data
        self.serial, self.lending, self.unused_since = (0, next(self.serials)), Lending(), 0.0

    def __len__(self) -> int:
        return len(self.memory)


class Arena:
    """Where a pool's arrays live. Memory that one run used is kept for the next run, and little more than that.

    An array that was lent during a fork is not lent again, because the child may still use it. Its memory is freed when
    no process maps it any more.

    empty(shape, dtype) is np.empty in this arena; place(array) is the array itself where the lanes can see it, else
    a copy that they can. Memory is checked against what is free before any of it is taken.

    keeps: whether all that was lent is kept until the arena is closed, and lent again for the same size only. A run
    that is repeated then gets the very same pages, whatever ran in between.
    """

    def __init__(self, kind: ArenaKind, folder: str | None = None, *, keeps: bool = False) -> None:
        self.kind = kind
        self.source: Arena | None = None  # the arena that lends in place of this one, if there is one
        self._keeps, self._folder = keeps, folder
        self._warned_errnos: set[int] = set()  # why shared memory could not be used, where users were already warned
        self._lock = threading.Lock()
        self._lent: EndWatcher[Segment | HeapBlock] = EndWatcher()
        self._idle: dict[Segment | HeapBlock, int] = {}  # and for how many runs they were not used
        self._spool: Spool | None = None  # of the latest run that had one
        self._spool_age = 0  # runs that ended since the spool was kept, its own run included

    def sees(self, array: Array) -> bool:
        """Whether every lane can see this array's memory."""
        return self.kind == "heap" or segment_of(array) is not None

    def empty(self, shape: Any, dtype: Any = np.float64, beside: Array | None = None) -> Array:
        """A new, uninitialised C-ordered array. MemoryError names what is needed and what there is.

        beside: an array that is read while this one is written, see `kernels.definition.recycled`.
        """
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
            if size >= ALIGNED:
                return recycled.empty(shape, dtype, beside)
            return np.empty(shape, dtype)
        array: Array = self._root(size)[:size].view(dtype).reshape(shape)
        return array

    def _root(self, size: int) -> Array:
        with self._lock:
            self._collect()
            most = -(-size // PAGE) * PAGE if self._keeps else max(2 * size, 2**16)
            fitting = [segment for segment in self._idle if size <= len(segment) <= most]
            if fitting:
                # By serial as well, so that a run that is repeated gets the same segments again.
                segment = min(fitting, key=lambda segment: (len(segment), segment.serial))
                del self._idle[segment]
            else:
                if self._keeps and self._is_short_of(size):
                    self._idle.clear()
                segment = self._new(size)
            # Every view that numpy makes of this array refers to this very object: it is collected after the last view.
            root = _bytes_of(segment)
            segment.lending.begin()
            self._lent.watch(segment, root)
            return root

    def _new(self, size: int) -> Segment | HeapBlock:
        if self.kind == "heap":
            return HeapBlock(-(-size // PAGE) * PAGE)
        check_memory(size)
        return create_segment(size, self.kind, self._folder, self._warned_errnos)

    def _is_short_of(self, size: int) -> bool:
        """Whether so much memory is not free: then kept segments are freed."""
        free = machine.shared_memory_free() if self.kind == "shared" else None
        return size > min(memory_available(), math.inf if free is None else free)

    def check_room(self, size: int, remedy: str) -> None:
        """MemoryError where so many bytes are neither free nor kept idle, before any of them is touched."""
        if self.source is not None:
            return self.source.check_room(size, remedy)
        with self._lock:
            self._collect()
            idle = sum(map(len, self._idle)) if self._idle else 0
        check_memory(size, remedy, kept=idle)

    def spoil(self) -> None:
        """Overwrite all that is kept and not lent, so that the next run's output holds no answer of an earlier run."""
        with self._lock:
            self._collect()
            for segment in self._idle:
                _bytes_of(segment)[:] = SPOILT

    def redraw(self) -> None:
        """Free all that is kept and not lent, so that the next run gets other pages."""
        with self._lock:
            self._collect()
            self._idle.clear()

    def _collect(self) -> None:
        ended = self._lent.latest()
        while ended:
            # Otherwise another process may still use it, or whoever took it from behind an array.
            if not ended[-1].lending.is_copied and _references(ended) == ALONE:
                segment = ended.pop()
                segment.lending.end()
                segment.unused_since = recycled.clock()
                self._idle[segment] = 0
            else:
                ended.pop()

    def give_back(self, before: float, room: float) -> bool:
        """Free segments that nobody has used since then, and the oldest beyond so many bytes; whether some are left."""
        with self._lock:
            self._collect()
            self._idle = {segment: age for segment, age in self._idle.items() if segment.unused_since > before}
            while sum(map(len, self._idle)) > room:
                del self._idle[min(self._idle, key=lambda segment: segment.unused_since)]
            return bool(self._idle) or any(len(segment) >= recycled.LEAST for segment in self._lent.watched())

    def spool(self, chunks: int, grain: int, name: str) -> Spool:
        """A spool for the results of so many chunks: that of the last run, if it fits and is free, else a new one."""
        with self._lock:
            former, self._spool = self._spool, None
        if former is not None:
            if former.serves(chunks, grain, name):
                return former
            former.close()
        return Spool(chunks, grain, name, in_memory=self.kind == "shared", folder=self._folder)

    def keep_spool(self, spool: Spool) -> None:
        """Called after its run: keep the spool for the next one."""
        with self._lock:
            former, self._spool, self._spool_age = self._spool, spool, 0
        if former is not None:
            former.close()

    def place(self, array: Array, lanes: int = 1, pins: Sequence[int] = ()) -> Array:
        """The array itself where every lane can see it, else a copy."""
        return array if self.sees(array) else self.copy(array, lanes, pins)

    def bytes_to_place(self, array: Array) -> int:
        """How much memory `place` takes."""
        if self.sees(array):
            return 0
        lowest, reach = _lowest(array)
        return min(reach, lowest.nbytes)

    def copy(self, array: Array, lanes: int = 1, pins: Sequence[int] = ()) -> Array:
        """A copy that every lane can see: each element in memory is copied once, however often the array shows it.

        Axes that repeat (`np.broadcast_to`), overlap (`sliding_window_view`) or run backwards do so in the copy.
        lanes, pins: how many threads may copy, and the CPU of each.
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
            copy_into(placed, lowest, lanes, pins)
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
        """After a run: free segments that have no view and that the latest runs did not use."""
        if self.kind == "heap" or self._keeps:
            return
        with self._lock:
            self._collect()
            once = 1 if recycled.is_on() else -1
            kept = {
                segment: age + 1
                for segment, age in self._idle.items()
                if age < (SMALL_LASTS if len(segment) <= SMALL else once)
            }
            self._idle = kept if len(kept) <= IDLE else dict(itertools.islice(kept.items(), IDLE))
            if sum(map(len, self._idle)) >= recycled.LEAST:
                recycled.look_after(self)
            self._spool_age += 1
            if self._spool is not None and self._spool_age > 1:
                self._spool.close()
                self._spool = None

    def close(self) -> None:
        """Free everything; arrays that still exist stay valid."""
        with self._lock:
            self._lent.forget()
            self._idle.clear()
            if self._spool is not None:
                self._spool.close()
                self._spool = None


def _references(ended: list[Any]) -> int:
    """How many references there are to the list's last object."""
    return sys.getrefcount(ended[-1])


ALONE = _references([object()])  # where nothing but the list refers to it


def _bytes_of(segment: Segment | HeapBlock) -> Array:
    return np.frombuffer(segment.memory if isinstance(segment, HeapBlock) else segment, np.uint8)


@contextmanager
def kept_pages(arenas: Iterable[Arena]) -> Iterator[list[Arena]]:
    """Within the block, the given arenas share one keeping arena per kind, so that pools of a kind use the same pages.

    Yields the keeping arenas.
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
    """The array from its lowest address on, with each repeated element once; and the bytes that it spans."""
    if array.nbytes == 0:
        return array, 0
    cuts = [slice(1) if not stride else slice(None, None, -1 if stride < 0 else 1) for stride in array.strides]
    lowest = array[tuple(cuts)]
    spans = ((extent - 1) * stride for extent, stride in zip(lowest.shape, lowest.strides, strict=True) if extent > 1)
    return lowest, array.itemsize + sum(spans)


def memory_of(array: Array) -> tuple[Array, int, tuple[int, ...]]:
    """An array's memory as bytes, from its lowest to its last; where among them its first element is; its strides.

    ndarray(shape, dtype, memory, offset, strides) is the array again. Where the memory holds much that the array does
    not show (`x[::2]`), all three are those of a copy, laid out as `Arena.copy` does it.
    """
    if not array.nbytes:
        return np.empty(0, np.uint8), 0, array.strides
    if not array.ndim:
        return array.reshape(1).view(np.uint8), 0, ()
    lowest, reach = _lowest(array)
    if reach > GAPS * lowest.nbytes:
        array = Arena("heap").copy(array)
        lowest, reach = _lowest(array)
    first = lowest[(slice(1),) * array.ndim].reshape(1).view(np.uint8)
    offset = array.__array_interface__["data"][0] - lowest.__array_interface__["data"][0]
    return np.lib.stride_tricks.as_strided(first, (reach,), (1,)), offset, array.strides


def _shown_like(array: Array, placed: Array) -> Array:
    """The copy of what `_lowest` gave, with the axes repeated and reversed as they are in the array."""
    reversed_ = placed[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    strides = [stride if shown else 0 for stride, shown in zip(reversed_.strides, array.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(reversed_, array.shape, strides)


class Shared:
    """Arrays that every process worker sees without a copy: `shared.empty(shape)`, `shared.array(values)`."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        """np.empty in shared memory, freed when its last view is gone."""
        with closing(Arena("shared")) as arena:
            return arena.empty(shape, dtype)

    def array(self, values: Any, dtype: Any = None) -> Array:
        """np.array in shared memory: one copy."""
        with closing(Arena("shared")) as arena:
            return arena.place(np.asarray(values, dtype), machine.usable_cpus())


shared = Shared()

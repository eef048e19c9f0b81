"""Memory of large results that nobody holds any more, used again for the next ones.

The first touch of a page costs more than most kernels' work on it: the system finds the page and clears it. So a large
result lies in memory of its own, and when its last view is gone, that memory waits for the next large result: for a
minute, while there is memory enough, and never across a fork. `NFOLD_RECYCLE=0` in the environment switches it off.

What is handed out is an array over an address, and everything by which its memory can be reached holds that very array:
numpy's views have it as their base, memoryviews and other libraries' tensors hold a view. It is no container to the
garbage collector, which therefore cannot end it before finalizers that may still use it, and behind it is nothing from
which another array could be made. So its end is the end of all of them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import math
import mmap
import os
import threading
import time
import weakref
from _thread import start_new_thread
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.vectors import caches, memory

Array = np.ndarray[Any, Any]

LEAST = 1 << 20  # bytes: below it, malloc has touched pages at hand, and a result costs less than looking for a block
LARGE_PAGE = 2 << 20  # bytes of a large page on x86, and on most ARM: larger blocks begin with one
LIFETIME = 60.0  # s that unused memory is kept
SHARE = 4  # unused memory is kept up to this part of what the system could still give
MOST = 16  # blocks that are kept
PACE = 1.0  # s between looks at what has ended, what has grown old, and how much memory there is


clock: Callable[[], float] = time.monotonic


class _Place:
    """What is behind an array that is handed out. It keeps the memory, to which nothing of it leads."""

    def __init__(self, block: Block) -> None:
        self.__block = block


class Block:
    """Memory of this process alone, in large pages where the system has them."""

    serials = itertools.count()

    def __init__(self, size: int) -> None:
        self.serial, self.size, self.unused_since = next(self.serials), size, 0.0
        if hasattr(mmap, "MAP_PRIVATE"):
            self._memory: Any = mmap.mmap(-1, size + LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            mapped = np.frombuffer(self._memory, np.uint8).ctypes.data
            self._address = -(-mapped // LARGE_PAGE) * LARGE_PAGE
            whole = size // LARGE_PAGE * LARGE_PAGE  # what lies in half a large page would take a whole one
            if whole and hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # a system that was built without them
                    self._memory.madvise(mmap.MADV_HUGEPAGE, self._address - mapped, whole)
        else:
            self._memory = caches.empty(size, np.uint8)
            self._address = self._memory.ctypes.data

    def lend(self) -> Array:
        """A new array over all of it."""
        place: Any = _Place(self)
        place.__array_interface__ = {
            "version": 3,
            "data": (self._address, False),
            "shape": (self.size,),
            "typestr": "|u1",
        }
        root: Array = np.asarray(place)
        del place.__array_interface__  # otherwise another array could be made of it
        return root


class Recycling:
    """Blocks that are lent, and blocks that wait to be lent again. For all threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may fork, or run a kernel, while its thread is in here
        self._lent: dict[int, tuple[Block, Any]] = {}
        self._ended: dict[int, Any] = {}  # filled by the ends of arrays, in any thread, where no Python code may run
        self._unused: list[Block] = []  # the latest last
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()
        self._room, self._room_at = 0.0, -math.inf
        self._watch: Any = None  # a lock: the thread that looks after all this ends when it is released
        self._watched: Any = None  # a lock that the thread holds

    def empty(self, size: int) -> Array:
        """So many bytes, uninitialised; MemoryError where there are not so many."""
        with self._lock:
            self._collect()
            fitting = [block for block in self._unused if size <= block.size <= 2 * size]
            if fitting:
                block = min(fitting, key=lambda block: (block.size, -block.unused_since))
                self._unused.remove(block)
            else:
                memory.check_memory(size)
                block = Block(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
            root = block.lend()
            end = weakref.ref(root, functools.partial(self._ended.__setitem__, block.serial))
            self._lent[block.serial] = block, end
            if self._watch is None:
                self._begin_to_watch()
            return root

    def give_back(self) -> None:
        """Free all that is not in use."""
        with self._lock:
            self._collect()
            self._unused.clear()

    def look_after(self, owner: Any) -> None:
        with self._lock:
            self._others.add(owner)
            if self._watch is None:
                self._begin_to_watch()

    def unused(self) -> int:
        """Bytes that wait to be used again."""
        with self._lock:
            self._collect()
            return sum(block.size for block in self._unused)

    def _collect(self) -> None:
        """Take back what has ended; free what is too old or too much."""
        now = clock()
        for _ in range(len(self._ended)):
            block, _ = self._lent.pop(self._ended.popitem()[0])
            block.unused_since = now
            self._unused.append(block)
        if not self._unused:
            return
        self._unused = [block for block in self._unused if now - block.unused_since < LIFETIME][-MOST:]
        room, kept = self._room_now(now), sum(block.size for block in self._unused)
        while kept > room:
            kept -= self._unused.pop(0).size

    def _room_now(self, now: float) -> float:
        """Bytes that may be kept; asked for once in a while, because the system takes its time to say."""
        if not 0 <= now - self._room_at < PACE:
            self._room, self._room_at = memory.memory_available() / SHARE, now
        return self._room

    # ---------------------------------------------------------------- the thread that looks after it

    def _begin_to_watch(self) -> None:
        self._watch, self._watched = threading.Lock(), threading.Lock()
        self._watch.acquire()
        self._watched.acquire()
        try:
            # Not a threading.Thread: a program that counts its threads before it forks is not to count this one.
            start_new_thread(self._look_after, (self._watch, self._watched))
        except RuntimeError:  # at exit, or where the system gives no more threads
            self._watch = None

    def _look_after(self, watch: Any, watched: Any) -> None:
        pace = PACE
        try:
            while not watch.acquire(timeout=pace):
                with self._lock:
                    if self._watch is not watch:
                        return
                    self._collect()
                    others, now = list(self._others), clock()
                    room = self._room_now(now)
                kept = [owner.give_back(now - LIFETIME, room) for owner in others]  # which have locks of their own
                with self._lock:
                    if not any(kept) and not self._unused and not self._lent:
                        self._watch = None
                        self._others.clear()
                        return
                    pace = PACE if any(kept) or self._unused else min(2 * pace, 10 * PACE)
        finally:
            with self._lock:
                if self._watch is watch:  # an error: then another one is to begin
                    self._watch = None
            watched.release()

    def stop_watching(self) -> None:
        """End the thread; the next large result starts another one."""
        with self._lock:
            watch, watched, self._watch = self._watch, self._watched, None
        if watch is not None:
            watch.release()
            watched.acquire(timeout=1.0)  # where threads never run (uWSGI without them), it never ends

    # ---------------------------------------------------------------- forks

    def before_fork(self) -> None:
        """Keep nothing that a child would have, too: what is lent is freed at its end, and not used again."""
        self.stop_watching()
        self._lock.acquire()
        self._collect()
        self._unused.clear()
        self._lent.clear()
        self._ended = {}  # the ends of those go where nobody looks

    def after_fork(self) -> None:
        self._lock.release()


_recycling = Recycling()
give_back, unused = _recycling.give_back, _recycling.unused
memory.reserves.append(give_back)
atexit.register(_recycling.stop_watching)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_recycling.before_fork,
        after_in_parent=_recycling.after_fork,
        after_in_child=_recycling.after_fork,
    )


def is_on() -> bool:
    """Whether memory is used again: the environment may say no."""
    return os.environ.get("NFOLD_RECYCLE") != "0"


def empty(
    shape: tuple[int, ...],
    dtype: Any = np.float64,
    beside: Array | None = None,
) -> Array:
    """np.empty whose first element begins a cache line; large ones in memory that was in use before, if there is any.

    beside: an array that is read while this one is written. Large ones then begin at the same place in a line: numpy's
            own large arrays begin 16 bytes into one, and loads across the ends of lines cost triad 15 % on Zen 5.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST or not is_on():
        return caches.empty(shape, dtype)
    begin = 0 if beside is None else beside.__array_interface__["data"][0] % caches.BYTES_PER_LINE
    if begin % dtype.alignment:
        begin = 0
    try:
        root = _recycling.empty(begin + size)
    except OSError:  # of mmap: numpy's own error says how much it was
        give_back()
        return caches.empty(shape, dtype)
    array: Array = root[begin : begin + size].view(dtype).reshape(shape)
    return array


def look_after(owner: Any) -> None:
    """Call the owner's give_back(before, room) now and then, while it says that it keeps something.

    before: free what nobody has used since then, by `clock`. room: the most bytes to keep.
    """
    _recycling.look_after(owner)

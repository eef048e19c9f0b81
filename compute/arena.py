"""Arrays that every lane can see: in the heap, in multiprocessing.shared_memory, or in a memory-mapped file."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from compute.segments import Array, Kind, Segment, check_memory, create_segment, segment_of


class Arena:
    """Where a pool's arrays live. What one run needed is kept for the next, and no more than that.

    empty(shape, dtype) is np.empty in this arena; place(array) is the array itself where the lanes can see it, else
    a copy that they can. Memory is checked against what is free before any of it is taken.
    """

    def __init__(self, kind: Kind, folder: str | None = None) -> None:
        self.kind = kind
        self._folder = folder
        self._lock = threading.Lock()
        self._held: list[_Held] = []

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
        if self.kind == "heap":
            check_memory(size)
            return np.empty(shape, dtype)
        array: Array = self._root(size)[:size].view(dtype).reshape(shape)
        return array

    def _root(self, size: int) -> Array:
        with self._lock:
            fitting = [
                held for held in self._held if held.is_idle() and size <= len(held.segment) <= max(2 * size, 2**16)
            ]
            if fitting:
                held = min(fitting, key=lambda held: len(held.segment))
            else:
                check_memory(size)
                held = _Held(create_segment(size, self.kind, self._folder))
                self._held.append(held)
            return held.lend()

    def place(self, array: Array) -> Array:
        """The array where every lane can see it: itself, or one copy."""
        if self.sees(array):
            return array
        # Where one axis is contiguous the axes keep their order: BLAS then sums the copy in the same way, to the bit.
        contiguous = array.itemsize in array.strides
        axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]) if contiguous else axis)
        placed = self.empty([array.shape[axis] for axis in axes], array.dtype).transpose(np.argsort(axes))
        np.copyto(placed, array)
        return placed

    def forget_idle(self) -> None:
        """Let go of segments that nobody has used since the last call."""
        with self._lock:
            self._held = [held for held in self._held if held.used or not held.is_idle()]
            for held in self._held:
                held.used = False

    def close(self) -> None:
        """Let go of everything; arrays that are still held stay valid."""
        with self._lock:
            self._held.clear()


class _Held:
    """A segment, and whether anybody looks at it."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.used = True
        self._root: weakref.ref[Array] | None = None

    def is_idle(self) -> bool:
        return self._root is None or self._root() is None

    def lend(self) -> Array:
        # Every view that numpy makes of this array refers to this very object, so its death is the last view's death.
        root = np.frombuffer(self.segment, np.uint8)
        self._root, self.used = weakref.ref(root), True
        return root


class Shared:
    """Arrays that every process worker sees without a copy: `shared.empty(shape)`, `shared.array(values)`."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        """np.empty in shared memory, freed when its last view is gone."""
        return Arena("shared").empty(shape, dtype)

    def array(self, values: Any, dtype: Any = None) -> Array:
        """np.array in shared memory: one copy."""
        return Arena("shared").place(np.asarray(values, dtype))


shared = Shared()

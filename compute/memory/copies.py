"""One copy of each large array in memory that workers see, until the array changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from compute.memory.arena import Arena
from compute.memory.ends import EndWatcher
from compute.memory.segments import Array
from kernels.compilation.parts import same_bytes


class Copies:
    """Copies in an arena, by the id of the array that they are of. Not for several threads at once."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._copies: dict[int, Array] = {}  # by the array's id
        self._ended: EndWatcher[int] = EndWatcher()  # which of those arrays are gone

    def copy_of(self, array: Array) -> Array:
        """The array itself where workers see it, else a copy, the same one until the array has changed."""
        if self._arena.sees(array):
            return array
        for gone in self._ended.latest():
            self._copies.pop(gone, None)
        placed = self._copies.get(id(array))
        if placed is None or not _equal(array, placed):
            placed = self._copies[id(array)] = self._arena.copy(array)
            self._ended.watch(id(array), array)
        return placed

    def forget(self) -> None:
        """Forget all copies; those that are still in use stay valid."""
        self._copies.clear()


def _equal(array: Array, placed: Array) -> bool:
    same = array.shape == placed.shape and array.dtype == placed.dtype
    return same and (_is_fixed(array) or same_bytes(array, placed))


def _is_fixed(array: Any) -> bool:
    """Whether no code can write to an array: its memory is a bytes object.

    `writeable=False` is not enough: an older view may still write, and the flag can be set again.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, bytes)

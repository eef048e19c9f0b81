"""One copy of each large array where workers see it, for as long as the array stays what it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from compute.memory.arena import Arena
from compute.memory.segments import Array, Endings
from kernels.compilation.parts import same_bytes


class Copies:
    """Copies in an arena, remembered by the arrays that they are of. Not for several threads at once."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._copies: dict[int, Array] = {}  # by the array's id
        self._ended: Endings[int] = Endings()  # which of those arrays are no more

    def of(self, array: Array) -> Array:
        """The array where workers see it: itself, or one copy until it has changed."""
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
        """Let go of all copies; those that somebody else holds stay valid."""
        self._copies.clear()


def _equal(array: Array, placed: Array) -> bool:
    same = array.shape == placed.shape and array.dtype == placed.dtype
    return same and (_is_fixed(array) or same_bytes(array, placed))


def _is_fixed(array: Any) -> bool:
    """Whether nobody can write to an array: it lies in a bytes object.

    That an array is read-only says nothing of views of it that were made before, nor of what it is later.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, bytes)

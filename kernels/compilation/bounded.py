"""Dictionaries with a largest size. A session that makes many kernels would otherwise hold the data of all."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
# A session uses fewer kernels than this at once. An entry that was dropped is made again, in 0.5 s for compiled code.
MADE = 256


class Bounded(dict[K, V]):
    """A dictionary of at most `most` entries: the one that was set longest ago goes first.

    If a key contains the id() of an object, the entry must keep that object alive. Otherwise a new object could get the
    same id.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        while len(self) > self._most:
            try:
                self.pop(next(iter(self)), None)
            except (RuntimeError, StopIteration):  # another thread changed the dictionary meanwhile: try again
                continue

"""Tables with a largest size. Without one, a session that makes many kernels would hold the data of all of them."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MADE = 256  # more kernels than a session uses at once; one that has gone is made again, in 0.5 s where compiled


class Bounded(dict[K, V]):
    """A dictionary of at most so many entries: the one that was set longest ago goes first.

    Where a key is an id, the entry must hold that object: another one could get the id otherwise.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        while len(self) > self._most:
            try:
                self.pop(next(iter(self)), None)
            except (RuntimeError, StopIteration):  # another thread is at it
                continue

"""Tables of what was made that do not grow for ever; a session that makes many kernels would hold all their data."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MADE = 256  # kernels of a session that are in use at once; one that was forgotten is made again, 0.5 s where compiled


class Bounded(dict[K, V]):
    """A dictionary of at most so many entries: the one that was set longest ago goes first.

    An entry whose key is an id holds the object, so that nothing else can have that id meanwhile.
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

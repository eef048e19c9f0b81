"""Python's garbage collector, kept out of what is timed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from kernels.compilation.garbage import ended, uncollected

PYTHONS_OWN = 2_000  # objects that Python may have frozen itself: 375 in 3.12. A program freezes 5,000 at the least

_lock = threading.Lock()
_blocks = set[object]()  # of garbage_set_aside that are under way
_frozen_by_others = False


def garbage_set_aside() -> AbstractContextManager[None]:
    """Collect once, and exempt what exists now from later collections: with numba loaded each takes 0.1 s.

    The last block to end takes the exemption back, unless the program had frozen objects of its own.
    """
    return ended(_begin, _end)


def _begin(block: object) -> None:
    global _frozen_by_others
    with _lock:
        if not _blocks:  # inside another block it would count all that this has frozen, which takes 40 ms
            _frozen_by_others = gc.get_freeze_count() > PYTHONS_OWN
        _blocks.add(block)
    gc.collect()
    gc.freeze()


def _end(block: object) -> None:
    with _lock:
        if _blocks == {block} and not _frozen_by_others:
            gc.unfreeze()
        _blocks.discard(block)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while something is timed."""
    gc.collect()
    with uncollected():
        yield

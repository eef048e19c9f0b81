"""Python's garbage collector, switched off for a while: `with garbage.uncollected():`.

Importing numba, and compiling, make many objects that live. Each time that there are enough of them, a collection looks
at all of numba's, half a million, and finds nothing: a tenth of the time that a small body takes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

_lock = threading.RLock()  # a signal's handler may compile, too
_blocks, _was_on = 0, False  # blocks that are under way on all threads, and what was before the first
_own = threading.local()  # .blocks: those of this thread


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected, on any thread, unless somebody asks for it."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(more: int) -> None:
    global _blocks, _was_on
    with _lock:
        if _blocks == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _own.blocks = getattr(_own, "blocks", 0) + more
        _blocks += more
        if _blocks == 0 and _was_on:
            gc.enable()


def _begin_as_child() -> None:
    """In a fork: blocks of other threads do not end here. Forks wait for a compilation, but not for ever."""
    global _lock, _blocks
    _lock, blocks = threading.RLock(), getattr(_own, "blocks", 0)
    if _blocks and not blocks and _was_on:
        gc.enable()
    _blocks = blocks


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)

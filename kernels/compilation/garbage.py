"""Python's garbage collector, switched off for a while: `with garbage.uncollected():`.

Importing numba, and compiling, make many objects that live. Each time that there are enough of them, a collection looks
at all of numba's, half a million, and finds nothing: a tenth of the time that a small body takes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator

_lock = threading.RLock()  # a signal's handler may compile, too
_blocks: dict[object, int] = {}  # those that are under way, each with its thread
_was_on = False  # before the first of them


@contextlib.contextmanager
def ended(begin: Callable[[object], None], end: Callable[[object], None]) -> Iterator[None]:
    """A block that begins and ends so, wherever a signal's exception comes. Both are given what stands for the block.

    end: may be called twice, and for a block that has not begun.
    """
    block = object()
    try:
        begin(block)
        yield
    finally:
        try:
            end(block)
        except BaseException:  # a Ctrl-C, perhaps before it has begun
            end(block)
            raise


def uncollected() -> contextlib.AbstractContextManager[None]:
    """Within the block nothing is collected, on any thread, unless somebody asks for it."""
    return ended(_begin, _end)


def _begin(block: object) -> None:
    global _was_on
    with _lock:
        if not _blocks:
            _was_on = gc.isenabled()
        _blocks[block] = threading.get_ident()
        gc.disable()


def _end(block: object) -> None:
    with _lock:
        if _was_on and [*_blocks] == [block]:
            gc.enable()
        _blocks.pop(block, None)


def _begin_as_child() -> None:
    """In a fork: blocks of other threads do not end here. Forks wait for a compilation, but not for ever."""
    global _lock, _blocks
    _lock, former = threading.RLock(), _blocks
    _blocks = {block: thread for block, thread in former.items() if thread == threading.get_ident()}
    if former and not _blocks and _was_on:
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)

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

_switched_off_by: int | None = None  # the thread


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected, on any thread, unless somebody asks for it."""
    global _switched_off_by
    was = gc.isenabled()
    if was:
        _switched_off_by = threading.get_ident()
    gc.disable()
    try:
        yield
    finally:
        if was:
            _switched_off_by = None
            gc.enable()


def _on_in_child() -> None:
    """In a fork: the block of another thread does not end here. Forks wait for a compilation, but not for ever."""
    if _switched_off_by not in (None, threading.get_ident()):
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_on_in_child)

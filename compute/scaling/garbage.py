"""Python's garbage collector, kept out of what is timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from kernels.compilation.garbage import uncollected


@contextmanager
def garbage_set_aside() -> Iterator[None]:
    """Collect once, and exempt what exists now from later collections: with numba loaded each takes 0.1 s."""
    frozen_by_others = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_by_others:
            gc.unfreeze()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while something is timed."""
    gc.collect()
    with uncollected():
        yield

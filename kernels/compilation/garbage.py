"""Python's garbage collector, switched off for a while: `with garbage.uncollected():`.

Importing numba, and compiling, make many objects that live. Each time that there are enough of them, a collection looks
at all of numba's, half a million, and finds nothing: a tenth of the time that a small body takes.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected, on any thread, unless somebody asks for it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

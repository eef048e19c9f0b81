"""Make what workers print visible, line by line while they run, and completely when a run has ended.

Workers end by os._exit, which does not flush buffers. Python's streams and C's have one each.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable
from typing import Any


def by_line() -> None:
    """In a worker: flush each line as soon as it is complete, also into a pipe or a file."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or not a text stream of Python's own
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush() -> None:
    """Flush what has been printed in this process, by Python and by C."""
    for stream in (sys.stdout, sys.stderr):
        try:  # contextlib.suppress takes longer than the flush, which every run of a worker ends with
            stream.flush()
        except (AttributeError, OSError, ValueError):  # as above, or the pipe's reader is gone
            pass
    _flush_c()(None)


@functools.cache
def _flush_c() -> Callable[[Any], Any]:
    if os.name != "posix":
        return lambda _: None
    fflush: Callable[[Any], Any] = ctypes.CDLL(None).fflush
    return fflush

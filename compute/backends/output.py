"""What workers print: seen line by line as it comes, and in full when a run has ended, whatever becomes of the worker.

A worker leaves without a good-bye, which would lose what is still in a buffer. Python's stream and C's have one each.
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
    """In a worker: give away each line as soon as it is there, into a pipe and into a file, too."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or no text stream of Python's own
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush() -> None:
    """Give away what has been printed in this process, by Python and by C."""
    for stream in (sys.stdout, sys.stderr):
        try:  # contextlib.suppress takes longer than the flush, which every run of a worker ends with
            stream.flush()
        except (AttributeError, OSError, ValueError):  # as above, or nobody reads it any more
            pass
    _flush_c()(None)


@functools.cache
def _flush_c() -> Callable[[Any], Any]:
    if os.name != "posix":
        return lambda _: None
    found: Callable[[Any], Any] = ctypes.CDLL(None).fflush
    return found

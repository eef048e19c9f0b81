"""Parts of a spool that a worker keeps mapped, because it has written to them before.

Time to write 100 MB, against one memcpy:

    into a mapping that exists       1.0
    by pwrite                        2.5
    into a new mapping of the pages  7

So a part is written by `pwrite` the first time, which also fails cleanly where memory is full. The second time it is
mapped, with all of its pages at once, and it stays mapped as long as the worker writes to the same file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Sequence
from typing import Any

KEPT = 64  # parts of a file at most, since a process has some 65,000 mappings


class Regions:
    """The parts of the file that this process wrote to last."""

    def __init__(self) -> None:
        self._file: tuple[int, int] | None = None
        self._parts: dict[int, mmap.mmap | None] = {}  # by their offset; None: written once

    def write(self, file: int, pieces: Sequence[Any], at: int) -> bool:
        """Write pieces one after the other into a mapping. False where there is none: then nothing is written."""
        status = os.fstat(file)
        if self._file != (status.st_dev, status.st_ino):
            self._file = status.st_dev, status.st_ino  # while a part is mapped, no other file gets this number
            self._parts.clear()
        views = [memoryview(piece).cast("B") for piece in pieces]
        size = sum(view.nbytes for view in views)
        part = self._part(file, at, size)
        if part is None:
            return False
        target, start = memoryview(part), 0
        for view in views:
            target[start : start + view.nbytes] = view
            start += view.nbytes
        return True

    def _part(self, file: int, at: int, size: int) -> mmap.mmap | None:
        if at not in self._parts:
            if len(self._parts) < KEPT:
                self._parts[at] = None
            return None
        part = self._parts[at]
        if part is not None and len(part) >= size:
            return part
        # Only if all pages exist: where memory is full, writing to a new page would end this process by SIGBUS.
        if hasattr(mmap, "MAP_POPULATE") and _is_whole(file, at, size):
            with contextlib.suppress(OSError):
                part = mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=at)
                self._parts[at] = part
                return part
        return None


def _is_whole(file: int, at: int, size: int) -> bool:
    """Whether all pages of a part exist."""
    try:
        return os.lseek(file, at, os.SEEK_HOLE) >= at + size
    except OSError:
        return False

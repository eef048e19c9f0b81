"""The sizes of this machine's caches. They change a kernel's speed, never its answer."""

from __future__ import annotations

import functools
import os

_USUAL = {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}
_NAMES = {1: "SC_LEVEL1_DCACHE_SIZE", 2: "SC_LEVEL2_CACHE_SIZE", 3: "SC_LEVEL3_CACHE_SIZE"}


@functools.cache
def cache_bytes(level: int) -> int:
    """Bytes of the data cache of a level; a usual size where the system does not say."""
    try:
        size = os.sysconf(_NAMES[level])
    except (AttributeError, ValueError, OSError):  # no sysconf, or one that does not know caches
        size = 0
    return size if size > 0 else _USUAL[level]

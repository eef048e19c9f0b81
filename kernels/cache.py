"""The sizes of this machine's caches. They change a kernel's speed, never its answer."""

from __future__ import annotations

import functools
from pathlib import Path

_USUAL = {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}


@functools.cache
def cache_bytes(level: int) -> int:
    """Bytes of the first CPU's data cache of a level, as Linux tells them; a usual size where nothing does."""
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (cache / "level").read_text() == f"{level}\n" and (cache / "type").read_text() != "Instruction\n":
                return int((cache / "size").read_text().rstrip("K\n")) << 10
        except (OSError, ValueError):
            continue
    return _USUAL[level]

"""The files that compiled code is kept in: whole or absent, touched when read, dropped when nobody has for long.

Processes share the folder without a lock: an entry is put in place by one rename, and one that another process has
dropped meanwhile is a miss.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ENTRY = "*-" + "[0-9a-f]" * 32 + ".nbc"  # nothing else of a folder that the user names is touched
UNREAD = 30 * 86400.0  # s: who comes back after a month compiles once more, a second a kernel
MOST_BYTES = 128 << 20  # all kernels take 12 MB: ten versions or interpreters; looking at so many takes 10 ms a write


def cache_folder() -> Path:
    """NFOLD_CACHE_DIR, or nfold's folder in the user's cache. It need not be there, nor be writable."""
    if chosen := os.environ.get("NFOLD_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfold"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull) / "nfold"  # below a file there is never one


def read(path: Path) -> bytes | None:
    """The entry, or None where there is none; that it was read keeps it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):  # dropped since, or another user's
        os.utime(path)
    return content


def write(path: Path, content: bytes) -> None:
    """Put the entry in place with one rename, and prune its folder; do without where the disk refuses."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Named like an entry, so that one whose writer was killed is dropped as one.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=path.name, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
        prune(path.parent)


def prune(folder: Path) -> None:
    """Drop the entries that were not read for UNREAD seconds, and the longest unread of more than MOST_BYTES."""
    found = []
    for path in folder.glob(ENTRY):
        with suppress(OSError):  # another process prunes, too
            told = path.stat()
            found.append((told.st_mtime, told.st_size, path))
    held, now = 0, time.time()
    for read_at, size, path in sorted(found, reverse=True):
        held += size
        if held > MOST_BYTES or now - read_at > UNREAD:
            with suppress(OSError):
                path.unlink()

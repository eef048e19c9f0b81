"""Commands that see mounts of their own: a small or read-only /dev/shm, a Python that every user may reach.

As containers have them; only root may, on Linux.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def in_private(mounts: Sequence[str], *command: str) -> list[str]:
    """The command line that runs shell commands on mounts nobody else sees, and then the command."""
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh", *command]


@functools.cache
def refused() -> str | None:
    """Why there are no private mounts here, or None."""
    if sys.platform != "linux" or os.geteuid():
        return "only root has private mounts, on Linux"
    if not shutil.which("unshare"):
        return "unshare (util-linux) is not installed"
    tried = subprocess.run(in_private(["mount -t tmpfs tmpfs /mnt"], "true"), capture_output=True, text=True)
    return tried.stderr.strip() or None


def reachable_by_all() -> list[str]:
    """Mounts with which every user may run this Python: it may be below a home that only its owner may enter."""
    needed = [Path(path) for path in (sys.base_prefix, sys.prefix, ROOT, *sys.path) if os.path.isabs(path)]
    closed = {folder for path in needed for folder in path.parents if not _is_open(folder)}
    mounts = []
    for folder in sorted(closed):
        inside = sorted({path.relative_to(folder).parts[0] for path in needed if path.is_relative_to(folder)})
        mounts += [f"mount --bind '{folder}' /mnt", f"mount -t tmpfs -o mode=755 tmpfs '{folder}'"]
        for name in inside:
            mounts += [f"mkdir '{folder / name}'", f"mount --bind '/mnt/{name}' '{folder / name}'"]
        mounts += ["umount /mnt"]
    return mounts


def _is_open(folder: Path) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_IXOTH)

"""multiprocessing's shared memory under names of ours, of which nothing is left where making it fails."""

from __future__ import annotations

import os
import secrets
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory


def named_memory(size: int) -> SharedMemory:
    """New shared memory with this process's number in its name, by which `host_program.sweep` removes what is left."""
    name = f"nfold-{os.getpid()}-{secrets.token_hex(4)}"
    if os.name != "posix":
        return SharedMemory(name, create=True, size=size)
    # SharedMemory tells the tracker of a name only once it has mapped the memory. Where that fails it takes the name
    # back all the same, of which the tracker prints an error. It keeps a set: to be told twice does no harm.
    resource_tracker.register(f"/{name}", "shared_memory")
    try:
        return SharedMemory(name, create=True, size=size)
    except OSError:
        resource_tracker.register(f"/{name}", "shared_memory")
        resource_tracker.unregister(f"/{name}", "shared_memory")
        raise

"""How much memory one coroutine, one thread and one process take while they wait, from as many as do no harm here.

Each kind is made in a Python that has nothing else loaded, so that what others have freed, or have yet to free, does
not count. What the system keeps about a thread or a process for itself, some 20 kB, is not seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from compute import machine
from compute.lessons.fresh import fresh_python
from compute.memory.address_space import room_for_threads

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None

MADE = {"coroutine": 10_000, "thread": 1000, "process": 4}
LARGEST = {"coroutine": 10_000, "thread": 300_000, "process": 20_000_000}  # bytes that one takes at most
SHARE = 4  # only a quarter of what limits leave is used: other programs need threads, too


async def waiting_coroutines(n, tell):
    tell(0)
    gate = asyncio.Event()
    tasks = [asyncio.create_task(gate.wait()) for _ in range(n)]
    await asyncio.sleep(0)
    tell(len(tasks))


def waiting_threads(n, tell):
    tell(0)
    gate, started = threading.Event(), 0
    try:
        while started < n:
            threading.Thread(target=gate.wait, daemon=True).start()
            started += 1
    finally:
        tell(started)


def tell(number):
    """Say how many there are now, and wait until that was looked at."""
    os.write(1, b"%d\n" % number)
    os.read(0, 1)


def bytes_of_one(kind: str) -> float | None:
    """Bytes of memory that one takes while it waits; None where that cannot be seen."""
    n = _how_many(kind)
    with contextlib.suppress(OSError, RuntimeError, ValueError, psutil.Error):
        if kind == "process":
            return _of_processes(n)
        function = waiting_coroutines if kind == "coroutine" else waiting_threads
        made = f"{function.__name__}({n}, tell)"
        run = f"asyncio.run({made})" if kind == "coroutine" else made
        call = f"try:\n    {run}\nfinally:\n    os._exit(0)"
        with fresh_python([tell, function], call, ["asyncio", "os", "threading"]) as process:
            _, before = _heard(process)
            count, after = _heard(process)
            return (after - before) / count if count and after > before else None
    return None


def _heard(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """How many it has made, and the bytes that it uses then; ValueError where it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    count = int(process.stdout.readline())
    used = psutil.Process(process.pid).memory_info().rss
    process.stdin.write(b".")
    return count, used


def _of_processes(n: int) -> float:
    """Bytes that one of several processes has for itself: the code of libraries is in memory once for all."""
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(fresh_python([tell], "tell(1)", ["os"])) for _ in range(n)]
        for process in waiting:
            assert process.stdout is not None
            int(process.stdout.readline())
        return float(sum(psutil.Process(process.pid).memory_full_info().uss for process in waiting) / n)


def _how_many(kind: str) -> int:
    """How many of a kind can be made without harm to other programs; at least one."""
    room = machine.memory_available() // (SHARE * LARGEST[kind])
    if kind != "coroutine":
        room = min([room, *(left // SHARE for left in _threads_left())])
    return max(1, min(MADE[kind], room))


def _threads_left(root: Path = machine.ROOT) -> Iterator[int]:
    """How many threads and processes each limit allows to this user, or still allows to this container."""
    if resource is not None and hasattr(resource, "RLIMIT_NPROC"):
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit
    if (room := room_for_threads()) is not None:
        yield room
    for _, folder in machine.groups(root, "pids"):
        most, now = machine.text(folder / "pids.max"), machine.text(folder / "pids.current")
        if most.isdecimal() and now.isdecimal():
            yield max(0, int(most) - int(now))

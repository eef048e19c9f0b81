"""Whether the address space that `ulimit -v` allows holds more threads; `start` starts one where it does.

A free-threaded Python gives each thread a heap of its own, in pieces of 32 MB. A thread that finds no room for its
first piece asks the system for it for ever, and `Thread.start` waits for that thread (compare cpython#140746). So it
has to be known before whether there is room. Other Pythons raise a RuntimeError, which does not tell what was lacking.
"""

from __future__ import annotations

import errno
import sys
import threading

from compute.memory.descriptors import LimitReached
from kernels.vectors.memory import address_space_left, in_bytes

STACK = 8 << 20  # bytes: Linux's default, and more than what a thread gets where `ulimit -s` is unlimited
LEAST_STACK = 16 << 10  # bytes, below which there are no threads
HEAP = 96 << 20  # bytes that a thread maps of a Python that can be without a GIL: 32 MB for it, and 64 MB for malloc
IS_FREE_THREADED = "t" in getattr(sys, "abiflags", "")  # whether or not its GIL is on
FEWER = "use fewer workers"


def room_for_threads() -> int | None:
    """How many more threads the address space holds; None where it has no limit."""
    left = address_space_left()
    return None if left is None else left // _bytes_of_a_thread()


def limits_of_threads() -> str:
    """Which limits to raise where threads cannot be started: the system does not tell which one it was."""
    own = "`ulimit -u`" if address_space_left() is None else "`ulimit -u`, `ulimit -v`"
    return f"raise {own} or the container's limit of processes"


def check_room(threads: int, remedy: str = FEWER) -> None:
    """LimitReached where the address space does not hold so many more threads."""
    left, needed = address_space_left(), threads * _bytes_of_a_thread()
    if left is not None and left < needed:
        stack = f", lower `ulimit -s` ({in_bytes(_stack())} for each)" if _stack() > STACK else ""
        raise LimitReached(
            errno.ENOMEM,
            f"{threads} more thread{'s' * (threads > 1)} would need {in_bytes(needed)} of address space, and"
            f" `ulimit -v` leaves {in_bytes(left)}; raise `ulimit -v`{stack}, or {remedy}",
        )


def start(thread: threading.Thread, remedy: str = FEWER) -> None:
    """Start a thread; LimitReached where the address space does not hold one more."""
    check_room(1, remedy)
    thread.start()


def _bytes_of_a_thread() -> int:
    return _stack() + HEAP * IS_FREE_THREADED


def _stack() -> int:
    """Bytes of a thread's stack, of which the system maps all."""
    if size := threading.stack_size():
        return size
    try:
        import resource
    except ImportError:  # Windows
        return STACK
    size = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return STACK if size == resource.RLIM_INFINITY else max(size, LEAST_STACK)

"""In which order others see what a lane stores, and who gets which ticket, where Python runs the loop.

Who sees that a chunk is done, or that a lane is no longer INSIDE, is to see all that the lane had stored before. While
lanes share a GIL, handing it over sees to that. Without one, and between processes, the processor decides.

x86 shows stores in the order in which they were made, and does loads in theirs: plain ones will do. 64-bit Arm, POWER
and RISC-V may show a done word before the numbers that the body wrote. There it is one of these:

- **With numba**, Python stores and loads these words through atomics (`shared_words`), with release and acquire, as
  compiled lanes do.
- **Without numba, threads** take their tickets under a lock, and who asks whether the run is over asks under it, too.
  A lane says that it is INSIDE before its first ticket, and that it has left after it was refused one. So all that it
  stored for a chunk lies between two of its turns at the lock. Whoever has the lock after the second sees all of it.
  Whoever has it before the first sees nothing done; and in between the lane is INSIDE. (A lane that is told to stop is
  refused none, but such a run has no result.)
- **Without numba, processes** have no lock in common, and Python in **subinterpreters** has neither. There nobody
  looks: the run is over when every worker has answered. A pipe's system calls, or a queue's lock, order it.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from typing import Any

from compute.lanes import shared_words, spin
from compute.lanes.control import INSIDE, TICKET, ControlArray, Words
from kernels.definition import numba_is_here

IS_STRONG = platform.machine().lower() in ("x86_64", "amd64", "x86", "i386", "i486", "i586", "i686")

_lock = threading.Lock()


def take(control: Words, line: int) -> Any:
    """The next ticket for a lane on a thread of this process; no two lanes get the same. For where numba is not."""
    with _lock:
        ticket = control[TICKET]
        control[TICKET] = ticket + 1
    return ticket


def loads_and_stores() -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any, Any], Any]]:
    """How Python loads a word that others store, and stores one that others load.

    load(words, index) gives it, store(words, index, value) gives nothing.
    """
    if IS_STRONG or not numba_is_here():
        return load, store
    calls = shared_words.calls()
    return calls.loaded, calls.stored


def parts(alone: bool) -> dict[str, Callable[..., Any]]:
    """These and `enter`, as the lane loop takes them. alone: whether it is the only lane, which its caller runs."""
    loads, stores = loads_and_stores()
    enters = enter if alone or not numba_is_here() else shared_words.calls().entered
    return {"load": loads, "store": stores, "enter": enters}


def is_over(control: Words, *, by_processes: bool = False) -> bool:
    """Whether a run is over (ControlArray.is_over), and its caller sees all that the lanes wrote.

    by_processes: whether lanes are in other processes. False as long as that cannot be seen from here.
    """
    if IS_STRONG:
        return ControlArray(control).is_over()
    if numba_is_here():
        return spin.until_over(control, 1)
    if by_processes:
        return False
    with _lock:
        return ControlArray(control).is_over()


def load(words: Any, index: Any) -> Any:
    """A word, by a plain load."""
    return words[index]


def store(words: Any, index: Any, value: Any) -> None:
    """Store a word, plainly."""
    words[index] = value


def enter(words: Any, line: Any) -> None:
    """Set INSIDE of a lane, plainly: so much of Python comes before its next load that the store is seen by then."""
    words[line + INSIDE] = 1


def _in_a_fork() -> None:
    """Another thread may have had the lock, and is not in this process."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)

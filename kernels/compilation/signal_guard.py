"""Postpone exceptions of signal handlers while numba compiles: `with signal_guard.postponed():`.

An exception that a handler raises inside numba leaves locks taken, or registries half filled. The next compilation then
hangs, or every later one fails. `kernels` alone postpones Ctrl-C; at its import, compute/lanes/interrupts.py
puts something in the place of `postponed` that postpones the exceptions of every handler.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Within the block, Ctrl-C is only noted; its handler is called when the block has ended."""
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)

    former = signal.getsignal(signal.SIGINT)
    try:
        if callable(former):
            with contextlib.suppress(ValueError):  # on another thread than the main one, where no handler is called
                signal.signal(signal.SIGINT, note)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, former)
    if came and callable(former):
        former(came[0], None)


postponed: Callable[[], AbstractContextManager[None]] = _ctrl_c_waits

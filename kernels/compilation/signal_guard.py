"""Postpone exceptions of signal handlers while numba compiles: `with signal_guard.postponed():`.

An exception that a handler raises inside numba leaves locks taken, or registries half filled. The next compilation then
hangs, or every later one fails. `kernels` alone postpones Ctrl-C; at its import, compute/lanes/interrupts.py
puts something in the place of `postponed` that postpones the exceptions of every handler.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Within the block, what the handler of Ctrl-C raises is kept; it is raised when the block has ended."""
    raised: list[BaseException] = []
    thread = threading.get_ident()

    def keep(number: int, frame: FrameType | None) -> None:
        if threading.get_ident() != thread:  # in a child that another thread has forked: nobody ends the block there
            signal.signal(signal.SIGINT, former)
            former(number, frame)
            return
        try:
            former(number, frame)
        except BaseException as error:
            raised.append(error)

    former: Any = signal.getsignal(signal.SIGINT)
    try:
        if callable(former):
            with contextlib.suppress(ValueError):  # on another thread than the main one, where no handler is called
                signal.signal(signal.SIGINT, keep)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is keep:
            signal.signal(signal.SIGINT, former)
        if raised:
            raise raised[0]


postponed: Callable[[], AbstractContextManager[None]] = _ctrl_c_waits

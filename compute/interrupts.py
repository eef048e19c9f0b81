"""Ctrl-C while code runs that must not be cut off anywhere."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def put_off(stop: Callable[[], None]) -> Iterator[None]:
    """Let a Ctrl-C, and every further one, only call `stop`; it is raised when the block has ended.

    Elsewhere than on the main thread, where none is raised, or where the caller hears none, this does nothing.
    """
    hears = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(hears):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def heard(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        stop()

    signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, hears)
    if came:
        hears(*came[0])

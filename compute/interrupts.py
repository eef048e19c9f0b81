"""Ctrl-C, where Python's own way with it will not do: it would cut off what must not be, or be lost."""

from __future__ import annotations

import contextlib
import threading

# What the signal module wraps: its own functions make enums of handlers, at 3 us each, and a short run takes 15 us.
from _signal import SIGINT, getsignal, signal  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def _nothing() -> None:
    pass


@contextlib.contextmanager
def put_off(stop: Callable[[], None] = _nothing) -> Iterator[None]:
    """Let a Ctrl-C, and every further one, only call `stop`; it is raised when the block has ended.

    Elsewhere than on the main thread, where none is raised, or where the caller hears none, this does nothing.
    """
    hears = _hears()
    if hears is None:
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def heard(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        stop()

    signal(SIGINT, heard)
    try:
        yield
    finally:
        signal(SIGINT, hears)
    if came:
        hears(*came[0])


class Watch:
    """Hear every Ctrl-C of a block: call `stop` and raise it as ever, and once more at the end if it was lost.

    Python loses what is raised in a finalizer or in a weak reference's callback, of which the garbage collector calls
    many at once: it prints "Exception ignored in …", and lanes would go on as if nobody had wanted them to stop.

    Elsewhere than on the main thread, where none is raised, or where the caller hears none, this does nothing.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] = _nothing
        self._raised: BaseException | None = None

    def __enter__(self) -> Watch:
        self._hears = _hears()
        if self._hears is not None:
            signal(SIGINT, self._heard)
        return self

    def _heard(self, number: int, frame: FrameType | None) -> None:
        assert self._hears is not None
        try:
            self._hears(number, frame)
        except BaseException as error:
            # At once, too: it may be the end of the block that is cut off.
            signal(SIGINT, self._hears)
            self._raised = error
            self.stop()
            raise

    def give_up(self, error: BaseException) -> None:
        """From another thread: have the block end with this error, as if it had been raised here and lost."""
        self._raised = error
        self.stop()

    @property
    def has_heard(self) -> bool:
        """Whether one was raised; where nothing came of it, it is lost."""
        return self._raised is not None

    def raise_lost(self) -> None:
        """Raise the one that was lost, if one was."""
        if self._raised is not None:
            raise self._raised

    def __exit__(self, kind: Any, *_: object) -> None:
        if self._hears is not None:
            signal(SIGINT, self._hears)
        raised, self._raised = self._raised, None
        try:
            if raised is not None and kind is None:
                raise raised
        finally:
            del raised  # its traceback holds this frame


def _hears() -> Callable[[int, FrameType | None], Any] | None:
    """What hears a Ctrl-C at present, if it is Python code's and this thread's business."""
    hears = getsignal(SIGINT)
    return hears if threading.current_thread() is threading.main_thread() and callable(hears) else None

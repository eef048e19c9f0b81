"""Exceptions of signal handlers, where Python's own way with them will not do: it would cut off what must not be cut
off, or lose them.

Ctrl-C is the usual one; a handler of SIGALRM, SIGTERM or any other signal that raises is no different. A handler runs
when its signal comes, as ever; only what it raises is kept for later. Handlers that raise nothing change nothing.
README.md beside this file says what does not work, and why.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import functools
import sys
import threading

# What the signal module wraps: its own functions make enums of handlers, at 3 us each, and a short run takes 15 us.
from _signal import NSIG, getsignal, signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from kernels.compilation import signal_guard

Handler = Callable[[int, FrameType | None], Any]
SIGNALS = range(1, min(NSIG, 32))  # the real-time signals beyond are nobody's timeouts, and would double the cost


def _nothing() -> None:
    pass


@functools.cache
def _system_calls_python() -> Callable[[int], bool]:
    """What tells whether a signal comes to Python's handler: a program around Python may have its own, in C.

    uWSGI does, and Python does not hear of it. Putting Python's handler "back" would leave uWSGI deaf.
    """
    if not hasattr(_signal, "SIGRTMAX") or getsignal(_signal.SIGRTMAX) != _signal.SIG_DFL:
        return lambda number: True
    import ctypes

    system_handler = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(("PyOS_getsig", ctypes.pythonapi))
    signal(_signal.SIGRTMAX, _nothing)  # a signal that nobody sends shows how Python's own looks
    pythons = system_handler(_signal.SIGRTMAX)
    signal(_signal.SIGRTMAX, _signal.SIG_DFL)
    return lambda number: system_handler(number) == pythons


_latest: tuple[list[Any], list[int]] = [], []  # all handlers, and the places of those that are Python code's


def _handlers() -> list[tuple[int, Any]]:
    """The signals whose handlers are Python code's, and these handlers."""
    global _latest
    handlers = list(map(getsignal, SIGNALS))
    if handlers != _latest[0]:  # as a rule they are, and to look at each takes longer than to ask for all
        is_code = [bool(handler and callable(handler)) for handler in handlers]  # the system's default is 0
        _latest = handlers, [place for place, is_it in enumerate(is_code) if is_it]
    return [(SIGNALS[place], handlers[place]) for place in _latest[1]]


def _call(handler: Handler, number: int, frame: FrameType | None) -> None:
    """Call a handler. CancelledError where it has cancelled a task of the event loop that this thread is in.

    asyncio.run's own handler of Ctrl-C does so, and raises nothing. The task cannot hear of it while it runs our code.
    """
    asyncio = sys.modules.get("asyncio")
    loop = asyncio and asyncio._get_running_loop()
    if asyncio is None or loop is None:
        handler(number, frame)
        return
    before = {task: task.cancelling() for task in asyncio.all_tasks(loop)}
    handler(number, frame)
    if any(task.cancelling() > count for task, count in before.items()):
        raise asyncio.CancelledError


class _Ears:
    """One handler in the place of all that are Python code's, from `open` to `close`.

    Elsewhere than on the main thread, where none is called, there are none.
    """

    def __init__(self, heard: Callable[[Handler, int, FrameType | None], None]) -> None:
        self._heard: Callable[[Handler, int, FrameType | None], None] | None = heard
        self._handlers: dict[int, Any] = {}
        self._hook = self._hear  # one object, to be recognised by

    def open(self) -> bool:
        """Hear from now on; False where there is nothing to hear."""
        if threading.get_ident() == threading.main_thread().ident:
            calls_python = _system_calls_python()
            self._handlers = {number: former for number, former in _handlers() if calls_python(number)}
            for number in self._handlers:
                signal(number, self._hook)
        return bool(self._handlers)

    def close(self) -> None:
        """Put the former handlers back, where nobody has put in another one since."""
        try:
            for number, former in self._handlers.items():
                if getsignal(number) is self._hook:
                    signal(number, former)
        finally:
            # A handler that is back already may have raised above. What is still in place of others only passes on.
            self._heard = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        former, heard = self._handlers[number], self._heard
        if heard is None:
            if getsignal(number) is self._hook:
                signal(number, former)
            former(number, frame)
        else:
            heard(former, number, frame)


@contextlib.contextmanager
def put_off(stop: Callable[[], None] = _nothing) -> Iterator[None]:
    """Let what a signal's handler raises, and every further one, only call `stop`; it is raised when the block ended.

    Elsewhere than on the main thread, where no handler is called, this does nothing.
    """
    came: list[BaseException] = []

    def heard(handler: Handler, number: int, frame: FrameType | None) -> None:
        try:
            _call(handler, number, frame)
        except BaseException as error:
            came.append(error)
            stop()

    ears = _Ears(heard)
    try:
        ears.open()
        yield
    finally:
        ears.close()
    if came:
        error = came[0]
        came.clear()
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


# kernels/compilation/signal_guard.py: with this, no signal cuts off one of numba's compilations.
signal_guard.postponed = put_off


class InterruptWatch:
    """Hear what signal handlers raise in a block: call `stop`, let it be raised as ever, and once more if it was lost.

    Python loses what is raised in a finalizer or in a weak reference's callback, of which the garbage collector calls
    many at once: it prints "Exception ignored in …", and lanes would go on as if nobody had wanted them to stop. And
    what looks like an error of the system, a TimeoutError say, may be taken for one on its way.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] = _nothing
        self._raised: BaseException | None = None
        self._ears = _Ears(self._heard)

    def __enter__(self) -> InterruptWatch:
        try:
            self._ears.open()
        except BaseException:
            self._ears.close()
            raise
        return self

    def _heard(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        try:
            _call(handler, number, frame)
        except BaseException as error:
            # Put the handlers back now: what is raised here may cut off `__exit__`, which would do so.
            self._ears.close()
            self._raised = error
            self.stop()
            raise

    def give_up(self, error: BaseException) -> None:
        """From another thread: have the block end with this error, as if it had been raised here and lost."""
        self._raised = error
        self.stop()

    @property
    def has_heard(self) -> bool:
        """Whether something was raised; where nothing came of it, it is lost."""
        return self._raised is not None

    def raise_lost(self) -> None:
        """Raise what was lost, if anything was."""
        if self._raised is not None:
            raise self._raised

    def __exit__(self, kind: Any, *_: object) -> None:
        self._ears.close()
        raised, self._raised = self._raised, None
        try:
            if raised is not None and kind is None:
                raise raised
        finally:
            del raised  # its traceback holds this frame

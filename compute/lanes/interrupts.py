"""Postpone or recover exceptions that signal handlers raise (Ctrl-C, timeouts).

`put_off` delays them until a block has ended, because they would interrupt code that must not be interrupted.
`InterruptWatch` notices those that Python swallows, and raises them again.

Ctrl-C is the usual one; a handler of SIGALRM, SIGTERM or any other signal that raises is treated in the same way. A
handler runs when its signal comes; only the exception that it raises is kept for later. Handlers that raise nothing
change nothing. README.md beside this file says what does not work, and why.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import functools
import sys
import threading

# _signal instead of signal, whose wrappers convert handlers to enums, at 3 us each: a short run takes 15 us.
from _signal import NSIG, getsignal, signal
from collections.abc import Callable, Iterator
from types import FrameType, MethodType
from typing import Any

from compute.lanes.errors import related
from kernels.compilation import signal_guard

Handler = Callable[[int, FrameType | None], Any]
# s after which the main thread wakes from a lock that others hold for long. A lock of a free-threaded Python spins
# before it sleeps, and a signal that comes meanwhile is noticed when something wakes it.
WAKES = 0.1
SIGNALS = range(1, min(NSIG, 32))  # real-time signals, from 32 on, are not used for timeouts, and would double the cost


def _nothing() -> None:
    pass


@functools.cache
def _system_calls_python() -> Callable[[int], bool]:
    """Return a function that tells whether a signal's C-level handler is Python's.

    uWSGI installs its own in C, and Python does not learn of it. Restoring Python's would disable uWSGI's.
    """
    if not hasattr(_signal, "SIGRTMAX") or getsignal(_signal.SIGRTMAX) != _signal.SIG_DFL:
        return lambda number: True
    import ctypes

    system_handler = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(("PyOS_getsig", ctypes.pythonapi))
    signal(_signal.SIGRTMAX, _nothing)  # a Python handler for an unused signal shows the address of Python's C handler
    pythons = system_handler(_signal.SIGRTMAX)
    signal(_signal.SIGRTMAX, _signal.SIG_DFL)
    return lambda number: system_handler(number) == pythons


_latest: tuple[list[Any], list[int]] = [], []  # all handlers, and the indices of those that are Python code


def _handlers() -> list[tuple[int, Any]]:
    """The signals whose handlers are Python code, and these handlers."""
    global _latest
    handlers = list(map(getsignal, SIGNALS))
    if handlers != _latest[0]:  # usually unchanged; checking each handler costs more than reading all
        is_code = [bool(handler and callable(handler)) for handler in handlers]  # the system's default is 0
        _latest = handlers, [index for index, is_it in enumerate(is_code) if is_it]
    return [(SIGNALS[index], handlers[index]) for index in _latest[1]]


def _call(handler: Handler, number: int, frame: FrameType | None) -> None:
    """Call a handler. CancelledError where it has cancelled a task of this thread's event loop.

    asyncio.run's own handler of Ctrl-C does so, and raises nothing. A task notices its cancellation when it next
    awaits, which it does not while it runs our code.
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


class _HandlerReplacement:
    """Replaces all Python signal handlers by one of ours between `open` and `close`.

    On other threads than the main one it does nothing, because Python never calls handlers there.
    """

    def __init__(self, on_signal: Callable[[Handler, int, FrameType | None], None]) -> None:
        self._on_signal: Callable[[Handler, int, FrameType | None], None] | None = on_signal
        self._handlers: dict[int, Any] = {}
        self._thread = threading.get_ident()

    def open(self) -> bool:
        """Replace the handlers. False where there is none to replace."""
        if threading.get_ident() == threading.main_thread().ident:
            calls_python = _system_calls_python()
            self._handlers = {number: former for number, former in _handlers() if calls_python(number)}
            for number in self._handlers:
                signal(number, self._handle)
        return bool(self._handlers)

    def close(self) -> None:
        """Put the former handlers back, unless another one was installed since."""
        try:
            for number, former in self._handlers.items():
                if self._is_installed(number):
                    signal(number, former)
        finally:
            # A handler that is back already may have raised above. Where ours is still installed, it calls the former.
            self._on_signal = None

    def _is_installed(self, number: int) -> bool:
        """Whether a signal's handler is ours. No bound method is kept to compare it with: that would be a cycle."""
        installed = getsignal(number)
        return type(installed) is MethodType and installed.__self__ is self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        former, on_signal = self._handlers[number], self._on_signal
        # In a child that another thread has forked, that thread is the main one, and nobody closes this there.
        if on_signal is None or threading.get_ident() != self._thread:
            if self._is_installed(number):
                signal(number, former)
            former(number, frame)
        else:
            on_signal(former, number, frame)


@contextlib.contextmanager
def put_off(stop: Callable[[], None] = _nothing) -> Iterator[None]:
    """Within the block, an exception raised by a signal handler only calls `stop`. The first is raised when it ends.

    On other threads than the main one, where Python calls no handlers, this does nothing.
    """
    raised: list[BaseException] = []

    def on_signal(handler: Handler, number: int, frame: FrameType | None) -> None:
        try:
            _call(handler, number, frame)
        except BaseException as error:
            raised.append(error)
            stop()

    replacement = _HandlerReplacement(on_signal)
    try:
        replacement.open()
        yield
    finally:
        replacement.close()
        if raised:
            error = raised[0]
            raised.clear()
            try:
                raise error
            finally:
                del error  # its traceback holds this frame


# kernels/compilation/signal_guard.py: with this, no signal cuts off one of numba's compilations.
signal_guard.postponed = put_off


class InterruptWatch:
    """Note an exception that a signal handler raises in a block, call `stop`, and raise it again if it was lost.

    Python loses what is raised in a finalizer or in a weak reference's callback, of which the garbage collector calls
    many at once: it prints "Exception ignored in …", and lanes would go on. Besides, code may take a handler's
    TimeoutError for one of its own system call, and go on. And numba goes on as it enters `objmode`, until Python finds
    an exception where there should be none, and says so in a SystemError.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] = _nothing
        self._raised: BaseException | None = None
        self._replacement = _HandlerReplacement(self._on_signal)

    def __enter__(self) -> InterruptWatch:
        try:
            self._replacement.open()
        except BaseException:
            self._replacement.close()
            raise
        return self

    def _on_signal(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        try:
            _call(handler, number, frame)
        except BaseException as error:
            # Put the handlers back now: what is raised here may interrupt `__exit__`, which would do so.
            self._replacement.close()
            self._raised = error
            self.stop()
            raise

    def give_up(self, error: BaseException) -> None:
        """From another thread: make the block end with this error, as if it had been raised here and lost."""
        self._raised = error
        self.stop()

    @property
    def has_raised(self) -> bool:
        """Whether a handler has raised something. If the block goes on all the same, it was lost."""
        return self._raised is not None

    def raise_lost(self) -> None:
        """Raise what was lost, if anything was."""
        if self._raised is not None:
            raise self._raised

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._replacement.close()
        raised, self._raised = self._raised, None
        try:
            if raised is not None and (error is None or _hides(error, raised)):
                raise raised from raised.__cause__  # where it has none, without what it interrupted
        finally:
            del raised  # its traceback holds this frame


def _hides(error: BaseException, raised: BaseException) -> bool:
    """Whether an error is only Python's word for the loss of what a handler has raised."""
    cause = next(
        (relative for relative in related(error) if relative is raised or isinstance(relative, SystemError)), raised
    )
    if cause is raised:  # a body has caught it, and raises an error of its own instead
        return False
    cause.__cause__ = cause.__context__ = None  # each would refer to the other
    return True

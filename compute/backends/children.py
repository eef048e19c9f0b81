"""Child processes: how they are started, without Ctrl-C and `__main__`; whether one is alive; forks of this process.

multiprocessing learns of a child's end from the end of a pipe, which any process that the program forks meanwhile may
hold open, and from its fork server, which may be killed. A pidfd (Linux) is signalled by the system itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from multiprocessing import process as processes
from multiprocessing.connection import wait
from types import FrameType, ModuleType
from typing import Any

from compute.lanes import interrupts
from compute.lanes.loop import inside_a_lane

_is_worker = False


def be_a_worker() -> None:
    """Note that this process is a worker: from now on it starts processes only inside a lane's body."""
    global _is_worker
    _is_worker = True


def check_may_start(what: object) -> None:
    """RuntimeError in a worker outside a lane: it is importing a kernel's module, which opens pools at its import.

    The workers of such a pool would import the module as well, and open pools, without end.
    """
    if not _is_worker or inside_a_lane():
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    module = frame.f_globals.get("__name__") if frame else None
    raise RuntimeError(
        f"module {module!r} opens {what!r} when it is imported, and a worker process has to import it; put what runs"
        ' kernels there into a function, or under `if __name__ == "__main__":`'
    )


@contextlib.contextmanager
def with_sigint_blocked(needs_tracker: bool = True) -> Iterator[None]:
    """Processes that are started within the block never receive Ctrl-C, not even as they start.

    needs_tracker: whether starting them starts multiprocessing's resource tracker where there is none.
    A Ctrl-C that arrives meanwhile is raised here at the end. Children inherit the blocked signal. But the system may
    deliver it to a thread of this process that does not block it (BLAS has some), and Python would raise it within the
    block: so it is put off.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with interrupts.put_off():
        if needs_tracker:
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # now, because starting it unblocks all signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


_starting = threading.Lock()
_hidden: tuple[ModuleType, Any] | None = None  # the caller's __main__ and start method, while they are hidden


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from running the caller's script again in each worker.

    It is not needed there: what is defined in __main__ is pickled by value. So a script needs no
    `if __name__ == "__main__"`, and workers do not repeat its imports.
    A start method that is not Python's own is kept from them, too: loky's processes have one, and a worker that has not
    imported loky would end before it begins.
    """
    global _hidden
    from multiprocessing import context

    default: Any = context._default_context
    with _starting:
        method = default._actual_context
        _hidden = sys.modules["__main__"], method
        sys.modules["__main__"] = ModuleType("__main__")
        if default.get_start_method(allow_none=True) not in default.get_all_start_methods():
            default._actual_context = None
        try:
            yield
        finally:
            _uncover()


def _uncover() -> None:
    global _hidden
    if _hidden is not None:
        from multiprocessing import context

        default: Any = context._default_context
        sys.modules["__main__"], default._actual_context = _hidden
        _hidden = None


REAPED_WITHIN = 5.0  # s to wait for the exit code of a dead child; it never comes if its fork server is dead as well


class ProcessHandle:
    """A started process: whether it is alive, and its end. `sign` is a file that becomes readable when it has ended."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._pidfd: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # no pidfds in this system, or it has ended already
            self._pidfd = os.pidfd_open(process.pid)
            self._closing = weakref.finalize(self, os.close, self._pidfd)
            self._closing.atexit = False
        self.sign: int = process.sentinel if self._pidfd is None else self._pidfd

    def is_over(self, within: float = 0) -> bool:
        """Whether it has ended, or ends within some seconds. Afterwards it writes nothing."""
        return bool(wait([self.sign], within))

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._pidfd is None:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def reap(self) -> int | None:
        """Wait until it has ended and release it. Return its exit code, or None if unknown."""
        process = self._process
        # If an interrupt came between a child's end and multiprocessing's note of it, the child would stay alive to it.
        with interrupts.put_off(self.kill):
            wait([self.sign])
            if process.exitcode is None:  # the fork server has not reported it yet
                process.join(REAPED_WITHIN)
            code: int | None = process.exitcode
            processes._children.discard(process)  # type: ignore[attr-defined]
            with contextlib.suppress(ValueError):  # it was reaped elsewhere, and multiprocessing thinks it alive
                process.close()
            self.let_go()
        return code

    def let_go(self) -> None:
        """Close the pidfd. Nothing else may be called afterwards."""
        if self._pidfd is not None and self._closing.detach():
            os.close(self._pidfd)


def forget_server(server: Any) -> None:
    """In a fork: forget the parent's fork server, and renew the lock."""
    server._lock = threading.Lock()
    if server._forkserver_pid is not None:
        os.close(server._forkserver_alive_fd)  # while it is open, the parent's server does not end
        server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


def _begin_as_child() -> None:
    """In a fork: forget the parent's children and multiprocessing's fork server, and renew the locks.

    Otherwise multiprocessing would at exit terminate the daemons among these children, which are the parent's workers,
    and wait for the others for ever. Another thread of the parent may have forked while its `__main__` was hidden.
    """
    global _starting
    _starting = threading.Lock()
    _uncover()
    processes._children.clear()  # type: ignore[attr-defined]
    # Another thread may have been importing one of these as it was forked: then there is nothing to forget in it.
    if server := getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None):
        forget_server(server)
    for name in ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker"):
        if tracker := getattr(sys.modules.get(name), "_resource_tracker", None):
            tracker._lock = type(tracker._lock)()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)

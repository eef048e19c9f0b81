"""The fork server from which workers are started: a process that has imported what they need, and forks itself.

It is another one than multiprocessing's. What that one imports beforehand (`set_forkserver_preload`) is for the user to
say; and where it runs already, it has not imported what workers need.
"""

from __future__ import annotations

import contextlib
import os
import signal
from multiprocessing import context, forkserver, popen_forkserver
from types import FunctionType, SimpleNamespace
from typing import Any

from compute.backends import children, host_program
from compute.lanes import interrupts
from compute.memory.ownership import in_children


def _with(function: Any, **names: Any) -> FunctionType:
    """A function of multiprocessing's own, which finds these in place of its module's."""
    return FunctionType(function.__code__, {**function.__globals__, **names})


class _Server(forkserver.ForkServer):
    """Also stands for the module in which multiprocessing's function finds its own server."""

    read_signed = staticmethod(forkserver.read_signed)
    # Without multiprocessing's resource tracker, which takes a CPU as it starts. It can wait until the caller does.
    ensure_running = _with(
        forkserver.ForkServer.ensure_running, resource_tracker=SimpleNamespace(ensure_running=lambda: None)
    )


server: Any = _Server()


class _Popen(popen_forkserver.Popen):
    _launch = _with(popen_forkserver.Popen._launch, forkserver=server)  # type: ignore[attr-defined]


class _Process(context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:
        return _Popen(process_obj)


class Context(context.ForkServerContext):
    """multiprocessing's context "forkserver", whose processes are started by our server."""

    Process = _Process


def start(preload: list[str]) -> None:
    """Start the server where there is none that can be used, without waiting for its imports.

    preload: the modules that it imports, and its children begin with.
    """
    in_children(server, children.forget_server)
    _check()
    server.set_forkserver_preload([*preload, __name__])
    with (
        children.with_sigint_blocked(needs_tracker=False),
        host_program.able_to_start_processes(),
        children.without_main(),
    ):
        server.ensure_running()


def renew() -> None:
    """After it has failed: end the server, so that a new one is started with the next process."""
    with server._lock:
        if server._forkserver_pid is not None:
            _end()


@interrupts.put_off()  # a TimeoutError that a signal's handler raises would be taken for the system's
def _check() -> None:
    """Forget a server that has died, or whose socket is gone: cleaners of temporary folders take it."""
    with server._lock:
        address, pid = server._forkserver_address, server._forkserver_pid
        if pid is not None and not (os.path.exists(address) and _is_running(pid)):
            _end()
        host_program.socket_folder()


def _is_running(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # it has ended, and was reaped elsewhere
        return False


def _end() -> None:
    pid = server._forkserver_pid
    os.close(server._forkserver_alive_fd)
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None
    with contextlib.suppress(OSError):
        if _is_running(pid):
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)

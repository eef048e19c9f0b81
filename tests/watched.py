"""What a program needs that forks while it has pools: every child is watched, and no exit of one goes unseen."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from patience import PATIENCE


def in_child(do: Callable[[], Any], leave: str = "_exit") -> int:
    """Fork; the child does it and leaves by "_exit", "sys.exit" or an "exception": its pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        do()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)
    if leave == "_exit":
        os._exit(0)
    if leave == "exception":
        sys.excepthook = lambda *_: None
        raise ValueError("the child's own")
    sys.exit(0)


def await_children(*pids: int, code: int = 0) -> None:
    """All of them end with this code; one that hangs is killed, and an error."""
    for pid in pids:
        fd = os.pidfd_open(pid)
        if not select.select([fd], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"child {pid} hangs")
        os.close(fd)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended == code, f"child {pid} ended with {ended}, not {code}"


def serve(pool: Any, kernel: Any, requests: int, seed: int) -> None:
    """Run so many requests with answers of their own, each checked to the bit."""
    for k in range(requests):
        asked = np.arange(3000.0) + 1000 * seed + k
        found = pool.run(kernel, asked).value
        assert found.tobytes() == (asked * asked).tobytes(), f"request {k} of server {seed}"


def said(error: type[BaseException], call: Callable[..., Any], *args: Any) -> str:
    """What a call raises says; an AssertionError where it raises nothing."""
    with contextlib.suppress(AssertionError):
        try:
            call(*args)
        except error as raised:
            return str(raised)
    raise AssertionError(f"no {error.__name__}")


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)

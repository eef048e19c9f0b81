"""What happens to programs at random moments of a run, beside their workers' deaths; each is one run.

Each is given a backend, a pool of it, and a random generator; it raises where a value is wrong, and returns how many
accidents came in time to matter.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from fault_kernels import awaited, busy, map_items, measured
from watched import await_children, in_child, said

from compute import Processes
from compute.backends import fork_server

CHUNKS, LONG = 40, 400_000  # 16 ms of work for one core
WITHIN = 0.02  # s from a run's beginning
NOBODY = 65534


@contextlib.contextmanager
def beside(rng: random.Random, do: Callable[[], Any]) -> Iterator[None]:
    """Do it in another thread, at some moment of what runs in here; its error is an error here."""
    errors: list[BaseException] = []

    def work() -> None:
        time.sleep(rng.uniform(0, WITHIN))
        try:
            do()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def run(pool: Any, rng: random.Random) -> None:
    """One run, whose value must be right."""
    work = rng.choice(["python", "nogil", measured, awaited])
    if isinstance(work, str):
        value = pool.run(busy, CHUNKS, LONG, variant=work).value
        assert value.tolist() == list(range(CHUNKS)), value
    else:
        map_items(pool, work, 2 * CHUNKS)


def a_fork(backend: Any, pool: Any, rng: random.Random) -> int:
    """A child that does nothing, is refused the pool, or has one of its own."""

    def refused() -> None:
        assert "belongs to process" in said(RuntimeError, pool.run, busy, CHUNKS, LONG)

    def own() -> None:
        with backend.open() as another:
            run(another, rng)

    do = rng.choice([lambda: None, refused, pool.close, own])
    children: list[int] = []
    with beside(rng, lambda: children.append(in_child(do))):
        run(pool, rng)
    await_children(*children)
    run(pool, rng)
    return 1


def a_child_of_less_rights(backend: Any, pool: Any, rng: random.Random) -> int:
    """A child that becomes another user, and has a pool of its own."""

    def other_user() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with backend.open() as another:
            run(another, rng)

    children: list[int] = []
    with beside(rng, lambda: children.append(in_child(other_user))):
        run(pool, rng)
    await_children(*children)
    return 1


def a_close(backend: Any, _: Any, rng: random.Random) -> int:
    """Another thread closes the pool: the run ends, or is told."""
    with backend.open() as pool:
        try:
            with beside(rng, pool.close):
                for _ in range(3):
                    run(pool, rng)
        except RuntimeError as error:
            if "this pool is closed" not in str(error):
                raise
            return 1
    return 0


def a_lost_server(_: Any, pool: Any, rng: random.Random) -> int:
    """The fork server is killed while one pool runs and another one opens."""
    killed = []

    def kill() -> None:
        if pid := fork_server.server._forkserver_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with beside(rng, kill):
        run(pool, rng)
        with Processes(1).open() as other:
            run(other, rng)
    return len(killed)


class Enough(BaseException):
    """What the handler raises."""


def a_handler(_: Any, pool: Any, rng: random.Random) -> int:
    """A signal's handler raises: it is raised, or the run had ended; the next one is right."""

    def handler(*_: object) -> None:
        raise Enough

    before, raised = signal.signal(signal.SIGALRM, handler), 0
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, WITHIN))
        run(pool, rng)
        while signal.getitimer(signal.ITIMER_REAL)[0]:
            time.sleep(0.001)
        time.sleep(0.001)
    except Enough:
        raised = 1
    finally:
        signal.signal(signal.SIGALRM, before)
    run(pool, rng)
    return raised


ACCIDENTS = {
    "forks": a_fork,
    "setuid": a_child_of_less_rights,
    "closes": a_close,
    "servers": a_lost_server,
    "handlers": a_handler,
}

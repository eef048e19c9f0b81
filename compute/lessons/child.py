"""A process beside this one, for lessons about processes. It ignores Ctrl-C, and ends however this one ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.managers import SyncManager
from typing import Any

from compute.backends import blas, children, host_program, remote
from compute.backends.processes import Processes, context_of
from compute.backends.worker import PRELOAD
from compute.lanes import interrupts


def context() -> Any:
    """multiprocessing with the start method that nfold's own workers have: fork would copy our threads' locks."""
    return context_of(Processes().start)


@contextmanager
def started(target: Callable[..., None], *args: Any) -> Iterator[None]:
    """Within it, a process runs target(*args), a function of a module. It is ended when the block is left."""
    process = context().Process(target=_live, args=(os.getpid(), target, args), daemon=True)
    try:
        with interrupts.put_off(), _starting():  # a Ctrl-C in the middle would leave a process that is in no table
            process.start()
        yield
    finally:
        with interrupts.put_off():
            if process.pid is not None:
                process.kill()
                process.join()
            process.close()


def _live(parent: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    remote.become_worker(parent)
    blas.keep_to_one_thread()
    target(*args)


@contextmanager
def manager() -> Iterator[SyncManager]:
    """multiprocessing.Manager(), whose process also ends when this one is killed."""
    made = SyncManager(ctx=context())
    try:
        with interrupts.put_off(), _starting():
            made.start(remote.become_worker, (os.getpid(),))
        yield made
    finally:
        with interrupts.put_off():
            if hasattr(made, "shutdown"):  # it has none before it has started
                made.shutdown()


@contextmanager
def _starting() -> Iterator[None]:
    host_program.prepare()
    if Processes().start == "forkserver":
        from compute.backends import fork_server

        fork_server.start(PRELOAD)
    with children.with_sigint_blocked(), host_program.able_to_start_processes(), children.without_main():
        yield

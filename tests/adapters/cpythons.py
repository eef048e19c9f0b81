"""Our executors with the signatures of CPython's own, as its test suite makes them and its scripts import them."""

from __future__ import annotations

import atexit
from typing import Any, ClassVar

from compute import Processes, Threads
from compute.adapters.executor import Executor
from compute.backends.backend import Backend
from compute.backends.pool import Pool


def _workers(max_workers: int | None) -> tuple[int, ...]:
    if max_workers is not None and max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")  # the words that the suite looks for
    return () if max_workers is None else (max_workers,)


class OnThreads(Executor):
    """Each with a pool of its own, as `Executor(Threads(n))` is."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(Threads(*_workers(max_workers)))


class OnProcesses(Executor):
    """On pools that stay warm, as `pool.executor()` is."""

    pools: ClassVar[dict[Backend, Pool]] = {}

    def __init__(self, max_workers: int | None = None, mp_context: Any = None) -> None:
        backend = Processes(*_workers(max_workers))
        if backend not in self.pools:
            self.pools[backend] = backend.open()
        super().__init__(self.pools[backend])


ThreadPoolExecutor = OnThreads  # a script of the suite asks for it by name


@atexit.register
def close_pools() -> None:
    while OnProcesses.pools:
        OnProcesses.pools.popitem()[1].close()

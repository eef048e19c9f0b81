"""`pool.imap`: results as they come, read one by one, with a bound on how many wait to be read."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from compute.adapters.executor import Executor
from compute.backends.pool import Pool
from kernels.definition import as_index
from kernels.definition.each import task_of

AHEAD = 4  # items for each worker: one that runs, and three that wait, so that a worker never idles


def imap(
    pool: Pool, f: Callable[..., Any], items: Iterable[Any], ordered: bool, limit: int | None, options: dict[str, Any]
) -> Iterator[Any]:
    """As `Pool.imap`. Errors in the arguments are raised here, before an item is read."""
    limit = AHEAD * pool.workers if limit is None else as_index(limit, "limit", least=1)
    call = task_of(f, **options)
    source = _Source(items)
    try:
        executor = Executor(pool)
    except ValueError:  # the lanes are the caller's thread, so results cannot arrive while it reads
        return _by_windows(pool, call, source, limit)
    return _through(executor, call, source, limit, ordered)


class _Source:
    """The items, numbered. An error of their iterator is raised when all results before it have been read."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = enumerate(iter(items))
        self.failure: Exception | None = None

    def take(self, count: int) -> Iterator[tuple[int, Any]]:
        """At most so many further items."""
        if self.failure is None:
            try:
                yield from itertools.islice(self._items, count)
            except Exception as error:
                self.failure = error

    def end(self) -> None:
        """Called when the results of all items have been read: raises the iterator's error, if there was one."""
        if self.failure is not None:
            raise self.failure


def _through(executor: Executor, call: Callable[..., Any], source: _Source, limit: int, ordered: bool) -> Iterator[Any]:
    ahead: deque[futures.Future[Any]] = deque()
    try:
        while True:
            for index, item in source.take(limit - len(ahead)):
                ahead.append(executor.submit(call, index, item))
            if not ahead:
                source.end()
                return
            done = [ahead[0]] if ordered else futures.wait(ahead, return_when=futures.FIRST_COMPLETED).done
            for future in done:
                ahead.remove(future)
                yield future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _by_windows(pool: Pool, call: Callable[..., Any], source: _Source, limit: int) -> Iterator[Any]:
    while window := list(source.take(limit)):
        yield from pool.starmap(call, window)
    source.end()

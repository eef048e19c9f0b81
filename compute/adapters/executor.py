"""`pool.executor()`: a `concurrent.futures.Executor` whose tasks the warm workers of a pool run.

A thread of the executor's own begins a run of the pool whenever there are tasks. In that run each lane takes task after
task from the executor's desk, until none is left. On processes a second thread hands the tasks over (`exchange.py`).
"""

from __future__ import annotations

import itertools
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from compute.adapters import exchange
from compute.adapters.desk import Desk, Task, here
from compute.backends.backend import Backend, Pool
from compute.dispatch import WorkerDied
from compute.lanes import interrupts
from compute.lanes.loop import inside_a_lane
from compute.memory.ownership import Owner
from kernels.definition.each import each_of


class Executor(futures.Executor):
    """A `concurrent.futures.Executor` on the workers of an open pool: `pool.executor()`, or `Executor(Processes(2))`.

    It shares the pool: runs of the pool and tasks take turns. Shutting it down leaves the pool open, unless it was made
    from a backend, for which it has opened a pool of its own. When the pool is closed, tasks that have begun come to
    their end, and those that wait fail with a RuntimeError.

    On threads a task gets the caller's own objects. On processes function, arguments and result are sent as kernels and
    items are: functions as they are at that moment, lambdas and functions of __main__ too; arrays of 64 KB and more lie
    in shared memory and are read-only to the task. What cannot be sent fails its own future alone, with a TypeError.

    A task whose worker dies is run again, three times at most; then its future has a BrokenExecutor, and all others go
    on. That is wrong for functions with effects outside. Ctrl-C ends the wait for a result, and no task.

    On threads a task may submit further tasks: an idle worker takes it, or, where none is, `submit` itself runs it, so
    that waiting for it cannot hang. On processes no task can reach the executor.
    ValueError: this kind of pool runs no tasks. RuntimeError from `submit`: it is shut down, or its pool is closed.
    """

    def __init__(self, pool: Pool | Backend) -> None:
        own = pool.open() if isinstance(pool, Backend) else None
        try:
            self._service = Service(own or pool, own)  # type: ignore[arg-type]
        except BaseException:
            if own is not None:
                own.close()
            raise
        self._in_chunks = not self._service.pool.backend.traits.shares_memory
        weakref.finalize(self, self._service.desk.refuse, SHUT_DOWN).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call fn(*args, **kwargs); the future of its result."""
        task = Task(Future(), fn, args, kwargs)
        self._service.put(task)
        return task.future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[Any]:
        """fn of the items of all iterables, in order, as they come.

        chunksize: how many items a task has, on processes; on threads each item is a task. buffersize (from Python
        3.14): how many tasks may be ahead of what was read.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1 or not self._in_chunks:
            return super().map(fn, *iterables, timeout=timeout, **options)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return _one_by_one(super().map(partial(_each_of, fn), chunks, timeout=timeout, **options))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; cancel those that wait, if told to; wait for the others, unless told not to.

        A task for which a worker is free does not wait, even if that has not begun it yet.
        """
        self._service.shut_down(wait, cancel_futures)


# s that lanes wait for a further task, since beginning a run takes 0.7 ms on threads and 2 ms on processes. On threads
# all of this process has one thread for BLAS meanwhile.
LINGER_ON_THREADS, LINGER_ON_PROCESSES = 0.02, 1.0
SHUT_DOWN = "cannot schedule new futures after shutdown"
EXITING = "cannot schedule new futures after interpreter shutdown"


def _chunks(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _each_of(fn: Callable[..., Any], chunk: tuple[tuple[Any, ...], ...]) -> list[Any]:
    return [fn(*arguments) for arguments in chunk]


def _one_by_one(lists: Iterator[list[Any]]) -> Iterator[Any]:
    for values in lists:
        values.reverse()
        while values:  # whoever has read a result is the only one to hold it
            yield values.pop()


class Service:
    """What is behind an executor: its desk, and the thread that begins runs of the pool.

    It does not hold the executor, which may be forgotten without a shutdown: then what was submitted is done, and the
    thread ends.
    """

    def __init__(self, pool: Pool, own: Pool | None) -> None:
        self.pool, self._own = pool, own
        _check_runs_tasks(pool)
        on_threads = pool.backend.traits.shares_memory
        self.desk = Desk(LINGER_ON_THREADS if on_threads else LINGER_ON_PROCESSES)
        self._memory = None if on_threads else exchange.Memory(pool.arena.kind)
        self._owner = Owner()
        self._thread = threading.Thread(target=self._run, name="nfold-executor", daemon=True)
        pool.executors.append(self)
        _services.add(self)
        with interrupts.put_off():  # a thread whose start is cut off is alive all the same
            self._thread.start()

    def put(self, task: Task) -> None:
        self._owner.check()
        at_work = getattr(here, "service", None)
        if at_work is None and inside_a_lane() and getattr(here, "pool", None) is None:
            self.perform(task)  # in a body: serially, as a run would, for it may be this pool's run that waits for it
        elif at_work is None or at_work.pool is not self.pool:
            self.desk.put(task)
        elif at_work is not self or not self.desk.put_urgent(task):
            self.perform(task)  # its submitter may wait for it, and there is no other worker

    def perform(self, task: Task) -> None:
        """Run a task on this thread."""
        if not task.begin():
            return
        former, here.service = getattr(here, "service", None), self
        try:
            value = task.fn(*task.args, **task.kw)
        except BaseException as error:
            here.service = former  # before callbacks are called, which may submit without end
            task.fail(error)
            del error
        else:
            here.service = former
            task.succeed(value)

    def note_waiting_runs(self, guests: int) -> None:
        """So many more threads want the pool for a run of a kernel."""
        if threading.get_ident() != self._thread.ident:
            self.desk.come(guests)

    def leave(self) -> None:
        """The pool closes: what waits fails."""
        self.desk.refuse(f"{self.pool!r} is closed; open another, and an executor on that")
        self._fail_all(RuntimeError(f"{self.pool!r} was closed before this task began"))

    def _fail_all(self, error: BaseException) -> None:
        """Fail the tasks that wait."""
        for task in self.desk.clear():
            if task.begin():
                task.fail(error)

    def shut_down(self, wait: bool, cancel_futures: bool, why: str = SHUT_DOWN) -> None:
        if not self._owner.is_this_process():  # in a fork, nothing of it is there
            return
        self.desk.refuse(why)
        if cancel_futures:
            for task in self.desk.clear(self.pool.workers):
                task.cancel()
        if wait and getattr(here, "pool", None) is not self.pool:  # a task or a callback would wait for itself
            self._thread.join()

    def _run(self) -> None:
        try:
            while self.desk.await_work():
                try:
                    if self._memory is None:
                        self._serve_on_threads()
                    else:
                        exchange.serve_on_processes(self.pool, self.desk, self._memory)
                except WorkerDied as error:
                    self._fail_all(BrokenExecutor(str(error)))
                except BaseException as error:
                    self._fail_all(error)
        finally:
            if self._memory is not None:
                self._memory.close()
            if self._own is not None:
                self._own.close()
            self.pool.executors.remove(self)

    def _serve_on_threads(self) -> None:
        self.desk.begin(self.pool.workers)
        try:
            self.pool.run(each_of(_attend), [self] * self.pool.workers)
        finally:
            self.desk.end()


def _check_runs_tasks(pool: Pool) -> None:
    """ValueError where a pool cannot run tasks."""
    pool.check_open()
    traits, kernel = pool.backend.traits, each_of(_attend)
    if reason := pool.backend.refuses(kernel.held_to(kernel.variant)):
        raise ValueError(reason)
    if traits.shares_thread and pool.workers > 1:
        raise ValueError(
            f"{pool!r} has one thread for all its workers, on which one task would hold up the others; open an executor"
            " on Threads or Processes, or run each(f) of an async function on coroutines"
        )
    if getattr(pool.backend, "timeout", None) is not None:
        raise ValueError(f"{pool!r} has a time limit, and an executor's tasks have none; open it without timeout")
    if not (traits.shares_memory or hasattr(socket, "AF_UNIX")):
        raise ValueError(f"this system has no sockets by which tasks reach {pool!r}; open an executor on Threads")


def _attend(service: Service) -> None:
    """A lane's part in a run on threads: task after task."""
    former, here.pool = getattr(here, "pool", None), service.pool
    had_one, bell = False, SimpleQueue[None]()
    while (task := service.desk.take(had_one, bell)) is not None:
        service.perform(task)
        del task  # or it would live until the next one comes
        had_one = True
    here.pool = former


_services: weakref.WeakSet[Service] = weakref.WeakSet()


def _at_exit() -> None:
    """The interpreter ends: have every executor do what was submitted, while threads still run."""
    services = list(_services)
    for service in services:
        service.shut_down(wait=False, cancel_futures=False, why=EXITING)
    for service in services:
        service.shut_down(wait=True, cancel_futures=False)


# What concurrent.futures itself uses: exit handlers of atexit are called when other threads have been ended.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]

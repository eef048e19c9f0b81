"""`pool.executor()`: a `concurrent.futures.Executor` whose tasks the warm workers of a pool run.

A thread of the executor's own begins a run of the pool whenever there are tasks. In that run each lane takes task after
task from the executor's queue, until none is left. For processes a second thread sends the tasks (`exchange.py`).
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
from compute.adapters.task_queue import Task, TaskQueue, this_thread
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.dispatch import WorkerDied
from compute.lanes import interrupts
from compute.lanes.loop import inside_a_lane
from compute.memory import address_space
from compute.memory.ownership import Owner
from kernels.definition.each import each_of


class Executor(futures.Executor):
    """A `concurrent.futures.Executor` on the workers of an open pool: `pool.executor()`, or `Executor(Processes(2))`.

    It shares the pool's workers with runs of the pool. Shutting it down leaves the pool open, unless it was made
    from a backend, for which it has opened a pool of its own. When the pool is closed, tasks that have begun are run to
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
        weakref.finalize(self, self._service.queue.refuse, SHUT_DOWN).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Make a worker call fn(*args, **kwargs); return the future of its result."""
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
        """Accept no more tasks; with cancel_futures cancel those that wait; with `wait` wait for the others.

        A task for which a worker is free does not count as waiting, even if the worker has not begun it yet.
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
        while values:  # popped, so that a result lives only as long as its reader keeps it
            yield values.pop()


class Service:
    """The part of an executor that outlives it: its task queue, and the thread that begins runs of the pool.

    It has no reference to the executor, which may be garbage-collected without a shutdown. Then the submitted tasks are
    run, and the thread ends.
    """

    def __init__(self, pool: Pool, own: Pool | None) -> None:
        self.pool, self._own = pool, own
        _check_runs_tasks(pool)
        on_threads = pool.backend.traits.shares_memory
        self.queue = TaskQueue(LINGER_ON_THREADS if on_threads else LINGER_ON_PROCESSES)
        self._between_runs = None if on_threads else exchange.BetweenRuns(pool.arena.kind)
        self._owner = Owner()
        self._thread = threading.Thread(target=self._run, name="nfold-executor", daemon=True)
        pool.executors.append(self)
        _services.add(self)
        with interrupts.put_off():  # a thread whose start is interrupted is alive all the same
            address_space.start(self._thread)

    def put(self, task: Task) -> None:
        self._owner.check()
        at_work = getattr(this_thread, "service", None)
        if at_work is None and inside_a_lane() and getattr(this_thread, "pool", None) is None:
            # Called inside a kernel's body: run the task here, because the pool may be waiting for that body.
            self.perform(task)
        elif at_work is None or at_work.pool is not self.pool:
            self.queue.put(task)
        elif at_work is not self or not self.queue.put_urgent(task):
            self.perform(task)  # its submitter may wait for it, and there is no other worker

    def perform(self, task: Task) -> None:
        """Run a task on this thread."""
        if not task.begin():
            return
        former, this_thread.service = getattr(this_thread, "service", None), self
        try:
            value = task.fn(*task.args, **task.kw)
        except BaseException as error:
            this_thread.service = former  # before callbacks are called, since these may submit again and again
            task.fail(error)
            del error
        else:
            this_thread.service = former
            task.succeed(value)

    def note_waiting_runs(self, change: int) -> None:
        """Add to the number of threads that wait for the pool, to run a kernel."""
        if threading.get_ident() != self._thread.ident:
            self.queue.note_waiting_runs(change)

    def leave(self) -> None:
        """Called when the pool closes: the waiting tasks fail."""
        self.queue.refuse(f"{self.pool!r} is closed; open another, and an executor on that")
        self._fail_all(RuntimeError(f"{self.pool!r} was closed before this task began"))

    def _fail_all(self, error: BaseException) -> None:
        """Fail the waiting tasks."""
        for task in self.queue.clear():
            if task.begin():
                task.fail(error)

    def shut_down(self, wait: bool, cancel_futures: bool, why: str = SHUT_DOWN) -> None:
        if not self._owner.is_this_process():  # in a fork its thread does not exist
            return
        self.queue.refuse(why)
        if cancel_futures:
            for task in self.queue.clear(self.pool.workers):
                task.cancel()
        if wait and getattr(this_thread, "pool", None) is not self.pool:  # a task or a callback would wait for itself
            self._thread.join()

    def _run(self) -> None:
        try:
            while self.queue.await_work():
                try:
                    if self._between_runs is None:
                        self._serve_on_threads()
                    else:
                        exchange.serve_on_processes(self.pool, self.queue, self._between_runs)
                except WorkerDied as error:
                    self._fail_all(BrokenExecutor(str(error)))
                except BaseException as error:
                    self._fail_all(error)
        except BaseException as error:  # raised in this thread by another one, while it waited
            self.queue.refuse(f"the thread of this executor was ended ({type(error).__name__}); open another")
            self._fail_all(
                RuntimeError(f"the executor's thread was ended ({type(error).__name__}) before this task began")
            )
        finally:
            if self._between_runs is not None:
                self._between_runs.close()
            if self._own is not None:
                self._own.close()
            self.pool.executors.remove(self)

    def _serve_on_threads(self) -> None:
        self.queue.begin(self.pool.workers)
        try:
            self.pool.run(each_of(_do_tasks), [self] * self.pool.workers)
        finally:
            self.queue.end()


def _check_runs_tasks(pool: Pool) -> None:
    """ValueError where a pool cannot run tasks."""
    pool.check_open()
    traits, kernel = pool.backend.traits, each_of(_do_tasks)
    if reason := pool.backend.refuses(kernel.held_to(kernel.variant)):
        raise ValueError(reason)
    if traits.shares_thread and pool.workers > 1:
        raise ValueError(
            f"{pool!r} has one thread for all its workers, on which one task would hold up the others; open an executor"
            " on Threads or Processes, or run each(f) of an async function on coroutines"
        )
    if traits.remote:
        raise ValueError(
            f"{pool!r} has workers that may be on other machines, where tasks of this executor do not come; use"
            " pool.map, or the executor of dask.distributed: Client.get_executor()"
        )
    if getattr(pool.backend, "timeout", None) is not None:
        raise ValueError(f"{pool!r} has a time limit, and an executor's tasks have none; open it without timeout")
    if not (traits.shares_memory or hasattr(socket, "AF_UNIX")):
        raise ValueError(f"this system has no sockets by which tasks reach {pool!r}; open an executor on Threads")


def _do_tasks(service: Service) -> None:
    """What a lane does in a run on threads: task after task."""
    former, this_thread.pool = getattr(this_thread, "pool", None), service.pool
    had_one, wake_up = False, SimpleQueue[None]()
    while (task := service.queue.take(had_one, wake_up)) is not None:
        service.perform(task)
        del task  # otherwise it would live until the next one comes
        had_one = True
    this_thread.pool = former


_services: weakref.WeakSet[Service] = weakref.WeakSet()


def _at_exit() -> None:
    """Called as the interpreter ends: run the submitted tasks of every executor, while threads still run."""
    services = list(_services)
    for service in services:
        service.shut_down(wait=False, cancel_futures=False, why=EXITING)
    for service in services:
        service.shut_down(wait=True, cancel_futures=False)


# What concurrent.futures itself uses: exit handlers of atexit are called when other threads have been ended.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]

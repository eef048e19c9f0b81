"""joblib on our workers. Importing this module registers a backend: `joblib.parallel_config(backend="nfold")`.

A Parallel call gets a team of as many worker processes as it has jobs, each with a pool and a thread of its own, so that
a long batch of tasks keeps nobody else waiting. Batches are pickled as they are submitted: what the caller changes later
does not reach them. Large arrays in them are put into shared memory, once. Workers stay warm between calls.

Of joblib's names that stand in no documentation, `AutoBatchingMixin` and `FallbackToBackend` are what its own backend
for Dask uses, and `_get_backing_memmap` and `_reduce_memmap_backed` are how its own workers find memory-mapped files.
"""

from __future__ import annotations

import contextvars
import io
import os
import pickle
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import joblib
import numpy as np
from joblib._memmapping_reducer import _get_backing_memmap, _reduce_memmap_backed
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
)

from compute import machine
from compute.backends import carrier, remote
from compute.backends.backend import Pool
from compute.backends.processes import Processes
from compute.dispatch import WorkerDied
from compute.lanes.loop import Outcome, inside_a_lane
from compute.memory.arena import Arena
from compute.memory.copies import Copies
from compute.memory.segments import Array, ArrayRef, Segment, reference
from kernels import each

IDLE = 300.0  # s for which workers that nobody uses stay: as long as loky's
BATCH_LASTS = 0.1  # s: sending a batch costs about a millisecond, and at the end a worker may idle for as long as one
GROWTH = 8  # times as many tasks as in the batch before: the first ones may have been short by chance
ONES_OWN = ("max_nbytes", "mmap_mode", "temp_folder")  # joblib's words for how its own workers get large arrays
THEIR_DEFAULTS = {"max_nbytes": 2**20, "mmap_mode": "r", "temp_folder": None}
PASSED = ("prefer", "require", "verbose", "context")  # what Parallel hands to every backend


class NfoldBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Tasks of joblib.Parallel on worker processes of ours.

    A batch whose worker dies is run again, three times at most; with retry=False a death is an error, as it is under
    loky. max_nbytes, temp_folder and mmap_mode mean nothing here: arrays of 64 KB and more go through shared memory and
    are read-only to the tasks; memory-mapped files are opened again by the workers.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = False
    uses_threads = False
    _workers: _Team | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers a call with n_jobs gets; ValueError for 0. As for joblib's own: -1 is all CPUs."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(machine.usable_cpus() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Before a call: have a team ready. Where this is a task itself, threads do it, and below them nobody else."""
        n_jobs = self.effective_n_jobs(n_jobs)
        options = {**self.backend_kwargs, **options}
        level = self.nesting_level or 0
        if n_jobs == 1 or level > 1 or (inside_a_lane() and level == 0):
            raise FallbackToBackend(SequentialBackend(nesting_level=level))
        if level == 1:
            raise FallbackToBackend(ThreadingBackend(nesting_level=level))
        for name in PASSED:
            options.pop(name, None)
        _tell_of_their_own({name: options.pop(name) for name in ONES_OWN if name in options})
        self.parallel = parallel
        self._workers = _Team(n_jobs, self._prepare_worker_env(n_jobs), **_checked(options))
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Have a worker call func; a future of what it returns, with which the callback is called when it is there."""
        if self._workers is None:
            raise RuntimeError("this backend is not configured; joblib.Parallel does that")
        return self._workers.submit(func, callback)

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Drop what waits and kill what runs; with ensure_ready, have a new team."""
        if self._workers is not None:
            self._workers.abort()
            self._workers = self._workers.again() if ensure_ready else None

    def compute_batch_size(self) -> int:
        """As many tasks as take BATCH_LASTS in a worker, by what the latest took; joblib goes by what they waited too."""
        if self._workers is not None and (seconds := self._workers.seconds_per_task):
            most = GROWTH * self._effective_batch_size
            self._effective_batch_size = max(1, min(int(BATCH_LASTS / seconds), most))
        return int(self._effective_batch_size)

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Nothing: the workers themselves say how long their batches take."""

    def terminate(self) -> None:
        """After a call: the team's workers are free for others."""
        if self._workers is not None:
            self._workers.dismiss()
            self._workers = None
        self.reset_batch_stats()


def _tell_of_their_own(given: dict[str, Any]) -> None:
    if given.get("mmap_mode") in ("r+", "w+"):
        raise ValueError(
            f"mmap_mode must be 'r', not {given['mmap_mode']!r}: under nfold large arrays are read-only to the tasks; to"
            " have tasks write to one, pass a numpy.memmap of a file"
        )
    others = [name for name, value in given.items() if value != THEIR_DEFAULTS[name]]
    if others:
        warnings.warn(
            f"{' and '.join(others)} {'means' if len(others) == 1 else 'mean'} nothing to nfold: arrays of 64 KB and"
            " more go through shared memory, once, and are read-only to the tasks",
            UserWarning,
            stacklevel=4,
        )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are ours; TypeError that names one that is not."""
    known = ("initializer", "initargs", "idle_worker_timeout", "retry")
    for name in options:
        if name not in known:
            raise TypeError(f"the nfold backend has no option {name!r}; it has {', '.join(known)}")
    return options


class _Team:
    """The workers of one Parallel call: as many threads, each with a pool of one worker process.

    A thread is started when there is a task for it, and gets its pool from those that are idle.
    """

    def __init__(
        self,
        size: int,
        environment: dict[str, str],
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        idle_worker_timeout: float | None = None,
        retry: bool = True,
    ) -> None:
        self._size, self._retry = size, retry
        self._idle_for = IDLE if idle_worker_timeout is None else idle_worker_timeout
        self._arena = Arena("shared")
        self._copies = Copies(self._arena)
        self._kind, self._held = b"", []
        if initializer is not None:
            self._kind, self._held = self._packed((initializer, initargs), [initializer])
        self._preparation = pickle.dumps((environment, self._kind))
        self._condition = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._idle = 0  # threads that wait for a task
        self._threads: list[threading.Thread] = []
        self._busy: set[Pool] = set()
        self._is_dismissed = self._is_aborted = False
        self.seconds_per_task = 0.0  # in the latest batch; 0 before there was one
        self._again = lambda: _Team(size, environment, initializer, initargs, idle_worker_timeout, retry)

    def again(self) -> _Team:
        """A new team of the same kind."""
        return self._again()

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None) -> Future[Any]:
        future: Future[Any] = Future()
        if callback is not None:
            future.add_done_callback(callback)
        task = _Task(future, len(func) if hasattr(func, "__len__") else 1)
        try:
            content, task.held = self._packed(func, _functions_in(func))
            task.item = pickle.dumps((self._preparation, content))
        except Exception as error:
            task.error = pickle.PicklingError(
                f"a task cannot be sent to worker processes ({type(error).__name__}: {error}); pass plain values and"
                " arrays, or use joblib's threading backend"
            )
            task.error.__cause__ = error
        with self._condition:
            if self._is_dismissed:
                raise RuntimeError("this call of Parallel has ended: nothing more can be submitted to it")
            self._waiting.append(task)
            if not self._idle and len(self._threads) < self._size:
                # In the caller's context, with its numpy.errstate say.
                run = contextvars.copy_context().run
                thread = threading.Thread(target=run, args=(self._work,), name="nfold-joblib", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._condition.notify()
        return future

    def _packed(self, value: Any, functions: list[Any]) -> tuple[bytes, list[Array]]:
        """A value as bytes, and what they refer to: hold it until a worker has read them."""
        held: list[Array] = []

        def place(array: Array) -> ArrayRef:
            held.append(self._copies.of(array))
            return reference(held[-1])

        file = io.BytesIO()
        _Pickler(file, carrier.attributes_of(functions), place, True).dump(value)
        return file.getvalue(), held

    def _work(self) -> None:
        """A thread's life: do the tasks that wait, one after the other, until the team is dismissed."""
        pool: Pool | None = None
        try:
            while (task := self._next()) is not None:
                try:
                    if task.error is not None:
                        raise task.error
                    if pool is None:
                        pool = _idle.take(self._kind)
                    outcome = self._done(pool, task)
                except BaseException as error:
                    task.future.set_exception(error)
                else:
                    task.future.set_result(outcome)
        finally:
            if pool is not None:
                _idle.give(self._kind, pool, self._idle_for)

    def _next(self) -> _Task | None:
        with self._condition:
            self._idle += 1
            while not self._waiting and not self._is_dismissed:
                self._condition.wait()
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _done(self, pool: Pool, task: _Task) -> Any:
        with self._condition:
            if self._is_aborted:
                raise CancelledError
            self._busy.add(pool)
        try:
            ((seconds, said),) = pool.run(RUN if self._retry else RUN_ONCE, [task.item]).value
        except WorkerDied as error:
            raise WorkerDied(f"a batch of tasks was lost with its worker: {error}") from None
        finally:
            self._busy.discard(pool)
        if isinstance(said, _Failure):
            raise said.error()
        self.seconds_per_task = seconds / task.size
        return said

    def abort(self) -> None:
        """Drop the tasks that wait, kill the workers that are at one, and return when that is done."""
        with self._condition:
            self._is_dismissed = self._is_aborted = True
            self._waiting.clear()
            self._condition.notify_all()
        for thread in self._threads:
            while thread.is_alive() and thread is not threading.current_thread():
                for pool in list(self._busy):
                    pool.interrupt(CancelledError())
                thread.join(0.02)

    def dismiss(self) -> None:
        """Let the workers go when all tasks are done."""
        with self._condition:
            self._is_dismissed = True
            self._condition.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._copies.forget()
        self._arena.close()


class _Task:
    """A batch on its way: the bytes that a worker is sent, and the shared arrays that they refer to."""

    def __init__(self, future: Future[Any], size: int) -> None:
        self.future, self.size = future, size
        self.item = b""
        self.held: list[Array] = []
        self.error: Exception | None = None


def _functions_in(batch: Any) -> list[Any]:
    """The functions that a batch of calls names: what they read of modules decides what of these is sent."""
    found: dict[int, Any] = {}
    for function, args, kwargs in getattr(batch, "items", ()):
        for one in (function, *args, *kwargs.values()):
            if callable(one):
                found[id(one)] = one
    return list(found.values())


FILE = "file"  # begins the way to an array in a memory-mapped file, which the worker opens


class _Pickler(carrier.Pickler):
    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if isinstance(obj, np.ndarray):
            mapped = _get_backing_memmap(obj)
            if mapped is not None and mapped.filename is not None:
                return FILE, *_reduce_memmap_backed(obj, mapped)
        return super().persistent_id(obj)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == FILE:
            _, make, args = pid
            return make(*args)
        place = ArrayRef(*pid)
        array = place.open(_latest)
        _used.add(place.serial)
        array.flags.writeable = False  # others look at it at this moment
        return array


# A worker's side.
_latest: dict[tuple[int, int], Segment] = {}  # what the latest batch has mapped: the next one often needs the same
_used: set[tuple[int, int]] = set()
_prepared = b""


class _Failure:
    """An exception of a task, on its way back."""

    def __init__(self, error: BaseException) -> None:
        self._pickled = remote.pickled_outcome(Outcome(0, error))

    def error(self) -> BaseException:
        outcome: Outcome = pickle.loads(self._pickled)
        assert outcome.error is not None
        return outcome.error


def call(item: bytes) -> tuple[float, Any]:
    """Call what was sent: the seconds that it took, and what it returns, or a _Failure of what it raised."""
    try:
        preparation, content = pickle.loads(item)
        _prepare(preparation)
        function = _opened(content)
        began = time.perf_counter()
        value = function()
        return time.perf_counter() - began, value
    except BaseException as error:
        return 0.0, _Failure(error)


def _opened(content: bytes) -> Any:
    _used.clear()
    try:
        return _Unpickler(io.BytesIO(content)).load()
    finally:
        for serial in _latest.keys() - _used:
            del _latest[serial]


def _prepare(preparation: bytes) -> None:
    """Have the environment that libraries read as they are loaded, as many threads for BLAS, and the initializer run."""
    global _prepared
    if preparation == _prepared:
        return
    from threadpoolctl import threadpool_limits

    environment, initial = pickle.loads(preparation)
    os.environ.update(environment)
    threadpool_limits(int(environment["OMP_NUM_THREADS"]))
    if initial:
        initializer, initargs = _opened(initial)
        initializer(*initargs)
    _prepared = preparation


RUN, RUN_ONCE = each(call), each(call, retry=False)


class _Idle:
    """Open pools that no call is using; closed when they have been idle for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: list[tuple[float, bytes, Pool]] = []  # until when, which initializer their workers have run
        self._timer: threading.Timer | None = None

    def take(self, kind: bytes) -> Pool:
        """A pool of one worker that has run this initializer, or none: an idle one, or a new one."""
        with self._lock:
            for place in reversed(range(len(self._pools))):
                if self._pools[place][1] in (kind, b""):
                    return self._pools.pop(place)[2]
        return Processes(1).open()

    def give(self, kind: bytes, pool: Pool, lasts: float) -> None:
        with self._lock:
            self._pools.append((time.monotonic() + lasts, kind, pool))
        self._watch()

    def _watch(self) -> None:
        with self._lock:
            if self._timer is None and self._pools:
                wait = max(min(until for until, _, _ in self._pools) - time.monotonic(), 0)
                self._timer = threading.Timer(wait, self._close_old)
                self._timer.daemon = True
                self._timer.start()

    def _close_old(self) -> None:
        self._timer = None
        self.close(until=time.monotonic())
        self._watch()

    def close(self, until: float = float("inf")) -> None:
        """Close the pools that were to last until then; all of them where that is left out."""
        with self._lock:
            old = [entry for entry in self._pools if entry[0] <= until]
            self._pools = [entry for entry in self._pools if entry[0] > until]
        for _, _, pool in old:
            pool.close()


_idle = _Idle()


def close_idle_workers() -> None:
    """Stop the workers that no call is using. Otherwise they stay for five minutes, for the next call."""
    _idle.close()


def _in_a_fork() -> None:
    global _idle
    _idle = _Idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)

joblib.register_parallel_backend("nfold", NfoldBackend)

"""joblib on our workers. Importing this module registers a backend: `joblib.parallel_config(backend="nfold")`.

A Parallel call gets a pool of as many worker processes as it has jobs, which stays warm for the next call, and submits
its batches of tasks to the pool's executor. Large arrays in them are put into shared memory, once.

Of joblib's names that stand in no documentation, `AutoBatchingMixin` and `FallbackToBackend` are what its own backend
for Dask uses, and `_get_backing_memmap` and `_reduce_memmap_backed` are how its own workers find memory-mapped files.
"""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from functools import partial
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
from joblib.parallel import BatchedCalls

from compute import machine
from compute.adapters.executor import Executor
from compute.adapters.idle_pools import IdlePools
from compute.backends import carrier
from compute.lanes.loop import inside_a_lane
from compute.memory.arena import Arena
from compute.memory.copies import Copies
from compute.memory.segments import Array, ArrayRef, Segment, reference

IDLE = 300.0  # s for which workers that nobody uses stay: as long as loky's
BATCH_LASTS = 0.1  # s: sending a batch costs about a millisecond, and at the end a worker may idle for as long as one
BETWEEN_INTERRUPTS = 0.01  # s: a run begins within a few milliseconds
GROWTH = 8  # times as many tasks as in the batch before: the first ones may have been short by chance
ONES_OWN = ("max_nbytes", "mmap_mode", "temp_folder")  # joblib's words for how its own workers get large arrays
THEIR_DEFAULTS = {"max_nbytes": 2**20, "mmap_mode": "r", "temp_folder": None}
PASSED = ("prefer", "require", "verbose", "context")  # what Parallel hands to every backend


class NfoldBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Tasks of joblib.Parallel on worker processes of ours.

    A batch whose worker dies is run again, three times at most: that is wrong for tasks with effects outside.
    max_nbytes, temp_folder and mmap_mode mean nothing here: arrays of 64 KB and more go through shared memory and are
    read-only to the tasks; memory-mapped files are opened again by the workers.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = False
    uses_threads = False
    _effective_batch_size: int
    _workers: _Team | None = None
    _seconds_per_task = 0.0  # of the latest batch, in its worker; 0 before there was one

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
        options = {**getattr(self, "backend_kwargs", {}), **options}  # which joblib has since 1.5
        level = self.nesting_level or 0
        if n_jobs == 1 or level > 1 or (inside_a_lane() and level == 0):
            raise FallbackToBackend(SequentialBackend(nesting_level=level))
        if level == 1:
            raise FallbackToBackend(ThreadingBackend(nesting_level=level))
        for name in PASSED:
            options.pop(name, None)
        _tell_of_their_own({name: options.pop(name) for name in ONES_OWN if name in options})
        self.parallel = parallel
        nested = self.get_nested_backend()
        self._workers = _Team(n_jobs, nested, self._prepare_worker_env(n_jobs), **_checked(options))
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Have a worker call func; a future of what it returns, with which the callback is called when it is there."""
        if self._workers is None:
            raise RuntimeError("this backend is not configured; joblib.Parallel does that")
        future = self._workers.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        self._seconds_per_task, value = future.result()
        return value

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Drop what waits and kill what runs; with ensure_ready, have a new team."""
        if self._workers is not None:
            self._workers.abort()
            self._workers = self._workers.again() if ensure_ready else None

    def compute_batch_size(self) -> int:
        """As many tasks as take BATCH_LASTS, by what the latest took in their worker, waits excluded."""
        size = self._effective_batch_size
        if self._seconds_per_task:
            size = max(1, min(int(BATCH_LASTS / self._seconds_per_task), GROWTH * size))
            self._effective_batch_size = size
        return size

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Nothing: the workers themselves say how long their batches take."""

    def terminate(self) -> None:
        """After a call: the team's workers are free for others."""
        if self._workers is not None:
            self._workers.dismiss()
            self._workers = None
        self.reset_batch_stats()
        self._seconds_per_task = 0.0


def _tell_of_their_own(given: dict[str, Any]) -> None:
    if given.get("mmap_mode") in ("r+", "w+"):
        raise ValueError(
            f"mmap_mode must be 'r', not {given['mmap_mode']!r}: under nfold large arrays are read-only to the tasks;"
            " to have tasks write to one, pass a numpy.memmap of a file"
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
    known = ("initializer", "initargs", "idle_worker_timeout")
    for name in options:
        if name not in known:
            raise TypeError(f"the nfold backend has no option {name!r}; it has {', '.join(known)}")
    return options


class _Team:
    """The workers of one Parallel call: an executor on a pool that the next call may have."""

    def __init__(
        self,
        size: int,
        nested: tuple[Any, Any],
        environment: dict[str, str],
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        idle_worker_timeout: float | None = None,
    ) -> None:
        self._again = partial(_Team, size, nested, environment, initializer, initargs, idle_worker_timeout)
        self._idle_for = IDLE if idle_worker_timeout is None else idle_worker_timeout
        self._arena = Arena("shared")
        self._copies = Copies(self._arena)
        self._initial = b""
        self._held: list[Array] = []
        if initializer is not None:
            self._initial, self._held = self._packed((initializer, initargs), [initializer])
        self._preparation = pickle.dumps((environment, self._initial, nested))
        self._pool = _idle.take(size, self._initial)
        self._executor = Executor(self._pool)
        self._unfinished: set[Future[Any]] = set()
        self._is_dismissed = False
        _teams.add(self)

    def again(self) -> _Team:
        """A new team of the same kind."""
        return self._again()

    def submit(self, func: Any) -> Future[Any]:
        """Have a worker call func; the future of `call`'s value."""
        try:
            # A batch's own way of pickling takes along what is the same for all.
            batch = func.items if type(func) is BatchedCalls else func
            content, held = self._packed(batch, _functions_in(batch))
        except Exception as error:
            failed: Future[Any] = Future()
            told = pickle.PicklingError(
                f"the task to send cannot be pickled ({type(error).__name__}: {error}); pass plain values and arrays,"
                " or use joblib's threading backend"
            )
            told.__cause__ = error
            failed.set_exception(told)
            return failed
        future = self._executor.submit(call, pickle.dumps((self._preparation, content)))
        self._unfinished.add(future)

        def forget(_: Any) -> None:
            held.clear()
            self._unfinished.discard(future)

        future.add_done_callback(forget)
        return future

    def _packed(self, value: Any, functions: list[Any]) -> tuple[bytes, list[Array]]:
        """A value as bytes, and the arrays that they refer to: hold them until a worker has done with it."""
        held: list[Array] = []

        def place(array: Array) -> ArrayRef:
            held.append(self._copies.copy_of(array))
            return reference(held[-1])

        file = io.BytesIO()
        _Pickler(file, carrier.attributes_of(functions), place, True).dump(value)
        return file.getvalue(), held

    def abort(self) -> None:
        """Drop the tasks that wait, kill the workers that are at one, and return when that is done."""
        if not self._is_dismissed:
            self._executor.shutdown(wait=False, cancel_futures=True)
            while wait(self._unfinished.copy(), BETWEEN_INTERRUPTS).not_done:  # the run that has them may yet begin
                self._pool.interrupt(CancelledError())
            self.dismiss()

    def dismiss(self) -> None:
        """Return when all tasks are done; others may have the workers."""
        if not self._is_dismissed:
            self._is_dismissed = True
            self._executor.shutdown()
            self._copies.forget()
            self._arena.close()
            _idle.give(self._initial, self._pool, self._idle_for)


_teams: weakref.WeakSet[_Team] = weakref.WeakSet()


def _at_exit() -> None:
    """The interpreter ends: a generator of results that nobody has read to its end is not waited for."""
    _idle.is_over = True
    for team in list(_teams):
        team.abort()


# Before the executors' own, which waits for their tasks: the latest to be registered is the first to be called.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]


def _functions_in(batch: Any) -> list[Any]:
    """The functions that a batch of calls names: what they read of modules decides what of these is sent."""
    if not isinstance(batch, list):
        return [batch]
    found: dict[int, Any] = {}
    for function, args, kwargs in batch:
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
_prepared: tuple[bytes, Any] = b"", None


def call(item: bytes) -> tuple[float, Any]:
    """Call what was sent; the seconds that each task of the batch took, and what all of it returns."""
    preparation, content = pickle.loads(item)
    nested = _prepare(preparation)
    batch = _opened(content)
    if isinstance(batch, list):
        batch = BatchedCalls(batch, nested)
    began = time.perf_counter()
    value = batch()
    return (time.perf_counter() - began) / max(len(value), 1), value


def _opened(content: bytes) -> Any:
    _used.clear()
    try:
        return _Unpickler(io.BytesIO(content)).load()
    finally:
        for serial in _latest.keys() - _used:
            del _latest[serial]


def _prepare(preparation: bytes) -> Any:
    """Have the environment that libraries read as they are loaded, as many threads for BLAS, and the initializer run.

    What calls of Parallel in a task are to use.
    """
    global _prepared
    if preparation != _prepared[0]:
        from threadpoolctl import threadpool_limits

        environment, initial, nested = pickle.loads(preparation)
        os.environ.update(environment)
        threadpool_limits(int(environment["OMP_NUM_THREADS"]))
        if initial:
            initializer, initargs = _opened(initial)
            initializer(*initargs)
        _prepared = preparation, nested
    return _prepared[1]


_idle = IdlePools()


def close_idle_workers() -> None:
    """Stop the workers that no call is using. Otherwise they stay for five minutes, for the next call."""
    _idle.close()


def _in_a_fork() -> None:
    global _idle
    _idle = IdlePools()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)

joblib.register_parallel_backend("nfold", NfoldBackend)

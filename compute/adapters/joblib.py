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

IDLE = 300.0  # s for which unused workers stay: as long as loky's
BATCH_LASTS = 0.1  # s: sending a batch costs about a millisecond, and at the end a worker may idle for one batch
BETWEEN_INTERRUPTS = 0.01  # s: a run begins within a few milliseconds
GROWTH = 8  # a batch has at most so many times the tasks of the last one, which may have been short by chance
# joblib's options for how its own workers get large arrays, and their defaults.
JOBLIB_MEMMAP_OPTIONS = ("max_nbytes", "mmap_mode", "temp_folder")
JOBLIB_DEFAULTS = {"max_nbytes": 2**20, "mmap_mode": "r", "temp_folder": None}
PASSED = ("prefer", "require", "verbose", "context")  # options that Parallel passes to every backend


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
        """Called before a call: prepare a team of workers.

        Nested calls use threads; calls nested in those run serially.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        options = {**getattr(self, "backend_kwargs", {}), **options}  # backend_kwargs exists since joblib 1.5
        level = self.nesting_level or 0
        if n_jobs == 1 or level > 1 or (inside_a_lane() and level == 0):
            raise FallbackToBackend(SequentialBackend(nesting_level=level))
        if level == 1:
            raise FallbackToBackend(ThreadingBackend(nesting_level=level))
        for name in PASSED:
            options.pop(name, None)
        _check_memmap_options({name: options.pop(name) for name in JOBLIB_MEMMAP_OPTIONS if name in options})
        self.parallel = parallel
        nested = self.get_nested_backend()
        self._workers = _Team(n_jobs, nested, self._prepare_worker_env(n_jobs), **_checked(options))
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Make a worker call func; return the future of its result, with which the callback is called in the end."""
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
        """Cancel the tasks that wait and kill those that run; with ensure_ready, prepare a new team."""
        if self._workers is not None:
            self._workers.abort()
            self._workers = self._workers.again() if ensure_ready else None

    def compute_batch_size(self) -> int:
        """As many tasks as take BATCH_LASTS, by the time that the latest batch took in its worker, waits excluded."""
        size = self._effective_batch_size
        if self._seconds_per_task:
            size = max(1, min(int(BATCH_LASTS / self._seconds_per_task), GROWTH * size))
            self._effective_batch_size = size
        return size

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Does nothing: workers return how long their batches took."""

    def terminate(self) -> None:
        """Called after a call: other calls may have the team's workers."""
        if self._workers is not None:
            self._workers.dismiss()
            self._workers = None
        self.reset_batch_stats()
        self._seconds_per_task = 0.0


def _check_memmap_options(options: dict[str, Any]) -> None:
    """ValueError for arrays that tasks may write to; a warning for other options that mean nothing here."""
    if options.get("mmap_mode") in ("r+", "w+"):
        raise ValueError(
            f"mmap_mode must be 'r', not {options['mmap_mode']!r}: under nfold large arrays are read-only to the tasks;"
            " to have tasks write to one, pass a numpy.memmap of a file"
        )
    ignored = [name for name, value in options.items() if value != JOBLIB_DEFAULTS[name]]
    if ignored:
        warnings.warn(
            f"{' and '.join(ignored)} {'means' if len(ignored) == 1 else 'mean'} nothing to nfold: arrays of 64 KB and"
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
    """The workers of one Parallel call: an executor on a pool, which the next call may use."""

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
        """Make a worker call func; return the future of `call`'s value."""
        try:
            # Pickling a BatchedCalls would repeat the nested-backend data in each batch.
            batch = func.items if type(func) is BatchedCalls else func
            content, held = self._packed(batch, _functions_in(batch))
        except Exception as error:
            failed: Future[Any] = Future()
            unsendable = pickle.PicklingError(
                f"the task to send cannot be pickled ({type(error).__name__}: {error}); pass plain values and arrays,"
                " or use joblib's threading backend"
            )
            unsendable.__cause__ = error
            failed.set_exception(unsendable)
            return failed
        future = self._executor.submit(call, pickle.dumps((self._preparation, content)))
        self._unfinished.add(future)

        def forget(_: Any) -> None:
            held.clear()
            self._unfinished.discard(future)

        future.add_done_callback(forget)
        return future

    def _packed(self, value: Any, functions: list[Any]) -> tuple[bytes, list[Array]]:
        """A value as bytes, and the arrays that they refer to: keep these until a worker is done with it."""
        held: list[Array] = []

        def place(array: Array) -> ArrayRef:
            held.append(self._copies.copy_of(array))
            return reference(held[-1])

        file = io.BytesIO()
        _BatchPickler(file, carrier.attributes_of(functions), place, True).dump(value)
        return file.getvalue(), held

    def abort(self) -> None:
        """Cancel the tasks that wait, kill the workers that run one, and return when that is done."""
        if not self._is_dismissed:
            self._executor.shutdown(wait=False, cancel_futures=True)
            while wait(self._unfinished.copy(), BETWEEN_INTERRUPTS).not_done:  # their run may begin only now
                self._pool.interrupt(CancelledError())
            self.dismiss()

    def dismiss(self) -> None:
        """Return when all tasks are done. Other calls may have the workers then."""
        if not self._is_dismissed:
            self._is_dismissed = True
            self._executor.shutdown()
            self._copies.forget()
            self._arena.close()
            _idle.give(self._initial, self._pool, self._idle_for)


_teams: weakref.WeakSet[_Team] = weakref.WeakSet()


def _at_exit() -> None:
    """Called as the interpreter ends: a generator of results that was not read to its end is not waited for."""
    _idle.is_over = True
    for team in list(_teams):
        team.abort()


# Before the executors' own, which waits for their tasks: the latest to be registered is the first to be called.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]


def _functions_in(batch: Any) -> list[Any]:
    """The functions in a batch of calls: only attributes of modules that these read are sent."""
    if not isinstance(batch, list):
        return [batch]
    functions: dict[int, Any] = {}
    for function, args, kwargs in batch:
        for value in (function, *args, *kwargs.values()):
            if callable(value):
                functions[id(value)] = value
    return list(functions.values())


FILE = "file"  # the first item of a persistent id for an array in a memory-mapped file, which the worker opens


class _BatchPickler(carrier.Pickler):
    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if isinstance(obj, np.ndarray):
            mapped = _get_backing_memmap(obj)
            if mapped is not None and mapped.filename is not None:
                return FILE, *_reduce_memmap_backed(obj, mapped)
        return super().persistent_id(obj)


class _BatchUnpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == FILE:
            _, make, args = pid
            return make(*args)
        reference = ArrayRef(*pid)
        array = reference.open(_latest)
        _used.add(reference.serial)
        array.flags.writeable = False  # other workers may be reading it
        return array


# A worker's side.
_latest: dict[tuple[int, int], Segment] = {}  # segments of the latest batch: the next one often needs the same
_used: set[tuple[int, int]] = set()
_prepared: tuple[bytes, Any] = b"", None


def call(item: bytes) -> tuple[float, Any]:
    """Run the batch that was sent. Returns the mean seconds of a task, and the batch's results."""
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
        return _BatchUnpickler(io.BytesIO(content)).load()
    finally:
        for serial in _latest.keys() - _used:
            del _latest[serial]


def _prepare(preparation: bytes) -> Any:
    """Set environment variables that libraries read as they are loaded, limit BLAS, and run the initializer; once.

    Returns the backend for nested Parallel calls.
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

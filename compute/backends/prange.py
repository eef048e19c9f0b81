"""numba's own threads (OpenMP, TBB or its workqueue): one prange iteration a lane."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compute import machine
from compute.backends import tasks
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.lanes.control import ControlArray, line_of
from compute.lanes.loop import (
    SLICE_OVER,
    Job,
    Outcome,
    by_numba,
    in_slices,
    mark_worker,
)
from compute.traits import Traits
from kernels.compilation import importing
from kernels.definition import Kernel, numba_is_here, where_numba_is

NOTHING_RAISED = "returned NULL without setting an exception"  # Python's own words, in a SystemError
FAILED = 3  # a lane's state beside those of compute.lanes.loop


def _default() -> int:
    """All usable CPUs, or fewer where numba is allowed fewer threads: one in joblib's workers, for example."""
    config = getattr(sys.modules.get("numba"), "config", None)
    allowed = str(getattr(config, "NUMBA_NUM_THREADS", None) or os.environ.get("NUMBA_NUM_THREADS", ""))
    usable = machine.usable_cpus()
    return max(1, min(usable, int(allowed))) if allowed.isdecimal() else usable


@dataclass(frozen=True, repr=False)
class Prange(Backend):
    """Lanes on numba's parallel threads; compiled variants only. `Prange(4)`

    workers: how many; all usable CPUs where left out, or as many threads as numba is allowed, where that is fewer.
    """

    workers: int = field(default_factory=_default)
    name = "prange"
    traits = Traits(loads_itself=True)

    def open(self) -> PrangePool:
        return PrangePool(self)

    def refuses(self, kernel: Kernel) -> str | None:
        if not kernel.variants[kernel.variant].compiled:
            return f"prange runs compiled variants only, and {kernel.name}'s {kernel.variant!r} is not; use threads"
        return None

    def lacks(self) -> str | None:
        if not numba_is_here():
            return None
        with importing.whole():
            import numba

        threads = int(numba.config.NUMBA_NUM_THREADS)
        if self.workers <= threads:
            return None
        return (
            f"numba has {threads} threads here, not {self.workers}; set NUMBA_NUM_THREADS={self.workers} before Python"
            " starts"
        )


# numba's workqueue aborts the process when two threads launch at once (numba#8563), and all pools share its threads.
_launching = threading.Lock()
# The threads of the lanes that run, 0 for a lane that does not. Such a thread may come back to Python, by objmode.
_idents = np.zeros(1, np.int64)
# The parent's number, if it had used GNU OpenMP before it forked this process: numba would then abort this process.
_openmp_of: int | None = None


def _begin_as_child() -> None:
    global _launching, _openmp_of
    _launching = threading.Lock()
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    pool = sys.modules.get("numba.np.ufunc.omppool")  # GNU's, as on Linux; other vendors' survive a fork
    if parallel and pool and parallel._threading_layer == "omp" and getattr(pool, "openmp_vendor", "") == "GNU":
        _openmp_of = _openmp_of or os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)


class PrangePool(Pool):
    backend: Prange

    def start(self) -> None:
        if not numba_is_here():
            raise ValueError(f"{self.backend!r} has numba's threads, and numba is {where_numba_is()}; use Threads")
        with importing.whole():
            import numba

            from compute.backends import native_region
        if _openmp_of is not None:
            raise RuntimeError(
                f"numba's OpenMP threads do not survive a fork, and process {_openmp_of} had used them before it forked"
                " this one; use Threads here, set NUMBA_THREADING_LAYER=workqueue, or fork before the first Prange run"
            )
        if lack := self.backend.lacks():
            raise ValueError(lack)
        if getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False) is False:
            tasks.check_tasks(int(numba.config.NUMBA_NUM_THREADS), "set NUMBA_NUM_THREADS to fewer")
        self._set_threads, self._launch = numba.set_num_threads, native_region.launch
        self._raised_in_python = native_region.raised_in_python
        self._rows = np.zeros((self.workers, native_region.ROW), np.int64)
        self._rows[:, native_region.LINE] = line_of(np.arange(self.workers))
        self._states, self._idents = self._rows[:, native_region.STATE], self._rows[:, native_region.IDENT]

    def _with_run_lock(self, *args: Any) -> Any:
        # Before the lock is taken: the run that this thread is a lane of may have that of this very pool.
        if not self._has_run_lock() and _launching.locked() and (_idents == threading.get_ident()).any():
            raise RuntimeError(
                f"{self.backend!r} was asked to run inside a lane of Prange, which waits for it; run on Serial() there"
            )
        return super()._with_run_lock(*args)

    def lanes(self, job: Job) -> Sequence[Outcome]:
        global _idents
        self._launch()
        region = by_numba(job.kernel, make=make_region)  # all pools have the same one, whatever the number of lanes
        states = self._states[: job.lanes]
        states[:] = SLICE_OVER
        for lane in range(job.lanes):
            mark_worker(job, lane)
        try:
            with _launching:
                _idents = self._idents
                # On every launch: another pool may have set it, and a new thread forgets it (numba#10491).
                self._set_threads(job.lanes)
                while (states == SLICE_OVER).any():
                    region(job.control, self._rows.ravel(), job.lanes, job.out, job.inputs, in_slices())
        except BaseException as error:
            control = ControlArray(job.control)
            failed = [(control.current(int(lane)), int(lane)) for lane in np.flatnonzero(states == FAILED)]
            if not failed:  # a Ctrl-C between two slices
                raise
            chunk, lane = min(failed)  # the region raises what that chunk has raised
            if NOTHING_RAISED in str(error) and self._raised_in_python(self._rows[lane]):
                lost = error.with_traceback(None)  # whose frames hold the run's arrays
                error = RuntimeError(
                    "Python has raised an exception inside objmode on a thread of numba's, where it is lost; use"
                    " Threads to see it"
                )
                error.__cause__ = lost
            return [Outcome(lane, error, chunk)]
        return [Outcome(lane) for lane in range(job.lanes)]


def make_region(body: Callable[..., Any], reduces: bool) -> Callable[..., None]:
    """The function to compile that runs the lane loop once for each row, side by side."""
    with importing.whole():
        from compute.backends import native_region
    over = native_region.over_rows if reduces else native_region.over_whole

    def region(control, rows, lanes, out, inputs, until):  # type: ignore[no-untyped-def]
        over(body, out, inputs, (control, rows, lanes, until))

    return region

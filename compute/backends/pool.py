"""The contract of pools: a Pool is the live workers of a backend. Here is what all have, whoever their workers are."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Self

from compute import checking, dispatch
from compute.backends.blas import one_blas_thread
from compute.dispatch import Result
from compute.lanes import interrupts, usage
from compute.lanes.loop import Job, Outcome, inside_a_lane
from compute.memory.arena import Arena
from compute.memory.ownership import Owner, in_children
from compute.memory.segments import ArenaKind
from compute.nested import Nested
from compute.progress import Progress
from kernels.compilation.importing import mind_forks
from kernels.definition import Kernel, Plan
from kernels.definition.each import each_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from compute.backends.backend import Backend

RESTING = 0.02  # s that `rest` waits for a late lane: the system lets a thread wait for a CPU for some 10 ms
LOOK = 50e-6  # s between two looks whether it has come


class Pool(ABC):
    """Live workers of one backend. `with backend.open() as pool: pool.run(kernel, *args)`.

    startup is how long opening took, in seconds. A pool may be used from several threads; its runs then take turns. It
    belongs to the process that opened it: in a fork of that process, each use is a RuntimeError.
    """

    arena_kind: ClassVar[ArenaKind] = "heap"
    die_together: bool = False
    detailed: bool = False
    pins: Sequence[int] = ()

    def __init__(self, backend: Backend) -> None:
        began = time.perf_counter()
        self.backend = backend
        self.arena = Arena(self.arena_kind)
        self._owner = Owner()
        self._run_lock = threading.RLock()
        self.executors: list[Any] = []  # the workers run their tasks while no run of the pool waits
        self._is_open, self._has_ended = True, False
        self._running: interrupts.InterruptWatch | None = None
        in_children(self, type(self).forget)
        mind_forks()
        with interrupts.InterruptWatch() as watch:
            self.start()
            self.startup = time.perf_counter() - began
            if watch.has_raised:  # an interrupt was lost, and is raised as this block ends: the caller gets no pool
                self.close()

    @property
    def workers(self) -> int:
        return self.backend.workers

    @property
    def cpus_elsewhere(self) -> int | None:
        """How many CPUs there are for its lanes, where these are on other machines; None where they are on this one."""
        return None

    def run(
        self,
        kernel: Kernel,
        *args: Any,
        variant: str | None = None,
        check: bool = False,
        progress: Progress = None,
        **kw: Any,
    ) -> Result:
        """Run a kernel on this pool's workers; arguments and errors as for `compute.run`."""
        # Before taking the pool's lock: producing the items may itself use this pool.
        args, kw = dispatch.as_kernel(kernel).settled(args, kw)
        execute: Callable[..., Result] = dispatch.execute
        if check or progress is not None:
            execute = checking.way_to_run(kernel, args, check, progress)
        result: Result = self._with_run_lock(execute, kernel, variant, args, kw)
        return result

    def map(self, f: Callable[..., Any], items: Iterable[Any], **options: Any) -> list[Any]:
        """[f(item) for item in items], by this pool's workers; options as for `kernels.each`.

        An item whose worker dies is run again: say retry=False where f has effects outside.
        """
        return self.run(each_of(f, **options), items).value  # type: ignore[no-any-return]

    def starmap(self, f: Callable[..., Any], items: Iterable[Iterable[Any]], **options: Any) -> list[Any]:
        """[f(*item) for item in items], by this pool's workers."""
        return self.map(f, items, star=True, **options)

    def imap(
        self,
        f: Callable[..., Any],
        items: Iterable[Any],
        ordered: bool = True,
        limit: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """f of each item, one result after the other, as they come: for endless items, or to act on early results.

        ordered: in the order of the items; else each as soon as it is there. limit: how many items may be begun whose
        results nobody has read, four for each worker where left out; no more of `items` is read before. Options as for
        `kernels.each`, except cost. On a pool whose lanes are the caller's own thread, so many items are done at once.
        Runs of the pool and these items share the workers in turn. Closing the iterator cancels what has not begun.
        """
        from compute.adapters import imap

        return imap.imap(self, f, items, ordered, limit, options)

    def warm(self, kernel: Kernel, *args: Any, variant: str | None = None, **kw: Any) -> float:
        """Compile or load the kernel in every worker for arguments like these; return the seconds it took."""
        args, kw = dispatch.as_kernel(kernel).settled(args, kw)
        seconds: float = self._with_run_lock(dispatch.warm, kernel, variant, args, kw)
        return seconds

    def begin_anew(self) -> None:
        """Between runs: replace the workers by new ones, where they are processes. Warm again what was warm.

        It waits for another thread's run. RuntimeError within a run, where it is closed, and in another process.
        """
        self.check_open()
        if inside_a_lane() or self._has_run_lock():
            raise RuntimeError("workers are replaced between runs, and this is within one; do so when it has ended")
        with self._run_lock:
            self.check_open()
            self._renew()

    def _renew(self) -> None:
        with interrupts.put_off(self.cut_off):  # cut off halfway, the pool could not be used again
            self.renew()

    def _with_run_lock(self, do: Callable[..., Any], kernel: Kernel, variant: str | None, args: Any, kw: Any) -> Any:
        with interrupts.InterruptWatch() as watch:
            kernel = self._admitted(kernel, variant)
            # Inside a lane, all CPUs are at work already. Inside a plan, a finish or a finalizer of a run of this pool,
            # that run has the workers.
            if inside_a_lane() or self._has_run_lock():
                return do(Nested(), kernel, args, kw, watch)
            executors = self.executors.copy()
            try:
                for executor in executors:
                    executor.note_waiting_runs(1)
                with self._run_lock, one_blas_thread(kernel) if self.backend.traits.shares_memory else nullcontext():
                    self.check_open()  # it may have been closed while this waited for the lock
                    if not self._owner.is_same_user():
                        self._owner = Owner()
                        self._renew()
                    self._running = watch
                    try:
                        return do(self, kernel, args, kw, watch)
                    finally:
                        self._running = None
            finally:
                for executor in executors:
                    executor.note_waiting_runs(-1)
                if not self._is_open:
                    self._end(waits=False)

    def executor(self) -> Executor:
        """A `concurrent.futures.Executor` whose tasks this pool's workers run; see `compute.adapters.executor`.

        Runs of the pool and tasks share the workers in turn. Shutting it down leaves the pool open.
        ValueError: this kind of pool runs no tasks.
        """
        from compute.adapters import executor

        return executor.Executor(self)

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._is_open

    def _has_run_lock(self) -> bool:
        """Whether this very thread holds the lock under which runs of this pool take place."""
        return self._run_lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    @contextmanager
    def observed(self, pins: Sequence[int] = ()) -> Iterator[None]:
        """Within the block, lanes record the system's figures of their threads, each pinned to its CPU of `pins`."""
        self.detailed, self.pins = True, tuple(pins)
        usage.schedstat()  # opened before a run begins, because the caller's own thread may be a lane
        try:
            yield
        finally:
            self.detailed, self.pins = False, ()
            usage.forget()

    def check_open(self) -> None:
        """RuntimeError with the remedy where this pool is closed, or another process's."""
        self._owner.check()
        if not self._is_open:
            raise RuntimeError(f"this pool is closed; open another: with {self.backend!r}.open() as pool")

    def _admitted(self, kernel: Kernel, variant: str | None) -> Kernel:
        self.check_open()
        kernel = dispatch.as_kernel(kernel)
        kernel = kernel.held_to(variant or kernel.variant)
        reason = self.backend.refuses(kernel)
        if reason:
            raise ValueError(reason)
        return kernel

    def start(self) -> None:
        """Start the workers."""

    def make_ready(self, job: Job) -> None:
        """Called before `lanes`. Do here what must not happen while the progress thread runs, such as a fork."""

    @abstractmethod
    def lanes(self, job: Job) -> Sequence[Outcome]:
        """Run the lane loop once in every worker; return when all have ended or died, the dead ones reaped."""

    def stop_lanes(self, job: Job) -> None:
        """Called after an interrupt, when the stop flag is set: wait until every lane has left the loop."""

    def repair(self) -> None:
        """Replace the workers that died."""

    def rest(self) -> None:
        """Between runs: wait up to RESTING seconds for lanes of the last run that still hold its arrays."""

    def packed(self, kernel: Kernel, plan: Plan) -> Plan:
        """The plan of a kernel over items, with items and results in the form that this pool's lanes can use."""
        if self.arena.kind == "heap":
            return plan
        from compute.backends import items

        return items.packed(plan, self.arena, kernel.name)

    def unpacked(self, job: Job) -> Any:
        """The output of a kernel over items, with the results as objects in the caller's process."""
        if self.arena.kind == "heap":
            return job.out
        from compute.backends import items

        return items.results(job.inputs, job.out, self.arena)

    def put_result(self, job: Job, chunk: int, values: list[Any]) -> None:
        """Write the results of a chunk of a kernel over items, in place of its lane."""
        from compute.backends import items

        items.put_result(job.inputs, job.out, chunk, values)

    def renew(self) -> None:
        """Replace the workers by new ones, which have the rights of this process as they are now."""

    def stop(self) -> None:
        """Stop the workers."""

    def cut_off(self) -> None:
        """Make a running `stop` end sooner, where that is possible."""

    def forget(self) -> None:
        """In a fork of the pool's process: release what belongs to the parent, without touching it."""

    def close(self) -> None:
        """Stop the workers; nothing of them is left. Arrays handed out stay valid. Closing again does nothing.

        Where another thread runs a kernel on this pool, this waits for the end of that run, and runs that wait for it
        are refused. A Ctrl-C meanwhile hurries it, and is raised when the workers are gone. Where it is called from
        within a run (a body, a finalizer, a signal's handler), the pool closes as that run ends. In a fork of the
        pool's process there is nothing to close.
        """
        if not self._owner.is_this_process():
            return
        with interrupts.put_off(self._hurry_end):
            self._is_open = False
            for executor in self.executors.copy():
                executor.leave()
            # At the interpreter's end other threads no longer run, so a lock that one of them holds is never released.
            self._end(waits=not (inside_a_lane() or sys.is_finalizing()))

    def interrupt(self, error: BaseException) -> None:
        """From another thread: end the current run, if there is one, with this error; its workers are killed.

        The pool stays open, and replaces them. Repeated calls for one run have no further effect.
        """
        running = self._running
        if running is not None and not running.has_raised and not self._has_run_lock():
            running.give_up(error)
            self.cut_off()

    def _hurry_end(self) -> None:
        self.interrupt(RuntimeError("this pool is closed: whoever closed it did not want to wait for this run"))
        self.cut_off()

    def _end(self, waits: bool) -> None:
        """Stop the workers, once. A thread whose run holds the lock does it when that run has ended."""
        if self._has_run_lock() or not self._run_lock.acquire(blocking=waits):
            return
        try:
            if not self._has_ended:
                self._has_ended = True
                try:
                    with interrupts.put_off(self.cut_off):
                        self.stop()
                finally:
                    self.arena.close()
        finally:
            self._run_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<open {self.backend!r}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a pool cannot be pickled or copied: its workers belong to this process; send {self.backend!r}, which can,"
            " and open it there"
        )

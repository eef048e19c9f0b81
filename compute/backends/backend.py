"""The contract: a Backend is a frozen value that says who computes; open() makes it a live Pool."""

from __future__ import annotations

import functools
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from compute import checking, dispatch, interrupts, machine, usage
from compute.arena import Arena
from compute.dispatch import Result
from compute.lanes import Job, Outcome, inside_a_lane
from compute.segments import Kind
from kernels.definition import Kernel, as_index


@dataclass(frozen=True, repr=False)
class Backend(ABC):
    """Who computes which chunk. A value: `eval(repr(backend)) == backend`.

    workers: how many; all usable CPUs where left out. A ValueError where that is not a whole number of at least 1.
    """

    workers: int = field(default_factory=machine.usable_cpus)
    name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", as_index(self.workers, "workers", least=-sys.maxsize))
        if self.workers < 1:
            raise ValueError(
                f"workers must be at least 1, not {self.workers}; leave it out to use all {machine.usable_cpus()} CPUs"
            )

    def __repr__(self) -> str:
        """What evaluates to this backend: its workers, and what is not as it is by default."""
        others = [field for field in fields(self) if field.name != "workers"]
        said = [f"{field.name}={value!r}" for field in others if (value := getattr(self, field.name)) != field.default]
        return f"{type(self).__name__}({', '.join([repr(self.workers), *said])})"

    @abstractmethod
    def open(self) -> Pool:
        """A pool with its workers started and ready to run; a context manager that stops them."""

    def with_workers(self, workers: int) -> Self:
        """The same backend with another number of workers."""
        return replace(self, workers=workers)

    def refuses(self, kernel: Kernel) -> str | None:
        """Why this backend cannot run the kernel in its chosen variant, or None."""
        return None


class Pool(ABC):
    """Live workers of one backend. `with backend.open() as pool: pool.run(kernel, *args)`.

    startup is how long opening took, in seconds. A pool may be used from several threads; its runs then take turns.
    """

    arena_kind: ClassVar[Kind] = "heap"
    die_together: bool = False
    detailed: bool = False
    pins: Sequence[int] = ()

    def __init__(self, backend: Backend) -> None:
        began = time.perf_counter()
        self.backend = backend
        self.arena = Arena(self.arena_kind)
        self._turn = threading.Lock()
        self._is_open = True
        with interrupts.Watch() as watch:
            self.start()
            self.startup = time.perf_counter() - began
            if watch.has_heard:  # in vain: it is raised again below
                self.close()

    @property
    def workers(self) -> int:
        return self.backend.workers

    def run(self, kernel: Kernel, *args: Any, variant: str | None = None, check: bool = False, **kw: Any) -> Result:
        """Run a kernel on this pool's workers; arguments and errors as for `compute.run`."""
        with interrupts.Watch() as watch:
            kernel = self._admitted(kernel, variant)
            execute = checking.run if check else dispatch.execute
            if inside_a_lane():
                return execute(dispatch.Nested(), kernel, args, kw, watch)
            with self._turn, one_blas_thread(kernel):
                return execute(self, kernel, args, kw, watch)

    def warm(self, kernel: Kernel, *args: Any, variant: str | None = None, **kw: Any) -> float:
        """Compile or load the kernel in every worker for arguments like these; return the seconds it took."""
        with interrupts.Watch() as watch:
            kernel = self._admitted(kernel, variant)
            with self._turn, one_blas_thread(kernel):
                return dispatch.warm(self, kernel, args, kw, watch)

    @contextmanager
    def observed(self, pins: Sequence[int] = ()) -> Iterator[None]:
        """Have the lanes of the runs in here note what the system knows of them, each pinned to its CPU of `pins`."""
        self.detailed, self.pins = True, tuple(pins)
        usage.schedstat()  # where the caller's own thread is a lane, its file is open before a run begins
        try:
            yield
        finally:
            self.detailed, self.pins = False, ()
            usage.forget()

    def _admitted(self, kernel: Kernel, variant: str | None) -> Kernel:
        if not self._is_open:
            raise RuntimeError(f"this pool is closed; open another: with {self.backend!r}.open() as pool")
        kernel = dispatch.as_kernel(kernel).held_to(variant)
        kernel = kernel.held_to(kernel.variant)
        reason = self.backend.refuses(kernel)
        if reason:
            raise ValueError(reason)
        return kernel

    def start(self) -> None:
        """Start the workers."""

    @abstractmethod
    def lanes(self, job: Job) -> Sequence[Outcome]:
        """Run the lane loop once in every worker; return when all have ended or died, the dead ones reaped."""

    def stop_lanes(self, job: Job) -> None:
        """After an interrupt, the stop flag being set: wait until every lane has noticed."""

    def repair(self) -> None:
        """Replace the workers that died."""

    def stop(self) -> None:
        """Stop the workers."""

    def cut_off(self) -> None:
        """Make a `stop` that is under way end sooner, where it can."""

    def close(self) -> None:
        """Stop the workers; nothing of them is left. Arrays handed out stay valid. Twice is as good as once.

        A Ctrl-C meanwhile only hurries it, and is raised when they are gone.
        """
        with interrupts.put_off(self.cut_off):
            if self._is_open:
                self._is_open = False
                try:
                    self.stop()
                finally:
                    self.arena.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<open {self.backend!r}>"


def one_blas_thread(kernel: Kernel) -> Any:
    """Hold BLAS to one thread while lanes run Python bodies, which may call it: lanes are what is counted.

    The limit is the process's (threadpoolctl#220); compiled bodies do not call BLAS and pay nothing.
    """
    if kernel.variants[kernel.variant].compiled:
        return nullcontext()
    return _limited_blas()


@contextmanager
def _limited_blas() -> Iterator[None]:
    with _blas().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()

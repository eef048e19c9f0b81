"""The main job: every kernel on this machine, on the backends that matter, at every worker count, within a budget."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import kernels
from compute import machine
from compute.backends.prange import Prange
from compute.backends.processes import Processes
from compute.backends.serial import Serial
from compute.lanes.loop import be_a_lane
from compute.scaling.calibration import calibrate
from compute.scaling.configurations import worker_counts
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale_all
from kernels.definition import Kernel, numba_is_here
from kernels.definition.plan import Plan

ROUNDS = 10  # of each kernel that should fit even if no worker count were faster than one core; an interval needs six
MEMORY = 2**27  # bytes of a kernel's arrays: more than caches hold; each open pool must touch its own copies first
MEASURING = 0.6  # of the budget, for them; the rest is for finding sizes, opening pools, checking answers
SMALL = 16  # a size at which compiling is all that takes time
ALIKE = 7  # kernels compile side by side; beyond that more processes only take memory

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Part:
    """Kernels in one variant on the same backends; only: the one kernel that it is about."""

    variant: str
    on: Sequence[str]
    only: str | None = None


PARTS = (
    # Compiled code runs side by side anywhere: the question is who does it best.
    Part("nogil", ("threads", "prange", "processes", "joblib")),
    # The GIL is one row against another: threads take turns at it, processes have one each.
    Part("python", ("threads", "processes")),
    # One loop on one thread keeps work that computes at one core; one kernel is enough to see it.
    Part("nogil", ("coroutines",), only="mandelbrot"),
)


def survey(budget: float, progress: Progress) -> Scaling:
    """Measure every registered kernel; takes about `budget` seconds, and what has to be compiled takes extra."""
    progress(0, 1, "loading every kernel; what has changed is compiled, once, which can take a minute more")
    compile_side_by_side([name for name, kernel in kernels.REGISTRY.items() if "nogil" in kernel.variants])
    deadline = time.perf_counter() + budget
    wanted = _wanted()
    runs = sum(1 + len(on) * len(worker_counts()) for on in wanted.values())
    works = []
    for (name, variant), on in wanted.items():
        progress(0, 1, f"finding a size for {name} · {variant}")
        works.append(_work(kernels.REGISTRY[name], variant, on, MEASURING * budget / ROUNDS / runs))
    backends = list(dict.fromkeys(on for part in PARTS for on in part.on))
    return scale_all(works, on=backends, budget=max(deadline - time.perf_counter(), 0.1), progress=progress)


def _wanted() -> dict[tuple[str, str], list[str]]:
    """The backends on which each (kernel, variant) is to be measured."""
    found: dict[tuple[str, str], list[str]] = {}
    for part in PARTS:
        for name, kernel in kernels.REGISTRY.items():
            if part.only in (None, name) and part.variant in kernel.variants and kernel.bound != "wait":
                found.setdefault((name, part.variant), []).extend(part.on)
    return found


def _work(kernel: Kernel, variant: str, on: Sequence[str], seconds: float) -> Work:
    """The kernel at a size at which one serial run takes about that long."""
    size = calibrate(kernel, seconds, variant, memory=MEMORY)
    return Work(kernel, kernel.example(size), variants=[variant], size=size, on=on)


def compile_side_by_side(names: Sequence[str]) -> None:
    """Have every kernel's compiled code in the cache, whatever the backend: each CPU compiles the next of them."""
    if numba_is_here():
        with Processes(min(machine.usable_cpus(), ALIKE, len(names))).open() as pool:
            pool.run(compiling, names)


@kernels.kernel(plan=lambda names: Plan(len(names), (tuple(names),), dtype=np.bool_, grain=1), compiled=False)
def compiling(lo: int, hi: int, out: Any, names: tuple[str, ...]) -> None:
    """Compile or load the kernels lo .. hi, as lanes call them one by one and as a parallel region does."""
    if multiprocessing.parent_process() is not None:
        # numba makes a lock for its threads, whose name would outlive this worker under any other start method.
        with contextlib.suppress(ValueError):
            multiprocessing.set_start_method("fork", force=True)
    was_inside = be_a_lane(False)  # what is warmed in a lane is what runs serially there, on every pool
    try:
        for name in names[lo:hi]:
            of = kernels.REGISTRY[name].held_to("nogil")
            args = of.example(SMALL)
            for backend in (Serial(), Prange(1)):
                with backend.open() as pool:
                    pool.warm(of, *args)
    finally:
        be_a_lane(was_inside)
    out[lo:hi] = True

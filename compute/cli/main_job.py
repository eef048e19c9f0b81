"""The main job: one kernel of each kind, on the backends that matter, at every worker count, within a budget.

What is chosen, and how long runs are, is in `choosing`. Operands and results lie in shared memory, which the lanes of
all backends see as it is: a row is then told from another by who runs it, and not by whose arrays had to be copied.
"""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import kernels
from compute import backends, machine
from compute.backends.backend import Backend
from compute.backends.prange import Prange
from compute.backends.processes import Processes
from compute.backends.serial import Serial
from compute.cli import choosing
from compute.cli.choosing import Room, Row, Way
from compute.drawing import Stages
from compute.lanes.loop import be_a_lane
from compute.memory.arena import shared
from compute.scaling.calibration import calibrate, size_for
from compute.scaling.harness import MEGABYTE
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale_all
from compute.scaling.statistics import two_digits
from kernels.definition import Kernel, numba_is_here
from kernels.definition.plan import Plan

LOADING = 3.0  # s: loading the kernels takes no longer where all is compiled, even beside other work
SHOWING = 0.04  # of the budget, for importing what the report needs and drawing its picture
SMALL = 16  # a size that is compiled and takes no time to run
MOST_COMPILERS = 7  # processes: there are as many kernels to compile side by side; more would only take memory
VECTORS = 8  # that a matrix is multiplied with: one pass over a matrix that fits into memory is over in a few ms

# Compiled code runs side by side on every backend, so all are compared. For Python code threads, which take turns at
# one GIL, are compared with processes, which have one each.
ON = {"nogil": ("threads", "prange", "processes", "joblib"), "python": ("threads", "processes")}
# Coroutines keep work that computes on one core. One kernel is enough to show it.
ON_ONE_LOOP = "mandelbrot", "nogil", "coroutines"


def survey(budget: float, progress: Stages, everything: bool = False) -> Scaling:
    """Measure one kernel of each kind, or everything; takes about `budget` seconds, and compiling takes extra.

    What comes before and after is in these seconds: loading code that is compiled, and showing the report.
    """
    began = time.perf_counter()
    progress(0, 1, "loading the kernels; what has changed is compiled, once, which can take a minute more")
    names = [name for name, kernel in kernels.REGISTRY.items() if kernel.bound != "wait"]
    names = choosing.choose_kernels(names, everything)
    compile_side_by_side([name for name in names if "nogil" in kernels.REGISTRY[name].variants])
    loading = min(time.perf_counter() - began, LOADING)  # anything beyond that was compiling
    began = time.perf_counter() - loading
    rows = _rows(names)
    counts = choosing.choose_counts(machine.usable_cpus(), budget, rows)

    sizes: dict[Row, tuple[int, float]] = {}  # size, and the seconds that a run should take with it

    def works(left: float, costs: Mapping[str, float]) -> list[Work]:
        seconds = choosing.run_length(left, rows, counts)
        touch = max(costs.get("first_touch of shared", 0.0), costs.get("first_touch of heap", 0.0)) / MEGABYTE
        memory = choosing.choose_memory(Room(machine.memory_available(), machine.shared_memory_free(), touch))
        made = []
        for row in rows:
            progress(0, 1, f"finding a size for {row.kernel} · {row.variant}")
            kernel = _example_of(row.kernel)
            if row in sizes:
                size, former = sizes[row]
                size = two_digits(size_for(kernel, kernel.cost(size) * seconds / former))
            else:
                size = calibrate(kernel, seconds, row.variant, memory=memory)
                sizes[row] = size, seconds
            made.append(_work(kernel, row, size))
        return made

    left = (1 - SHOWING) * budget - (time.perf_counter() - began)
    known = choosing.about_counts(machine.usable_cpus(), counts)
    return scale_all(works, on=_backends(rows, counts), budget=max(left, 0.1), progress=progress, known=known)


def _rows(names: Sequence[str]) -> list[Row]:
    """Each kernel in each variant, with the backends that run it."""
    rows = []
    for variant, on in ON.items():
        for name in names:
            body = kernels.REGISTRY[name].variants.get(variant)
            if body is not None and (numba_is_here() or not body.compiled):
                others = [backend for *where, backend in (ON_ONE_LOOP,) if where == [name, variant]]
                rows.append(Row(name, variant, tuple(_way(backend, variant) for backend in (*on, *others))))
    return rows


def _way(name: str, variant: str) -> Way:
    """The Way of a backend that runs a variant, from its traits."""
    traits = backends.named(name).traits
    turns = traits.shares_gil and variant == "python" and machine.has_gil()
    return Way(name, takes_turns=turns or traits.shares_thread, once=traits.shares_thread)


def _backends(rows: Sequence[Row], counts: Sequence[int]) -> list[Backend]:
    """The backends of all rows, with each number of workers."""
    ways = {way.backend: way for row in rows for way in row.ways}
    return [
        backends.named(name).with_workers(count)
        for name, way in ways.items()
        for count in (counts[-1:] if way.once else counts)
    ]


def _example_of(name: str) -> Kernel:
    """The kernel, with examples of its own for the main job."""
    kernel = kernels.REGISTRY[name]
    return replace(kernel, example=_with_vectors(kernel)) if name == "matvec" else kernel


def _work(kernel: Kernel, row: Row, size: int) -> Work:
    """The Work of a kernel at that size, with its arrays and its result in shared memory."""
    args = tuple(shared.array(x) if isinstance(x, np.ndarray) else x for x in kernel.example(size))
    out = _result(kernel.held_to(row.variant), args) if "out" in _inputs(kernel) else None
    kw = {} if out is None else {"out": out}
    on = [way.backend for way in row.ways]
    return Work(kernel, args, kw, variants=[row.variant], size=size, on=on, scratch=out)


def _with_vectors(kernel: Kernel) -> Callable[[int], tuple[Any, ...]]:
    """An example of matvec that multiplies its matrix with several vectors: more work in the same memory."""

    def example(size: int) -> tuple[Any, ...]:
        matrix, vector = kernel.example(size)
        return matrix, np.stack([vector] * VECTORS)

    return example


def _inputs(kernel: Kernel) -> Mapping[str, Any]:
    return inspect.signature(kernel.planner).parameters


def _result(kernel: Kernel, args: tuple[Any, ...]) -> Any:
    """Room for the result of a kernel that takes `out`."""
    plan = kernel.plan(*args)
    return shared.empty(plan.value_shape or kernel.output_shape(plan), plan.dtype)


def compile_side_by_side(names: Sequence[str]) -> None:
    """Compile what is not in the cache of these kernels, for all backends, side by side on the CPUs."""
    if numba_is_here():
        with Processes(min(machine.usable_cpus(), MOST_COMPILERS, len(names))).open() as pool:
            pool.run(compiling, names)


@kernels.kernel(plan=lambda names: Plan(len(names), (tuple(names),), dtype=np.bool_, grain=1), compiled=False)
def compiling(lo: int, hi: int, out: Any, names: tuple[str, ...]) -> None:
    """Compile or load the kernels lo .. hi, as lanes call them one by one and as a parallel region does."""
    if multiprocessing.parent_process() is not None:
        # numba makes a named lock for its threads, which would outlive this worker under any other start method.
        with contextlib.suppress(ValueError):
            multiprocessing.set_start_method("fork", force=True)
    was_inside = be_a_lane(False)  # in a lane, the serial version would be warmed
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

"""The main job: every kernel on this machine, on the backends that matter, at every worker count, within a budget."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import kernels
from compute.scaling.calibration import calibrate
from compute.scaling.dataset import Point, Scaling
from compute.scaling.rounds import Work, scale_all
from kernels.definition import Kernel

RUNS = 1500  # serial runs to a budget: leaves about ten rounds for each of seven kernels on two CPUs, and their checks
OPENING = 0.02  # of the budget, for starting the workers of a part

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Part:
    """Kernels in one variant on the same backends, and how much of the budget they get against the other parts."""

    variant: str
    on: Sequence[str]
    share: float
    only: str | None = None


PARTS = (
    # Compiled code runs side by side anywhere: the question is who does it best.
    Part("nogil", ("threads", "prange", "processes", "joblib"), 0.70),
    # The GIL is one row against another: threads take turns at it, processes have one each.
    Part("python", ("threads", "processes"), 0.26),
    # One loop on one thread keeps work that computes at one core; one kernel is enough to see it.
    Part("nogil", ("coroutines",), 0.04, only="mandelbrot"),
)


def survey(budget: float, progress: Progress) -> Scaling:
    """Measure every registered kernel; takes about `budget` seconds, with compiling and starting workers."""
    deadline = time.perf_counter() + budget
    works: dict[tuple[str, str], Work] = {}
    for part in PARTS:
        for kernel in _kernels(part):
            if (kernel.name, part.variant) not in works:
                progress(0, 1, f"finding a size for {kernel.name} · {part.variant}")
                works[kernel.name, part.variant] = _work(kernel, part.variant, budget / RUNS)
    measured = []
    for number, part in enumerate(PARTS):
        done, rest = sum(p.share for p in PARTS[:number]), sum(p.share for p in PARTS[number:])
        seconds = (deadline - time.perf_counter()) * part.share / rest - OPENING * budget
        chosen = [works[kernel.name, part.variant] for kernel in _kernels(part)]
        tell = functools.partial(_tell, progress, done, part.share)
        measured.append(scale_all(chosen, on=part.on, budget=max(seconds, OPENING * budget), progress=tell))
    return functools.reduce(_joined, measured)


def _kernels(part: Part) -> list[Kernel]:
    return [kernel for name, kernel in kernels.REGISTRY.items() if part.only in (None, name)]


def _work(kernel: Kernel, variant: str, seconds: float) -> Work:
    """The kernel at a size at which one serial run takes about that long."""
    size = calibrate(kernel, seconds, variant)
    return Work(kernel, kernel.example(size), variants=[variant], size=size)


def _tell(progress: Progress, done: float, share: float, part: float, whole: float, label: str) -> None:
    progress(done + share * part / whole, 1, label)


def _joined(first: Scaling, second: Scaling) -> Scaling:
    """Both, without what the second measured again (the serial baseline, against which its speedups stay)."""
    known = {_configuration(point) for point in first.points}
    return first + replace(second, points=tuple(p for p in second.points if _configuration(p) not in known))


def _configuration(p: Point) -> tuple[object, ...]:
    return p.kernel, p.size, p.variant, p.backend, p.workers

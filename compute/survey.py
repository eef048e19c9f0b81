"""The main job: every kernel on this machine, on the backends that matter, at every worker count, within a budget."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import kernels
from compute.scaling.calibration import calibrate
from compute.scaling.dataset import Scaling
from compute.scaling.rounds import Work, scale_all
from kernels.definition import Kernel

RUNS = 900  # serial runs to a budget: leaves about ten rounds for each of seven kernels on two CPUs
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
    works = [_works(part, budget / RUNS, progress) for part in PARTS]
    measured = []
    for number, part in enumerate(PARTS):
        done, rest = sum(p.share for p in PARTS[:number]), sum(p.share for p in PARTS[number:])
        seconds = (deadline - time.perf_counter()) * part.share / rest - OPENING * budget
        tell = functools.partial(_tell, progress, done, part.share)
        measured.append(scale_all(works[number], on=part.on, budget=max(seconds, OPENING * budget), progress=tell))
    return functools.reduce(Scaling.__add__, measured)


def _works(part: Part, seconds: float, progress: Progress) -> list[Work]:
    """The part's kernels, each of a size at which one serial run takes about that long."""
    return [
        _work(kernel, part.variant, seconds, progress)
        for name, kernel in kernels.REGISTRY.items()
        if part.only in (None, name)
    ]


@functools.cache
def _work(kernel: Kernel, variant: str, seconds: float, progress: Progress) -> Work:
    progress(0, 1, f"finding a size for {kernel.name} · {variant}")
    size = calibrate(kernel, seconds, variant)
    return Work(kernel, kernel.example(size), variants=[variant], size=size)


def _tell(progress: Progress, done: float, share: float, part: float, whole: float, label: str) -> None:
    progress(done + share * part / whole, 1, label)

"""Work: one thing to measure. Pace: how much of the budget is left, and what progress shows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compute.backends.pool import Pool
from compute.backends.serial import Serial
from compute.drawing import Stages
from compute.scaling import calibration
from kernels.definition import Kernel
from kernels.definition.each import Each
from kernels.definition.plan import Plan


@dataclass(frozen=True)
class Work:
    """One thing to compute, in some variants: `Work(matmul, (A, B))`.

    variants: None takes the one that the kernel is held to, else every one that can run here and in the budget.
    size:     what the report calls its size; where left out, the first argument's length or number.
    on:       names of the backends to run it on, of those that are open; all of them where left out.
    grown:    for weak scaling, the arguments for each number of workers.
    costs:    what the kernel's cost model says of each of those.
    scratch:  the contiguous array into which runs write, if no caller sees it: it is overwritten before each check.
    """

    kernel: Kernel
    args: tuple[Any, ...] = ()
    kw: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[str] | None = None
    size: int | None = None
    on: Sequence[str] | None = None
    grown: Mapping[int, tuple[Any, ...]] | None = None
    costs: Mapping[int, float] | None = None
    scratch: np.ndarray[Any, Any] | None = None

    @property
    def mode(self) -> str:
        return "strong" if self.grown is None else "weak"

    def configurations(self, pools: Sequence[Pool]) -> list[Pool]:
        """The pools that it is to run on; Serial, its baseline, always."""
        return [p for p in pools if self.on is None or p.backend.name in (Serial.name, *self.on)]

    def args_at(self, workers: int) -> tuple[Any, ...]:
        """The arguments for so many workers: the same for all, unless work grows with them."""
        return self.args if self.grown is None else self.grown[workers]

    def amount(self, kernel: Kernel, value: Any, workers: int) -> float:
        """What a run that gave this value did, in the kernel's unit."""
        plan = kernel.plan(*self.args_at(workers), **self.kw)
        if self.costs is not None and plan.work is None and kernel.work_of is None:
            return self.costs[workers]  # nothing else says how it grows: of n² the indices are only n
        return kernel.work(plan, value)

    def size_of(self, indices: int) -> int:
        """What the command line would call the size: the number, the side, or the first array's length."""
        if self.size is not None:
            return self.size
        if isinstance(self.kernel, Each):
            return indices  # the items, which may be numbers or tuples themselves
        first = self.args[0] if self.args else indices
        if isinstance(first, tuple | list) and first and isinstance(first[0], int):
            return first[0]
        if isinstance(first, int | np.integer):
            return int(first)
        return len(first) if isinstance(first, np.ndarray) and first.ndim else indices

    def in_words(self) -> str:
        """The arguments for the report: `float64[512, 512], s=3.0`."""
        return ", ".join([*map(_in_words, self.args), *(f"{k}={_in_words(v)}" for k, v in self.kw.items())])


def grow_work(kernel: Kernel, size: int, workers: Iterable[int], variants: Sequence[str] | None = None) -> Work:
    """For weak scaling: the kernel's example of that size for one worker, and of N times its cost for N.

    Sizes are whole numbers, so the work grows by N only nearly: a speedup counts what was really done.
    """
    sizes = {count: calibration.size_for(kernel, count * kernel.cost(size)) for count in workers}
    sizes[1] = size
    examples = {count: kernel.example(grown) for count, grown in sizes.items()}
    costs = {count: kernel.cost(grown) for count, grown in sizes.items()}
    return Work(kernel, examples[1], variants=variants, size=size, grown=examples, costs=costs)


class Pace:
    """How far a measurement is: the budget that is left, and a report of each step to `tell`.

    budget: seconds, or infinity. steps: how many rounds, and checks, there are at most.
    """

    def __init__(self, budget: float, steps: int, tell: Stages) -> None:
        self.budget, self._steps, self._tell = budget, steps, tell
        self._began = time.perf_counter()
        self._done = 0

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self._began + self.budget - time.perf_counter()

    def say(self, label: str) -> None:
        self._tell(
            min(max(1 - self.left / self.budget if self.budget < math.inf else 0.0, self._done / self._steps), 1.0),
            1.0,
            label,
        )

    def step(self) -> None:
        self._done += 1


def _in_words(value: Any) -> str:
    """An argument for the report: `float64[512, 512]`, or the value itself where that is short."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__


def check_repeatable(kernel: Kernel, plan: Plan) -> None:
    """ValueError where one run would change what the next one computes from."""
    if plan.overwrites_an_input:
        raise ValueError("out= is one of the inputs, so that each run would change the next one's; give another array")
    if kernel.inout:
        names = ", ".join(kernel.inputs[k] for k in kernel.inout)
        raise ValueError(
            f"{kernel.name} writes to its input {names}, so that each run would change the next one's;"
            " measure a kernel that writes into out"
        )

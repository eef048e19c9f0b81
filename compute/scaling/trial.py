"""One work on every pool: warm, check the answers, then rounds, then points."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from compute.backends.backend import Pool
from compute.backends.serial import Serial
from compute.dispatch import Result
from compute.scaling import answers, calibration, statistics
from compute.scaling.dataset import Point
from compute.timeline import Timeline
from kernels.definition import Kernel, numba_is_here


@dataclass(frozen=True)
class Work:
    """One thing to compute, in some variants: `Work(matmul, (A, B))`.

    variants: None takes the one that the kernel is held to, else every one that can run here and in the budget.
    size:     what the report calls its size; where left out, the first argument's length or number.
    on:       names of the backends to run it on, of those that are open; all of them where left out.
    """

    kernel: Kernel
    args: tuple[Any, ...] = ()
    kw: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[str] | None = None
    size: int | None = None
    on: Sequence[str] | None = None

    def configurations(self, pools: Sequence[Pool]) -> list[Pool]:
        """The pools that it is to run on; Serial, its baseline, always."""
        return [p for p in pools if self.on is None or p.backend.name in (Serial.name, *self.on)]


class Pace:
    """Where a measurement stands between its beginning and its end; says so after every step.

    budget: seconds, or infinity. steps: how many rounds, and checks, there are at most.
    """

    def __init__(self, budget: float, steps: int, tell: Callable[[float, float, str], None]) -> None:
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


@dataclass(frozen=True)
class _Contender:
    """One configuration of a trial, ready to run."""

    pool: Pool
    kernel: Kernel
    compiling: float

    @property
    def label(self) -> str:
        return f"{self.kernel.name} · {self.kernel.variant} · {self.pool.backend.name} {self.pool.workers}"


class _Ran(NamedTuple):
    """What is kept of a Result: not its value, because a round of large ones would fill the memory."""

    seconds: float
    timeline: Timeline


@dataclass
class Trial:
    """One work on the pools that it is for. `prepare`, then `measure`.

    once: seconds that the checking took, in which everything ran once; rounds: how many were measured;
    round: seconds that one took.
    """

    work: Work
    pools: Sequence[Pool]
    pace: Pace
    affordable: float  # seconds that checking a variant that nobody asked for, and a first round of it, may take
    warnings: list[str] = field(default_factory=list)
    contenders: list[_Contender] = field(default_factory=list)
    once: float = 0.0
    rounds: int = 0
    round: float = 0.0

    @property
    def label(self) -> str:
        return " · ".join([self.work.kernel.name, *dict.fromkeys(c.kernel.variant for c in self.contenders)])

    def prepare(self) -> None:
        """Compile and load everywhere, and check every answer; nothing is timed before."""
        self.contenders = [c for kernel in self._kernels() for c in self._warmed(kernel)]
        began = time.perf_counter()
        self._check_answers()
        self.once = time.perf_counter() - began
        self.pace.step()

    def measure(self, most: int, share: float) -> list[Point]:
        """A Point, of samples only, for each configuration, from as many rounds as fit into the share; at least one."""
        began = time.perf_counter()
        with _garbage_set_aside():
            rounds = self._rounds(most, began + share)
        self.rounds, self.round = len(rounds), (time.perf_counter() - began) / len(rounds)
        return [self._point(c, [results[k] for results in rounds]) for k, c in enumerate(self.contenders)]

    def _kernels(self) -> list[Kernel]:
        """The kernel held to each variant that is to be measured."""
        kernel = self.work.kernel
        if self.work.variants is not None:
            return [kernel.held_to(variant) for variant in dict.fromkeys(self.work.variants)]
        if kernel.chosen:
            return [kernel]
        fastest = kernel.held_to(kernel.variant)
        others = [
            name
            for name, v in kernel.variants.items()
            if name != fastest.variant and (not v.compiled or numba_is_here())
        ]
        return [held for name in others if self._affordable(held := kernel.held_to(name))] + [fastest]

    def _affordable(self, kernel: Kernel) -> bool:
        """Whether a variant that nobody asked for by name can be checked and run once in half of the budget."""
        runs = 2 * sum(pool.backend.refuses(kernel) is None for pool in self.pools)
        self.pace.say(f"{kernel.name} · {kernel.variant} · estimating")
        seconds = calibration.predict(kernel, *self.work.args, **self.work.kw)
        if seconds * runs <= self.affordable:
            return True
        self.warnings.append(
            f"left out {kernel.name}'s {kernel.variant} variant: one serial run would take about {seconds:.2g} s;"
            f" ask for it by name, with a smaller size or a budget over {statistics.two_digits(2 * seconds * runs)} s"
        )
        return False

    def _warmed(self, kernel: Kernel) -> Iterator[_Contender]:
        for pool in self.pools:
            if reason := pool.backend.refuses(kernel):
                self.warnings.append(reason)
                continue
            self.pace.say(f"{kernel.name} · {kernel.variant} · warming {pool.backend!r}")
            yield _Contender(pool, kernel, pool.warm(kernel, *self.work.args, **self.work.kw))

    def _check_answers(self) -> None:
        """Run everything once. WrongAnswer where a value is not, to the bit, the same variant's on Serial."""
        references: dict[str, Any] = {}
        for c in self.contenders:  # Serial is the first of each variant
            self.pace.say(f"{c.label} · checking")
            value = self._run(c).value
            if c.kernel.variant not in references:
                answers.check(c.kernel, value, self.work.args, self.work.kw)
                references[c.kernel.variant] = np.copy(value) if isinstance(value, np.ndarray) else value
            else:
                answers.compare(c.kernel, c.pool.backend, value, references[c.kernel.variant])

    def _rounds(self, most: int, deadline: float) -> list[list[_Ran]]:
        """The results of each full round, by contender."""
        shuffle = np.random.default_rng(0)
        rounds: list[list[_Ran]] = []
        took = 0.0
        while len(rounds) < most and (not rounds or time.perf_counter() + took <= deadline):
            began = time.perf_counter()
            results: dict[int, _Ran] = {}
            with _no_garbage_collection():
                for k in shuffle.permutation(len(self.contenders)):
                    if rounds and time.perf_counter() > deadline:
                        return rounds  # without the half round
                    self.pace.say(self.contenders[k].label)
                    result = self._run(self.contenders[k])
                    results[k] = _Ran(result.seconds, result.timeline)
            rounds.append([results[k] for k in range(len(self.contenders))])
            took = time.perf_counter() - began
            self.pace.step()
        return rounds

    def _run(self, c: _Contender) -> Result:
        return c.pool.run(c.kernel, *self.work.args, **self.work.kw)

    def _point(self, c: _Contender, results: Sequence[_Ran]) -> Point:
        plan = c.kernel.plan(*self.work.args, **self.work.kw)
        timelines = [result.timeline for result in results]
        shares = [t.cpu / wall for t in timelines if (wall := sum(lane.wall for lane in t.lanes)) > 0]
        names = dict.fromkeys(name for t in timelines for name in t.sections)
        return Point(
            kernel=c.kernel.name,
            size=_size(self.work, plan.indices),
            variant=c.kernel.variant,
            backend=c.pool.backend.name,
            workers=c.pool.workers,
            seconds=results[0].seconds,
            samples=tuple(result.seconds for result in results),
            unit=c.kernel.unit,
            work=float(plan.indices if plan.work is None else plan.work),
            cpu_per_wall=statistics.median(shares) if shares else None,
            sections={name: statistics.median([t.sections.get(name, 0.0) for t in timelines]) for name in names},
            processes=len({lane.process for lane in timelines[0].lanes}) or None,
            startup=c.pool.startup,
            compile=c.compiling,
            arguments=", ".join(
                [*map(_in_words, self.work.args), *(f"{k}={_in_words(v)}" for k, v in self.work.kw.items())]
            ),
            notes=tuple(dict.fromkeys(event for t in timelines for event in t.events)),
        )


def _size(work: Work, indices: int) -> int:
    """What the command line would call the size: the number, the side, or the first array's length."""
    if work.size is not None:
        return work.size
    first = work.args[0] if work.args else indices
    if isinstance(first, tuple | list) and first and isinstance(first[0], int):
        return first[0]
    if isinstance(first, int | np.integer):
        return int(first)
    return len(first) if isinstance(first, np.ndarray) and first.ndim else indices


def _in_words(value: Any) -> str:
    """An argument for the report: `float64[512, 512]`, or the value itself where that is short."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__


@contextmanager
def _garbage_set_aside() -> Iterator[None]:
    """Collect once, and let later collections pass over all that is here already: with numba loaded that is 0.1 s."""
    frozen_by_others = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_by_others:
            gc.unfreeze()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while something is timed."""
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

"""Rounds: every configuration once a round, in shuffled order, on pools that are open and warm, answers checked first.

What drifts over seconds (clock speed, neighbours, temperature) meets all configurations of a round alike, so it cancels
in their ratio. Source: hyperfine#21 and zenbench for the interleaving, pyperf and Hoefler & Belli for the rest.
"""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from compute import backends, machine
from compute.backends.backend import Backend, Pool
from compute.backends.serial import Serial
from compute.dispatch import Result, as_kernel
from compute.scaling import answers, calibration, points, statistics
from compute.scaling.configurations import MOST_ROUNDS, about_workers, configurations, limits
from compute.scaling.dataset import Point, Scaling
from compute.timeline import Timeline
from kernels.definition import Kernel, numba_is_here

ON = ("threads", "processes")

Progress = Callable[[float, float, str], None]


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


def scale(
    kernel: Kernel,
    *args: Any,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    progress: Progress | None = None,
    **kw: Any,
) -> Scaling:
    """Measure how far a kernel scales: kernel(*args, **kw) on every backend with every number of workers.

    on:       backends, or their names. workers: counts; where left out, 1, 2, 4 … up to the usable CPUs for a name, and
              its own for a backend.
    variants: names; where left out, the one that the kernel is held to, else all that can run here in the budget.
    budget:   seconds for everything after the pools are open (10 where rounds is left out too). One full round is
              always measured. rounds: how many at most.
    progress: called as progress(done, total, label) between runs; done / total is the share of the budget.
    ValueError, before a worker starts, for anything of this that cannot be; WrongAnswer before anything is timed.
    """
    work = Work(kernel, args, kw, variants)
    return scale_all([work], on=on, workers=workers, budget=budget, rounds=rounds, progress=progress)


def scale_all(
    works: Sequence[Work],
    *,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    progress: Progress | None = None,
) -> Scaling:
    """`scale` for several works, one after the other on the same pools, each with its share of the budget.

    A share is of what is left, by the number of configurations.
    """
    budget, rounds = limits(budget, rounds)
    chosen = configurations(on, workers)
    for work in works:
        _check(work)
    tell = progress or (lambda done, total, label: None)
    with ExitStack() as stack:
        pools = []
        for backend in chosen:
            tell(0, len(works), f"opening {backend!r}")
            pools.append(stack.enter_context(backend.open()))
        deadline = time.perf_counter() + budget
        measured: list[Point] = []
        warnings = about_workers(chosen)
        on_each = [work.configurations(pools) for work in works]
        for number, (work, mine) in enumerate(zip(works, on_each, strict=True)):
            now = time.perf_counter()
            share = max(deadline - now, 0.0) * len(mine) / sum(map(len, on_each[number:]))
            tell_all = functools.partial(_tell_part, tell, number, len(works))
            trial = _Trial(work, mine, rounds, now, share, tell_all)
            measured += trial.points()
            warnings += (text for text in trial.warnings if text not in warnings)
        tell(len(works), len(works), "done")
    return Scaling(points.compared(measured), machine.describe(), tuple(warnings))


def _tell_part(tell: Progress, number: int, works: int, part: float, label: str) -> None:
    tell(number + part, works, label)


def _check(work: Work) -> None:
    """Raise what is wrong with a work before a worker starts."""
    plan = as_kernel(work.kernel).plan(*work.args, **work.kw)
    for variant in work.variants or ():
        work.kernel.held_to(variant)
    for name in work.on or ():
        backends.named(name)
    if plan.out is not None and any(np.may_share_memory(plan.out, x) for x in plan.inputs if isinstance(x, np.ndarray)):
        raise ValueError("out= is one of the inputs, so that each run would change the next one's; give another array")


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
class _Trial:
    """One work on every pool: warm, check, then rounds until its share of the budget is spent.

    tell(part, label): part, from 0 to 1, is how much of the trial is over.
    """

    work: Work
    pools: Sequence[Pool]
    most: int
    began: float
    share: float
    tell: Callable[[float, str], None]
    warnings: list[str] = field(default_factory=list)
    ready: float = 0.0  # seconds until everything was warm and checked

    def points(self) -> list[Point]:
        """A Point, of samples only, for each configuration."""
        contenders = [c for kernel in self._kernels() for c in self._warmed(kernel)]
        self._check_answers(contenders)
        ready = time.perf_counter()
        self.ready = ready - self.began
        with _garbage_set_aside():
            rounds = self._rounds(contenders)
        self._say_what_the_budget_did(len(rounds), (time.perf_counter() - ready) / len(rounds))
        return [self._point(c, [results[k] for results in rounds]) for k, c in enumerate(contenders)]

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
        self.tell(0, f"{kernel.name} · {kernel.variant} · estimating")
        seconds = calibration.predict(kernel, *self.work.args, **self.work.kw)
        if seconds * runs <= self.share / 2:
            return True
        self.warnings.append(
            f"left out {kernel.name}'s {kernel.variant} variant: one serial run would take about {seconds:.2g} s;"
            f" ask for it by name, with a smaller size or a budget over {2 * seconds * runs:.2g} s"
        )
        return False

    def _warmed(self, kernel: Kernel) -> Iterator[_Contender]:
        for pool in self.pools:
            if reason := pool.backend.refuses(kernel):
                self.warnings.append(reason)
                continue
            self.tell(self._part(), f"{kernel.name} · {kernel.variant} · warming {pool.backend!r}")
            yield _Contender(pool, kernel, pool.warm(kernel, *self.work.args, **self.work.kw))

    def _check_answers(self, contenders: Sequence[_Contender]) -> None:
        """Run everything once. WrongAnswer where a value is not, to the bit, the same variant's on Serial."""
        references: dict[str, Any] = {}
        for c in contenders:  # Serial is the first of each variant
            self.tell(self._part(), f"{c.label} · checking")
            value = self._run(c).value
            if c.kernel.variant not in references:
                answers.check(c.kernel, value, self.work.args, self.work.kw)
                references[c.kernel.variant] = np.copy(value) if isinstance(value, np.ndarray) else value
            else:
                answers.compare(c.kernel, c.pool.backend, value, references[c.kernel.variant])

    def _rounds(self, contenders: Sequence[_Contender]) -> list[list[_Ran]]:
        """The results of each full round, by contender."""
        shuffle = np.random.default_rng(0)
        rounds: list[list[_Ran]] = []
        took = 0.0
        while len(rounds) < self.most and (not rounds or self._left() >= took):
            began = time.perf_counter()
            results: dict[int, _Ran] = {}
            with _no_garbage_collection():
                for k in shuffle.permutation(len(contenders)):
                    if rounds and self._left() < 0:
                        return rounds  # without the half round
                    part = (len(rounds) + len(results) / len(contenders)) / self.most
                    self.tell(max(part, self._part()), contenders[k].label)
                    result = self._run(contenders[k])
                    results[k] = _Ran(result.seconds, result.timeline)
            rounds.append([results[k] for k in range(len(contenders))])
            took = time.perf_counter() - began
        return rounds

    def _run(self, c: _Contender) -> Result:
        return c.pool.run(c.kernel, *self.work.args, **self.work.kw)

    def _left(self) -> float:
        return self.began + self.share - time.perf_counter()

    def _part(self) -> float:
        return min(1.0, 1 - self._left() / self.share) if 0 < self.share < math.inf else 0.0

    def _say_what_the_budget_did(self, rounds: int, took: float) -> None:
        if rounds == self.most and self._left() >= 0:
            return
        name, share = self.work.kernel.name, f"{self.share:.2g} s"
        if rounds == 1:
            self.warnings.append(f"{name}: the budget, {share} of it here, was spent after one round of {took:.2g} s")
        elif self.most < MOST_ROUNDS or rounds < statistics.FEWEST_ROUNDS:
            self.warnings.append(f"{name}: stopped at the budget, {share} of it here, after {rounds} rounds")
        if rounds < min(statistics.FEWEST_ROUNDS, self.most):
            enough = (self.ready + statistics.FEWEST_ROUNDS * took) * 1.1
            self.warnings[-1] += f"; an interval needs {statistics.FEWEST_ROUNDS}, in about {enough:.2g} s"

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
            threads=len({(lane.process, lane.thread) for lane in timelines[0].lanes}) or None,
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

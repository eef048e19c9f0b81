"""Measure until a choice can be made: the asked size on every backend, then smaller sizes until serial wins."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import kernels
from compute import machine
from compute.advice import decision
from compute.advice.decision import Candidate, Configuration, Yardstick
from compute.backends.backend import Backend, one_blas_thread
from compute.backends.serial import Serial
from compute.scaling import calibration, statistics
from compute.scaling.dataset import Point
from compute.scaling.rounds import LEFT_OUT, Work, scale_all
from kernels.definition import Kernel, numba_is_here

READY = 0.5  # of the budget: what importing and compiling take beyond it is extra, else no size would fit
FIRST = 0.6  # of the time that is left, for the asked size and the ladder below it: the advice rests on it
CLOSER = 0.3  # of what is then left, for each closer look
PASSES = 3  # a check and two rounds of the asked size, at the least
STEP = 4.0  # in cost, from one size to the next smaller one
FLOOR = 20e-6  # seconds on one core: no pool is woken for less than that
ROUNDS = 15  # of the smaller sizes: medians suffice there
LOOKS = 3  # closer at the sizes where backends begin to win: each halves the interval
# Seconds that the fastest variant takes where another is looked at first: one that is not compiled may take ten
# thousand times as long.
SMALL, SMALL_PYTHON = 1e-3, 1e-5
TICK = 1e-9  # seconds: what no run is shorter than, so that ratios stay finite
SLACK = 1.5  # a forecast's error: a variant is left out where all workers could not make up for this much more
BUSY = 0.25  # of the usable CPUs, wanted by others: from there on workers wait noticeably

Progress = Callable[[float, float, str], None]


@dataclass
class Search:
    """One kernel's measurements. `run` fills by_size, measured and notes.

    size:     of which the arguments are the kernel's own example, None where they are not: then it is the only one.
    measured: the size that the advice rests on; smaller than the asked one where the budget has no room for that.
    """

    kernel: Kernel
    args: tuple[Any, ...]
    kw: dict[str, Any]
    size: int | None
    on: Sequence[Backend]
    budget: float
    progress: Progress
    measured: int | None = None
    by_size: dict[int | None, list[Candidate]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _points: list[Point] = field(default_factory=list)
    _costs: dict[Configuration, tuple[float, float]] = field(default_factory=dict)

    def run(self) -> None:
        self._began = time.perf_counter()
        self._about_the_machine()
        self._tell("loading numba")
        importing = _import_numba()
        variants = self._variants()
        self._began += max(time.perf_counter() - self._began - READY * self.budget, 0.0)
        self.on = [backend for backend in self.on if self._can_run(backend, variants)]
        self.measured = self.size
        args = self._within_budget(variants)
        smaller: list[int] = []
        if self.size is None or self.measured is None:
            name = self.kernel.name if self.kernel.name in kernels.REGISTRY else self.kernel.path
            self.notes.append(
                "no break-even sizes: smaller arguments can be made of the kernel's own example, and these are none;"
                f" nfold advise {name} SIZE makes them"
            )
        else:
            alone = min(self._alone.values()) * self.kernel.cost(self.measured) / self.kernel.cost(self.size)
            smaller = decision.ladder(self.measured, alone, FLOOR, STEP, self.yard)
        points = self._measure([(self.measured, args), *self._examples(smaller)], variants, FIRST, None)
        self.measured = points[0].size
        self._costs = decision.first_costs(points, importing)
        self._add(points)
        for _ in range(LOOKS if smaller else 0):
            closer = decision.gaps({s: found for s, found in self.by_size.items() if s is not None}, self.yard)
            opening = sum({(p.backend, p.workers): p.startup or 0.0 for p in points}.values())
            if not (examples := self._examples(closer)) or self.left < 2 * opening:
                break
            points = self._measure(examples, variants, CLOSER, ROUNDS)
            self._add(points)

    def _examples(self, sizes: Sequence[int]) -> list[tuple[int | None, tuple[Any, ...]]]:
        """Each size with its arguments; without the sizes that the kernel does not take."""
        found: list[tuple[int | None, tuple[Any, ...]]] = []
        for size in sizes:
            with contextlib.suppress(ValueError):
                args = self.kernel.example(size)
                self.kernel.plan(*args)
                found.append((size, args))
        return found

    def _about_the_machine(self) -> None:
        usable = machine.usable_cpus()
        if usable == 1:
            self.notes.append("there is one usable CPU: workers would take turns, so nothing can beat serial")
        busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if busy > BUSY * usable:
            self.notes.append(
                f"others wanted {busy:.2g} CPUs of {usable} when this began: workers waited for them, so ask again when"
                " it is quiet"
            )

    def _can_run(self, backend: Backend, variants: Sequence[str]) -> bool:
        """Whether a backend runs any of the variants; a note where it is its threads that are missing."""
        if all(backend.refuses(self.kernel.held_to(name)) for name in variants):
            return False
        if backend.name != "prange" or not numba_is_here():
            return True
        import numba

        threads = int(numba.config.NUMBA_NUM_THREADS)
        if backend.workers > threads:
            self.notes.append(f"{backend!r} is left out: numba has {threads} threads here (NUMBA_NUM_THREADS)")
        return backend.workers <= threads

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self._began + self.budget - time.perf_counter()

    @property
    def yard(self) -> Yardstick:
        """The kernel's own cost model."""
        return Yardstick(self.kernel.cost, functools.partial(calibration.size_for, self.kernel))

    def _scaled(self, size: int, factor: float) -> int:
        """The size whose cost is that many times this one's."""
        return self.yard.size(self.yard.cost(size) * factor)

    def _tell(self, label: str) -> None:
        self.progress(min(max(1 - self.left / self.budget, 0.0), 1.0), 1.0, label)

    def _variants(self) -> list[str]:
        """The variants that can be fastest, the likely one first; a note of each of the others."""
        kernel = self.kernel.held_to(self.kernel.variant)
        if self.kernel.chosen:
            self._alone = {kernel.variant: self._foretold(kernel)}
            return [kernel.variant]
        here = [name for name, v in kernel.variants.items() if not v.compiled or numba_is_here()]
        self._alone = {kernel.variant: self._foretold(kernel)}
        for name in here:
            if name not in self._alone:
                self._alone[name] = self._foretold(kernel.held_to(name), self._alone[kernel.variant])
        fastest, cpus = max(min(self._alone.values()), TICK), max((b.workers for b in self.on), default=1)
        for name, seconds in list(self._alone.items()):
            if seconds > SLACK * cpus * fastest:
                times = statistics.two_digits(seconds / fastest)
                self.notes.append(
                    f"{name} is left out: on one core it takes about {times:,} times as long as the fastest variant,"
                    f" more than {cpus} worker{'s' * (cpus > 1)} can make up for"
                )
                del self._alone[name]
        return list(self._alone)

    def _foretold(self, kernel: Kernel, fastest: float = 0.0) -> float:
        """About the seconds of one run on one core; from a small size where a variant may be far slower."""
        self._tell(f"{kernel.name} · {kernel.variant} · estimating")
        with one_blas_thread(kernel):  # as in the runs that this foretells
            look = SMALL if kernel.variants[kernel.variant].compiled or kernel.variant != "python" else SMALL_PYTHON
            if self.size is None or fastest <= look:
                return calibration.predict(kernel, *self.args, **self.kw)
            small = self._scaled(self.size, look / fastest)
            ratio = kernel.cost(self.size) / max(kernel.cost(small), TICK)
            return calibration.predict(kernel, *kernel.example(small)) * ratio

    def _within_budget(self, variants: Sequence[str]) -> tuple[Any, ...]:
        """The arguments to measure: the asked ones, or of the largest size that can be measured in the budget."""
        once = 0.0
        for name in variants:
            side_by_side = name != "python"  # threads take turns at Python code; processes do not, and are as safe
            once += self._alone[name] * (1 + sum(1 / (b.workers if side_by_side else 1) for b in self.on))
        room, least = FIRST * self.left, PASSES * once * STEP / (STEP - 1)  # all smaller sizes together cost a third
        if self.size is None or least <= room:
            return self.args
        smaller = statistics.two_digits(self._scaled(self.size, room / least))
        self.measured = min(max(smaller, 1), self.size)
        enough = statistics.two_digits(least / FIRST)
        self.notes.append(
            f"size {self.size:,} does not fit into a budget of {self.budget:.3g} s; one of about {enough:,} s has room"
        )
        return self.kernel.example(self.measured)

    def _measure(
        self,
        sized: Sequence[tuple[int | None, tuple[Any, ...]]],
        variants: Sequence[str],
        share: float,
        rounds: int | None,
    ) -> Sequence[Point]:
        # Keywords are there only where there is one size.
        works = [Work(self.kernel, args, self.kw, variants=variants, size=size) for size, args in sized]
        began, left, whole = time.perf_counter(), self.left, self.budget

        def tell(done: float, total: float, label: str) -> None:
            self.progress(min(max((whole - left + time.perf_counter() - began) / whole, 0.0), 1.0), 1.0, label)

        budget = max(left * share, 0.01)
        found = scale_all(works, on=self.on, budget=budget, rounds=rounds, pin=False, progress=tell)
        self.notes += [text for text in found.warnings if text.startswith(LEFT_OUT)]
        return found.points

    def _add(self, points: Sequence[Point]) -> None:
        self._points += points
        self.by_size = decision.candidates(self._points, self._costs, [Serial(), *self.on])


def contenders(on: Sequence[Backend | str]) -> list[Backend]:
    """The backends to compare with serial, those with most workers first, so that a pool's opening is seen whole.

    A name stands for several numbers of workers, from 2 to the usable CPUs; where there is one CPU, for none.
    """
    from compute import backends

    usable = machine.usable_cpus()
    counts = sorted({n for n in (usable, usable // 2, usable // 4, 2) if 2 <= n <= usable}, reverse=True)
    found: dict[tuple[str, int], Backend] = {}
    for one in on:
        many = [backends.named(one)] if isinstance(one, str) else [one]
        if isinstance(one, str) and not isinstance(many[0], Serial):
            many = [many[0].with_workers(n) for n in counts]
        for backend in many:
            if not isinstance(backend, Backend):
                raise ValueError(f"on= takes backends such as Threads(2), or their names, not {backend!r}")
            key = backend.name, backend.workers
            if found.setdefault(key, backend) != backend:
                raise ValueError(f"on= holds {found[key]!r} and {backend!r}; ask about one of them at a time")
    return [backend for backend in found.values() if not isinstance(backend, Serial)]


def size_alike(kernel: Kernel, args: tuple[Any, ...], kw: dict[str, Any]) -> int | None:
    """The size whose example these arguments are like (same shapes and dtypes, same numbers), or None."""
    if kw or not args:
        return None
    size = Work(kernel, args).size_of(0)
    try:
        example = kernel.example(size)
    except Exception:  # a kernel's own: it has no example of that size
        return None
    alike = size > 0 and len(example) == len(args) and all(map(_alike, example, args))
    return size if alike else None


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (np.shape(one), getattr(one, "dtype", None)) == (np.shape(other), getattr(other, "dtype", None))
    return bool(one == other)


def _import_numba() -> float:
    """Seconds that importing numba took; 0 where somebody has done it before, or it is not here."""
    if "numba" in sys.modules or not numba_is_here():
        return 0.0
    began = time.perf_counter()
    import numba  # noqa: F401

    return time.perf_counter() - began

"""Search: measure variants on pools, from small sizes up to the asked one, as far as the budget goes.

No run begins that is predicted to end after the budget. Its time is predicted from times at several smaller sizes,
never from one alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import kernels
from compute.advice import decision, growth, remarks
from compute.advice.bench import Bench, Size, VariantOnPool
from compute.advice.decision import Candidate, CostScale
from compute.backends.backend import Backend
from compute.backends.blas import one_blas_thread
from compute.backends.pool import Pool
from compute.backends.serial import Serial
from compute.drawing import Stages
from compute.scaling import calibration, statistics, verify
from compute.scaling.formatting import seconds as in_words
from compute.traits import SERIAL
from kernels.compilation import importing
from kernels.definition import Kernel, numba_is_here

LOOK = 0.05  # seconds: sizes grow until one run takes this long, ten times what noise and dispatching add
LOOK_SHARE = 0.01  # of the budget: such a run takes no more than this, either
LOOKS = 3  # runs at each of these sizes: the quickest counts
EARLY = 0.25  # of the time that is left: the runs of one such size take no longer
OPENING = 0.25  # of the budget, kept for runs: with less than this left, no further pool is opened
TO_OPEN = 2.0  # seconds, about, to open a pool and load the kernel there
FIRST = 0.6  # of the time that is left, for the asked size and those below it, on which the advice rests
CLOSER = 0.3  # of what is then left, for each size in between where a backend begins to win
PASSES = 3  # a check and two rounds of the asked size, at the least
WIDER = 1.5  # in cost, over what was measured: a size that is nearer tells nothing new
STEP = 4.0  # in time, from one size to the next
FLOOR = 20e-6  # seconds on one core: shorter work is never faster on a pool, because waking it takes longer
MOST_ROUNDS, ROUNDS = 100, 15  # of the asked size, and of the others, where medians are enough
CLOSER_LOOKS = 3  # times that a gap between sizes is halved, where a backend begins to win in it
SLOWER = 300.0  # times: how much slower than compiled code Python may be


class TooSlow(Exception):
    """Not even a small size of a variant can be timed within the budget."""


@dataclass
class Search:
    """One kernel's measurements. `run` fills by_size, measured, caution and notes.

    size:     the size whose example the arguments are; None where they are none, and then it is the only size.
    measured: the size that the advice rests on; smaller than the asked one where the budget has no room for that.
    caution:  as in Choice.
    """

    kernel: Kernel
    args: tuple[Any, ...]
    kw: dict[str, Any]
    size: int | None
    on: Sequence[Backend]
    budget: float
    progress: Stages
    measured: Size = None
    by_size: dict[Size, list[Candidate]] = field(default_factory=dict)
    caution: str = ""
    notes: list[str] = field(default_factory=list)
    importing: float = 0.0
    _sizes: list[Size] = field(default_factory=list)  # that the contenders were measured at
    _cut: bool = False  # whether the budget left something out
    _unmeasured: str = ""  # why the asked size, or more of it, was not measured

    def run(self) -> None:
        self._began = time.perf_counter()
        self.notes += remarks.about_the_machine()
        self._tell("loading numba")
        self.importing = _import_numba()
        self.bench = Bench(self._cost_of(), lambda: self.left, self._tell, self.kw)
        self.bench.works[self.size] = self.args
        with ExitStack() as stack:
            variants = self._variants(stack.enter_context(Serial().open()))
            self._open(variants, stack)
            self._ready = time.perf_counter() - self._began
            self._climb(self._ladder())
            self._rounds()
        self._judge()

    @property
    def left(self) -> float:
        """Seconds of the budget: compiling, loading and opening are in it."""
        return self._began + self.budget - time.perf_counter()

    @property
    def cost_scale(self) -> CostScale:
        """Sizes on a scale of time on one core, as it was seen to grow."""
        # Of the likely fastest variant; where it is too fast to tell, of another.
        first = self.bench.contenders[0].kernel.variant
        known = [self.bench.alone[first], *self.bench.alone.values()]
        power = next((power for times in known if (power := growth.power(times))), 1.0)
        cost = self.bench.cost
        linear = CostScale(cost, lambda wanted: calibration.size_with(cost, wanted))
        return linear.to_the_power(max(power, growth.LEAST))

    def _tell(self, label: str) -> None:
        late = f"over the budget of {self.budget:.3g} s: " if self.left < 0 else ""
        self.progress(min(max(1 - self.left / self.budget, 0.0), 1.0), 1.0, late + label)

    def _cost_of(self) -> Callable[[Size], float]:
        """The kernel's own cost, where it rises; else the size."""
        cost = self.kernel.cost
        if self.size is None:
            return lambda size: 1.0
        try:
            few, many = float(cost(max(self.size // 2, 1))), float(cost(self.size))
            rises = 0 < few < many < float("inf") or self.size == 1
        except Exception:  # a kernel's own
            rises = False
        return (lambda size: float(cost(size or 1))) if rises else (lambda size: float(size or 1))

    def _variants(self, serial: Pool) -> list[str]:
        """The variants that may be the fastest, the likely one first. The others get a note."""
        kernel = self.kernel
        here = [name for name, v in kernel.variants.items() if not v.compiled or numba_is_here()]
        here = [kernel.chosen] if kernel.chosen else here[::-1]
        forecasts: dict[str, float] = {}
        for name in here:
            held = kernel.held_to(name)
            if self._too_slow_to_look(held, forecasts):
                continue
            try:
                self._tell(f"{name} · loading")
                c = VariantOnPool(serial, held, serial.warm(held, *self.args, **self.kw))
                self.bench.contenders.append(c)
                forecasts[name] = self._look(c)
            except verify.WrongAnswer:
                raise
            except Exception as error:
                if name == here[-1] and not forecasts:
                    raise
                self.bench.alone.pop(name, None)
                reason = f"{error}" if isinstance(error, TooSlow) else f"it raises {type(error).__name__}: {error}"
                self.notes.append(f"{name} is left out: {reason.splitlines()[0]}")
        forecasts, reach = self._compared(list(forecasts))
        workers = max((b.workers for b in self.on), default=1)
        for name, times in growth.variants_to_drop(
            forecasts, reach, workers, lambda v: kernel.variants[v].compiled
        ).items():
            del forecasts[name]
            self.notes.append(
                f"{name} is left out: on one core it takes about {statistics.two_digits(times):,} times as long as the"
                f" fastest variant, more than {workers} worker{'s' * (workers > 1)} can make up for"
            )
        self.bench.contenders = [c for c in self.bench.contenders if c.kernel.variant in forecasts]
        return sorted(forecasts, key=lambda name: forecasts[name])

    def _too_slow_to_look(self, kernel: Kernel, forecasts: dict[str, float]) -> bool:
        """Whether even one chunk may take too long, where the arguments have no smaller sizes."""
        if self.size is not None or not forecasts or kernel.variants[kernel.variant].compiled:
            return False
        chunks = max(kernel.plan(*self.args, **self.kw).chunks, 1)
        about = LOOKS * SLOWER * min(forecasts.values()) / chunks
        if about <= EARLY * self.left:
            return False
        self.notes.append(f"{kernel.variant} is left out: a look at one chunk of it may take {in_words(about)}")
        return True

    def _look(self, c: VariantOnPool) -> float:
        """Time small sizes on one core (into bench.alone), and predict the seconds of the asked size."""
        variant, bench = c.kernel.variant, self.bench
        if self.size is None:
            self._tell(f"{variant} · estimating")
            with one_blas_thread(c.kernel):  # as in the runs that this foretells
                about = calibration.predict(c.kernel, *self.args, **self.kw)
            bench.alone[variant] = {1.0: max(about, 1e-9)}
            return about
        enough = min(LOOK, LOOK_SHARE * self.budget)
        seen: dict[int, float] = {}
        shape = next(iter(bench.alone.values()), None)  # of the variant that was looked at first
        while (size := growth.next_look(seen, self.size, enough)) is not None:
            times = bench.alone[variant] = {bench.cost(looked): t for looked, t in seen.items() if t}
            about = self._at_most(times, bench.cost(size), shape, not c.kernel.variants[variant].compiled)
            if (seen or shape) and about > EARLY * self.left:  # one size of the first variant is always timed
                break
            seen[size] = self._quickest(c, size) if self._made(size) else 0.0
        times = bench.alone[variant] = {bench.cost(looked): t for looked, t in seen.items() if t}
        if not times:
            del bench.alone[variant]
            left = max(self.left, 0.0)
            raise TooSlow(f"a run of size {size:,} may take {in_words(about)}, with {left:.3g} s of the budget left")
        return growth.predict(times, bench.cost(self.size), shape)

    def _compared(self, variants: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
        """By variant: seconds at the largest size within reach; how many times longer that is than its longest run."""
        bench = self.bench
        left = max(self.left, 0.0)
        cost = min(bench.cost(self.size), max(growth.reachable(bench.alone[name], left) for name in variants))
        shape = bench.alone[variants[0]]
        forecasts, reach = {}, {}
        for name in variants:
            times = bench.alone[name]
            forecasts[name] = about = growth.predict(times, cost, shape)
            grows = growth.power(times) is not None or cost <= max(times)
            # Nothing longer than what is left will be measured.
            reach[name] = max(min(about, left) / max(times.values()), 1.0) if grows else float("inf")
        return forecasts, reach

    def _at_most(self, times: growth.Times, cost: float, shape: growth.Times | None, slow: bool) -> float:
        """About the most that the next size may take. slow: the variant is not compiled, and the others are."""
        if not times:
            return growth.predict(shape, cost) * SLOWER if shape and slow else 0.0
        own = growth.predict(times, cost, otherwise=growth.STEEP)
        last = max(times)
        return max(own, times[last] * growth.predict(shape, cost) / growth.predict(shape, last)) if shape else own

    def _quickest(self, c: VariantOnPool, size: int) -> float:
        """Seconds of the quickest of a few runs: the first touches fresh memory, and others may take the CPU."""
        seconds = self.bench.check(c, size)
        for _ in range(LOOKS - 1):
            if seconds > EARLY * self.left / LOOKS:
                break
            seconds = min(seconds, self.bench.run_again(c, size))
        return seconds

    def _made(self, size: Size) -> bool:
        """Make the arguments of that size. Whether the kernel accepts them."""
        if size in self.bench.works:
            return True
        try:
            args = self.kernel.example(size or 1)
            self.kernel.plan(*args)
        except Exception:  # a kernel's own: odd numbers, too few
            return False
        self.bench.works[size] = args
        return True

    def _open(self, variants: Sequence[str], stack: ExitStack) -> None:
        """Open a pool of each backend and load the variants there. What cannot be opened in time gets a note."""
        took: dict[str, float] = {}
        for backend in self.on:
            held = [self.kernel.held_to(name) for name in variants]
            held = [kernel for kernel in held if backend.refuses(kernel) is None]
            if not held or not self._can_open(backend):
                continue
            if self.left - took.get(backend.name, 0.0) < OPENING * self.budget:
                self._cut = True
                self.notes.append(f"left out {backend!r}: too late in the budget of {self.budget:.3g} s to open it")
                continue
            began = time.perf_counter()
            self._tell(f"opening {backend!r}")
            try:
                pool = stack.enter_context(backend.open())
                for kernel in held:
                    self._tell(f"{backend!r} · {kernel.variant} · loading")
                    loading = pool.warm(kernel, *self.args, **self.kw)
                    self.bench.contenders.append(VariantOnPool(pool, kernel, loading))
            except (ValueError, ImportError, OSError) as error:
                self.notes.append(f"left out {backend!r}: {error}")
            took[backend.name] = time.perf_counter() - began
        # The likely fastest variant first; within each variant Serial first, whose value the others are compared with.
        self.bench.contenders.sort(key=lambda c: variants.index(c.kernel.variant))

    def _can_open(self, backend: Backend) -> bool:
        """Whether this machine has what a backend needs. If not, it gets a note."""
        if lack := backend.lacks():
            self.notes.append(f"{backend!r} is left out: {lack}")
        return not lack

    def _ladder(self) -> list[Size]:
        """The sizes to measure, rising, the asked one last."""
        if self.size is None:
            name = self.kernel.name if self.kernel.name in kernels.REGISTRY else self.kernel.path
            self.notes.append(
                "no break-even sizes: smaller arguments can be made of the kernel's own example, and these are none;"
                f" nfold advise {name} SIZE makes them"
            )
            return [None]
        alone = min(growth.predict(times, self.bench.cost(self.size)) for times in self.bench.alone.values())
        sizes = [*decision.ladder(self.size, alone, FLOOR, STEP, self.cost_scale), self.size]
        cost = self.bench.cost
        return [*growth.stepping_stones(sizes, cost, lambda c: statistics.two_digits(calibration.size_with(cost, c)))]

    def _climb(self, sizes: Sequence[Size]) -> None:
        """Run everything once at each size, as far up as a few rounds of that size would fit into the budget."""
        bench, serial = self.bench, self.bench.contenders[0]
        if self.size is None and (about := bench.predict(serial, None)) > self.left:
            raise ValueError(
                f"one run of {self.kernel.name} ({serial.kernel.variant}) takes about {in_words(about)}, more than what"
                f" the budget of {self.budget:.3g} s has left; give it {self._enough(None):,} s, or smaller arguments"
            )
        for size in sizes:
            passes = 1 if size is None else PASSES
            once = sum(bench.predict(c, size) for c in bench.contenders)
            if (passes * once > FIRST * self.left and self._sizes) or bench.predict(serial, size) > self.left:
                self._cut = True
                self._between(size, FIRST * self.left / (passes * once))
                self._unmeasured = (
                    f"size {self.size:,} does not fit into a budget of {self.budget:.3g} s"
                    if PASSES * sum(bench.predict(c, self.size) for c in bench.contenders) > FIRST * self.budget / 2
                    else f"size {self.size:,} was measured too little: {remarks.no_time(self.left, self.budget)}"
                )
                break
            self._everybody(size)
        self.measured = self._sizes[-1] if self._sizes else max(bench.runs, key=bench.cost)

    def _between(self, size: Size, share: float) -> None:
        """Run everything once at the size of that share of the time, if it is well above the last one measured."""
        cost_scale = self.cost_scale
        wanted = cost_scale.cost(size or 1) * share
        if self._sizes and wanted > WIDER * cost_scale.cost(self._sizes[-1] or 1):
            self._everybody(statistics.two_digits(cost_scale.size(wanted)))

    def _everybody(self, size: Size) -> None:
        """One checked run of each contender that is predicted to fit into the budget. The others get a note."""
        bench = self.bench
        if size in self._sizes or not self._made(size):
            return
        for c in bench.contenders:
            have = bench.runs.get(size, {})
            if c.key in have or (not c.is_serial and (SERIAL, 1, c.kernel.variant) not in have):
                continue
            if (about := bench.predict(c, size)) > self.left:
                self._cut = True
                self.notes.append(
                    remarks.too_long(f"{c.pool.backend!r} with {c.kernel.variant}", size, about, self.left, self.budget)
                )
                continue
            bench.check(c, size)
        bench.forget_answers(size)
        if size in bench.runs:
            self._sizes.append(size)

    def _rounds(self) -> None:
        """Rounds of the size that the advice rests on, of the others, and of those where backends begin to win."""
        bench = self.bench
        bench.rounds(self.measured, MOST_ROUNDS, FIRST)
        others = [size for size in self._sizes if size != self.measured]
        for number, size in enumerate(others):
            bench.rounds(size, ROUNDS, 1 / (len(others) - number + 1))
        self._evaluate()
        for _ in range(CLOSER_LOOKS if others else 0):
            known = {s: candidates for s, candidates in self.by_size.items() if s is not None}
            for size in decision.gaps(known, self.cost_scale):
                if sum(bench.predict(c, size) for c in bench.contenders) * PASSES > CLOSER * self.left:
                    continue
                self._everybody(size)
                if size in self._sizes:
                    bench.rounds(size, ROUNDS, CLOSER)
            self._evaluate()

    def _evaluate(self) -> None:
        points = self.bench.points(self._sizes or [self.measured])
        costs = decision.first_costs(points, self.importing)
        self.by_size = decision.candidates(points, costs, [Serial(), *self.on])

    def _enough(self, size: Size) -> int:
        """Seconds of a budget with room for that size."""
        once = sum(self.bench.predict(c, size) for c in self.bench.contenders)
        opened = {c.pool.backend for c in self.bench.contenders}
        ready = self._ready + TO_OPEN * sum(backend not in opened for backend in self.on)
        return statistics.two_digits(ready + PASSES * once * STEP / (STEP - 1) / FIRST + self.budget / 10)

    def _judge(self) -> None:
        """Fill caution and notes."""
        candidates = self.by_size[self.measured]
        use, _ = decision.choose(candidates)
        enough = max(statistics.two_digits(2 * self.budget), self._enough(self.measured))
        self.caution = remarks.caution(candidates, use, self._cut, self.budget, enough)
        if self._unmeasured:  # the caution names a budget already
            room = "" if self.caution else f"; one of about {self._enough(self.size):,} s has room"
            self.notes.append(f"{self._unmeasured}{room}")
        self.notes += self.bench.differing.values()
        self.notes += remarks.about_the_budget(use.runs, self._ready, -self.left, self.budget)


def _import_numba() -> float:
    """Seconds that importing numba took; 0 where it was imported before, or is not installed."""
    if "numba" in sys.modules or not numba_is_here():
        return 0.0
    began = time.perf_counter()
    importing.compiler()
    return time.perf_counter() - began

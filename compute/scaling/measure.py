"""Trial: one work on all its pools: warm up, check every answer, measure shuffled rounds, make Points."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compute import machine
from compute.backends.backend import Refused
from compute.backends.pool import Pool
from compute.backends.serial import Serial
from compute.differences import difference
from compute.dispatch import Result
from compute.lanes import interrupts, usage
from compute.memory.arena import SPOILT, Arena
from compute.scaling import build_point, calibration, collecting, derive, laws, noise, statistics, verify
from compute.scaling.build_point import Run
from compute.scaling.ceiling import AWAKE, Bound, Ceilings, Gauge, pins
from compute.scaling.dataset import Point
from compute.scaling.garbage import garbage_set_aside, no_garbage_collection
from compute.scaling.noise import Conditions
from compute.scaling.probe import Probe
from compute.scaling.tables.sheet import most_workers
from compute.scaling.transfer import without_copies
from compute.scaling.verdict.judgement import judge_points
from compute.scaling.workload import Pace, Work
from kernels.definition import Kernel, numba_is_here

GAUGE_SHARE = 0.1  # of the quickest run's seconds, for which a gauge is repeated: it should meet as much noise as a run
SUSPICIOUS = 0.1  # of the core-seconds: if lanes waited more than this, the GIL is probed in some more runs
PROBED = 0.15  # seconds of such runs: while the GIL is taken, one look takes 5 ms or more


@dataclass(frozen=True)
class _Contender:
    """One configuration of a trial, ready to run."""

    pool: Pool
    kernel: Kernel
    compiling: float

    @property
    def label(self) -> str:
        return f"{self.kernel.name} · {self.kernel.variant} · {self.pool.backend.name} {self.pool.workers}"


@dataclass
class _Rounds:
    """What the full rounds gave: by round the runs of each contender, and by gauge its rates."""

    runs: list[list[Run]]
    rates: dict[tuple[Bound, int], list[float]]
    conditions: list[Conditions] = field(default_factory=list)

    def runs_of(self, contender: int) -> list[Run]:
        return [runs[contender] for runs in self.runs]

    @property
    def ceilings(self) -> Ceilings:
        return Ceilings(self.rates, len(machine.allowed_cpus()))


@dataclass
class Trial:
    """One work on the pools that it is for. Call `prepare`, `measure`, then `make_points`.

    round: seconds that one round took; before the first one, a forecast from the checks.
    laws:  what its points say about more workers, after `make_points`.
    pages: what the pools take their memory from; new in each turn. Before each answer that is checked it is
           overwritten, so that a body that writes nothing is noticed.
    """

    work: Work
    pools: Sequence[Pool]
    pace: Pace
    affordable: float  # seconds that checking a variant that nobody asked for, and a first round of it, may take
    gauges: Sequence[Gauge] = ()
    pin: bool = True
    pages: Sequence[Arena] = ()
    warnings: list[str] = field(default_factory=list)
    contenders: list[_Contender] = field(default_factory=list)
    laws: Sequence[Mapping[str, Any]] = ()
    _seconds: float = 0.0  # of all rounds
    _latest: float = 0.0  # seconds that the last one took
    _waited: float = 0.0  # seconds of the latest run for which no lane computed, or nearly so
    _amounts: list[float] = field(default_factory=list)  # what each contender's run computes, in the kernel's unit
    _took: list[float] = field(default_factory=list)
    _processes: set[int] = field(default_factory=set)  # those of the lanes
    _shuffle: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        self._rounds = _Rounds([], {gauge.key: [] for gauge in self.gauges})

    @property
    def _pins(self) -> bool:
        return self.pin and self.work.kernel.bound != "wait"  # lanes that wait need no CPU of their own

    @property
    def label(self) -> str:
        return " · ".join([self.work.kernel.name, *dict.fromkeys(c.kernel.variant for c in self.contenders)])

    @property
    def identity(self) -> dict[str, Any]:
        """What tells its rounds from another trial's, named as in its points; and its `variant` where it has only one.

        Where work grows and nothing names its size, each worker count has another size, and none is given.
        """
        variants = list(dict.fromkeys(c.kernel.variant for c in self.contenders))
        plans = [c.kernel.plan(*self._args(c), **self.work.kw) for c in self.contenders]
        sizes = {self.work.size_of(plan.indices) for plan in plans}
        only = {"variant": variants[0]} if len(variants) == 1 else {}
        size = {"size": sizes.pop()} if len(sizes) == 1 else {}
        about = {"mode": self.work.mode, "arguments": self.work.in_words(), "variants": variants}
        return {"kernel": self.work.kernel.name, **only, **size, **about}

    def prepare(self) -> None:
        """Compile and load everywhere, and check every answer; nothing is timed before."""
        self.contenders = [c for kernel in self._kernels() for c in self._warmed(kernel)]
        self._check_answers()
        self.pace.step()

    @property
    def rounds(self) -> int:
        """How many were measured."""
        return len(self._rounds.runs)

    @property
    def round(self) -> float:
        if self.rounds:
            return self._seconds / self.rounds
        gauging = sum(max(gauge.seconds, GAUGE_SHARE * self._shortest) for gauge in self.gauges)
        return sum(self._took) + gauging

    @property
    def conditions(self) -> Sequence[Conditions]:
        """What each round met."""
        return self._rounds.conditions

    def measure(self, most: int, share: float, *, cold: bool = False) -> None:
        """Measure at most `most` full rounds within `share` seconds. The very first round is always completed.

        cold: whether something else ran since this was prepared. Then everything runs once more before it is timed, in
              other pages than the turn before, and Python bodies in other worker processes. Where in memory pages lie
              changes a streaming run by several percent, and what a process has allocated before changes a Python body
              by as much: rounds in one layout would agree with each other, and not with the next report.
        """
        deadline = time.perf_counter() + share
        with garbage_set_aside(), ExitStack() as stack:
            for pool in self._pools_of(self.contenders):
                stack.enter_context(pool.observed(pins(pool.workers) if self._pins else ()))
            if cold:
                self._warm_again()
            began = time.perf_counter()
            self._more_rounds(most, deadline)
        self._seconds += time.perf_counter() - began

    @staticmethod
    def _pools_of(contenders: Sequence[_Contender]) -> list[Pool]:
        """Each of their pools, once."""
        return list({id(c.pool): c.pool for c in contenders}.values())

    def _warm_again(self) -> None:
        if self.rounds:
            for arena in self.pages:
                arena.redraw()
            python = [c for c in self.contenders if not c.kernel.variants[c.kernel.variant].compiled]
            for pool in self._pools_of(python):
                pool.begin_anew()
        self._processes.clear()  # another trial may have replaced them, too
        for c in self.contenders:
            self.pace.say(f"{c.label} · warming")
            c.pool.warm(c.kernel, *self._args(c), **self.work.kw)  # new workers load the code, and map the new pages
            self._processes |= {lane.process for lane in self._run(c).timeline.lanes}

    def make_points(self, probe: bool = True) -> Sequence[Point]:
        """A Point for each configuration: its samples, and what explains them.

        probe: whether to run some more, with a probe of the GIL, where lanes waited. Without it pools may be closed.
        """
        rounds = self._rounds
        points = derive.compare_points(self._point(k, rounds, probe) for k in range(len(self.contenders)))
        points = collecting.collect_evidence(points, self.work.kernel, rounds.ceilings, rounds.conditions)
        self.laws = laws.fit_laws(
            points,
            chunk_seconds=self._chunk_times(points, rounds),
            cpus=machine.usable_cpus(),
            roof=rounds.ceilings.roof("memory"),
        )
        pictured = {id(p) for p in most_workers(points) if not p.is_serial}
        return judge_points(p if id(p) in pictured else replace(p, timeline=None) for p in points)

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
        try:
            seconds = calibration.predict(kernel, *self.work.args, **self.work.kw)
        except Exception:  # the check of its answer says what is wrong
            return True
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
            try:
                loading = pool.warm(kernel, *self.work.args_at(pool.workers), **self.work.kw)
            except Refused as refusal:  # for these arguments
                self.warnings.append(str(refusal))
                continue
            yield _Contender(pool, kernel, loading)

    def _check_answers(self) -> None:
        """Run everything once. WrongAnswer where a value is not, to the bit, the same variant's on Serial."""
        references: dict[tuple[str, int], Any] = {}
        failed: dict[str, Exception] = {}
        passed: list[tuple[_Contender, float, float]] = []
        for c in self.contenders:  # Serial is the first of each variant
            if c.kernel.variant in failed:
                continue
            self.pace.say(f"{c.label} · checking")
            args = self._args(c)
            self._spoil()
            asked = c.kernel.variant, c.pool.workers if self.work.grown else 1
            try:
                result = self._run(c)
            except Exception as error:
                if asked in references:
                    raise
                failed[c.kernel.variant] = error
                continue
            value = result.value
            if asked not in references:
                verify.check(c.kernel, value, args, self.work.kw)
                references[asked] = np.copy(value) if isinstance(value, np.ndarray) else value
            else:
                verify.compare(c.kernel, c.pool.backend, value, references[asked])
            passed.append((c, self.work.amount(c.kernel, value, c.pool.workers), result.seconds))
            self._processes |= {lane.process for lane in result.timeline.lanes}
            del result, value  # their pages are free for the next run
        passed = [entry for entry in passed if entry[0].kernel.variant not in failed]
        self.contenders = [c for c, _, _ in passed]
        self._amounts, self._took = [amount for _, amount, _ in passed], [seconds for _, _, seconds in passed]
        self._compare_variants(references, failed)

    def _spoil(self) -> None:
        """Overwrite all memory that may still hold the answer of the run before."""
        for arena in self.pages:
            arena.spoil()
        if self.work.scratch is not None:
            self.work.scratch.reshape(-1).view(np.uint8)[:] = SPOILT

    def _compare_variants(self, references: Mapping[tuple[str, int], Any], failed: Mapping[str, Exception]) -> None:
        """Warn where variants differ in value, and of those that are left out; raise an error if none is left."""
        name = self.work.kernel.name
        for variant, error in failed.items():
            if not self.contenders:
                raise error
            others = ", ".join(dict.fromkeys(c.kernel.variant for c in self.contenders))
            self.warnings.append(
                f"left out {name}'s {variant} variant: it raises {type(error).__name__}: {error}, and {others} does not"
            )
        first: dict[int, tuple[str, Any]] = {}
        for (variant, workers), value in references.items():
            other, reference = first.setdefault(workers, (variant, value))
            if differs := difference(value, reference):
                self.warnings.append(f"{name}'s variants {variant} and {other} do not give the same: {differs}")

    def _more_rounds(self, most: int, deadline: float) -> None:
        """Full rounds: every contender and every gauge once in each, in shuffled order."""
        everybody = [*range(len(self.contenders)), *self.gauges]
        log = noise.RoundLog(self._processes)
        try:
            for _ in range(most):
                if self.rounds and time.perf_counter() + self._latest > deadline:
                    break
                began = time.perf_counter()
                order = [everybody[k] for k in self._shuffle.permutation(len(everybody))]
                if not self._whole_round(order, deadline if self.rounds else math.inf, log):
                    break
                self._latest = time.perf_counter() - began
                self.pace.step()
        finally:  # a Ctrl-C leaves the rounds that are over as they are
            self._rounds.conditions += log.conditions()

    def _whole_round(self, order: Sequence[int | Gauge], deadline: float, log: noise.RoundLog) -> bool:
        """One round in that order, added to the others; False, and nothing added, where the deadline cuts it off."""
        runs: dict[int, Run] = {}
        rates: dict[tuple[Bound, int], float] = {}
        with no_garbage_collection(), usage.held_to(pins(1)[0] if self._pins else None):
            for turn in order:
                if time.perf_counter() > deadline:
                    return False
                if isinstance(turn, Gauge):
                    if self._waited >= AWAKE:
                        turn.run(AWAKE)
                    rates[turn.key] = turn.run(self._shortest * GAUGE_SHARE)
                    continue
                self.pace.say(self.contenders[turn].label)
                runs[turn] = self._timed(turn)
        with interrupts.put_off():  # a round is there as a whole, or not at all
            self._rounds.runs.append([runs[k] for k in range(len(self.contenders))])
            for key, rate in rates.items():
                self._rounds.rates[key].append(rate)
            log.round_over()
        return True

    def _timed(self, turn: int) -> Run:
        """One run. Its value is dropped, so that the next run can have its pages."""
        before = usage.in_the_system()
        result = self._run(self.contenders[turn])
        system = usage.in_the_system() - before
        self._waited = result.seconds - result.timeline.cpu
        return Run(result.seconds, result.timeline, self._amounts[turn], system, machine.has_gil())

    @property
    def _shortest(self) -> float:
        """Seconds of the quickest of the runs that were checked."""
        return min(self._took, default=0.0)

    def _run(self, c: _Contender) -> Result:
        result = c.pool.run(c.kernel, *self._args(c), **self.work.kw)
        c.pool.rest()  # a lane that comes late would still hold pages that the next run is to have
        return result

    def _chunk_times(self, points: Sequence[Point], rounds: _Rounds) -> dict[Any, Any]:
        """CPU seconds of each chunk of the serial runs, by configuration."""
        times = {
            laws.point_key(p): build_point.chunk_times(rounds.runs_of(k))
            for k, p in enumerate(points)
            if p.backend == Serial.name
        }
        return {key: chunks for key, chunks in times.items() if chunks is not None}

    def _args(self, c: _Contender) -> tuple[Any, ...]:
        return self.work.args_at(c.pool.workers)

    def _baseline(self, c: _Contender) -> int:
        """Where the serial run of the same variant stands among the contenders."""
        return next(
            k
            for k, other in enumerate(self.contenders)
            if other.kernel.variant == c.kernel.variant and other.pool.backend.name == Serial.name
        )

    def _point(self, number: int, rounds: _Rounds, probe: bool) -> Point:
        c = self.contenders[number]
        serial = rounds.runs_of(self._baseline(c))
        point = build_point.make_point(c.pool, c.kernel, self.work, rounds.runs_of(number), serial, rounds.ceilings)
        probed = self._probed(c, point) if probe else {}
        copies = without_copies(c.pool, c.kernel, self._args(c), self.work.kw, point) if probe else {}
        details, evidence = dict(point.details or {}) | probed, dict(point.evidence or {}) | copies
        return replace(point, compile=c.compiling, details=details, evidence=evidence)

    def _probed(self, c: _Contender, point: Point) -> dict[str, float]:
        """{"gil": the share of the time in which it was taken}, where lanes waited: from more runs with a probe."""
        if build_point.waited_share(point) < SUSPICIOUS or (point.processes or 1) == point.workers:
            return {}
        until = time.perf_counter() + PROBED
        with Probe() as probe:
            self._run(c)
            while time.perf_counter() < until:
                self._run(c)
        return {} if probe.taken is None else {"gil": probe.taken}

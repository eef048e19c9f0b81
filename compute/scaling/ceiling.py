"""What this machine allowed, at that moment: two gauges that scale as well as anything can, at every N, every round.

One gauge computes in registers and touches no memory. The other is a triad over arrays larger than the caches. How much
faster each gets from one pinned lane to N is the ceiling of its kind of work. Source: STREAM for the triad; POP and
Hoefler & Belli for comparing a speedup with what was possible instead of with N.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from compute import machine
from compute.backends.pool import Pool
from compute.backends.threads import Threads
from compute.scaling import statistics
from compute.timeline import Timeline
from kernels import triad
from kernels.definition import Kernel, kernel, numba_is_here
from kernels.definition.plan import Plan
from kernels.vectors.caches import cache_bytes

Bound = Literal["compute", "memory"]

LEAST_ARRAY, MOST_ARRAY = 16 << 20, 128 << 20  # bytes of one of the triad's arrays, which is as large as the last cache
GROWS = 1.05  # from one worker count to the next: less growth than this is within the intervals, so it is none
SPARE = 8  # the triad may take this part of the memory that is free
CROWD = 4  # lanes on a CPU, at most: with more, gauges would show the scheduler, not what the machine allows
NEXT_TO_NOTHING = 1e-3  # of the serial time: work that computes for less is not limited by CPUs, even with 1,000 lanes
GAUGE_CHUNKS = 128  # of the register gauge: the last one is under 1 % of a lane's part
# s that a gauge runs before it is timed, where CPUs have idled for as long: the hypervisor takes its time to wake them.
# After a program two lanes reached 1.5 times the rate of one without this, 1.98 with 0.02 s and 1.99 with 0.05 s.
AWAKE = 0.05
WAITS = 0.1  # of the triad's bytes a second: a kernel that streams less than this waits for something else than memory
STEPS = 8_000  # in a chunk, about 30 us: much longer than a ticket, and 128 such chunks fit into every round


def _plan_registers(indices: int, steps: int) -> Plan:
    return Plan(indices, (steps,), grain=1)


@kernel(plan=_plan_registers, bound="compute", unit="step")
def registers(lo: int, hi: int, out: Any, steps: int) -> None:
    """Fill out[lo..hi], after so many steps on four numbers that never leave the registers."""
    for i in range(lo, hi):
        a = b = c = d = 1.0 + i
        for _ in range(steps):
            a = a * 0.5 + 1.0
            b = b * 0.25 + 1.0
            c = c * 0.125 + 1.0
            d = d * 0.0625 + 1.0
        out[i] = a + b + c + d


@dataclass(frozen=True)
class Gauge:
    """One of the two gauges on a pool of threads.

    seconds: what one run takes.
    """

    bound: Bound
    kernel: Kernel
    pool: Pool
    args: tuple[Any, ...]
    kw: Mapping[str, Any]
    seconds: float = 0.0

    @property
    def key(self) -> tuple[Bound, int]:
        return self.bound, self.pool.workers

    def run(self, seconds: float = 0.0) -> float:
        """The rate, in runs a second. It repeats for this many seconds, to meet as much noise as the runs beside it."""
        until = time.perf_counter() + seconds
        rates = [self._rate()]
        while time.perf_counter() < until:
            rates.append(self._rate())
        # The runs are of equal work, so their rates have a harmonic mean.
        return len(rates) / sum(1 / rate for rate in rates)

    def _rate(self) -> float:
        return rate(self.pool.run(self.kernel, *self.args, **self.kw).timeline)


def rate(timeline: Timeline) -> float:
    """Runs a second, as the sum of the lanes' own rates: a lane that starts late then lowers no rate."""
    chunks = sum(lane.chunks for lane in timeline.lanes)
    return sum(lane.chunks / lane.wall for lane in timeline.lanes if lane.wall > 0) / chunks


@contextmanager
def gauges(counts: Iterable[int], *, pin: bool = True) -> Iterator[list[Gauge]]:
    """Both gauges, warm, at one worker and at each of these counts.

    An empty list where there is no numba to compile them. The triad is left out where its arrays would take too much
    memory.
    """
    with ExitStack() as stack:
        made: list[Gauge] = []
        if numba_is_here():
            jobs = [_registers()]
            if 3 * array_bytes() * SPARE <= machine.memory_available():
                jobs.append(_triad())
            for count in sorted({1, *(min(count, most_lanes()) for count in counts)}):
                pool = stack.enter_context(Threads(count).open())
                stack.enter_context(pool.observed(pins(count) if pin else ()))
                for bound, body, args, kw in jobs:
                    pool.warm(body, *args, **kw)
                    made.append(Gauge(bound, body, pool, args, kw))
        yield [_timed(gauge) for gauge in made]


def most_lanes() -> int:
    """The most lanes of a gauge: more of them reach no more."""
    return CROWD * machine.usable_cpus()


def _timed(gauge: Gauge) -> Gauge:
    """The gauge with the seconds of a run, after one that touches the memory and wakes the lanes for the first time."""
    gauge.run()
    began = time.perf_counter()
    gauge.run()
    return replace(gauge, seconds=time.perf_counter() - began)


def array_bytes() -> int:
    """Of each of the triad's arrays: the three together are three times the last-level cache."""
    return min(max(cache_bytes(3), LEAST_ARRAY), MOST_ARRAY)


def _registers() -> tuple[Bound, Kernel, tuple[Any, ...], dict[str, Any]]:
    return "compute", registers.nogil, (GAUGE_CHUNKS, STEPS), {}


def _triad() -> tuple[Bound, Kernel, tuple[Any, ...], dict[str, Any]]:
    a, b, c = (np.ones(array_bytes() // 8) for _ in range(3))
    return "memory", triad.nogil, (a, b, 3.0), {"out": c}


def pins(workers: int) -> tuple[int, ...]:
    """A CPU for each lane: one of each physical core, then their other hardware threads; () if there are too few."""
    cores = machine.cores()
    depth = max(len(core) for core in cores)
    order = [core[k] for k in range(depth) for core in cores if k < len(core)]
    return tuple(order[:workers]) if workers <= min(len(order), machine.usable_cpus()) else ()


@dataclass(frozen=True)
class Ceilings:
    """What the gauges reached: rates[bound, workers] has a rate a round. cpus: those that their lanes could run on."""

    rates: Mapping[tuple[Bound, int], Sequence[float]]
    cpus: int | None = None

    def rate_alone(self, bound: Bound) -> float | None:
        """The gauge's rate on one core, median over rounds."""
        rates = self.rates.get((bound, 1))
        return statistics.median(rates) if rates else None

    def speedup(self, bound: Bound, workers: int) -> float | None:
        """The speedup of this many lanes over one: the median of the rounds' own ratios; None if it was not measured.

        It is at most N, and at most the number of CPUs: a higher figure means that a neighbour slowed the single lane.
        It is at least 1: a lane that gets no CPU costs a perfect kernel nothing, because other lanes take its chunks.
        """
        if workers == 1:
            return 1.0
        many, alone = self._rates_at(bound, workers), self.rates.get((bound, 1))
        if not (many and alone):
            return None
        ratios = [n / alone_rate for n, alone_rate in zip(many, alone, strict=True)]
        return max(1.0, min(workers, self.cpus or workers, statistics.median(ratios)))

    def _rates_at(self, bound: Bound, workers: int) -> Sequence[float] | None:
        counts = [count for known, count in self.rates if known == bound]
        if workers not in counts and counts and self.cpus and max(counts) >= min(self.cpus, most_lanes()):
            workers = max(counts)  # more lanes than that were not measured: they have no more CPUs
        return self.rates.get((bound, workers))

    def controls(self, workers: int) -> dict[str, float] | None:
        """Seconds of each gauge on so many lanes for 1e9 of its steps or bytes, and their intervals, for a Point."""
        known: dict[str, float] = {}
        amounts: dict[Bound, int] = {"compute": GAUGE_CHUNKS * STEPS, "memory": 3 * array_bytes()}
        for bound, amount in amounts.items():
            if rates := self._rates_at(bound, workers):
                seconds = [1e9 / amount / rate for rate in rates]
                known[bound] = statistics.median(seconds)
                if interval := statistics.median_interval(seconds):
                    known |= {f"{bound}_low": interval[0], f"{bound}_high": interval[1]}
        return known or None

    def roof(self, bound: Bound) -> float | None:
        """The ceiling that more workers do not raise; None where it still grew, or there are too few counts to tell."""
        counts = sorted(workers for known, workers in self.rates if known == bound)[-2:]
        ceilings = [ceiling for count in counts if (ceiling := self.speedup(bound, count)) is not None]
        return ceilings[-1] if len(ceilings) == 2 and 1 not in counts and ceilings[1] < GROWS * ceilings[0] else None

    def of_work(self, workers: int, memory_share: float, waits: float = 0.0) -> float | None:
        """The ceiling of work that waits for what is outside for this share of its serial time.

        Waits overlap, N of them on N lanes, however few CPUs there are. The rest is held by the CPUs as ever.
        """
        computes = 1.0 - waits
        if computes <= NEXT_TO_NOTHING:
            return float(workers)
        rest = self.blend(workers, memory_share)
        return None if rest is None else min(float(workers), rest / computes)

    def blend(self, workers: int, memory_share: float) -> float | None:
        """The ceiling of work that spends this share of one core's time on memory and the rest computing."""
        compute, memory = self.speedup("compute", workers), self.speedup("memory", workers)
        if compute is None:
            return None
        if memory is None:
            return compute
        return 1 / ((1 - memory_share) / compute + memory_share / memory)


def memory_share(kernel: Kernel, plan: Plan, seconds: float, bandwidth: float | None) -> float:
    """From 0 (computes) to 1 (streams memory): what the kernel says, or else what was measured.

    Measured is the bytes of its arrays a second on one core, as a part of the triad's (`bandwidth`, in bytes a second).
    Bytes that are read twice count once, so a measured share is a lower bound. A kernel may say that it is bound by
    memory while its variant is too slow for that: loops of Python reach a hundredth of the triad's rate.
    """
    if kernel.bound == "compute":
        return 0.0
    touched = sum(x.nbytes for x in plan.inputs if isinstance(x, np.ndarray))
    touched += int(np.prod(kernel.output_shape(plan))) * np.dtype(plan.dtype).itemsize
    measured = touched / seconds / bandwidth if bandwidth and seconds else None
    if kernel.bound == "memory":
        return float(measured is None or measured >= WAITS)
    return min(1.0, measured) if measured and touched > cache_bytes(2) else 0.0

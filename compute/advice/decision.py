"""From measured times to the fastest way, the ways as fast within noise, and break-even sizes. Pure functions.

warm: the median of runs on a pool that is open and has the kernel loaded.
cold: opening a pool, loading the kernel in it and running once, in a process that has done none of this before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from compute.backends.backend import Backend
from compute.scaling import calibration, statistics
from compute.scaling.dataset import Point
from compute.traits import SERIAL

NARROW = 1.5  # in cost, from a size that loses to one that wins: between closer sizes interpolation is exact enough
FEW = 0.5  # of a time: how far a single run may be off. For n runs too few for an interval it is divided by n
CLEAR = 0.9  # of serial's time: a gain of less than a tenth may be noise, so no size is projected from it
NEAR = 1.1  # times: two ways count as equally fast where intervals overlap and medians differ by no more than this
MOST = 1.05  # of N: N workers cannot be faster than N-fold; clock speed and neighbours explain a few percent
FURTHEST = 1000.0  # in cost, over what was measured: a projection that goes further is a guess

Configuration = tuple[str, int, str]  # backend, workers, variant


class CostScale(NamedTuple):
    """A kernel's cost by size, and the size of a given cost. Distances between sizes are measured in cost."""

    cost: Callable[[int], float]
    size: Callable[[float], int]

    def to_the_power(self, power: float) -> CostScale:
        """The scale of `cost ** power`."""
        return CostScale(lambda size: self.cost(size) ** power, lambda cost: self.size(cost ** (1 / power)))


@dataclass(frozen=True)
class Candidate:
    """One way to do the work, as measured: `run(kernel, *args, on=candidate.on, variant=candidate.variant)`. Seconds.

    seconds:  the warm median.
    interval: of that median; where runs were too few for one, a guess well beyond the lowest and the highest.
    runs:     how many there were.
    opening:  what opening the pool took, the first time.
    loading:  what loading the kernel (and numba) in it took, the first time.
    """

    on: Backend
    variant: str
    size: int | None
    seconds: float
    interval: tuple[float, float]
    runs: int
    opening: float
    loading: float

    @property
    def cold(self) -> float:
        return self.opening + self.loading + self.seconds

    @property
    def backend(self) -> str:
        return self.on.name

    @property
    def is_serial(self) -> bool:
        return self.backend == SERIAL


@dataclass(frozen=True)
class Crossing:
    """From which size on one way beats another.

    how: "measured" (between two measured sizes), "always" (at each measured size; size is the smallest of them),
         "projected" (past the largest measured size, by the kernel's own cost), "never" (size is the largest).
    """

    size: int
    how: Literal["measured", "always", "projected", "never"]


@dataclass(frozen=True)
class BreakEven:
    """The smallest size from which a backend, at its best, beats serial at its best."""

    backend: str
    warm: Crossing
    cold: Crossing


def first_costs(points: Iterable[Point], importing: float = 0.0) -> dict[Configuration, tuple[float, float]]:
    """(opening, loading) of each configuration, as if each had been the first and only one in its process.

    The first one in a process does work that later ones find done: it starts the fork server and compiles the lane
    loop. So each is charged the most that any of its kind took. importing: seconds of importing numba, which are
    charged to all but serial Python.
    """
    points = list(points)
    opening: dict[str, float] = {}
    loading: dict[tuple[str, str], float] = {}
    for p in points:
        opening[p.backend] = max(opening.get(p.backend, 0.0), p.startup or 0.0)
        loading[_loads(p)] = max(loading.get(_loads(p), 0.0), p.compile or 0.0)
    return {
        (p.backend, p.workers, p.variant): (
            opening[p.backend],
            loading[_loads(p)] + importing * ((p.backend, p.variant) != (SERIAL, "python")),
        )
        for p in points
    }


def _loads(p: Point) -> tuple[str, str]:
    """Where its code was loaded to, and its variant: points with the same share what was loaded."""
    return p.backend if p.has.loads_itself else "here", p.variant


def candidates(
    points: Iterable[Point], costs: Mapping[Configuration, tuple[float, float]], on: Iterable[Backend]
) -> dict[int | None, list[Candidate]]:
    """Candidates by size, the fastest first; on: the backends that the points are of."""
    known = {(backend.name, backend.workers): backend for backend in on}
    runs: dict[int | None, dict[Configuration, list[float]]] = {}
    for p in points:
        runs.setdefault(p.size, {}).setdefault((p.backend, p.workers, p.variant), []).extend(p.samples)
    return {
        size: sorted(
            (_candidate(known[key[:2]], key[2], size, samples, *costs[key]) for key, samples in sampled.items()),
            key=lambda c: c.seconds,
        )
        for size, sampled in runs.items()
    }


def _candidate(
    on: Backend, variant: str, size: int | None, samples: list[float], opening: float, loading: float
) -> Candidate:
    interval = statistics.median_interval(samples) or (
        min(samples) * (1 - FEW / len(samples)),
        max(samples) * (1 + FEW / len(samples)),
    )
    return Candidate(on, variant, size, statistics.median(samples), interval, len(samples), opening, loading)


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, list[Candidate]]:
    """The one to use, and the others that are as fast within noise: nothing is clearly faster than any of these.

    The one to use is the simplest of them. It is never one whose median is above serial's. It is serial only where
    nothing clearly beats serial, so that it never contradicts a break-even.
    """
    serial = best_serial(candidates)
    unbeaten = [c for c in candidates if not any(clearly_faster(other, c) for other in candidates)]
    equals = [c for c in unbeaten if c.seconds <= serial.seconds]
    better = [c for c in equals if clearly_faster(c, serial)]
    chosen = simplest(better or [c for c in equals if c.is_serial])
    return chosen, sorted((c for c in equals if c is not chosen), key=_simplicity)


def simplest(candidates: Sequence[Candidate]) -> Candidate:
    """The one that needs the least of its user; of several the fastest."""
    return min(candidates, key=_simplicity)


def clearly_faster(c: Candidate, other: Candidate) -> bool:
    """Whether the intervals lie apart, or the medians do by more than anybody would call noise."""
    return c.interval[1] < other.interval[0] or NEAR * c.seconds < other.seconds


def doubtful(candidates: Sequence[Candidate], cpus: int | None) -> list[Candidate]:
    """Those that seem faster than N workers can be: then the run on one core, of the same variant, was disturbed.

    cpus: how many a computing kernel has. None for a kernel that waits: more lanes than CPUs can then help.
    """
    alone = {c.variant: c.seconds for c in candidates if c.is_serial}
    return [
        c
        for c in candidates
        if c.variant in alone and alone[c.variant] > MOST * min(c.on.workers, cpus or c.on.workers) * c.seconds
    ]


def best_serial(candidates: Iterable[Candidate]) -> Candidate:
    """The fastest variant on one core, which everything else has to beat."""
    return min((c for c in candidates if c.is_serial), key=lambda c: c.seconds)


def _simplicity(c: Candidate) -> tuple[Any, ...]:
    return *_rank(c), c.on.workers, c.seconds


def _rank(c: Candidate) -> tuple[bool, bool, bool, bool]:
    """What needs the least of its user comes first: no pool, then threads of one process, then messages to others."""
    has = c.on.traits
    return not c.is_serial, not has.shares_memory, has.shares_thread, has.loads_itself


def break_evens(by_size: Mapping[int, Sequence[Candidate]], cost_scale: CostScale) -> list[BreakEven]:
    """A BreakEven for each backend but serial.

    A backend that does not clearly beat serial (as in `choose`) at the largest size has no break-even at all.
    A cold break-even is never below the warm one: a cold run does all that a warm one does and more, so if it seems to
    win earlier, that is the noise of a single loading.
    """
    ranks = {c.backend: _rank(c) for crossings in by_size.values() for c in crossings if not c.is_serial}
    crossings = []
    for name in sorted(ranks, key=lambda name: ranks[name]):
        warm, cold = (_crossing(by_size, name, seconds, cost_scale) for seconds in (_warm, _cold))
        crossings.append(BreakEven(name, warm, max(warm, cold, key=lambda seen: (seen.how == "never", seen.size))))
    return crossings


def _warm(c: Candidate) -> float:
    return c.seconds


def _cold(c: Candidate) -> float:
    return c.cold


def _crossing(
    by_size: Mapping[int, Sequence[Candidate]],
    name: str,
    seconds: Callable[[Candidate], float],
    cost_scale: CostScale,
) -> Crossing:
    sizes, ours, serial = _curves(by_size, name, seconds)
    crossed = crossing(sizes, ours, serial, cost_scale)
    if seconds is _warm and not _wins(by_size[sizes[-1]], name):
        return Crossing(sizes[-1], "never")
    if crossed.how != "never":
        return crossed
    best, alone = (_best(by_size[sizes[-1]], who, seconds) for who in (name, SERIAL))
    factor = payoff(best.seconds, seconds(best), alone.seconds, seconds(alone))
    if factor is None:
        return crossed
    size = statistics.two_digits(cost_scale.size(factor * cost_scale.cost(sizes[-1])))
    if size >= calibration.LARGEST:  # times that hardly grow pay at no size that there is
        return Crossing(sizes[-1], "never")
    return Crossing(max(size, sizes[-1]), "projected")


def _wins(candidates: Sequence[Candidate], name: str) -> bool:
    """Whether anything of a backend clearly beats serial."""
    serial = best_serial(candidates)
    return any(clearly_faster(c, serial) for c in candidates if c.backend == name)


def _best(candidates: Sequence[Candidate], name: str, seconds: Callable[[Candidate], float]) -> Candidate:
    return min((c for c in candidates if c.backend == name), key=seconds)


def _curves(
    by_size: Mapping[int, Sequence[Candidate]], name: str, seconds: Callable[[Candidate], float]
) -> tuple[list[int], list[float], list[float]]:
    """Sizes, rising, at which the backend and serial were both measured, and the seconds of each at its best."""
    sizes = sorted(s for s, candidates in by_size.items() if {name, SERIAL} <= {c.backend for c in candidates})
    ours, serial = ([seconds(_best(by_size[s], who, seconds)) for s in sizes] for who in (name, SERIAL))
    return sizes, ours, serial


def crossing(sizes: Sequence[int], ours: Sequence[float], serial: Sequence[float], cost_scale: CostScale) -> Crossing:
    """The smallest size from which `ours` is below `serial` at it and at all that are larger; sizes rise.

    Between the last size that loses and the first that wins, times are interpolated linearly in the cost.
    """
    first = _first_win(ours, serial)
    if first == len(sizes):
        return Crossing(sizes[-1], "never")
    if first == 0:
        return Crossing(sizes[0], "always")
    behind, ahead = (
        ours[first - 1] - serial[first - 1],
        serial[first] - ours[first],
    )  # the first is 0 or more, the second above 0
    low, high = cost_scale.cost(sizes[first - 1]), cost_scale.cost(sizes[first])
    size = statistics.two_digits(cost_scale.size(low + (high - low) * behind / (behind + ahead)))
    return Crossing(min(max(size, sizes[first - 1]), sizes[first]), "measured")


def _first_win(ours: Sequence[float], serial: Sequence[float]) -> int:
    """The index from which on all win; as many as there are where the last one loses."""
    first = len(ours)
    while first and ours[first - 1] < serial[first - 1]:
        first -= 1
    return first


def payoff(ours: float, ours_cold: float, serial: float, serial_cold: float) -> float | None:
    """By what factor the work must grow until a way with higher fixed costs, but a faster run, has paid for itself.

    None where it is not clearly faster warm, or where that is too far from what was measured to be foretold.
    """
    if ours > CLEAR * serial:
        return None
    factor = ((ours_cold - ours) - (serial_cold - serial)) / (serial - ours)
    return factor if 1 < factor <= FURTHEST else None


def gaps(by_size: Mapping[int, Sequence[Candidate]], cost_scale: CostScale) -> list[int]:
    """The sizes that would halve, in cost, each interval in which a backend begins to win, where that is still wide."""
    wanted = set()
    for name in {c.backend for candidates in by_size.values() for c in candidates} - {SERIAL}:
        for seconds in (_warm, _cold):
            sizes, ours, serial = _curves(by_size, name, seconds)
            first = _first_win(ours, serial)
            if not _wins(by_size[sizes[-1]], name):
                continue
            if 0 < first < len(sizes) and cost_scale.cost(sizes[first]) > NARROW * cost_scale.cost(sizes[first - 1]):
                wanted.add(statistics.two_digits(math.sqrt(sizes[first - 1] * sizes[first])))
    return sorted(wanted - set(by_size))


def ladder(top: int, seconds: float, floor: float, step: float, cost_scale: CostScale) -> list[int]:
    """Sizes below `top`, rising, each a `step` less in cost than the next, down to where serial takes about `floor`."""
    sizes: list[int] = []
    factor = 1 / step
    while seconds * factor > floor / step:
        size = statistics.two_digits(cost_scale.size(cost_scale.cost(top) * factor))
        if 0 < size < (sizes[-1] if sizes else top):
            sizes.append(size)
        factor /= step
    return sizes[::-1]

"""What measuring itself costs: the timer's resolution, a run of nothing, the first touch of memory.

No measured time is more exact than the first two. The times of `scale` hold no first touch; those of a program may.
`Dataset.harness` keeps these figures, and warnings are made from them.

Source: Hoefler & Belli, SC15: a timer's overhead should be under 5 % of what it times, and its resolution ten times
finer. pyperf warns of values that are too short, too.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from compute import machine
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.backends.serial import Serial
from compute.memory.arena import Arena
from compute.memory.segments import ArenaKind
from compute.scaling import formatting
from compute.scaling.dataset import Point
from compute.scaling.ledger import DISPATCHING
from compute.scaling.statistics import median
from kernels import Plan, kernel

STEPS = 1000  # of the clock: no interrupt lengthens the smallest of this many
RUNS = 21  # of nothing: their median is right even if ten are disturbed, and all take milliseconds
MOST_OVERHEAD = 0.05  # of a measured time (Hoefler & Belli)
SMALL_OVERHEAD = 0.02  # of a measured time: with less, dispatching alone keeps no run under 98 % efficiency
TOUCHED = 2**24  # bytes: many pages, and a few ms even where the host of a virtual machine has to find them
MEGABYTE = 2**20
ROOM = 4  # times TOUCHED must be free
FINER = 10  # times: how much finer a timer should be than what it times (Hoefler & Belli)


def _a_chunk_each(chunks: int) -> Plan:
    return Plan(chunks, (), shape=(chunks,), grain=1)


@kernel(plan=_a_chunk_each)
def nothing(lo, hi, out):  # type: ignore[no-untyped-def]
    """A body that computes nothing, so that a run's time is what running costs."""


def resolution() -> float:
    """The smallest step of time.perf_counter that can be seen, in seconds; the call itself is part of it."""
    smallest = float("inf")
    for _ in range(STEPS):
        before = after = time.perf_counter()
        while after == before:
            after = time.perf_counter()
        smallest = min(smallest, after - before)
    return smallest


def overhead(pool: Pool, variant: str | None = None) -> float:
    """Seconds that a run takes on this open pool when its chunks, one a lane, compute nothing: the median of RUNS.

    Every measured time of that pool contains them. variant: as for pool.run, because compiled bodies and Python ones
    are dispatched in different ways.
    """
    pool.warm(nothing, pool.workers, variant=variant)
    return median([pool.run(nothing, pool.workers, variant=variant).seconds for _ in range(RUNS + 1)][1:])


def overheads(pools: Iterable[Pool]) -> dict[str, float]:
    """`overhead` of each pool that can run nothing, for a `harness`: without a compiler, some cannot."""
    return {_named(p.backend): overhead(p) for p in pools if p.backend.refuses(nothing) is None}


def _named(of: Backend | Point) -> str:
    return f"overhead of {of.name if isinstance(of, Backend) else of.backend} {of.workers}"


def first_touch(kinds: Iterable[ArenaKind]) -> dict[str, float]:
    """Seconds that the first touch of a megabyte takes beyond a later one, by kind of memory, for a `harness`.

    A kind that is short of memory is left out.
    """
    return {f"first_touch of {kind}": _first_touch(kind) for kind in sorted(kinds) if _has_room(kind)}


def _has_room(kind: ArenaKind) -> bool:
    free = machine.shared_memory_free() if kind == "shared" else machine.memory_available()
    return free is None or free >= ROOM * TOUCHED


def _first_touch(kind: ArenaKind) -> float:
    """In CPU time of this thread, which pays for the faults. Wall time would hold the work of others, too."""
    with closing(Arena(kind)) as arena:
        began = time.thread_time()
        touched = arena.empty(TOUCHED, np.uint8)
        took = []
        for _ in range(2):
            touched[:] = 1
            took.append(time.thread_time() - began)
            began = time.thread_time()
    return max(took[0] - took[1], 0.0) * MEGABYTE / TOUCHED


@functools.cache
def ticket_seconds(compiled: bool) -> float:
    """What one chunk of nothing costs a lane here."""
    chunks = 20_000 if compiled else 2_000
    held = nothing.nogil if compiled else nothing.python
    with Serial().open() as pool:
        pool.warm(held, chunks)
        walls = [pool.run(held, chunks).timeline.lanes[0].wall for _ in range(3)]
    return min(walls) / chunks


def warn(what: str, seconds: float, *, resolution: float, overhead: float) -> Iterator[str]:
    """A line for each reason why a measured time is too short to be trusted; none where it is long enough."""
    if overhead > MOST_OVERHEAD * seconds:
        yield (
            f"{what}: the run itself takes {formatting.percent(overhead / seconds)} of {formatting.seconds(seconds)}"
            " without computing anything;"
            f" take a size that runs for {formatting.seconds(overhead / MOST_OVERHEAD)} or longer"
        )
    if seconds < FINER * resolution:
        yield (
            f"{what}: {formatting.seconds(seconds)} is under {FINER} steps of the timer, which are"
            f" {formatting.seconds(resolution)} each;"
            f" take a size that runs for {formatting.seconds(FINER * resolution)} or longer"
        )


def about_runs(points: Sequence[Point], costs: Mapping[str, float]) -> Iterator[str]:
    """A line where a run of nothing, as `costs` has it for the backends, is a good part of a backend's runs.

    It takes longer beside work that evicts Python and the workers from the caches. The ledger of one worker then says
    by how much. With several workers it would not, because one may have waited for another.
    """
    worst: dict[str, tuple[float, str]] = {}
    for p in points:
        if not (cost := costs.get(_named(p), 0.0)):
            continue
        spent = sum(p.ledger.get(entry, 0.0) for entry in DISPATCHING) if p.ledger and p.workers == 1 else 0.0
        part = max(cost, spent) / p.seconds
        if part > max(SMALL_OVERHEAD, worst.get(p.backend, (0.0,))[0]):
            here = f", and {formatting.seconds(spent)} beside this work" * (spent > cost)
            sentence = f"{p.backend} {p.workers}, {formatting.seconds(cost)} of {formatting.seconds(p.seconds)}{here}"
            worst[p.backend] = part, f"{sentence} ({formatting.percent(part)}, {p.kernel} · {p.variant})"
    if worst:
        sentence = "; ".join(text for _, text in worst.values())
        yield f"an empty run takes a good part of some times: {sentence}; a larger budget makes runs longer"

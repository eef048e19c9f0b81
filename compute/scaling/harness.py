"""How fine the timer is, and what a run costs that computes nothing. No measured time is more exact than these.

Source: Hoefler & Belli, SC15: a timer's overhead under 5 % of what it times, its resolution ten times finer. pyperf
warns of values that are too short, too.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

from compute.backends.backend import Pool
from compute.backends.serial import Serial
from compute.scaling import words
from compute.scaling.statistics import median
from kernels import Plan, kernel

STEPS = 1000  # of the clock: the smallest of this many was not lengthened by an interrupt
RUNS = 21  # of nothing: their median holds although ten of them were disturbed, and all take milliseconds
MOST_OVERHEAD = 0.05  # of a measured time (Hoefler & Belli)
FINER = 10  # times: so much finer than what it times should a timer be (Hoefler & Belli)


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
            f"{what}: the run itself takes {words.percent(overhead / seconds)} of {words.seconds(seconds)} without"
            f" computing anything; take a size that runs for {words.seconds(overhead / MOST_OVERHEAD)} or longer"
        )
    if seconds < FINER * resolution:
        yield (
            f"{what}: {words.seconds(seconds)} is under {FINER} steps of the timer, which are"
            f" {words.seconds(resolution)} each; take a size that runs for {words.seconds(FINER * resolution)} or"
            " longer"
        )

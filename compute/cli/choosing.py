"""What the main job measures: which kernels, at how many worker counts, in runs of what length. Pure functions.

A round is every configuration once. The budget has to hold rounds enough for intervals. What is left of it decides how
long a run can be, and a run has to be long beside what every run costs. Where both do not fit, worker counts are left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ROUNDS = 10  # are planned: eight are wanted, and an interval needs six
BESIDES = 2  # more rounds' time: for checking every answer, and for warming up again before timed runs
MEASURING = 0.8  # of the time that is left once pools are open; the rest is for sizes, loading, arrays, comparing
OPENING = 0.1  # of the budget, for opening the pools: 3 s with two CPUs, 7 s with 64
EFFICIENT, MOST = 0.5, 4.0  # the assumed speedup: half of N-fold, and at most 4, as few machines' memory allows more
SHORT = 0.03  # s: if serial runs would be shorter, some worker counts are left out
SHORTEST, LONGEST = 1e-3, 1.0  # s of a serial run: no shorter in any budget; longer runs say less than more rounds
COUNTS = 4  # worker counts at most: four show how a curve bends, and each costs pools and rounds
TOUCHING = 2.0  # s that the first touch of one kernel's arrays may take
PART = 1 / 8  # of the free memory, for one kernel's arrays: other kernels, copies and reference values need some, too
PART_SHARED = 1 / 4  # of the free shared memory, which holds nothing but arrays
MOST_MEMORY = 2**30  # bytes of one kernel's arrays: larger than any cache, and slow beside a message

# One of each kind: two that compute (integers that stay in a cache, and floating point with an image to fill), one that
# reads memory faster than it computes, one whose output is as large as its input.
ONE_OF_EACH = ("count_primes", "mandelbrot", "matvec", "transpose")


@dataclass(frozen=True)
class Way:
    """A backend that runs a row.

    takes_turns: whether N of its lanes take as long as one. once: whether it runs at one worker count only.
    """

    backend: str
    takes_turns: bool = False
    once: bool = False


@dataclass(frozen=True)
class Row:
    """A kernel in one variant, and the backends that run it, beside Serial."""

    kernel: str
    variant: str
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Room:
    """Room for arrays: free bytes, of memory and of shared memory (None: not known); s of a byte's first touch."""

    free: float
    shared: float | None
    touch: float


def choose_kernels(names: Iterable[str], everything: bool = False) -> list[str]:
    """The kernels of one for each kind, as far as they are there; else, or if `everything`, all."""
    names = list(names)
    return [name for name in names if everything or name in ONE_OF_EACH] or names


def all_counts(cpus: int) -> list[int]:
    """1, 2, 4 … and the number of CPUs."""
    return sorted({2**k for k in range(cpus.bit_length())} | {cpus})


def spread_counts(cpus: int, most: int) -> list[int]:
    """At most so many of `all_counts`, two or more: from 1 to the number of CPUs by factors that are about equal."""
    counts = all_counts(cpus)
    if len(counts) <= most:
        return counts
    return [counts[round(k * (len(counts) - 1) / (most - 1))] for k in range(most)]


def round_length(rows: Sequence[Row], counts: Sequence[int]) -> float:
    """How long a round takes, in serial runs, with the assumed speedups."""
    return sum(
        1 + sum(_relative(way, count) for way in row.ways for count in counts if not way.once or count == max(counts))
        for row in rows
    )


def _relative(way: Way, workers: int) -> float:
    return 1.0 if way.takes_turns else 1 / min(max(1.0, EFFICIENT * workers), MOST)


def run_length(left: float, rows: Sequence[Row], counts: Sequence[int]) -> float:
    """Seconds of a serial run with which ROUNDS rounds fit into the seconds that are left once pools are open."""
    longest = MEASURING * left / ((ROUNDS + BESIDES) * round_length(rows, counts))
    return min(max(longest, SHORTEST), LONGEST)


def choose_counts(cpus: int, budget: float, rows: Sequence[Row]) -> list[int]:
    """1, the number of CPUs, and more counts up to COUNTS, as long as runs are not SHORT."""
    for most in range(COUNTS, 2, -1):
        counts = spread_counts(cpus, most)
        if run_length((1 - OPENING) * budget, rows, counts) >= SHORT:
            return counts
    return spread_counts(cpus, 2)


def about_counts(cpus: int, counts: Sequence[int]) -> list[str]:
    """A line about worker counts that are left out; none where all are measured."""
    missing = [count for count in all_counts(cpus) if count not in counts]
    if not missing:
        return []
    omitted = ", ".join(map(str, missing))
    return [f"left out {omitted} workers to keep to the time; nfold scale KERNEL measures one kernel with all of them"]


def choose_memory(room: Room) -> float:
    """Bytes that one kernel's arrays may take: a part of the free memory, and no more than can be touched in time."""
    shared = room.free if room.shared is None else room.shared
    touched = TOUCHING / room.touch if room.touch > 0 else MOST_MEMORY
    return min(MOST_MEMORY, PART * room.free, PART_SHARED * shared, touched)

"""The sentences under a kernel's table: verdicts, rates, why lanes waited, disturbed rounds, and more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.scaling.dataset import Dataset, Point
from compute.scaling.formatting import amount, listed, percent, seconds
from compute.scaling.statistics import FEWEST_ROUNDS
from compute.scaling.tables.sheet import most_workers
from compute.scaling.verdict import causes
from compute.scaling.verdict.judgement import headline
from compute.scaling.verdict.phrases import counted, disturbed, every
from compute.scaling.verdict.point_verdict import verdict_of

BUSY = 0.8  # of the time: the waits of a lane that was on a CPU for this long are not mentioned
NEAR = 0.2  # of 1/N: a lane whose CPU share is this close to 1/N counts as one of N that took turns
PLACES = {"heap": "the heap", "shared": "shared memory", "mapped": "a mapped file"}  # by kind of arena


@dataclass(frozen=True)
class Remark:
    """`threads · python: 1.01× of 2 … Blocked 48 % …`. of: what it is about. trouble: whether something is wrong."""

    of: str
    text: str
    trouble: bool = False

    def __str__(self) -> str:
        return f"{self.of}: {self.text}"


def verdicts(points: Sequence[Point], every: bool) -> Iterable[Remark]:
    """How near to N-fold each backend and variant came at its most workers, and why not nearer.

    every: whether each gets its headline. Otherwise only the best does. The others are mentioned only where something
    is wrong, and those with the same verdict share a line, because their figures stand in the table and a long report
    must stay readable. Those with which nothing is wrong share one last line.
    """
    judged = [p for p in most_workers(points) if not p.is_serial and p.verdict]
    if not judged:
        return
    best = max(judged, key=lambda p: (p.variant == judged[0].variant, p.speedup or 0.0))
    yield from (Remark(_name(p), _whole(p), p.cause != causes.NONE) for p in (judged if every else [best]))
    if not every:
        alike: dict[str, list[Point]] = {}
        for p in judged:
            if p is not best and _what_is_wrong(p):
                alike.setdefault(_what_is_wrong(p), []).append(p)
        yield from (Remark(_names(of), text + ".", of[0].cause != causes.NONE) for text, of in alike.items())
    fine = [p for p in judged if p.cause == causes.NONE]
    if fine:
        yield Remark("Nothing wrong", _names(fine) + ".")


def _what_is_wrong(p: Point) -> str:
    """The verdict, or nothing where it only says that all is well."""
    verdict = verdict_of(p)
    return "" if verdict is None or verdict.is_fine else verdict.sentence


def _whole(p: Point) -> str:
    """Headline and verdict as one text; where the verdict goes on from what the headline ends with, as one sentence."""
    verdict = verdict_of(p)
    if verdict is None or verdict.is_fine:
        return _sentence(headline(p))
    if verdict.opening and p.ceiling:
        return _sentence(headline(p) + verdict.rest)
    return f"{_sentence(headline(p))} {_sentence(verdict.sentence)}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def other_lines(points: Sequence[Point], conditions: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The lines of a kernel: its rates, lanes that waited where no verdict says it better, disturbances."""
    yield from _rates(points)
    yield from _waiting(points)
    for p in points:
        yield from (f"{_name(p)} · {counted(p.workers, 'worker')}: {note}" for note in p.notes)
    if any(p.rounds and p.speedup_ci is None and p.speedup is not None for p in points):
        yield f"No interval where there are fewer than {FEWEST_ROUNDS} rounds."
    yield from _disturbances(points, conditions)


def harness(dataset: Dataset) -> Iterable[str]:
    """What measuring itself costs."""
    known = dataset.harness
    parts = [
        f"the timer tells {seconds(known['timer_resolution'])} apart" if "timer_resolution" in known else "",
        f"measuring adds {seconds(known['overhead'])} to a run" if "overhead" in known else "",
        f"watching the program takes {percent(known['watching'])} of a CPU" if "watching" in known else "",
    ]
    costs = listed([part for part in parts if part])
    if costs:
        yield f"{costs[0].upper()}{costs[1:]}."
    first = [
        f"{seconds(known[name])} in {place}"
        for kind, place in PLACES.items()
        if known.get(name := f"first_touch of {kind}")
    ]
    if first:
        yield f"No run is the first to touch its memory; the first touch of a megabyte takes {listed(first)}."


def _name(p: Point) -> str:
    return f"{p.backend} · {p.variant}"


def _names(points: Sequence[Point]) -> str:
    """`threads, prange · nogil; processes · python`"""
    by_variant: dict[str, list[str]] = {}
    for p in points:
        by_variant.setdefault(p.variant, []).append(p.backend)
    return "; ".join(f"{', '.join(dict.fromkeys(backends))} · {variant}" for variant, backends in by_variant.items())


def _rates(points: Sequence[Point]) -> Iterable[str]:
    rates = [f"{p.variant} {amount(p.rate, p.unit)}/s" for p in points if p.is_serial and p.rate and p.unit]
    if rates:
        yield "On one core: " + ", ".join(rates) + "."


def _disturbances(points: Sequence[Point], conditions: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """`3 of 12 rounds were disturbed (the worst: other processes used 0.80 of 2 CPUs).`"""
    here = [condition for condition in conditions if any(p.is_of(condition) for p in points)]
    marked = [c for c in here if c.get("marked")]
    if not marked:
        return
    worst = max(marked, key=lambda c: sum(float(c.get(key) or 0.0) for key in ("others", "steal", "throttled")))
    why = f" ({'the worst: ' * (len(marked) > 1)}{worst['marked']})" if isinstance(worst["marked"], str) else ""
    yield _sentence(f"{disturbed(len(marked), len(here))}{why}")


def _waiting(points: Sequence[Point]) -> Iterable[str]:
    """Why lanes were off the CPU, at the most workers of each backend: one thread, the GIL, or another reason."""
    others = []
    for p in most_workers(points):
        if p.verdict or p.cpu_per_wall is None or p.cpu_per_wall >= BUSY:
            continue
        serial = next((q for q in points if q.is_serial and q.variant == p.variant), None)
        quiet = serial is None or serial.cpu_per_wall is None or serial.cpu_per_wall >= BUSY
        on_cpu = f"{_name(p)}: a lane was on a CPU {percent(p.cpu_per_wall)} of the time"
        if p.has.shares_thread and quiet:
            yield f"{on_cpu}: {every(p.workers, 'lane')} share one thread."
        elif takes_turns(p) and p.processes == 1 and p.variant == "python" and quiet:
            yield f"{on_cpu}, about 1/{p.workers}: they take turns, consistent with the GIL{_free_variant(p, points)}."
        else:
            others.append(f"{_name(p)} {percent(p.cpu_per_wall)}")
    if others:
        yield f"Lanes waited, for a CPU that other programs used or for a lock; on a CPU: {', '.join(others)}."


def _free_variant(p: Point, points: Sequence[Point]) -> str:
    """The same lanes on a variant that releases the GIL, where they were busy."""
    for q in points:
        if (
            q.variant != p.variant
            and (q.backend, q.workers) == (p.backend, p.workers)
            and (q.cpu_per_wall or 0) >= BUSY
        ):
            return f" ({q.variant}, which releases it: {percent(q.cpu_per_wall)})"
    return ""


def takes_turns(p: Point) -> bool:
    """Whether N lanes had about 1/N of a CPU each: what the GIL, one lock or one core does to them."""
    return p.workers > 1 and p.cpu_per_wall is not None and abs(p.cpu_per_wall * p.workers - 1) <= NEAR

"""From the runs of a configuration to its Point: samples, and what explains them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np

from compute.backends.pool import Pool
from compute.scaling import kept_timeline, ledger, statistics
from compute.scaling.ceiling import Ceilings, array_bytes, memory_share
from compute.scaling.dataset import Point
from compute.scaling.workload import Work
from compute.timeline import Timeline
from kernels.definition import Kernel

ELSEWHERE = dict.fromkeys(("quota", "steal", "others"))  # what disturbed this machine says nothing of others
WAITING = 0.2  # of the serial time: a lane whose CPU is stolen looks as if it waited, but mostly for less than this


@dataclass(frozen=True)
class Run:
    """What is kept of a Result. Its value is not: a round of large ones would fill the memory.

    system:  CPU seconds that this process spent in the system meanwhile; NaN where the system does not count them.
    has_gil: whether this process had a GIL as it ended. An import may switch it on, and nothing switches it off again.
    """

    seconds: float
    timeline: Timeline
    work: float
    system: float = math.nan
    has_gil: bool = True


def make_point(
    pool: Pool, kernel: Kernel, work: Work, runs: Sequence[Run], serial: Sequence[Run], ceilings: Ceilings
) -> Point:
    """The Point of a configuration from its runs, one a round; serial: the baseline's, of the same rounds."""
    timelines = [run.timeline for run in runs]
    plan = kernel.plan(*work.args_at(pool.workers), **work.kw)
    shares = [t.cpu / wall for t in timelines if (wall := sum(lane.wall for lane in t.lanes)) > 0]
    names = dict.fromkeys(name for t in timelines for name in t.sections)
    waits = _waits(kernel, serial)
    middle = middle_rounds([run.seconds for run in runs])
    accounts = [_account(runs[k], pool.workers, serial[k], waits > 0) for k in middle]
    middle_timeline = runs[middle[0]].timeline
    share = memory_share(kernel, plan, statistics.median([run.seconds for run in serial]), _bandwidth(ceilings))
    cpus = pool.cpus_elsewhere
    if cpus is not None:
        ceilings = Ceilings({})  # this machine's say nothing of others
    return Point(
        kernel=kernel.name,
        size=work.size_of(plan.indices),
        variant=kernel.variant,
        backend=pool.backend.name,
        workers=pool.workers,
        seconds=runs[0].seconds,
        samples=tuple(run.seconds for run in runs),
        unit=kernel.unit,
        work=runs[0].work,
        cpu_per_wall=statistics.median(shares) if shares else None,
        sections={name: statistics.median([t.sections.get(name, 0.0) for t in timelines]) for name in names},
        processes=max(len({lane.process for lane in t.lanes}) for t in timelines) or None,
        startup=pool.startup,
        arguments=work.in_words(),
        notes=tuple(dict.fromkeys(event for t in timelines for event in t.events)),
        ceiling=ceilings.of_work(pool.workers, share, waits),
        memory_share=share,
        ledger=ledger.mean([account for account, _ in accounts]),
        unknown=ledger.unknown(middle_timeline),
        efficiencies=ledger.mean([tree for _, tree in accounts]) or None,
        details=_details(timelines, middle) | system_beyond_serial(list(zip(runs, serial, strict=True))),
        chunks=plan.chunks,
        chunk_seconds=middle_timeline.cpu / plan.chunks if plan.chunks else None,
        pinned=_pinned(timelines),
        mode=work.mode,
        traits=pool.backend.traits.names(),
        evidence={"has_gil": any(run.has_gil for run in runs)}
        | ({"waits": waits} if waits else {})
        | ({} if cpus is None else ELSEWHERE | {"cpus": cpus, "cpus_shared": cpus}),
        timeline=kept_timeline.keep(middle_timeline, runs[middle[0]].seconds),
        controls=ceilings.controls(pool.workers),
    )


def _waits(kernel: Kernel, serial: Sequence[Run]) -> float:
    """The part of its serial time for which the work waits for what is outside; 0 for none. Queueing for a CPU is no
    wait.

    Where the kernel does not say what it is bound by, a small part counts as none: a disturbed lane looks as if it
    waited.
    """
    if kernel.bound in ("compute", "memory"):
        return 0.0
    waits = [(ledger.waited(run.timeline), run.timeline.cpu) for run in serial]
    parts = [waited / (waited + cpu) for waited, cpu in waits if waited + cpu > 0]
    part = statistics.median(parts) if parts else 0.0
    return part if kernel.bound == "wait" or part >= WAITING else 0.0


def _pinned(timelines: Sequence[Timeline]) -> tuple[int, ...] | None:
    """The CPU of each lane; None where a lane was not pinned.

    A lane that found no chunk in one run is missing there, so the lanes of all runs are looked at.
    """
    by_lane = {lane.lane: lane.cpu_number for t in timelines for lane in t.lanes}
    cpus = [cpu for _, cpu in sorted(by_lane.items()) if cpu is not None]
    return tuple(cpus) if cpus and len(cpus) == len(by_lane) else None


def chunk_times(serial: Sequence[Run]) -> np.ndarray[Any, Any] | None:
    """CPU seconds of each chunk, in the order of its ticket, median over the serial runs; None where unrecorded."""
    spans = [run.timeline.spans for run in serial if len(run.timeline.spans)]
    if not spans:
        return None
    order = np.argsort(spans[0]["start"])
    return np.median([recorded["cpu"][order] for recorded in spans], axis=0)  # type: ignore[no-any-return]


def share_of(p: Point, entry: str) -> float | None:
    """The part of a point's core-seconds that an entry of its ledger took."""
    return p.ledger[entry] / total if p.ledger and (total := sum(p.ledger.values())) > 0 else None


def waited_share(p: Point) -> float:
    """The part of a point's core-seconds in which lanes waited in their loop or for their first chunk."""
    if not p.ledger or not (total := sum(p.ledger.values())) > 0:
        return 0.0
    return (p.ledger["blocked"] + p.ledger["startup"]) / total


def _account(run: Run, workers: int, serial: Run, waits: bool) -> tuple[dict[str, float], dict[str, float]]:
    """A run's ledger and its POP efficiencies, against what the serial run of the round took for its work.

    waits: whether the work waits for what is outside.
    """
    more = _more(run, serial)
    useful = serial.timeline.cpu * more
    return (
        ledger.entries(run.timeline, run.seconds, workers, useful, ledger.waited(serial.timeline) * more * waits),
        ledger.efficiencies(run.timeline, run.seconds, workers, useful),
    )


def _details(timelines: Sequence[Timeline], middle: Sequence[int]) -> dict[str, float]:
    """The mean of what the middle rounds noted, as in the ledger; of two rounds only what both noted.

    Of nested threads it is as much as most rounds had. They are there in every round, so what only one had is chance.
    """
    noted = [ledger.details(timeline) for timeline in timelines]
    common = [name for name in noted[middle[0]] if all(name in noted[k] for k in middle)]
    known = ledger.mean([{name: noted[k][name] for name in common} for k in middle])
    nested = [note["nested"] for note in noted if "nested" in note]
    return known | ({"nested": median_low(nested)} if "nested" in known else {})


def system_beyond_serial(pairs: Sequence[tuple[Run, Run]]) -> dict[str, float]:
    """`system`: CPU seconds that a run spent in the system beyond the serial run of its round, for the same work.

    The mean over all rounds: the system counts in ticks, and a tick may be a good part of one run's time.
    Empty where lanes ran in another process than the caller, or where the system does not count.
    """
    beyond = sum(run.system - serial.system * _more(run, serial) for run, serial in pairs) / len(pairs)
    here = all(lane.process == os.getpid() for run, _ in pairs for lane in run.timeline.lanes)
    return {"system": beyond} if here and math.isfinite(beyond) else {}


def _more(run: Run, serial: Run) -> float:
    """How many times the serial run's work a run did: more than once where work grows with the workers."""
    return run.work / serial.work if serial.work else 1.0


def middle_rounds(seconds: Sequence[float]) -> list[int]:
    """The round whose time is the median, or the two around it."""
    order = [int(k) for k in np.argsort(np.asarray(seconds), kind="stable")]
    half = len(order) // 2
    return [order[half]] if len(order) % 2 else [order[half - 1], order[half]]


def _bandwidth(ceilings: Ceilings) -> float | None:
    """Bytes a second of the triad on one core: it reads two arrays and writes one."""
    rate = ceilings.rate_alone("memory")
    return None if rate is None else rate * 3 * array_bytes()

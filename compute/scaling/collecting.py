"""From compared points to their verdicts: each point's evidence, from itself, its neighbours and the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from compute import machine
from compute.scaling.build_point import blocked_share
from compute.scaling.ceiling import Ceilings
from compute.scaling.dataset import Point
from compute.scaling.harness import ticket_seconds
from compute.scaling.noise import Conditions
from compute.scaling.verdict import judgement
from compute.scaling.verdict.evidence import Evidence
from kernels.definition import Kernel


def judged(
    points: Sequence[Point], kernel: Kernel, ceilings: Ceilings, rounds: Sequence[Conditions]
) -> tuple[Point, ...]:
    """The points of one trial with what they attained, and a verdict each; rounds: what each round met."""
    contaminated = sum(one.marked is not None for one in rounds)
    here = _surroundings(rounds)
    made = []
    for p in points:
        attainable = p.speedup / p.ceiling if p.speedup is not None and p.ceiling else None
        p = replace(p, attainable=attainable, contaminated=contaminated)
        found = judgement.judge(_evidence(here, p, points, kernel, ceilings))
        made.append(replace(p, cause=str(found.cause), verdict=found.sentence))
    return tuple(made)


def _surroundings(rounds: Sequence[Conditions]) -> Evidence:
    """What is the same for all points. throttled is by second here."""
    quotas = machine.cpu_quotas()
    return Evidence(
        has_gil=machine.has_gil(),
        cpus=machine.usable_cpus(),
        cpus_shared=len(machine.allowed_cpus()),
        quota=min(quotas) if quotas else None,
        steal=_mean([one.steal for one in rounds if one.steal is not None]),
        others=_mean([one.others for one in rounds if one.others is not None]),
        throttled=_mean([one.throttled / one.seconds for one in rounds if one.throttled is not None and one.seconds]),
    )


def _evidence(here: Evidence, p: Point, points: Sequence[Point], kernel: Kernel, ceilings: Ceilings) -> Evidence:
    details = p.details or {}
    compiled = kernel.variants[p.variant].compiled
    return replace(
        here,
        kernel=p.kernel,
        variant=p.variant,
        backend=p.backend,
        workers=p.workers,
        seconds=p.seconds,
        speedup=p.speedup,
        speedup_ci=p.speedup_ci,
        ceiling=p.ceiling,
        attainable=p.attainable,
        ledger=p.ledger or {},
        unknown=p.unknown,
        compiled=compiled,
        processes=p.processes or 1,
        chunks=p.chunks,
        # Of the serial run: lanes that fight for tickets take longer for the same chunk.
        chunk_seconds=max(0.0, (p.ledger or {}).get("useful", 0.0)) / p.chunks if p.chunks else None,
        ticket_seconds=ticket_seconds(compiled),
        memory_share=p.memory_share,
        ceiling_compute=ceilings.of("compute", p.workers),
        ceiling_memory=ceilings.of("memory", p.workers),
        nested=details.get("nested"),
        throttled=_throttled(here, p, points),
        voluntary=details.get("voluntary"),
        faults=details.get("faults"),
        system=details.get("system"),
        gil=details.get("gil"),
        free_blocked=None
        if compiled
        else _blocked(points, p, lambda q: q.backend == p.backend and kernel.variants[q.variant].compiled),
        elsewhere_blocked=_blocked(points, p, lambda q: not q.has.shares_gil and q.variant == p.variant),
        rounds=p.rounds,
        contaminated=p.contaminated,
        traits=p.has,
    )


def _throttled(here: Evidence, p: Point, points: Sequence[Point]) -> float | None:
    """Seconds for which a quota stopped a run: a round's own, shared by how long each of its runs waited for a CPU.

    Shared by their lengths, much of them would fall on the serial run, which a quota of one CPU and more never stops.
    """
    if here.throttled is None:
        return None
    whole = sum(q.seconds for q in points)
    waited = sum(map(_waited, points))
    return here.throttled * whole * (_waited(p) / waited if waited > 0 else p.seconds / whole)


def _waited(p: Point) -> float:
    return max(0.0, (p.ledger or {}).get("runqueue", 0.0))


def _blocked(points: Sequence[Point], p: Point, alike: Callable[[Point], bool]) -> float | None:
    """The blocked share of another point with as many workers."""
    found = (q for q in points if q is not p and q.workers == p.workers and alike(q))
    other = next(found, None)
    return None if other is None else blocked_share(other)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

"""The evidence that verdicts rest on, collected while measuring: the machine, the rounds, a point's neighbours.

This step asks the system and runs something. What the evidence says is judged elsewhere, from the points alone
(compute.scaling.verdict).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compute import machine
from compute.scaling.build_point import blocked_share
from compute.scaling.ceiling import Ceilings
from compute.scaling.dataset import Point
from compute.scaling.harness import ticket_seconds
from compute.scaling.noise import Conditions
from kernels.definition import Kernel


def collect_evidence(
    points: Sequence[Point], kernel: Kernel | None, ceilings: Ceilings, rounds: Sequence[Conditions]
) -> tuple[Point, ...]:
    """The points of one trial, with what they attained and their evidence; rounds: what each round met.

    kernel: None where they are of a program, of which nobody knows what its bodies are.
    """
    contaminated = sum(met.marked is not None for met in rounds)
    surroundings = _surroundings(rounds)
    stopped = _mean([met.throttled / met.seconds for met in rounds if met.throttled is not None and met.seconds])
    return tuple(
        replace(
            p,
            attainable=p.speedup / p.ceiling if p.speedup is not None and p.ceiling else None,
            contaminated=contaminated,
            evidence={"waits": None}
            | dict(p.evidence or {})
            | surroundings
            | _about(p, kernel, ceilings)
            | _neighbours(p, points, kernel)
            | {"throttled": _throttled(stopped, p, points)},
        )
        for p in points
    )


def _surroundings(rounds: Sequence[Conditions]) -> dict[str, Any]:
    """What is the same for all points."""
    quotas = machine.cpu_quotas()
    return {
        "has_gil": machine.has_gil(),
        "cpus": machine.usable_cpus(),
        "cpus_shared": len(machine.allowed_cpus()),
        "quota": min(quotas) if quotas else None,
        "steal": _mean([met.steal for met in rounds if met.steal is not None]),
        "others": _mean([met.others for met in rounds if met.others is not None]),
    }


def _about(p: Point, kernel: Kernel | None, ceilings: Ceilings) -> dict[str, Any]:
    compiled = None if kernel is None else kernel.variants[p.variant].compiled
    return {
        "compiled": compiled,
        "ticket_seconds": None if compiled is None else ticket_seconds(compiled),
        "ceiling_compute": ceilings.speedup("compute", p.workers),
        "ceiling_memory": ceilings.speedup("memory", p.workers),
    }


def _neighbours(p: Point, points: Sequence[Point], kernel: Kernel | None) -> dict[str, Any]:
    """How much lanes blocked that have no GIL to wait for."""
    if kernel is None:
        return {"free_blocked": None, "elsewhere_blocked": None}
    free = _blocked(points, p, lambda q: q.backend == p.backend and kernel.variants[q.variant].compiled)
    return {
        "free_blocked": None if kernel.variants[p.variant].compiled else free,
        "elsewhere_blocked": _blocked(points, p, lambda q: not q.has.shares_gil and q.variant == p.variant),
    }


def _throttled(stopped: float | None, p: Point, points: Sequence[Point]) -> float | None:
    """Seconds for which a quota stopped a run: a round's own, shared by how long each of its runs waited for a CPU.

    stopped: seconds a second of a round. Shared by the runs' lengths, much of them would fall on the serial run, which
    a quota of one CPU and more never stops.
    """
    if stopped is None:
        return None
    whole = sum(q.seconds for q in points)
    waited = sum(map(_waited, points))
    return stopped * whole * (_waited(p) / waited if waited > 0 else p.seconds / whole)


def _waited(p: Point) -> float:
    return max(0.0, (p.ledger or {}).get("runqueue", 0.0))


def _blocked(points: Sequence[Point], p: Point, alike: Callable[[Point], bool]) -> float | None:
    """The blocked share of another point with as many workers."""
    others = (q for q in points if q is not p and q.workers == p.workers and alike(q))
    other = next(others, None)
    return None if other is None else blocked_share(other)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

"""The evidence that verdicts rest on, collected while measuring: the machine, the rounds, a point's neighbours.

This step asks the system and runs something. What the evidence says is judged elsewhere, from the points alone
(compute.scaling.verdict).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from compute import machine
from compute.scaling.build_point import share_of
from compute.scaling.ceiling import Ceilings
from compute.scaling.dataset import Point
from compute.scaling.harness import ticket_seconds
from compute.scaling.noise import Conditions
from compute.scaling.verdict.judgement import judge_points
from kernels.definition import Kernel, numba_is_here, where_numba_is


def collect_evidence(
    points: Sequence[Point], kernel: Kernel | None, ceilings: Ceilings, rounds: Sequence[Conditions]
) -> tuple[Point, ...]:
    """The points of one trial, with what they attained and their evidence; rounds: what each round met.

    kernel: None where they are of a program, of which nobody knows what its bodies are.
    """
    contaminated = sum(met.marked is not None for met in rounds)
    surroundings = _surroundings(rounds)
    stopped = _mean([met.throttled / met.seconds for met in rounds if met.throttled is not None and met.seconds])
    alone = [
        replace(
            p,
            attainable=p.speedup / p.ceiling if p.speedup is not None and p.ceiling else None,
            contaminated=contaminated,
            evidence=dict.fromkeys(("waits", "has_gil", "copied", "without_copies"))
            | surroundings
            | dict(p.evidence or {})
            | _own(p, kernel, Ceilings({}) if _is_elsewhere(p) else ceilings),
        )
        for p in points
    ]
    throttled = [
        None if _is_elsewhere(p) else _throttled(stopped, q, alone) for p, q in zip(points, alone, strict=True)
    ]
    return tuple(
        _with_evidence(p, **_neighbours(p, alone), throttled=seconds)
        for p, seconds in zip(alone, throttled, strict=True)
    )


def look_across(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points of several trials. Those without a control that another trial has get it, and are judged again.

    The control is how much the compiled variant of the same kernel blocked. Points with a probe of the GIL need none.
    """
    return tuple(
        judge_points([_with_evidence(p, free_blocked=free)])[0]
        if _lacks_control(p) and (free := _free_blocked(p, points)) is not None
        else p
        for p in points
    )


def _is_elsewhere(p: Point) -> bool:
    """Whether the lanes of a point without evidence were on other machines, of which it then knows the CPUs."""
    return (p.evidence or {}).get("cpus") is not None


def _with_evidence(p: Point, **more: Any) -> Point:
    return replace(p, evidence={**(p.evidence or {}), **more})


def _lacks_control(p: Point) -> bool:
    known = p.evidence or {}
    return known.get("compiled") is False and known.get("free_blocked") is None and "gil" not in (p.details or {})


def _free_blocked(p: Point, points: Sequence[Point]) -> float | None:
    """How much lanes of the same kernel blocked in a compiled variant, which has no GIL to wait for."""
    return _other(
        points,
        p,
        "blocked",
        lambda q: (q.kernel, q.backend) == (p.kernel, p.backend) and bool(q.evidence and q.evidence.get("compiled")),
    )


def _surroundings(rounds: Sequence[Conditions]) -> dict[str, Any]:
    """What is the same for all points."""
    quotas = machine.cpu_quotas()
    return {
        "cpus": machine.usable_cpus(),
        "cpus_shared": len(machine.allowed_cpus()),
        "quota": min(quotas) if quotas else None,
        "steal": _mean([met.steal for met in rounds if met.steal is not None]),
        "others": _mean([met.others for met in rounds if met.others is not None]),
    }


def about_interpreter() -> Iterator[str]:
    """A warning if this interpreter cannot compile, and one if its GIL is on and need not be."""
    if not numba_is_here():
        missing = "what Python runs is measured, and neither compiled variants nor what this machine allows"
        yield f"numba's compiler is {where_numba_is()}: {missing}"
    if who := machine.who_has_the_gil_on():
        yield f"this Python can do without a GIL, and has one on: {who} switched it on; PYTHON_GIL=0 keeps it off"


def _own(p: Point, kernel: Kernel | None, ceilings: Ceilings) -> dict[str, Any]:
    compiled = None if kernel is None else kernel.variants[p.variant].compiled
    return {
        "compiled": compiled,
        "ticket_seconds": None if compiled is None else ticket_seconds(compiled),
        "ceiling_compute": ceilings.speedup("compute", p.workers),
        "ceiling_memory": ceilings.speedup("memory", p.workers),
    }


def _neighbours(p: Point, points: Sequence[Point]) -> dict[str, Any]:
    """How much lanes blocked that have no GIL to wait for, and how much more CPU those needed that share no objects."""

    def is_elsewhere(q: Point) -> bool:
        return not q.has.shares_gil and q.variant == p.variant

    inflated = _other(points, p, "inflation", lambda q: is_elsewhere(q) and not q.has.shares_memory)
    return {
        "free_blocked": None if (p.evidence or {}).get("compiled") else _free_blocked(p, points),
        "elsewhere_blocked": _other(points, p, "blocked", is_elsewhere),
        "elsewhere_inflation": None if inflated is None else max(0.0, inflated),
    }


def _throttled(stopped: float | None, p: Point, points: Sequence[Point]) -> float | None:
    """Seconds for which a quota stopped a run: those of a round, divided by how long each of its runs waited for a CPU.

    stopped: seconds per second of a round. If they were divided by the runs' lengths, much would fall on the serial
             run,
    which a quota of one CPU or more never stops.
    """
    if stopped is None:
        return None
    whole = sum(q.seconds for q in points)
    waited = sum(map(_waited, points))
    return stopped * whole * (_waited(p) / waited if waited > 0 else p.seconds / whole)


def _waited(p: Point) -> float:
    return max(0.0, (p.ledger or {}).get("runqueue", 0.0))


def _other(points: Sequence[Point], p: Point, entry: str, alike: Callable[[Point], bool]) -> float | None:
    """The share that an entry took in another point with as many workers."""
    others = (q for q in points if q is not p and q.workers == p.workers and alike(q))
    other = next(others, None)
    return None if other is None else share_of(other, entry)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

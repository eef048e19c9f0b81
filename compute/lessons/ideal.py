"""Lesson 3: N CPUs, N-fold at best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compute import machine
from compute.lessons.computing import collatz
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import enough, is_above
from compute.scaling.configurations import worker_counts
from compute.scaling.formatting import listed
from compute.scaling.formatting import ratio as in_digits
from compute.scaling.rounds import scale
from kernels.definition import numba_is_here

PARTS = 100  # a serial run takes a hundredth of a lesson's time, so that there are enough rounds
BUDGET = 0.8  # of a lesson's time: opening pools and compiling take the rest
SLACK = 1.05  # of N: other programs that slowed the serial runs make N-fold look like up to this
TOO_FEW = "there were too few rounds for intervals"
NEAR = 0.9  # of what the machine allows: if less was reached, the loss is named


def scaling_of(variant, n, **how):
    return scale(collatz, n, variants=[variant], **how)  # on threads and on processes


def measure(setting: Setting) -> Evidence:
    """What `scale` measures of a loop that holds no GIL, with 2, 4 … lanes up to the CPUs; nothing on a single CPU."""
    variant = "nogil" if numba_is_here() else "python"
    evidence = {
        "cpus": machine.usable_cpus(),
        "cores": min(len(machine.cores()), machine.usable_cpus()),
        "gil": machine.has_gil(),
        "variant": variant,
    }
    counts = [count for count in worker_counts() if count > 1]
    if not counts:
        return evidence | {"points": []}
    setting.say("compiling")
    n = enough(collatz.held_to(variant), 256, setting.seconds / PARTS)
    scaling = scaling_of(
        variant,
        n,
        workers=counts,
        budget=BUDGET * setting.seconds,
        progress=lambda done, total, label: setting.say(label),
    )
    points = [
        {
            "backend": point.backend,
            "workers": point.workers,
            "seconds": point.seconds,
            "speedup": point.speedup,
            "interval": point.speedup_ci and list(point.speedup_ci),
            "ceiling": point.ceiling,
            "attainable": point.attainable,
            "cause": point.cause,
            "verdict": point.verdict,
        }
        for point in scaling.points
    ]
    return evidence | {"n": n, "points": points, "warnings": list(scaling.warnings)}


def judge(evidence: Evidence) -> Judgement:
    points = [p for p in evidence["points"] if p["workers"] > 1 and p["speedup"] is not None]
    if evidence["cpus"] < 2 or not points:
        why = "with one usable CPU there is no N" if evidence["cpus"] < 2 else "no pool of workers could be opened"
        return Judgement(None, "nothing ran side by side", why)
    figures = [_figure(p) for p in points]
    beyond = [is_above(f, SLACK * p["workers"]) for f, p in zip(figures, points, strict=True)]
    most = max(p["workers"] for p in points)
    widest = [p for p in points if p["workers"] == most]
    ceilings = {p["workers"]: p["ceiling"] for p in points if p["ceiling"] is not None}
    figures += [Figure(f"{count} lanes: allowed by this machine", c, "×") for count, c in ceilings.items()]
    return Judgement(
        False if True in beyond else None if None in beyond else True,
        _found(widest, ceilings.get(most)),
        _why(evidence, widest, beyond),
        tuple(figures),
        (_picture(points, ceilings, evidence["variant"]),),
    )


def _figure(point: Mapping[str, Any]) -> Figure:
    interval = point["interval"] and tuple(point["interval"])
    return Figure(f"{point['workers']} {point['backend']}: speedup", point["speedup"], "×", interval)


def _found(points: Sequence[Mapping[str, Any]], ceiling: float | None) -> str:
    """`2 threads are 1.95 and 2 processes 1.93 times as fast as one core, of 1.97 that this machine allows`"""
    reached = listed([f"{p['workers']} {p['backend']} {in_digits(p['speedup'])}" for p in points])
    allowed = f", of {in_digits(ceiling)} that this machine allows" if ceiling else ""
    return f"{reached} times as fast as one core{allowed}"


def _why(evidence: Evidence, points: Sequence[Mapping[str, Any]], beyond: Sequence[bool | None]) -> str:
    """points: those with the most workers."""
    if True in beyond:
        return "more than N is no merit of N CPUs: something slowed the serial runs, or the CPUs are not alike"
    if None in beyond:
        has_intervals = all(p["interval"] for p in evidence["points"] if p["workers"] > 1)
        untold = "the rounds do not tell whether that is more than N" if has_intervals else TOO_FEW
        return f"{untold}; measure for longer"
    most, ceiling = points[0]["workers"], points[0]["ceiling"]
    if evidence["variant"] == "python":
        threads = "take turns at the GIL" if evidence["gil"] else "have no GIL to wait for"
        return f"without numba the loop is Python's, whose threads {threads}, and what the machine allows is not known"
    reasons = []
    if ceiling is not None and ceiling < NEAR * most:
        reasons.append(f"a perfect loop gets no more than {in_digits(ceiling)} here: {_narrow(evidence)}")
    losses: dict[str, list[Mapping[str, Any]]] = {}
    for p in points:
        if p["attainable"] is not None and p["attainable"] < NEAR and p["verdict"]:
            losses.setdefault(p["cause"], []).append(p)
    reasons += [f"{listed([p['backend'] for p in alike])}: {alike[0]['verdict']}" for alike in losses.values()]
    return "; ".join(reasons) or "each lane has a CPU, and no lock or memory that it shares with another"


def _narrow(evidence: Evidence) -> str:
    """What makes N CPUs less than N times one."""
    cpus, cores = evidence["cpus"], evidence["cores"]
    if cores < cpus:
        return f"{cpus} CPUs are hardware threads of {cores} core{'s' * (cores > 1)}, which they share"
    return "others use the CPUs as well, or all of them at once run at a lower clock"


def _picture(points: Sequence[Mapping[str, Any]], ceilings: Mapping[int, float], variant: str) -> Picture:
    counts = sorted({p["workers"] for p in points})
    by_place = {(p["backend"], p["workers"]): _figure(p) for p in points}
    series = []
    for backend in dict.fromkeys(p["backend"] for p in points):
        there = [by_place.get((backend, count)) for count in counts]
        values = 1.0, *(None if f is None else f.value for f in there)
        series.append(Series(backend, values, (None, *(None if f is None else f.interval for f in there))))
    if ceilings:
        series.append(Series("allowed", (1.0, *(ceilings.get(count) for count in counts))))
    series.append(Series("ideal", (1.0, *map(float, counts))))
    return Picture(
        f"Speedup of a {'loop in Python' if variant == 'python' else 'compiled loop'} by lanes,"
        f"{' what this machine allows,' if ceilings else ''} and the ideal",
        ("1", *map(str, counts)),
        tuple(series),
        "lanes",
        "speedup over one core",
        "×",
        ideal=("ideal",),
    )


LESSON = Lesson(
    3,
    "ideal",
    "N CPUs, N-fold at best",
    "N identical CPUs divide the time of CPU-bound work by N at best.",
    (collatz.variants["python"].source(), scaling_of),
    measure,
    judge,
)

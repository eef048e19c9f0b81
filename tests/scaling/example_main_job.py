"""An invented main job with all that explains it: what computes scales, what streams is held by memory, Python by the
GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from example_points import MACHINE, a_point

from compute.scaling.dataset import Point
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.verdict.judgement import judge_points

KERNELS = ("count_primes", "mandelbrot", "triad", "transpose")
STREAMS = {"triad", "transpose", "matvec"}
WAYS = ("threads", "python"), ("threads", "nogil"), ("prange", "nogil"), ("processes", "nogil"), ("joblib", "nogil")
REACHED = {"threads": 0.985, "prange": 0.975, "processes": 0.94, "joblib": 0.92, "coroutines": 0.0}  # of the ceiling
RATE = {"python": 1e6, "nogil": 1e8}  # a second, on one core


def a_main_job(
    kernels: Sequence[str] = KERNELS,
    counts: Sequence[int] = (1, 2),
    rounds: int = 9,
    noise: float = 0.004,
    ways: Sequence[tuple[str, str]] = WAYS,
    once: bool = True,
    **other: object,
) -> Scaling:
    """Every kernel in every way at every worker count; once: the first one on coroutines, too."""
    rng = np.random.default_rng(5)
    points = []
    for number, kernel in enumerate(kernels):
        for variant in dict.fromkeys(variant for _, variant in ways):
            mine = [backend for backend, v in ways if v == variant] + ["coroutines"] * (once and not number)
            for backend in ("serial", *mine):
                if (backend, variant) == ("coroutines", "python"):
                    continue
                of = (1,) if backend == "serial" else counts
                points += [_a_point(rng, kernel, variant, backend, n, rounds, noise, other) for n in of]
    compared = compare_points(points)
    return Scaling(judge_points(_explained(p) for p in compared), MACHINE)


def ceiling(kernel: str, n: int) -> float:
    return min(0.99 * n, 0.9 + 0.2 * n**0.5) if kernel in STREAMS and n > 1 else n * 0.99 ** (n > 1)


def takes_turns(backend: str, variant: str) -> bool:
    return backend == "coroutines" or (backend, variant) == ("threads", "python")


def _a_point(rng, kernel, variant, backend, n, rounds, noise, other) -> Point:  # type: ignore[no-untyped-def]
    serial = 0.04 if variant == "nogil" else 0.03
    speed = 0.98 if takes_turns(backend, variant) else ceiling(kernel, n) * REACHED.get(backend, 1.0) ** (n > 1)
    samples = serial / (1.0 if backend == "serial" else speed) * np.exp(noise * rng.standard_normal(rounds))
    about = {"kernel": kernel, "variant": variant, "size": int(RATE[variant]), "work": RATE[variant] * serial}
    return a_point(backend, n, list(samples), unit="numbers", cpu_per_wall=0.99, **{**about, **other})


def _explained(p: Point) -> Point:
    n, whole, streams = p.workers, p.workers * p.seconds, p.kernel in STREAMS
    turns = takes_turns(p.backend, p.variant) and n > 1
    lost = {"blocked": (1 - 1 / n) * whole} if turns else {}
    useful = whole / n * (p.speedup or 1.0) if not turns else whole / n
    names = ("useful", "inflation", "blocked", "runqueue", "idle", "startup", "transfer", "serial", "unexplained")
    ledger = {name: lost.get(name, 0.0) for name in names} | {"useful": useful}
    ledger["inflation" if streams else "startup"] = whole - sum(ledger.values())
    allowed = ceiling(p.kernel, n)
    return replace(
        p,
        ceiling=allowed,
        attainable=p.speedup / allowed if p.speedup is not None else None,
        memory_share=1.0 if streams else 0.0,
        ledger=ledger,
        processes=n if p.backend in ("processes", "joblib") else 1,
        details={"voluntary": 9.0, **({"gil": 0.98} if turns and p.variant == "python" else {})},
        chunks=64,
        mode=p.mode or "strong",
        evidence={
            "compiled": p.variant == "nogil",
            "has_gil": True,
            "cpus": 64,
            "cpus_shared": 64,
            "ceiling_compute": 0.99 * n if n > 1 else 1.0,
            "ceiling_memory": ceiling("triad", n),
            "elsewhere_blocked": 0.001,
        },
    )

"""Invented results with known truth, for tests of everything that is a function of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compute.scaling.dataset import Point
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.timeline import SPAN, LaneTotals, Timeline

MACHINE = {"cpus": 2, "model": "Invented 9000", "python": "3.14.0", "numpy": "2.4.0", "numba": "0.68.0"}
TRIAL = {"size": 10**6, "mode": "strong", "arguments": None, "variants": ["nogil"]}  # of a condition
EFFICIENT = {"threads": 0.98, "prange": 0.97, "processes": 0.95, "joblib": 0.93, "coroutines": None}


def a_point(backend: str = "serial", workers: int = 1, samples: Sequence[float] = (1.0,) * 6, **other: object) -> Point:
    """A Point of samples only, as `scale` hands it to `compared`."""
    about: dict[str, object] = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "unit": "iterations"}
    return Point(backend=backend, workers=workers, samples=tuple(samples), seconds=samples[0], **{**about, **other})  # type: ignore[arg-type]


def a_scaling(
    counts: Sequence[int] = (1, 2), kernels: Sequence[str] = ("count_primes", "mandelbrot"), rounds: int = 12
) -> Scaling:
    """Every backend, both variants: nogil scales by EFFICIENT, python by turns on threads and coroutines."""
    rng = np.random.default_rng(7)
    points = []
    for number, kernel in enumerate(kernels):
        for variant, serial in ("nogil", 0.05 * (number + 1)), ("python", 4.0):
            about = {"kernel": kernel, "variant": variant, "size": 10**6, "work": 1e7, "unit": "numbers"}
            points.append(a_point("serial", 1, _around(rng, serial, rounds), cpu_per_wall=0.99, **about))
            for backend, efficiency in EFFICIENT.items():
                if (backend, variant) == ("prange", "python"):
                    continue
                turns = efficiency is None or (backend, variant) == ("threads", "python")
                for n in counts:
                    speed = 0.98 if turns else n * (efficiency or 1) ** (n - 1) ** 0.5
                    cpu = 1 / n if turns else 0.985
                    points.append(
                        a_point(
                            backend,
                            n,
                            _around(rng, serial / speed, rounds),
                            cpu_per_wall=cpu,
                            processes=1 if backend != "processes" else n,
                            **about,
                        )
                    )
    return Scaling(
        compare_points(points),
        MACHINE,
        ("one thing that a reader must know, told at such a length that it has to be folded",),
    )


LOSSES = {  # parts of N × T at the most workers; the rest is useful
    "threads": {"idle": 0.012, "startup": 0.004, "unexplained": 0.004},
    "prange": {"inflation": -0.02, "idle": 0.03, "startup": 0.012, "unexplained": 0.004},
    "processes": {"inflation": 0.01, "idle": 0.02, "startup": 0.012, "transfer": 0.003, "unexplained": -0.002},
    "joblib": {"inflation": 0.02, "runqueue": 0.02, "startup": 0.01, "transfer": 0.012, "unexplained": 0.004},
    "coroutines": {"blocked": 0.49, "startup": 0.01, "serial": 0.01, "unexplained": 0.003},
}
TURNS = {"blocked": 0.482, "runqueue": 0.013, "startup": 0.002, "unexplained": 0.003}
FINE = "98 % of attainable: nothing wrong"
TROUBLED = (
    "blocked 48 % of core-seconds, the nogil variant 1 %: consistent with the GIL; use a compiled or nogil kernel"
)


def explained(scaling: Scaling | None = None) -> Scaling:
    """The same points with all that explains them: ceiling, ledger, efficiencies, verdict, laws, conditions."""
    scaling = scaling or a_scaling()
    return replace(
        scaling,
        points=tuple(_explained(p) for p in scaling.points),
        laws=tuple(_law(p) for p in scaling.points if p.workers == max(q.workers for q in scaling.points)),
        conditions=tuple(
            {"kernel": kernel, "variant": "nogil", **TRIAL, "round": n, "steal": 0.0, "throttled": 0.0, "load": 2.1,
             "others": (0.8 + n / 100) * (n < 3), "marked": f"other processes used 0.8{n} of 2 CPUs" if n < 3 else None}
            for kernel in dict.fromkeys(p.kernel for p in scaling.points)
            for n in range(12)
        ),
        harness={"timer_resolution": 7e-8, "overhead": 31e-6},
    )  # fmt: skip


def _explained(p: Point) -> Point:
    turns = p.cpu_per_wall is not None and p.cpu_per_wall < 0.8
    losses = TURNS if turns and p.backend == "threads" else LOSSES.get(p.backend, {})
    most = p.workers > 1
    losses = {name: part * (1 if most else 0.2) for name, part in losses.items()}
    whole = p.workers * p.seconds
    names = ("useful", "inflation", "blocked", "runqueue", "idle", "startup", "transfer", "serial", "unexplained")
    ledger = {name: losses.get(name, 0.0) * whole for name in names}
    ledger["useful"] = whole - sum(ledger.values())
    ceiling = p.workers * 0.975 ** (p.workers > 1)
    parallel = 0.5 if turns and most else 0.985
    return replace(
        p,
        ceiling=ceiling,
        attainable=(p.speedup or 0.0) / ceiling,
        memory_share=0.0,
        ledger=ledger,
        unknown=("runqueue",) if p.backend == "prange" else (),
        efficiencies={"global": parallel * 0.99, "parallel": parallel, "load_balance": 0.995,
                      "communication": parallel / 0.995, "computation": 0.99},
        details={"voluntary": 12.0, "involuntary": 3.0, "faults": 120.0, "nested": 0.0},
        chunks=64,
        chunk_seconds=p.seconds / 64,
        pinned=tuple(range(p.workers)),
        cause=None if p.backend == "serial" else "gil" if turns else "none",
        verdict=None if p.backend == "serial" else TROUBLED if turns else FINE,
        contaminated=3 if p.variant == "nogil" else 0,
        mode="strong",
    )  # fmt: skip


def _law(p: Point) -> dict[str, object]:
    return {
        "kernel": p.kernel, "size": p.size, "variant": p.variant, "backend": p.backend,
        "sentences": ["Amdahl: serial fraction 1.1 % [0.8, 1.4].", "USL: not identifiable from 2 worker counts."],
    }  # fmt: skip


def _around(rng: np.random.Generator, seconds: float, rounds: int) -> list[float]:
    return list(seconds * np.exp(0.01 * rng.standard_normal(rounds)))


def a_timeline(chunks=6, lanes=2):
    """Chunks of 10 ms, taken by turns, of which a tenth is off the CPU; lane 1 begins 1 ms later. It began at 100 s."""
    spans = np.zeros(chunks, SPAN)
    spans["chunk"] = np.arange(chunks)
    spans["lane"] = spans["chunk"] % lanes
    spans["start"] = 100.0 + spans["chunk"] // lanes * 0.01 + 0.001 * spans["lane"]
    spans["stop"], spans["cpu"] = spans["start"] + 0.01, 0.009
    totals = []
    for lane in range(lanes):
        own = spans[spans["lane"] == lane]
        totals.append(
            LaneTotals(lane, 4000 + lane, 5000 + lane, len(own), own["start"][0], own["stop"][-1], own["cpu"].sum())
        )
    sections = {"plan": 0.002, "transfer": 0.003, "dispatch": float(spans["stop"].max()) - 100, "finish": 0.001}
    return Timeline(spans, tuple(totals), sections, ("something was mended",), dispatched=100.0)

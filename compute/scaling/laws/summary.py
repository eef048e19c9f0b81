"""`fit_laws`: what the points of a configuration say about more workers, as figures.

The laws use times, and the replay (simulation.py) uses chunks. Each knows what the other does not, so a projection has
both. A figure that the points do not determine is NOT_IDENTIFIABLE, never a guess. compute.scaling.laws.prospects makes
sentences of all this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute.scaling.dataset import Point
from compute.scaling.derive import ONE_WORKER
from compute.scaling.laws import fitting, models, simulation
from compute.scaling.laws.models import NOT_IDENTIFIABLE, Timings
from compute.scaling.ledger import DISPATCHING
from compute.traits import SERIAL

STARTING = [entry for entry in DISPATCHING if entry != "transfer"]  # that is among the sections, which are counted once

FURTHER = (2, 4, 8, 16, 32, 64)  # times the most workers measured

PointKey = tuple[object, ...]
Seconds = Sequence[float] | np.ndarray[Any, Any]


def point_key(p: Point) -> PointKey:
    """The key under which `fit_laws` looks for a point's chunk seconds."""
    return p.configuration


def fit_laws(
    points: Iterable[Point],
    *,
    chunk_seconds: Mapping[PointKey, Seconds] | None = None,
    cpus: int | None = None,
    roof: float | None = None,
    ticket: float = simulation.ALONE,
    contended: float = simulation.CONTENDED,
) -> tuple[Mapping[str, Any], ...]:
    """One mapping, plain enough for JSON, for each configuration of two worker counts or more.

    chunk_seconds: CPU seconds of a run's chunks in ticket order, by `point_key`, as far as they were recorded; the
                   fewest workers' are replayed, because those were slowed least by others.
    cpus:          counts above it share CPUs and say nothing about more of them: they are left out.
    roof:          how many lanes' worth of streaming the memory allows, however many lanes there are; for the replay.
    ticket, contended: seconds, for the replay.

    Speedups are against Serial where it was measured, else one worker, as in Point. Serial fractions, contention and
    Karp–Flatt are against one worker of the same backend (Serial where that is missing), so that what a backend costs
    one worker is not read as a serial fraction. In mode "weak" times are of a unit of work: seconds / workers.
    Every figure x has x_ci, its 95 % interval; None in it, or for x, means without bound.

    kernel, size, variant, backend, mode, arguments, baseline
    counts:     the worker counts that were used; rounds: how many
    karp_flatt: [[N, e], …] for N above 1
    trend:      "flat": a serial fraction; "rising": overhead or imbalance; "falling": a cost that two workers pay
                already; else "not identifiable". rise: what e rose by, as a share of N × T at the most workers
    amdahl, gustafson: {serial_fraction, seconds: of one worker, limit: the speedup of ever more workers, tested:
                whether there are counts enough to contradict it} or "not identifiable". Two counts determine it.
                amdahl is None in mode "weak", gustafson in mode "strong"
    usl:        {alpha, beta, gamma: runs a second of one worker, roof: γ/α, best_workers: √((1 − α)/β), best_speedup,
                overhead: [[N, work, contention, coherency], …] as shares of N × T} or "not identifiable"
    law:        what was projected with: "usl", else "amdahl" or "gustafson", else None
    projection: [{workers, speedup, low, high, simulated, idle, bounds}, …] at FURTHER times the most workers; None
                where no law is identifiable, and for what was not simulated: without chunks, and in mode "weak". idle:
                the share of core-seconds of the replay in which lanes found no chunk left. bounds: the speedup that
                each thing alone allows (simulation.bounds)
    replayed:   [[N, speedup], …]: the replay of the measured counts
    left_out:   the counts above `cpus`, and cpus
    chunks:     how many were replayed, of a run on chunks_of workers; both None without chunks
    """
    points = list(points)
    serial = {(*p.group, p.variant, p.mode, p.arguments): p for p in points if p.backend == SERIAL}
    groups: dict[tuple[Any, ...], dict[int, Point]] = {}
    for p in points:
        if p.backend != SERIAL:
            groups.setdefault((*p.group, p.variant, p.mode, p.arguments, p.backend), {})[p.workers] = p
    fitted = []
    for (*work, _), by_workers in groups.items():
        left_out = [n for n in sorted(by_workers) if cpus is not None and n > cpus]
        own = {n: p for n, p in by_workers.items() if n not in left_out}
        group = _PointsByWorkers.from_points(own, serial.get(tuple(work)))
        if group is not None:
            replays = _Replays.from_chunks(group, chunk_seconds or {}, roof, ticket, contended)
            fitted.append(_laws(group, replays, left_out, cpus))
    return tuple(fitted)


@dataclass(frozen=True, eq=False)
class _PointsByWorkers:
    """The points of one configuration by worker count, from 1 on, and what was measured of them."""

    points: Mapping[int, Point]
    serial: Point | None
    timings: Timings

    @classmethod
    def from_points(cls, own: Mapping[int, Point], serial: Point | None) -> _PointsByWorkers | None:
        """None where there is nothing to compare: one worker count, no time of one worker, or hardly any work."""
        points = dict(own)
        if serial is not None:
            points.setdefault(1, serial)
        if 1 not in points or len(points) < 2 or _is_mostly_overhead(points[max(points)]):
            return None
        points = {n: points[n] for n in sorted(points)}
        samples = [p.samples for p in points.values()] + [(serial or points[1]).samples]
        drawn = fitting.draw(samples)
        counts, weak = np.array(list(points), np.float64), points[max(points)].mode == "weak"
        times = drawn[:, :-1] / counts if weak else drawn[:, :-1]
        return cls(points, serial, Timings(counts, times, drawn[:, -1], min(map(len, samples)), weak))

    @property
    def largest(self) -> Point:
        return self.points[max(self.points)]


def _is_mostly_overhead(p: Point) -> bool:
    """Whether a run took longer to dispatch than to compute. A law of it would be one of dispatching."""
    spent = p.ledger or {}
    return sum(spent.get(name, 0.0) for name in (*DISPATCHING, "serial")) > spent.get("useful", math.inf)


@dataclass(frozen=True, eq=False)
class _Replays:
    """The chunks to replay, of a run on this many workers, and what slows them (the parameters of simulation)."""

    chunks: Seconds
    workers: int
    ticket: float
    slowed_by: Mapping[str, float]

    @classmethod
    def from_chunks(
        cls,
        group: _PointsByWorkers,
        recorded: Mapping[PointKey, Seconds],
        roof: float | None,
        ticket: float,
        contended: float,
    ) -> _Replays | None:
        """None where no chunks were recorded, and in weak scaling: how the grid grows with the work is not known."""
        sources = [group.points[1], *filter(None, [group.serial]), *group.points.values()]
        source = next((p for p in sources if np.sum(recorded.get(point_key(p), 0.0)) > 0), None)
        if source is None or group.timings.weak:
            return None
        last = group.largest
        slowed_by = {
            "contended": contended,
            "memory_share": (last.memory_share or 0.0) if roof else 0.0,
            "roof": roof or math.inf,
            "startup": sum(max((last.ledger or {}).get(name, 0.0), 0.0) for name in STARTING) / last.workers,
            "serial": sum((last.sections or {}).get(name, 0.0) for name in ("plan", "transfer", "finish")),
        }
        return cls(recorded[point_key(source)], source.workers, ticket, slowed_by)

    def run_on(self, workers: int) -> simulation.Replay:
        return simulation.replay(self.chunks, workers, ticket=self.ticket, **self.slowed_by)

    def bounds(self, workers: int) -> Mapping[str, float]:
        return simulation.bounds(self.chunks, workers, **self.slowed_by)


def _laws(
    group: _PointsByWorkers, replays: _Replays | None, left_out: Sequence[int], cpus: int | None
) -> Mapping[str, Any]:
    """The mapping of one group."""
    p, timings = group.largest, group.timings
    counts = list(group.points)
    other = "gustafson" if timings.weak else "amdahl"
    fitted = {"usl": models.usl(timings), other: (models.gustafson if timings.weak else models.amdahl)(timings)}
    law, model = next(((name, m) for name, m in fitted.items() if m), (None, None))
    trend, rise = models.trend(timings)
    e = fitting.karp_flatt(timings.counts, timings.times)[0].tolist()
    return {
        "kernel": p.kernel,
        "size": p.size,
        "variant": p.variant,
        "backend": p.backend,
        "mode": p.mode or "strong",
        "arguments": p.arguments,
        "baseline": SERIAL if group.serial else ONE_WORKER,
        "counts": counts,
        "rounds": timings.rounds,
        "karp_flatt": [list(pair) for pair in zip(counts[1:], e, strict=True)],
        "trend": trend,
        **models.with_ci("rise", rise),
        "amdahl": None,
        "gustafson": None,
        **{name: m.figures if m else NOT_IDENTIFIABLE for name, m in fitted.items()},
        "law": law,
        "projection": _projection([counts[-1] * times for times in FURTHER], model, replays),
        "replayed": [[n, replays.run_on(n).speedup] for n in counts] if replays else [],
        "left_out": list(left_out),
        "cpus": cpus,
        "chunks": len(replays.chunks) if replays else None,
        "chunks_of": replays.workers if replays else None,
    }


def _projection(further: Sequence[int], model: models.Model | None, replays: _Replays | None) -> list[dict[str, Any]]:
    if not model and not replays:
        return []
    none: tuple[float | None, ...] = (None, None, None)
    drawn = model.speedups(np.array(further, np.float64)).T if model else [None] * len(further)
    speedups = [none if column is None else tuple(fitting.estimate(column)) for column in drawn]
    runs = [replays.run_on(n) if replays else None for n in further]
    return [
        {
            "workers": n,
            "speedup": speedup,
            "low": low,
            "high": high,
            "simulated": run.speedup if run else None,
            "idle": run.idle / (run.workers * run.seconds) if run else None,
            "bounds": dict(replays.bounds(n)) if replays else None,
        }
        for n, (speedup, low, high), run in zip(further, speedups, runs, strict=True)
    ]

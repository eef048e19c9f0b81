"""From samples to Points: every figure that follows from the samples of a run and of its baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from compute.scaling import statistics
from compute.scaling.dataset import Point
from compute.scaling.statistics import Interval
from compute.traits import SERIAL

ONE_WORKER = "one worker"


def compare_points(points: Iterable[Point], *, paired: bool = True) -> tuple[Point, ...]:
    """The points with seconds, rate, speedup, intervals and efficiency worked out from their samples.

    The baseline of a point is the same kernel, size, arguments and variant on Serial; where that was not measured, one
    worker of the same backend; else the speedup stays None. paired: sample i of every point comes from round i, and the
    speedup is the median of the rounds' own ratios; else it is the ratio of the two medians.
    """
    points = tuple(points)
    baselines = Baselines(points)
    return tuple(_with_figures(p, *baselines.of(p), paired) for p in points)


class Baselines:
    """The baseline of each of these points: of the same kernel, size, arguments, variant, mode and file."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._alone = {(*_work(p), p.backend): p for p in points if p.workers == 1}

    def of(self, p: Point) -> tuple[str | None, Point | None]:
        """What a point's baseline is called, and the baseline; (None, None) where it was not measured."""
        for called, backend in (SERIAL, SERIAL), (ONE_WORKER, p.backend):
            if alone := self._alone.get((*_work(p), backend)):
                return called, alone
        return None, None


def _work(p: Point) -> tuple[object, ...]:
    return *p.group, p.variant, p.mode, p.file, p.arguments


def baseline_seconds(p: Point, baseline: Point) -> list[float]:
    """What the baseline's runs would take for as much work as p does: in weak scaling N workers do more than one."""
    times = p.work / baseline.work if p.mode == "weak" and p.work and baseline.work else 1.0
    return [times * sample for sample in baseline.samples]


def speedup(p: Point, baseline: Point, paired: bool) -> tuple[float, Interval | None]:
    """How many times as fast as its baseline a point is, with a 95 % interval; paired: as in `compare_points`."""
    ratio = statistics.paired_ratio if paired else statistics.ratio_of_medians
    return ratio(baseline_seconds(p, baseline), p.samples)


def _with_figures(p: Point, called: str | None, baseline: Point | None, paired: bool) -> Point:
    seconds = statistics.median(p.samples)
    p = replace(
        p,
        seconds=seconds,
        seconds_ci=statistics.median_interval(p.samples),
        rounds=len(p.samples),
        rate=p.work / seconds if p.work else None,
        baseline=called,
    )
    if baseline is None:
        return p
    # A point compared with itself is 1 in every round, even where samples of different points do not pair.
    value, interval = speedup(p, baseline, paired or baseline.samples == p.samples)
    return replace(p, speedup=value, speedup_ci=interval, efficiency=value / p.workers)

"""The speedup that a point of a file reached, with its interval at any level, worked out from the samples."""

from __future__ import annotations

from compute.scaling import derive, statistics
from compute.scaling.dataset import Point
from compute.scaling.derive import Baselines
from compute.scaling.statistics import LEVEL, Interval


def speedup(p: Point, baselines: Baselines, level: float = LEVEL) -> tuple[float, Interval | None] | None:
    """Its speedup over its baseline in the same file; None where the file holds no baseline, or it is one itself."""
    _, baseline = baselines.of(p)
    if baseline is None or baseline is p:
        return None
    above = derive.baseline_seconds(p, baseline)
    interval = None
    # Rounds pair in nfold's own measurements alone, and those name their mode.
    if p.mode is not None and len(above) == len(p.samples):
        ratio, interval = statistics.paired_ratio(above, p.samples, level)
    if interval is None:  # ranks over all pairs reach levels that the rounds' own ratios are too few for
        ratio, interval = statistics.ratio_over_pairs(above, p.samples, level)
    return ratio, interval


def is_judged(p: Point, baselines: Baselines) -> bool:
    """Whether it can have an efficiency at all: a baseline cannot, whose speedup is 1 by definition."""
    return not p.is_serial and not (p.workers == 1 and baselines.of(p)[1] is p)

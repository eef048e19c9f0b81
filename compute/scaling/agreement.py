"""Whether a results file contradicts itself. Pure functions: each returns the first contradiction in words, or None.

Most figures of a point follow from others. In a file that was edited, merged by hand or written by another program they
may not, and nobody could tell which of them is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compute.scaling import derive, statistics
from compute.scaling.dataset import Dataset, Point

NEAR = 1e-6  # of a figure: programs that write fewer digits than nfold write at least six
TRIAL = "size", "mode", "arguments", "variants"  # with the kernel, what tells a condition's trial from others
MOST_WORKERS = 2**22  # the most tasks that Linux can have


def of_point(p: Point) -> str | None:
    """What of a point's figures does not follow from its others."""
    return next(_of_point(p), None)


def of_dataset(dataset: Dataset) -> str | None:
    """What of a file's points does not follow from its other points and from what its rounds met."""
    return next(_of_dataset(dataset), None)


def _of_point(p: Point) -> Iterator[str]:
    if p.workers > MOST_WORKERS:
        yield f"'workers' is {p.workers}, more than any system runs"
    if p.rounds is not None and p.rounds != len(p.samples):
        yield f"'rounds' is {p.rounds}, and there are {len(p.samples)} 'samples'"
    if (p.contaminated or 0) > len(p.samples):
        yield f"'contaminated' is {p.contaminated}, and there are {len(p.samples)} 'samples'"
    for name, says, follows, of in (
        ("seconds", p.seconds, statistics.median(p.samples), "the median of 'samples'"),
        ("rate", p.rate, p.work and p.work / p.seconds, "'work' over 'seconds'"),
        ("efficiency", p.efficiency, p.speedup and p.speedup / p.workers, "'speedup' over 'workers'"),
        ("attainable", p.attainable, p.speedup and p.ceiling and p.speedup / p.ceiling, "'speedup' over 'ceiling'"),
    ):
        if says is not None and follows is not None and not _near(says, follows):
            yield f"{name!r} is {says:.6g}, and {of} is {follows:.6g}"
    if p.controls and p.memory_share is None:
        yield "'controls' are there without 'memory_share', which says how much of them a run should take"
    for name, value, interval in (
        ("seconds", p.seconds, p.seconds_ci),
        ("speedup", p.speedup, p.speedup_ci),
    ):
        if interval and value is not None and not interval[0] * (1 - NEAR) <= value <= interval[1] * (1 + NEAR):
            yield f"'{name}_ci' is {_pair(interval)}, which does not hold {name!r}, {value:.6g}"
    if p.ledger and not math.isclose(total := sum(p.ledger.values()), whole := p.workers * p.seconds, rel_tol=0.01):
        yield f"'ledger' sums to {total:.6g}, and 'workers' times 'seconds' is {whole:.6g}"


def _of_dataset(dataset: Dataset) -> Iterator[str]:
    baselines = derive.Baselines(dataset.points)
    seen: dict[tuple[Any, ...], int] = {}
    for number, p in enumerate(dataset.points, 1):
        if (key := p.configuration) in seen:
            yield f"points {seen[key]} and {number} are both of {p.name}"
        seen[key] = number
        _, baseline = baselines.of(p)
        # Only nfold writes evidence. What others call a speedup may be of something else.
        if p.speedup is not None and baseline is not None and p.evidence is not None:
            ways = (True, False) if len(p.samples) == len(baseline.samples) else (False,)
            possible = [derive.speedup(p, baseline, paired)[0] for paired in ways]
            if not any(_near(p.speedup, speedup) for speedup in possible):
                yield f"'speedup' of point {number} is {p.speedup:.6g}, and its samples make it {possible[0]:.6g}"
    gauged: dict[tuple[Any, ...], list[int]] = {}
    for number, p in enumerate(dataset.points, 1):
        gauged.setdefault((p.title, p.size, p.variant, p.mode, p.arguments, bool(p.controls)), []).append(number)
    for (*trial, has), numbers in gauged.items():
        if has and (*trial, False) in gauged:
            yield f"point {numbers[0]} has 'controls', and others of the same rounds have none"
    yield from _of_rounds(dataset)


def _of_rounds(dataset: Dataset) -> Iterator[str]:
    """Rounds of a trial against each of its points: each round stands once, with what it met.

    Only conditions that say of which trial they are can contradict a point: files of before do not.
    """
    met: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for condition in dataset.conditions:
        if all(name in condition for name in TRIAL) and condition["variants"]:
            of = (condition.get("file"), condition.get("kernel"), *(condition[name] for name in TRIAL[:-1]))
            met.setdefault((*of, tuple(condition["variants"])), []).append(condition)
    for (*about, variants), rounds in met.items():
        marked = sum(condition.get("marked") is not None for condition in rounds)
        mine = (p for p in dataset.points if p.variant in variants)
        for p in (p for p in mine if [p.file, p.kernel, p.size, p.mode, p.arguments] == about):
            if len(rounds) > len(p.samples):
                yield f"'conditions' has {len(rounds)} rounds of {p.kernel}, and its points have {len(p.samples)}"
            if marked != (p.contaminated or 0):
                yield (
                    f"'conditions' has {marked} disturbed rounds of {p.kernel}, and its points have"
                    f" {p.contaminated or 0}"
                )


def _near(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=NEAR)


def _pair(interval: Sequence[float]) -> str:
    return f"[{interval[0]:.6g}, {interval[1]:.6g}]"

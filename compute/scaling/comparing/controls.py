"""How much longer a run should take in one file than in another, by the gauges that ran beside it in both."""

from __future__ import annotations

from compute.scaling.dataset import Point
from compute.scaling.statistics import Interval, divide_with_interval

Ratio = tuple[float, Interval]

IGNORED = 0.01  # of a run: the control of a smaller part may be missing


def expected_ratio(before: Point, after: Point) -> Ratio | None:
    """after's seconds over before's, as the controls foretell it, with its 95 % interval; None where they cannot.

    A run is limited by computing and by memory, as its memory_share says, and by waits, which no machine shortens.
    """
    parts = _parts(before)
    ratios = {kind: _control_ratio(before, after, kind) for kind, part in parts.items() if part > IGNORED}
    known = {kind: ratio for kind, ratio in ratios.items() if ratio is not None}
    if len(known) < len(ratios):
        return None
    whole = sum(parts[kind] for kind in known) or 1.0
    waits = min(max((before.evidence or {}).get("waits") or 0.0, 0.0), 1.0)

    def mixed(of: dict[str, float]) -> float:
        return waits + (1 - waits) * sum(parts[kind] / whole * of[kind] for kind in of)

    value, low, high = (
        mixed(dict(zip(known, column, strict=True)))
        for column in zip(*((ratio, *interval) for ratio, interval in known.values()), strict=True)
    )
    return value, (low, high)


def _parts(p: Point) -> dict[str, float]:
    """The parts of its time, on as many lanes as it has, for which it computes and streams memory."""
    share = min(max(p.memory_share or 0.0, 0.0), 1.0)
    evidence = p.evidence or {}
    compute = (1 - share) / (evidence.get("ceiling_compute") or 1.0)
    memory = share / (evidence.get("ceiling_memory") or 1.0)
    return {"compute": compute / (compute + memory), "memory": memory / (compute + memory)}


def _control_ratio(before: Point, after: Point, kind: str) -> Ratio | None:
    """The control's seconds after over those before; None where a file has no interval of it."""
    ends = []
    for p in (before, after):
        known = p.controls or {}
        low, middle, high = (known.get(f"{kind}{end}") for end in ("_low", "", "_high"))
        if low is None or middle is None or high is None or not low <= middle <= high:
            return None
        ends.append((middle, (low, high)))
    (earlier, earlier_ends), (later, later_ends) = ends
    return divide_with_interval(later, later_ends, earlier, earlier_ends)

"""What a results file keeps of a run's timeline: enough to draw it lane by lane, and small. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from compute.timeline import SPAN, LaneTotals, Timeline

MOST_SPANS = 128  # of one run: a picture a thousand pixels wide shows no more, and a file of thirty runs stays small
DIGITS = 7  # of a second: a tenth of a microsecond, less than what recording a chunk takes

SECTIONS = ("plan", "transfer", "dispatch", "finish")
LANE = ("lane", "start", "stop", "cpu", "queued", "loading", "chunks")  # what stands in a row of `lanes`
SPANS = ("lane", "start", "stop", "cpu", "chunk", "chunks")  # what stands in a row of `spans`


def keep(timeline: Timeline, seconds: float) -> dict[str, Any]:
    """A run of that many seconds as plain data; times are seconds after the lanes were called.

    sections: seconds of the caller, by SECTIONS. lanes: a row a lane, by LANE; queued is None where it is not known.
    spans:    rows by SPANS, in the order of lanes and times; chunks that one lane ran in a row are one of them where
              there would be more than MOST_SPANS. Empty where the run recorded none.
    """
    zero = timeline.dispatched
    return {
        "seconds": round(seconds, DIGITS),
        "sections": {name: round(timeline.sections.get(name, 0.0), DIGITS) for name in SECTIONS},
        "lanes": [_lane(lane, zero) for lane in timeline.lanes],
        "spans": _spans(timeline.spans, zero),
    }


def _lane(lane: LaneTotals, zero: float) -> list[float | None]:
    queued = None if lane.queued is None else round(lane.queued, DIGITS)
    times = [round(t, DIGITS) for t in (lane.start - zero, lane.stop - zero, lane.cpu)]
    return [lane.lane, *times, queued, round(lane.loading, DIGITS), lane.chunks]


def _spans(spans: np.ndarray[Any, Any], zero: float) -> list[list[float]]:
    by_lane = [spans[spans["lane"] == lane] for lane in np.unique(spans["lane"])]
    most = max(1, MOST_SPANS // max(len(by_lane), 1))
    return [row for own in by_lane for row in _merged(own[np.argsort(own["start"], kind="stable")], most, zero)]


def _merged(own: np.ndarray[Any, Any], most: int, zero: float) -> list[list[float]]:
    """One lane's chunks in at most so many rows."""
    assert own.dtype == SPAN
    ends = np.linspace(0, len(own), min(most, len(own)) + 1).astype(int)
    return [
        [
            int(own["lane"][a]),
            round(float(own["start"][a]) - zero, DIGITS),
            round(float(own["stop"][b - 1]) - zero, DIGITS),
            round(float(own["cpu"][a:b].sum()), DIGITS),
            int(own["chunk"][a]),
            int(b - a),
        ]
        for a, b in pairwise(ends)
    ]


def holds(kept: Any) -> bool:
    """Whether this is what `keep` makes: every number that a picture needs is there, and is one."""
    if not (isinstance(kept, dict) and _is_number(kept.get("seconds"))):
        return False
    sections, lanes, spans = (kept.get(name) for name in ("sections", "lanes", "spans"))
    if not (isinstance(sections, dict) and isinstance(lanes, list) and isinstance(spans, list)):
        return False
    return (
        all(map(_is_number, sections.values()))
        and all(_is_row(row, len(LANE), may_miss=LANE.index("queued")) for row in lanes)
        and all(_is_row(row, len(SPANS)) for row in spans)
    )


def _is_row(row: Any, length: int, may_miss: int = -1) -> bool:
    return (
        isinstance(row, list)
        and len(row) == length
        and all(_is_number(value) or (value is None and k == may_miss) for k, value in enumerate(row))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def lanes_of(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `lanes`, each by name."""
    return [dict(zip(LANE, row, strict=True)) for row in kept["lanes"]]


def spans_of(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `spans`, each by name."""
    return [dict(zip(SPANS, row, strict=True)) for row in kept["spans"]]

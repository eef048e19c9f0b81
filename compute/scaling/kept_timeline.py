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
COUNTS = ("lane", "chunk", "chunks")  # whole numbers, the others are seconds
LONGEST = 1e12  # the largest count, or time in seconds, that is believed: nothing larger could be drawn


def keep(timeline: Timeline, seconds: float) -> dict[str, Any]:
    """A run of that many seconds as plain data; times are seconds after the lanes were called.

    sections: seconds of the caller, by SECTIONS. lanes: a row a lane, by LANE; queued is None where it is not known.
    spans:    rows by SPANS, in the order of lanes and times. Where there would be more than MOST_SPANS, several chunks
              that a lane ran one after the other share a row. Empty where the run recorded none.
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
    """Whether this has the form of what `keep` makes: every number that a picture needs is there, and can be drawn."""
    if not (isinstance(kept, dict) and _is_time(kept.get("seconds"))):
        return False
    sections, lanes, spans = (kept.get(name) for name in ("sections", "lanes", "spans"))
    if not (isinstance(sections, dict) and isinstance(lanes, list) and isinstance(spans, list)):
        return False
    return (
        all(_is_time(sections.get(name)) for name in SECTIONS)
        and all(_is_row(row, LANE) for row in lanes)
        and all(_is_row(row, SPANS) for row in spans)
    )


def _is_row(row: Any, names: tuple[str, ...]) -> bool:
    return (
        isinstance(row, list)
        and len(row) == len(names)
        and all(
            (_is_time(value) and (name not in COUNTS or isinstance(value, int))) or (value is None and name == "queued")
            for name, value in zip(names, row, strict=True)
        )
    )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LONGEST


def lanes_of(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `lanes`, each by name."""
    return [dict(zip(LANE, row, strict=True)) for row in kept["lanes"]]


def spans_of(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `spans`, each by name."""
    return [dict(zip(SPANS, row, strict=True)) for row in kept["spans"]]

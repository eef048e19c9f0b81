"""A timeline in Chrome's trace format, which Perfetto (ui.perfetto.dev), chrome://tracing and speedscope open.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: events as JSON objects, times in
microseconds; ph "X" is a slice with a duration, "M" a name for a track, "i" a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compute.timeline import LaneTotals, Timeline

CALLER = 1  # the process number of the caller's track; each process of lanes is a further one
BEFORE, AFTER = ("plan", "transfer", "dispatch"), ("finish",)  # the caller's sections, in the order of time


def trace(timeline: Timeline) -> dict[str, Any]:
    """The JSON object of a trace: a track for the caller's sections, and one a lane, named by its process and thread.

    A lane's slices are its start-up, its chunks (all of them as one where the run recorded none) and its idle end. A
    chunk's args hold its CPU time, and the time it was off the CPU. Time 0 is where the caller began to plan.
    """
    zero = timeline.dispatched - sum(timeline.sections.get(name, 0.0) for name in BEFORE[:2])
    events = [*_names(timeline), *_caller(timeline), *_lanes(timeline)]
    return {
        "traceEvents": [_timed(event, zero) for event in events],
        "displayTimeUnit": "ms",
        "otherData": {"events": list(timeline.events)},
    }


def _timed(event: dict[str, Any], zero: float) -> dict[str, Any]:
    """The event with its seconds as microseconds after zero."""
    if "start" not in event:
        return event
    start, stop = event.pop("start"), event.pop("stop")
    return event | {"ts": round((start - zero) * 1e6, 3), "dur": round(max(stop - start, 0.0) * 1e6, 3)}


def _slice(
    own: tuple[int, int], name: str, kind: str, start: float, stop: float, args: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """A slice on the track `own` (its process and thread numbers) from start to stop."""
    about = {"name": name, "cat": kind, "ph": "X", "pid": own[0], "tid": own[1], "start": start, "stop": stop}
    return about | ({"args": dict(args)} if args else {})


def _processes(timeline: Timeline) -> dict[int, int]:
    """The processes of the lanes -> their numbers in the trace."""
    return {process: CALLER + k for k, process in enumerate(dict.fromkeys(x.process for x in timeline.lanes), 1)}


def _names(timeline: Timeline) -> Iterator[dict[str, Any]]:
    numbers = _processes(timeline)
    named = [(CALLER, "caller")] + [(number, f"lanes of process {process}") for process, number in numbers.items()]
    for number, name in named:
        yield {"name": "process_name", "ph": "M", "pid": number, "tid": 0, "args": {"name": name}}
        yield {"name": "process_sort_index", "ph": "M", "pid": number, "tid": 0, "args": {"sort_index": number}}
    yield {"name": "thread_name", "ph": "M", "pid": CALLER, "tid": 0, "args": {"name": "sections"}}
    for lane in timeline.lanes:
        cpu = "" if lane.cpu_number is None else f", CPU {lane.cpu_number}"
        about = {"ph": "M", "pid": numbers[lane.process], "tid": lane.lane + 1}
        yield about | {"name": "thread_name", "args": {"name": f"lane {lane.lane} (thread {lane.thread}{cpu})"}}
        yield about | {"name": "thread_sort_index", "args": {"sort_index": lane.lane}}


def _caller(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """The caller's sections one after the other.

    Results of any size come back after the lanes. That time is a part of `transfer`, and not shown separately.
    """
    sections = timeline.sections
    at = timeline.dispatched - sum(sections.get(name, 0.0) for name in BEFORE[:2])
    for name in (*BEFORE, *AFTER):
        if name in sections:
            yield _slice((CALLER, 0), name, "section", at, at + sections[name])
            at += sections[name]


def _lanes(timeline: Timeline) -> Iterator[dict[str, Any]]:
    numbers = _processes(timeline)
    last = max((lane.stop for lane in timeline.lanes), default=0.0)
    for lane in timeline.lanes:
        own = numbers[lane.process], lane.lane + 1
        if timeline.dispatched < lane.start:
            yield _slice(own, "start-up", "start-up", timeline.dispatched, lane.start)
        yield from _chunks(timeline, lane, own)
        if lane.stop < last:
            yield _slice(own, "idle", "idle", lane.stop, last)


def _chunks(timeline: Timeline, lane: LaneTotals, own: tuple[int, int]) -> Iterator[dict[str, Any]]:
    spans = timeline.spans[timeline.spans["lane"] == lane.lane]
    if not len(spans):
        many = f"{lane.chunks} chunk{'s' * (lane.chunks != 1)}"
        known = {} if lane.queued is None else {"queued_ms": _ms(lane.queued)}
        yield _slice(own, many, "chunks", lane.start, lane.stop, _work(lane.wall, lane.cpu) | known)
    for span in spans:
        start, stop, cpu = (float(span[name]) for name in ("start", "stop", "cpu"))
        yield _slice(own, f"chunk {span['chunk']}", "chunk", start, stop, _work(stop - start, cpu))


def _work(wall: float, cpu: float) -> dict[str, float]:
    return {"cpu_ms": _ms(cpu), "off_cpu_ms": _ms(max(wall - cpu, 0.0))}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 6)

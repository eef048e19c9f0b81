"""A kept timeline as slices of time: what the caller and each lane did when. lanes.py and page/figures.py draw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compute.scaling.kept_timeline import lanes_of, spans_of

SEEN = 1e-5  # of the run: a shorter slice cannot be seen in any picture
CALLER = "caller"
# The entries of the ledger that a slice can belong to, and what the lane or the caller does meanwhile.
DOING = {
    "useful": "computes", "waiting": "waits for what is outside", "blocked": "blocked", "runqueue": "waits for a CPU",
    "idle": "idle", "startup": "start-up", "transfer": "transfer", "serial": "the caller alone",
}  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """row: CALLER or `lane 3`; kind: of DOING; start, stop: seconds after the run began; what: which part it was.

    chunk, chunks: the first chunk, and how many; None for what is none, and -1 where chunks were not recorded.
    """

    row: str
    kind: str
    start: float
    stop: float
    what: str = ""
    chunk: int | None = None
    chunks: int = 0


def slices(kept: Mapping[str, Any], spent: Mapping[str, float] | None = None) -> list[Slice]:
    """The run as slices, the caller's first, each lane's in the order of time.

    How much of a chunk its lane was off the CPU is known, but not when: computing comes first. For how much of that
    time the lane was ready for a CPU is known of the whole loop, and each chunk gets its part; so with `waiting` and
    `blocked`, by the ledger `spent`. Without one, all the rest is blocked.
    """
    sections = kept["sections"]
    before = sections["plan"] + sections["transfer"]
    least = SEEN * (before + sections["dispatch"] + sections["finish"])
    pieces = [*_caller(sections, before), *_lanes(kept, before, _outside(spent or {}))]
    return [piece for piece in pieces if piece.stop - piece.start > least]


def _outside(spent: Mapping[str, float]) -> float:
    """The part of the time off the CPU, without queueing for one, in which lanes waited for what is outside."""
    waits, blocks = (max(0.0, spent.get(name, 0.0)) for name in ("waiting", "blocked"))
    return waits / (waits + blocks) if waits > 0 else 0.0


def _caller(sections: Mapping[str, float], before: float) -> Iterator[Slice]:
    over = before + sections["dispatch"]
    yield Slice(CALLER, "serial", 0.0, sections["plan"], "plan")
    yield Slice(CALLER, "transfer", sections["plan"], before, "transfer")
    yield Slice(CALLER, "serial", over, over + sections["finish"], "finish")


def _lanes(kept: Mapping[str, Any], before: float, outside: float) -> Iterator[Slice]:
    lanes, spans = lanes_of(kept), spans_of(kept)
    last = max((lane["stop"] for lane in lanes), default=0.0)
    for lane in lanes:
        row, over = f"lane {lane['lane']}", before + kept["sections"]["dispatch"]
        yield Slice(row, "startup", before, before + lane["start"], "until its first chunk")
        whole = {
            "start": lane["start"],
            "stop": lane["stop"],
            "cpu": lane["cpu"],
            "chunk": -1,
            "chunks": lane["chunks"],
        }
        off = lane["stop"] - lane["start"] - lane["cpu"]
        queued = min(1.0, (lane["queued"] or 0.0) / off) if off > 0 else 0.0
        parts = {"waiting": (1 - queued) * outside, "blocked": (1 - queued) * (1 - outside), "runqueue": queued}
        for span in [span for span in spans if span["lane"] == lane["lane"]] or [whole]:
            yield from _chunk(row, span, parts, before)
        yield Slice(row, "idle", before + lane["stop"], before + last, "no chunk left")
        yield Slice(row, "startup", before + last, over, "until the caller sees that all are done")


def _chunk(row: str, span: Mapping[str, Any], parts: Mapping[str, float], before: float) -> Iterator[Slice]:
    wall = span["stop"] - span["start"]
    busy = min(span["cpu"], wall)
    at = before + span["start"]
    for kind, long in {"useful": busy, **{kind: part * (wall - busy) for kind, part in parts.items()}}.items():
        yield Slice(row, kind, at, at + long, _which(span["chunk"], span["chunks"]), span["chunk"], span["chunks"])
        at += long


def _which(first: int, many: int) -> str:
    if first < 0:
        return f"{many} chunk{'s' * (many != 1)}"
    return f"chunk {first}" if many == 1 else f"{many} chunks from {first} on"

"""What happened in a run: who ran which chunk, when, on how much CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compute import notebook_html

SPAN = np.dtype(
    [("chunk", np.int64), ("lane", np.int64), ("start", np.float64), ("stop", np.float64), ("cpu", np.float64)]
)


@dataclass(frozen=True)
class LaneTotals:
    """One lane's whole part: which worker it was, its chunks, and its seconds on time.perf_counter's clock.

    cpu is the CPU time of the worker's thread between start and stop; cpu / wall is near 1 for a lane that computed
    all the time, near 1/N for one of N lanes that took turns at the GIL. loading is what its worker spent unpacking the
    run's message, before the start. away is the time between the groups of chunks of a lane that is given its chunks in
    groups, in which it had none: wall does not contain it. It is below 0 where two workers of a cluster were one lane
    at the same time: wall is then the time of both.

    Of an observed lane that a scheduler gives its chunks in groups, between the call of the lanes and the caller's
    having their results: lull, seconds for which other lanes of its groups still computed; and of the rest without a
    chunk, packing, in which messages were packed or unpacked, and carrying, in which they were on the network. packing
    is None for every other lane.

    Of a detailed run, None where the system does not tell: queued, seconds that the thread was ready to run and had no
    CPU; voluntary and involuntary switches; faults, the minor page faults; process_cpu, CPU seconds of the whole
    process meanwhile; cpu_number, the CPU that it was pinned to (None where it was not).
    """

    lane: int
    process: int
    thread: int
    chunks: int
    start: float
    stop: float
    cpu: float
    loading: float = 0.0
    away: float = 0.0
    lull: float = 0.0
    packing: float | None = None
    carrying: float = 0.0
    queued: float | None = None
    voluntary: int | None = None
    involuntary: int | None = None
    faults: int | None = None
    process_cpu: float | None = None
    cpu_number: int | None = None

    @property
    def wall(self) -> float:
        return self.stop - self.start - self.away


@dataclass(frozen=True, eq=False)
class Timeline:
    """A run as its lanes wrote it.

    spans:    one row a chunk (dtype SPAN, seconds; by chunk number), or none where chunks were too many or too short
              for recording to cost under 0.5 % of them; the lanes' totals are there always.
    lanes:    one LaneTotals a worker that reported.
    sections: seconds of the caller by section: plan, transfer, dispatch (the lanes' time as the caller saw it), finish.
    events:   faults that were repaired (a worker's death), a sentence each, in order.
    dispatched: when the dispatch section began, on the lanes' clock; sending: how much of it went into messages.
    pickling: how much of the transfer section went into pickles for a cluster.
    """

    spans: np.ndarray[Any, Any]
    lanes: tuple[LaneTotals, ...]
    sections: Mapping[str, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    dispatched: float = 0.0
    sending: float = 0.0
    pickling: float = 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds of all lanes."""
        return sum(lane.cpu for lane in self.lanes)

    def to_trace(self) -> dict[str, Any]:
        """The run in Chrome's trace format: written as JSON (json.dump), Perfetto opens it (ui.perfetto.dev)."""
        from compute.trace import trace  # late: few runs need it

        return trace(self)

    def _repr_html_(self) -> str:
        return notebook_html.render("timeline", self)

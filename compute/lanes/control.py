"""The control: the one array in which a run's lanes and its caller tell each other everything.

Words that different lanes write stand on lines of their own (LINE words), so that lanes do not slow each other.

    ticket | header | a line for each lane | done: a word a chunk | order: a word a chunk | spans: 3 words a chunk
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compute.timeline import SPAN, LaneTotals
from kernels.definition.plan import Plan

LINE = 32  # words: twice the 128 bytes of two cache lines, which x86 prefetches in pairs: what a lane writes for each
# chunk stands in the first half, what it writes once in the second
SPANS_BOUND = 4096  # chunks: 96 KB of spans at most; more than a picture can show

# Words of the header (line 1) and of a lane's line.
TICKET = 0
STOP, TICKETS, CHUNKS, LANES, GRAIN, INDICES, ORDERED, SPANS, DETAILED, SENDING = (LINE + k for k in range(10))
CURRENT, STARTED, TAKEN, START, STOPPED, CPU, RECORDS, PROCESS, THREAD, NEXT, INSIDE = range(11)
PIN, LOADING, QUEUED, VOLUNTARY, INVOLUNTARY, FAULTS, PROCESS_CPU, FILE, BEFORE = range(16, 25)
READINGS = 5  # words from QUEUED on; from BEFORE on, the same as they were when the lane's thread began them
UNKNOWN = -1  # in a word that this system does not tell


Words = np.ndarray[Any, np.dtype[np.int64]]


class Control:
    """The caller's hand on a control array: lay it out, read what the lanes wrote."""

    def __init__(self, words: Words) -> None:
        self.words = words

    @staticmethod
    def length(lanes: int, chunks: int) -> int:
        return LINE * (2 + lanes) + chunks * (2 + 3 * (chunks <= SPANS_BOUND))

    def lay_out(self, plan: Plan, lanes: int, *, detailed: bool = False, pins: Sequence[int] = ()) -> None:
        """Make everything ready for a first pass over all chunks, in the plan's order.

        detailed: whether lanes note what the system knows of them, beside their clocks. pins: the CPU of each lane.
        """
        words, chunks = self.words, plan.chunks
        words[: LINE * (2 + lanes) + chunks] = 0
        words[CHUNKS], words[LANES], words[GRAIN], words[INDICES] = chunks, lanes, plan.step, plan.indices
        words[SPANS], words[DETAILED] = chunks <= SPANS_BOUND, detailed
        for lane, cpu in enumerate(pins):
            words[self.line(lane) + PIN] = cpu + 1
        for lane in range(lanes):
            words[self.line(lane) + RECORDS] = words[SPANS]
        words[TICKETS] = chunks
        if plan.order is not None:
            self.offer(plan.order)

    def offer(self, chunks: Any) -> None:
        """Begin a pass over these chunks, in this order."""
        words = self.words
        at = self._done_at + int(words[CHUNKS])
        words[at : at + len(chunks)] = chunks
        words[TICKETS], words[ORDERED], words[TICKET], words[STOP] = len(chunks), 1, 0, 0
        for lane in range(self.lanes):
            line = self.line(lane)
            words[line + CURRENT] = words[line + NEXT] = words[line + STARTED] = words[line + INSIDE] = 0

    @property
    def lanes(self) -> int:
        return int(self.words[LANES])

    @property
    def _done_at(self) -> int:
        return LINE * (2 + self.lanes)

    @staticmethod
    def line(lane: int) -> int:
        return LINE * (2 + lane)

    @property
    def done(self) -> Words:
        """A word for each chunk: 1 + the lane that finished it, or 0. Progress bars read it while lanes write."""
        return self.words[self._done_at : self._done_at + int(self.words[CHUNKS])]

    def current(self, lane: int) -> int | None:
        """The chunk that a lane has begun and not finished."""
        return int(self.words[self.line(lane) + CURRENT]) - 1 if self.words[self.line(lane) + CURRENT] else None

    def started(self, lane: int) -> int:
        """When it began its latest chunk, in ns (one of its latest, where chunks are short); 0 before it ran."""
        return int(self.words[self.line(lane) + STARTED])

    def process(self, lane: int) -> int:
        """The process that runs a lane, once it has begun; 0 before."""
        return int(self.words[self.line(lane) + PROCESS])

    def is_over(self) -> bool:
        """Whether every chunk is done and every lane that came has left: nobody touches the arrays any more."""
        return bool(self.done.all()) and not self.is_busy()

    def left(self, lane: int) -> None:
        """Note for a lane whose worker is dead that it is no longer in the loop."""
        self.words[self.line(lane) + INSIDE] = 0

    def is_busy(self) -> bool:
        """Whether any lane is in the loop."""
        return bool(self.words[self.line(0) + INSIDE : self._done_at : LINE].any())

    def stop(self) -> None:
        """Ask every lane to stop: each does so after the chunk that it is in."""
        self.words[STOP] = 1

    def totals(self) -> tuple[LaneTotals, ...]:
        """What each lane that ran wrote of itself."""
        rows = self.words[self.line(0) : self.line(self.lanes)].reshape(self.lanes, LINE)
        chunks = np.bincount(self.done, minlength=self.lanes + 1)[1:]  # a lane that died did not count its own
        return tuple(
            LaneTotals(
                lane=lane,
                process=int(row[PROCESS]),
                thread=int(row[THREAD]),
                chunks=int(chunks[lane]),
                start=float(row[START]) / 1e9,
                stop=float(max(row[STOPPED], row[STARTED])) / 1e9,
                cpu=float(row[CPU]) / 1e9,
                loading=float(row[LOADING]) / 1e9,
                cpu_number=int(row[PIN]) - 1 if row[PIN] else None,
                **(self._details(row) if self.words[DETAILED] else {}),
            )
            for lane, row in enumerate(rows)
            if row[START] and (row[STOPPED] or chunks[lane])
        )

    @property
    def sending(self) -> float:
        """Seconds that the caller spent making and sending messages to workers."""
        return float(self.words[SENDING]) / 1e9

    @staticmethod
    def _details(row: Words) -> dict[str, Any]:
        def known(word: int, factor: float = 1) -> Any:
            return None if row[word] == UNKNOWN else row[word].item() * factor

        return {
            "queued": known(QUEUED, 1e-9),
            "voluntary": known(VOLUNTARY),
            "involuntary": known(INVOLUNTARY),
            "faults": known(FAULTS),
            "process_cpu": known(PROCESS_CPU, 1e-9),
        }

    def spans(self) -> np.ndarray[Any, Any]:
        """One row a chunk where every lane recorded, else none."""
        lanes = range(self.lanes)
        if not self.words[SPANS] or not all(self.words[self.line(lane) + RECORDS] for lane in lanes):
            return np.empty(0, SPAN)
        chunks = int(self.words[CHUNKS])
        at = self._done_at + 2 * chunks
        times = self.words[at : at + 3 * chunks].reshape(chunks, 3) / 1e9
        spans = np.empty(chunks, SPAN)
        spans["chunk"], spans["lane"] = np.arange(chunks), self.done - 1
        spans["start"], spans["stop"], spans["cpu"] = times.T
        return spans

"""The control array: int64 words in which a run's lanes and its caller exchange all that they must know of each other.

    word 0     HEADER     line_of(0)  line_of(1)        words[DONE]      words[ORDER]     words[SPANS]
    ├──────────┼──────────┼───────────┼──────────┼─ … ──┼────────────────┼────────────────┼───────────────────┤
    │ TICKET   │ STOP …   │ CURRENT … │ CURRENT …│      │ done:          │ order:         │ spans:            │
    │          │ header   │ lane 0    │ lane 1   │      │ a word a chunk │ a word a chunk │ 3 words a chunk   │
    ├──────────┼──────────┼───────────┼──────────┼─ … ──┼────────────────┼────────────────┼───────────────────┤
     32 words   32 words   32 words    32 words

    done[c]   the lane that finished chunk c -> the caller, while lanes write: 1 + that lane, 0 before
    order[t]  the caller -> lanes: the chunk of ticket t
    spans[c]  the lane that ran chunk c -> the caller: its begin, its end, its CPU time, in ns

A chunk counts as done when its done word is set. A run is over when all of these are set and no lane is INSIDE: then
nothing uses the arrays any more. Only TICKET is written by several at once. STOP may be, but always with the same
value. Every other word has one writer at a time, so that a load and a store are enough.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.definition.plan import Plan

if TYPE_CHECKING:
    from compute.timeline import LaneTotals

# x86 fetches cache lines of 64 bytes in pairs, so words that different lanes write must be 128 bytes apart, or lanes
# slow each other. This is twice that: what a lane writes for each chunk stands in the first half of its line, what it
# writes once in the second.
WORDS_PER_LINE = 32
WORDS_PER_SPAN = 3
SPANS_BOUND = 4096  # chunks: 96 KB of spans at most; more than a picture can show

# Each word: who writes it -> who reads it: what it holds. "The caller" is the process that called `run`.

TICKET = 0  # lanes, by atomic add; the caller sets it to 0 before a pass -> lanes: the next ticket

# The header: words of the run.
HEADER = WORDS_PER_LINE
STOP = HEADER  # the caller, or a lane whose body failed -> lanes, before each ticket: 1 to take no more of them
N_TICKETS = HEADER + 1  # the caller -> lanes: how many tickets this pass has
N_CHUNKS = HEADER + 2  # the caller -> the caller's spin: how many chunks the run has
N_LANES = HEADER + 3  # the caller -> lanes, the caller's spin, workers: how many lanes there are
GRAIN = HEADER + 4  # the caller -> lanes: the indices of a chunk
N_INDICES = HEADER + 5  # the caller -> lanes: how many indices the run has; the last chunk may have less than GRAIN
DONE = HEADER + 6  # the caller -> lanes, the caller's spin: the offset of the done words
ORDER = HEADER + 7  # the caller -> lanes: the offset of the order; 0 where ticket t is chunk t
SPANS = HEADER + 8  # the caller -> lanes, the caller: the offset of the spans; 0 where there is no room for them
DETAILED = HEADER + 9  # the caller -> who runs a lane: whether lanes record the system's figures of their threads
SENDING = HEADER + 10  # the caller -> the caller, for the ledger: ns that it took to make and send messages
PICKLING = HEADER + 11  # the caller -> the ledger: ns of its transfer section that went into pickles for a cluster

# A lane's line, from line_of(lane) on: words that it writes for each chunk, and what belongs to them.
CURRENT = 0  # the lane; the caller sets it to 0 before a further pass -> the caller, after a death: 1 + its chunk, or 0
STARTED = 1  # the lane -> the caller, to see whether it is hung: when it began its latest chunk, in ns
TAKEN = 2  # the lane -> the lane: its chunks so far
START = 3  # the lane -> the caller, for the timeline: when it first began, in ns
STOPPED = 4  # the lane -> the caller, for the timeline: when it last left the loop, in ns
CPU = 5  # the lane -> the caller, for the timeline: its thread's CPU time in the loop, in ns
RECORDS = 6  # the caller; the lane clears it where chunks are short -> lane and caller: whether the lane writes spans
PROCESS = 7  # who runs the lane, before the loop -> the caller: the process that it is in
THREAD = 8  # who runs the lane, before the loop -> the caller: the native id of its thread
NEXT = 9  # the caller, then the lane -> the lane: its next ticket, where lanes take them in turn and not from TICKET
INSIDE = 10  # the lane; the caller for a dead one -> the caller: 1 while it is in the loop and may touch arrays
MARK = 11  # the caller -> the lane: 1 + its number, with which it marks the chunks that it has done

# Words that it writes once.
PIN = 16  # the caller; cleared where the system refuses -> who runs the lane, the timeline: 1 + its CPU if it is pinned
LOADING = 17  # the worker -> the caller, for the ledger: ns that it took to unpack the message
QUEUED = 18  # the lane -> the caller, for the ledger: ns for which its thread was ready and had no CPU, or UNKNOWN
VOLUNTARY = 19  # the lane -> the caller: how often its thread gave up its CPU, or UNKNOWN
INVOLUNTARY = 20  # the lane -> the caller: how often its CPU was taken from its thread, or UNKNOWN
FAULTS = 21  # the lane -> the caller: minor page faults of its thread, or UNKNOWN
PROCESS_CPU = 22  # the lane -> the caller: CPU time of its whole process meanwhile, in ns, or UNKNOWN
FILE = 23  # who runs the lane -> the lane: 1 + its schedstat's descriptor, UNKNOWN for none; 0: it records no usage
BEFORE = 24  # the lane -> the lane: as many words as there are READINGS, as they were when its thread began

# Of a lane that a scheduler gives its chunks in groups, from the call of the lanes until the caller has their results.
LULL = 15  # the caller -> the ledger: ns for which it had done its part of a group, and other lanes had not
AWAY = 29  # the caller -> the ledger: ns between groups
PACKING = 30  # the caller -> the ledger: 1 + ns without a chunk while messages were packed or unpacked; 0 if not known
CARRYING = 31  # the caller -> the ledger: ns without a chunk while messages were on the network

READINGS = 5  # the words from QUEUED on
UNKNOWN = -1  # in a word that this system does not tell


Words = np.ndarray[Any, np.dtype[np.int64]]


def line_of(lane: Any) -> Any:
    """Where a lane's line begins. Compiled code calls it, too."""
    return HEADER + WORDS_PER_LINE * (1 + lane)


class ControlArray:
    """Lays out a control array, and reads what the lanes wrote into it."""

    def __init__(self, words: Words) -> None:
        self.words = words

    @staticmethod
    def length(lanes: int, chunks: int) -> int:
        """How many words it takes."""
        return int(line_of(lanes)) + chunks * (2 + WORDS_PER_SPAN * (chunks <= SPANS_BOUND))

    def lay_out(self, plan: Plan, lanes: int, *, detailed: bool = False, pins: Sequence[int] = ()) -> None:
        """Prepare all words for a first pass over all chunks, in the plan's order.

        detailed: whether lanes record the system's figures of their threads, beside clocks. pins: the CPU of each lane.
        """
        words, chunks, done = self.words, plan.chunks, line_of(lanes)
        words[: done + chunks] = 0
        words[N_CHUNKS], words[N_LANES], words[GRAIN], words[N_INDICES] = chunks, lanes, plan.step, plan.indices
        words[DONE], words[DETAILED] = done, detailed
        records = 1 if chunks <= SPANS_BOUND else 0
        if records:
            words[SPANS] = done + 2 * chunks
        for lane in range(lanes):
            line = line_of(lane)
            words[line + RECORDS], words[line + NEXT], words[line + MARK] = records, lane, 1 + lane
        for lane, cpu in enumerate(pins):
            words[line_of(lane) + PIN] = cpu + 1
        words[N_TICKETS] = chunks
        if plan.order is not None:
            self.offer(plan.order)

    @property
    def offered(self) -> Words:
        """The chunks of this pass, in the order in which lanes take them."""
        count, order = int(self.words[N_TICKETS]), int(self.words[ORDER])
        return self.words[order : order + count].copy() if order else np.arange(count)

    def offer(self, chunks: Any) -> None:
        """Begin a pass over these chunks, in this order."""
        words = self.words
        order = int(words[DONE] + words[N_CHUNKS])
        words[order : order + len(chunks)] = chunks
        words[N_TICKETS], words[ORDER], words[TICKET], words[STOP] = len(chunks), order, 0, 0
        for lane in range(self.lanes):
            line = line_of(lane)
            words[line + CURRENT] = words[line + STARTED] = words[line + INSIDE] = 0
            words[line + NEXT] = lane

    @property
    def lanes(self) -> int:
        return int(self.words[N_LANES])

    @property
    def done(self) -> Words:
        """A word for each chunk: 1 + the lane that finished it, or 0. Progress bars read it while lanes write."""
        offset = int(self.words[DONE])
        return self.words[offset : offset + int(self.words[N_CHUNKS])]

    def current(self, lane: int) -> int | None:
        """The chunk that a lane has begun and not finished."""
        return int(self.words[line_of(lane) + CURRENT]) - 1 if self.words[line_of(lane) + CURRENT] else None

    def started(self, lane: int) -> int:
        """When it began its latest chunk, in ns (one of its latest, where chunks are short); 0 before it ran."""
        return int(self.words[line_of(lane) + STARTED])

    def process(self, lane: int) -> int:
        """The process that runs a lane, once it has begun; 0 before."""
        return int(self.words[line_of(lane) + PROCESS])

    def is_over(self) -> bool:
        """Whether every chunk is done and no lane is in the loop: nothing uses the arrays any more."""
        return bool(self.done.all()) and not self.is_busy()

    def unpin(self) -> None:
        """Note that no lane is pinned: the CPUs of the lanes' machines have other numbers."""
        for lane in range(self.lanes):
            self.words[line_of(lane) + PIN] = 0

    def left(self, lane: int) -> None:
        """Clear INSIDE of a lane whose worker is dead."""
        self.words[line_of(lane) + INSIDE] = 0

    def is_busy(self) -> bool:
        """Whether any lane is in the loop."""
        return bool(self.words[line_of(0) + INSIDE : self.words[DONE] : WORDS_PER_LINE].any())

    def stop(self) -> None:
        """Ask every lane to stop: each does so after the chunk that it is in."""
        self.words[STOP] = 1
        # Whoever stops lanes looks next which are INSIDE. Taking a lock has the store seen before that; it is a lock of
        # its own, as a signal's handler may call this anywhere.
        threading.Lock().acquire()

    def totals(self) -> tuple[LaneTotals, ...]:
        """The figures that each lane that ran wrote of itself."""
        from compute.timeline import LaneTotals  # which no worker needs

        rows = self.words[line_of(0) : line_of(self.lanes)].reshape(self.lanes, WORDS_PER_LINE)
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
                away=float(row[AWAY]) / 1e9,
                lull=float(row[LULL]) / 1e9,
                packing=float(row[PACKING] - 1) / 1e9 if row[PACKING] else None,
                carrying=float(row[CARRYING]) / 1e9,
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

    @property
    def pickling(self) -> float:
        """Seconds of the caller's transfer section that went into pickles for a cluster."""
        return float(self.words[PICKLING]) / 1e9

    def add(self, part: Part, lanes: Sequence[int], shift: int = 0) -> None:
        """Take over what lanes elsewhere have noted of their part of the run.

        lanes: which of this run's lanes each of them is. shift: ns to add to their clock, to have this machine's.
        """
        done, recorded = part.marks > 0, bool(self.words[SPANS]) and part.spans is not None
        chunks, by = part.chunks[done], np.asarray(lanes)[part.marks[done] - 1]
        if recorded:
            offset = int(self.words[SPANS])
            spans = self.words[offset : offset + WORDS_PER_SPAN * len(self.done)].reshape(-1, WORDS_PER_SPAN)
            assert part.spans is not None
            spans[chunks] = part.spans[done] + (shift, shift, 0)
        for lane, row in zip(lanes, part.lines, strict=True):
            if row[START]:
                own = self.words[line_of(lane) : line_of(lane) + WORDS_PER_LINE]
                own[RECORDS] &= recorded
                began, ended = row[START] + shift, (row[STOPPED] or row[STARTED]) + shift
                # Groups are at work one after the other, but for two workers that are one lane of the run at times.
                inside = own[STOPPED] - own[START] - own[AWAY] + ended - began
                own[START] = min(own[START], began) if own[START] else began
                own[STOPPED] = max(own[STOPPED], ended)
                own[AWAY] = own[STOPPED] - own[START] - inside
                for word in (TAKEN, CPU, LOADING):
                    own[word] += row[word]
                for word in range(QUEUED, QUEUED + READINGS):
                    own[word] = UNKNOWN if UNKNOWN in (own[word], row[word]) else own[word] + row[word]
                own[PROCESS], own[THREAD] = row[PROCESS], row[THREAD]
        self.done[chunks] = by + 1  # last: who sees a chunk done reads the rest

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
        """One row a chunk where every lane recorded spans, else none."""
        from compute.timeline import SPAN

        lanes = range(self.lanes)
        if not self.words[SPANS] or not all(self.words[line_of(lane) + RECORDS] for lane in lanes):
            return np.empty(0, SPAN)
        chunks, offset = int(self.words[N_CHUNKS]), int(self.words[SPANS])
        times = self.words[offset : offset + WORDS_PER_SPAN * chunks].reshape(chunks, WORDS_PER_SPAN) / 1e9
        spans = np.empty(chunks, SPAN)
        spans["chunk"], spans["lane"] = np.arange(chunks), self.done - 1
        spans["start"], spans["stop"], spans["cpu"] = times.T
        # A lane reads one clock after the other, and what runs between (a collection) is in one of them alone.
        spans["cpu"] = np.minimum(spans["cpu"], spans["stop"] - spans["start"])
        return spans


class Part(NamedTuple):
    """What lanes without a view of a run's control array have noted of the chunks that were theirs.

    marks: for each of the chunks 1 + the lane that finished it, or 0. lines: a row for each lane. spans: a row for each
    of the chunks, or None where not all of these lanes recorded them.
    """

    chunks: Words
    marks: Words
    lines: Words
    spans: Words | None

    @staticmethod
    def laid_out(chunks: Words, lanes: int, shape: tuple[int, int], *, records: bool, detailed: bool) -> ControlArray:
        """A control array for a pass over these chunks of a run alone, by so many lanes of one process.

        shape: the run's grain and indices. Its done words and spans cover the chunks from the lowest to the highest of
        these, so ask `Part.of` and not `done` which are done.
        """
        first, window = (int(chunks.min()), int(chunks.max() - chunks.min()) + 1) if len(chunks) else (0, 0)
        done, order = int(line_of(lanes)), int(line_of(lanes)) + window
        words = np.zeros(order + len(chunks) + WORDS_PER_SPAN * window * records, np.int64)
        words[order : order + len(chunks)] = chunks
        words[N_TICKETS], words[N_LANES], words[DETAILED] = len(chunks), lanes, detailed
        words[GRAIN], words[N_INDICES] = shape
        words[DONE], words[ORDER] = done - first, order
        words[SPANS] = order + len(chunks) - WORDS_PER_SPAN * first
        for lane in range(lanes):
            line = line_of(lane)
            words[line + RECORDS], words[line + NEXT], words[line + MARK] = records, lane, 1 + lane
        return ControlArray(words)

    @staticmethod
    def of(control: ControlArray) -> Part:
        """What the lanes of a control array that was `laid_out` have noted."""
        words, chunks = control.words, control.offered
        lines = words[line_of(0) : line_of(control.lanes)].reshape(-1, WORDS_PER_LINE).copy()
        spans = None
        if (lines[:, RECORDS] != 0).all():
            spans = words[int(words[SPANS]) + WORDS_PER_SPAN * chunks[:, None] + np.arange(WORDS_PER_SPAN)]
        return Part(chunks, words[int(words[DONE]) + chunks], lines, spans)

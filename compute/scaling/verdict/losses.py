"""What took the core-seconds that were lost: each entry of the ledger goes to the cause whose evidence fits it.

The most specific cause claims first, and what it claims is gone; an entry that nobody claims is a loss of unknown
cause. So no core-second is counted twice, and the largest loss is the one to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from compute.scaling.verdict import phrases
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.words import listed, percent, seconds

TAKEN = 0.5  # of the time: lanes in Python hold the GIL for over 0.9, GIL-free ones for under 0.3 on a full machine
FREE = 0.25  # of the blocked share: a control that blocks no more than this has not the same reason to
SAME = 0.5  # of the blocked share: a control that blocks more than this has the same reason to
EXPLAINS = 0.5  # of a wait: CPUs that others used, seen in ticks of 10 ms, are no closer than that to what lanes lacked
STOPPED = 0.05  # of the core-seconds: a quota's periods end at their own times, and under this they hit one chunk
INNER = 0.2  # of the lanes' CPU: the caller and the interpreter's own threads stay under a few hundredths
TICKETS = 20  # a chunk of this many tickets' time loses at most 5 % to them
LEAST_SYSTEM = 0.04  # seconds of one round: ten ticks of a kernel that splits CPU time at 250 Hz; of n rounds 1/√n
COSTLIEST = 5e-3  # seconds of one page fault: 2 MiB took 0.05 ms, and 0.5 to 1.1 where the host had to find them first

LEAST_FIGURE = 0.01  # of the core-seconds: less is not worth a word
NAMES = {"runqueue": "queued for a CPU", "inflation": "CPU inflation", "idle": "idle"}  # of entries, in a sentence


class Cause(StrEnum):
    """What keeps a configuration from N-fold; the values are the `cause` of a Point."""

    GIL = "gil"
    LOCK = "lock"
    ONE_THREAD = "one thread"
    IMBALANCE = "imbalance"
    SMALL_CHUNKS = "small chunks"
    START_UP = "start-up"
    TRANSFER = "transfer"
    MEMORY = "memory bandwidth"
    FIRST_TOUCH = "first touch"
    OVERSUBSCRIPTION = "oversubscription"
    QUOTA = "quota"
    NESTED = "nested threads"
    NOISE = "noise"
    SERIAL = "serial section"
    NONE = "none"
    UNKNOWN = "unknown"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Loss:
    """A part of the core-seconds, what took it, and that in words with its figures and a remedy."""

    cause: Cause
    share: float
    sentence: str


class Claims:
    """The lost part of a ledger, from which causes take their shares."""

    def __init__(self, e: Evidence) -> None:
        self.e = e
        self.left = {entry: e.share(entry) for entry in e.ledger if entry != "useful"}
        # While the callers plan, one core does what it would have done serially as well.
        self._cut("serial", self.left.get("serial", 0.0) / e.workers)
        # What the machine denied a perfect kernel is not to be won back; it shows as CPU inflation.
        self._cut("inflation", max(0.0, 1 - e.roof / e.workers) if e.roof is not None else 0.0)

    def take(self, *entries: str, most: float = math.inf) -> float:
        """The share that these entries still hold, up to `most`; it is gone from them afterwards."""
        taken = 0.0
        for entry in entries:
            part = min(self.left.get(entry, 0.0), most - taken)
            self._cut(entry, part)
            taken += part
        return taken

    def take_waits(self) -> float:
        """Waits for a CPU, and what the other lanes then waited for the one that had to: up to as long for each."""
        waited = self.take("runqueue", *_folded(self.e))
        return waited + self.take("idle", most=(self.e.workers - 1) * waited)

    def _cut(self, entry: str, part: float) -> None:
        if entry in self.left:
            self.left[entry] = max(0.0, self.left[entry] - part)


def losses(e: Evidence) -> list[Loss]:
    """Every part of the ledger that could have been useful, by cause, the largest first."""
    claims = Claims(e)
    found = [loss for claim in CLAIMANTS for loss in claim(e, claims) if loss.share > 0]
    return sorted(found, key=lambda loss: -loss.share)


def taken_by_gil(e: Evidence) -> bool:
    """Whether blocked lanes wait for the GIL: several share one, and a probe or the other variant says so."""
    if not e.shares_gil or e.awake or _same(e, e.elsewhere_blocked) or _same(e, e.free_blocked):
        return False
    if e.gil is not None:
        return e.gil >= TAKEN
    return not e.compiled and _free(e, e.free_blocked)


def _same(e: Evidence, control: float | None) -> bool:
    """Whether a control, which has no GIL to wait for, blocks so much that its reason is the reason here too."""
    return control is not None and control > SAME * e.share_waited


def _free(e: Evidence, control: float | None) -> bool:
    return control is not None and control <= FREE * e.share_waited


def _quota(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if e.stopped >= STOPPED:
        took = claims.take("runqueue", "blocked", "unexplained", "inflation", "idle", most=e.stopped)
        said = f"{phrases.quota(e)} stopped the lanes for {percent(e.stopped)} of core-seconds; "
        yield Loss(Cause.QUOTA, took, said + phrases.more_quota(e))


def _one_thread(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if e.together:
        took = claims.take("blocked", "idle", "runqueue", "startup", "unexplained")
        yield Loss(Cause.ONE_THREAD, took, phrases.one_thread(e))


def _nested(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if not e.nested or e.nested < INNER * e.lanes_cpu:
        return
    figures = _figures(e, "runqueue", "inflation", "blocked")
    took = claims.take("runqueue", "inflation", *([] if taken_by_gil(e) else ["blocked"]))
    said = (
        f"threads inside the lanes used {seconds(e.nested)} of CPU beside the lanes' {seconds(e.lanes_cpu)}{figures}; "
        "limit them to one a lane (threadpoolctl, or OMP_NUM_THREADS=1), or use fewer workers"
    )
    yield Loss(Cause.NESTED, took, said)


def _oversubscription(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if e.crowded:
        said = f"{phrases.crowd(e)}{_figures(e, 'runqueue', *_folded(e))}; {phrases.uncrowd(e)}"
        yield Loss(Cause.OVERSUBSCRIPTION, claims.take_waits(), said)


def _noise(e: Evidence, claims: Claims) -> Iterator[Loss]:
    outside, took = e.outside / e.workers, 0.0
    if outside >= EXPLAINS * sum(claims.left.get(entry, 0.0) for entry in ("runqueue", *_folded(e))):
        took += claims.take_waits()
    if outside >= EXPLAINS * claims.left.get("startup", 0.0):  # a lane queues for its first chunk too
        took += claims.take("startup", most=max(0.0, outside - took))
    # Time stolen from a CPU is neither CPU time of the lane on it nor time in a queue, so it looks like blocking; on
    # some kernels it is CPU time.
    took += claims.take("blocked") if e.awake else 0.0
    took += claims.take("blocked", "inflation", "unexplained", most=e.steal or 0.0)
    said = phrases.disturbers(e) or "the machine was disturbed"
    if e.awake and e.share("blocked") >= LEAST_FIGURE:
        said += f", off the CPU {percent(e.share('blocked'))} of core-seconds without ever having slept"
    yield Loss(Cause.NOISE, took, f"{said}{_figures(e, 'runqueue')}; measure again on a quiet machine")


def _blocked(e: Evidence, claims: Claims) -> Iterator[Loss]:
    took = claims.take("blocked")
    blocked = f"blocked {percent(e.share('blocked'))} of core-seconds"
    # A lane in Python needs the GIL for its first chunk too; a compiled one needs no more of it than to come.
    if taken_by_gil(e) and not e.compiled and e.share("startup") >= LEAST_FIGURE:
        took += claims.take("startup")
        blocked = f"blocked {percent(e.share('blocked'))} and kept from starting {percent(e.share('startup'))}"
        blocked += " of core-seconds"
    if "runqueue" in e.unknown:
        blocked += " (waits for a CPU included)"
    if taken_by_gil(e):
        free = f", the nogil variant {percent(e.free_blocked)}" if _free(e, e.free_blocked) else ""
        probed = f", the GIL taken {percent(e.gil)} of the time" if e.gil is not None else ""
        away = f", processes {percent(e.elsewhere_blocked)}" if _free(e, e.elsewhere_blocked) else ""
        remedy = "let the body release it" if e.compiled else "use a compiled or nogil kernel"
        remedy += ", or use processes" if away and e.compiled else ", or processes" if away else ""
        yield Loss(Cause.GIL, took, f"{blocked}{free}{probed}{away}: consistent with the GIL; {remedy}")
    elif reason := _not_the_gil(e):
        remedy = "hold it for less, or give each lane its own"
        yield Loss(Cause.LOCK, took, f"{blocked}, {reason}: consistent with a lock or waiting for data; {remedy}")
    else:
        why = "by the GIL, a lock or waiting for data: nothing measured tells which"
        yield Loss(Cause.UNKNOWN, took, f"{blocked}, {why}; measure a nogil variant beside it")


def _not_the_gil(e: Evidence) -> str:
    """Why a wait is not for the GIL, or nothing."""
    for holds, reason in (
        (e.workers == 1, "by a single lane"),
        (not e.has_gil, "without a GIL"),
        (not e.shares_gil, "by lanes that share no GIL"),
        (e.gil is not None and e.gil < TAKEN, f"the GIL taken only {percent(e.gil)} of the time"),
        (_same(e, e.elsewhere_blocked), f"processes {percent(e.elsewhere_blocked)} as well"),
        (_same(e, e.free_blocked) and not e.compiled, f"the nogil variant {percent(e.free_blocked)} as well"),
        (e.compiled, "by a variant that releases the GIL"),
    ):
        if holds:
            return reason
    return ""


def _small_chunks(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if not e.chunk_seconds or not e.ticket_seconds or e.chunk_seconds >= TICKETS * e.ticket_seconds:
        return
    took = claims.take("inflation", "unexplained")
    times = math.ceil(TICKETS * e.ticket_seconds / e.chunk_seconds)
    said = (
        f"too little work for each chunk: {seconds(e.chunk_seconds)}, and taking one costs {seconds(e.ticket_seconds)}"
        f"{_figures(e, 'inflation', 'unexplained')}; make the grain {times} times larger"
    )
    yield Loss(Cause.SMALL_CHUNKS, took, said)


def _memory(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if e.saturated:
        said = f"{phrases.bandwidth(e)}{_figures(e, 'inflation')}; {phrases.LESS_MEMORY}"
        yield Loss(Cause.MEMORY, claims.take("inflation"), said)


def touching(e: Evidence) -> float:
    """CPU seconds that page faults took beyond the serial run's, under 0 where that one paid more; 0 where untold.

    Of a compiled body only: it calls nothing of the system, which then serves its page faults.
    """
    least = LEAST_SYSTEM / math.sqrt(e.rounds or 1)
    carried = e.compiled and e.faults and e.system and least <= abs(e.system) <= COSTLIEST * e.faults
    return e.system or 0.0 if carried else 0.0


def _first_touch(e: Evidence, claims: Claims) -> Iterator[Loss]:
    if e.budget > 0 and (beyond := touching(e)) > 0:
        took = claims.take("inflation", most=beyond / e.budget)
        said = f"{e.faults:.0f} page faults took {seconds(beyond)} more of the system's CPU than the serial run's"
        yield Loss(Cause.FIRST_TOUCH, took, f"{said}{_figures(e, 'inflation')}: {phrases.FRESH}")


def _structure(e: Evidence, claims: Claims) -> Iterator[Loss]:
    """Entries that are causes themselves."""
    chunks = "" if e.chunks is None else f" ({phrases.counted(e.chunks, 'chunk')} on {e.workers} lanes)"
    for entry, cause, why in (
        (
            "idle",
            Cause.IMBALANCE,
            f"waiting for the last chunks{chunks}: imbalance; make the grain smaller, or split the heaviest chunk",
        ),
        (
            "startup",
            Cause.START_UP,
            f"in a run of {seconds(e.seconds)}: too little work; give each run more, or use fewer workers",
        ),
        (
            "transfer",
            Cause.TRANSFER,
            f"in a run of {seconds(e.seconds)}: messages are sent and arrays copied; pass less, give each run more, or "
            "use threads"
            if e.processes > 1 or not e.has.shares_memory
            else f"in a run of {seconds(e.seconds)}: arrays are made ready; give each run more",
        ),
        (
            "serial",
            Cause.SERIAL,
            f"{e.workers - 1} of {e.workers} workers wait while the caller plans or finishes; move that into the body",
        ),
    ):
        said = f"{NAMES.get(entry, cause)} {percent(e.share(entry))} of core-seconds, {why}"
        yield Loss(cause, claims.take(entry), said)


REST = {
    "inflation": "CPU inflation {share} of core-seconds: lanes needed more CPU than serial did; caches, cores that"
    " share hardware or the clock may be why, and nothing measured tells which",
    "runqueue": "queued for a CPU {share} of core-seconds, and nothing measured says behind whom; see what else runs",
    "unexplained": "unexplained {share} of core-seconds; measure longer runs",
}


def _rest(e: Evidence, claims: Claims) -> Iterator[Loss]:
    """What nobody claimed, each entry by itself."""
    for entry, words in REST.items():
        yield Loss(Cause.UNKNOWN, claims.take(entry), words.format(share=percent(e.share(entry))))


def _figures(e: Evidence, *entries: str) -> str:
    """`, queued for a CPU 40 % of core-seconds`: those of the entries that are worth a word."""
    told = [
        f"{NAMES.get(entry, entry)} {percent(e.share(entry))}" for entry in entries if e.share(entry) >= LEAST_FIGURE
    ]
    return f", {listed(told)} of core-seconds" if told else ""


def _folded(e: Evidence) -> tuple[str, ...]:
    """The entry that holds the waits for a CPU where they cannot be told from others."""
    return ("blocked",) if e.awake or ("runqueue" in e.unknown and not taken_by_gil(e)) else ()


CLAIMANTS: tuple[Callable[[Evidence, Claims], Iterable[Loss]], ...] = (
    _quota,
    _one_thread,
    _nested,
    _oversubscription,
    _noise,
    _blocked,
    _first_touch,
    _small_chunks,
    _memory,
    _structure,
    _rest,
)

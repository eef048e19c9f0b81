"""What a cause takes of the lost core-seconds: what is unclaimed yet, and the rules by which a cause claims.

A rule answers with the share that it took, 0 where the evidence does not carry it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from compute.scaling.verdict.evidence import EXPLAINS, STOPPED, TICKETS, Evidence
from compute.scaling.verdict.phrases import LEAST_FIGURE

SHORT = 5e-3  # seconds of a run: starting two lanes took 0.45 ms of core-seconds, over 5 % of a shorter run
INNER = 0.2  # of the lanes' CPU: the caller and the interpreter's own threads take a few hundredths


class Claims:
    """What no cause has claimed yet of the entries that one cause may claim, in the order of its record."""

    def __init__(self, unclaimed: dict[str, float], entries: tuple[str, ...]) -> None:
        self._unclaimed, self._entries = unclaimed, entries

    def left(self, *entries: str) -> float:
        """The share of the core-seconds that these entries still hold."""
        return sum(self._unclaimed.get(entry, 0.0) for entry in entries)

    def take(self, *entries: str, most: float = math.inf) -> float:
        """The share that these entries (all of the cause's, where none is named) still hold, up to `most`; it is gone.

        ValueError for an entry that the cause's record does not name.
        """
        if not set(entries) <= set(self._entries):
            raise ValueError(f"a cause may claim {self._entries}, as its record says, not {entries}")
        taken = 0.0
        for entry in entries or self._entries:
            part = min(self._unclaimed.get(entry, 0.0), most - taken)
            if entry in self._unclaimed:
                self._unclaimed[entry] = max(0.0, self._unclaimed[entry] - part)
            taken += part
        return taken

    def take_waits(self, e: Evidence) -> float:
        """Waits for a CPU, and as much idle time of each other lane: it may have waited for the one that queued."""
        waited = self.take("runqueue", *e.hides_queues)
        return waited + self.take("idle", most=(e.workers - 1) * waited)


def where(holds: Callable[[Evidence], object]) -> Callable[[Evidence, Claims], float]:
    """A claim to all that is left of the cause's entries, where the evidence says so."""
    return lambda e, claims: claims.take() if holds(e) else 0.0


def everything(e: Evidence, claims: Claims) -> float:
    """A claim to all that is left of the cause's entries."""
    return claims.take()


def claim_quota(e: Evidence, claims: Claims) -> float:
    return claims.take(most=e.stopped) if e.stopped >= STOPPED else 0.0


def claim_nested(e: Evidence, claims: Claims) -> float:
    if not e.nested or e.nested < INNER * e.lanes_cpu:
        return 0.0
    taken = claims.take("runqueue", "inflation")
    # While such a thread computes, at most all lanes wait for it.
    held_up = e.workers * e.nested / e.budget if e.budget > 0 and not e.waits_for_gil else 0.0
    return taken + claims.take("blocked", most=held_up)


def claim_noise(e: Evidence, claims: Claims) -> float:
    outside, took = e.outside / e.workers, 0.0
    if outside >= EXPLAINS * claims.left("runqueue", *e.hides_queues):
        took += claims.take_waits(e)
    # A lane queues for its first chunk, too. In a very short run that queued for nothing else, starting takes long even
    # without others.
    is_short = e.seconds < SHORT and "runqueue" not in e.unknown and e.share("runqueue") < LEAST_FIGURE
    if outside >= EXPLAINS * claims.left("startup") and not is_short:
        took += claims.take("startup", most=max(0.0, outside - took))
    # Time stolen from a CPU is neither CPU time of its lane nor time in a queue, so it looks like blocking. Some
    # systems count it as CPU time.
    took += claims.take("blocked") if e.never_slept else 0.0
    return took + claims.take("blocked", "inflation", "unexplained", most=e.steal or 0.0)


def claim_gil(e: Evidence, claims: Claims) -> float:
    if not e.waits_for_gil:
        return 0.0
    # A lane in Python needs the GIL for its first chunk, too. A compiled one needs it only to enter the loop.
    starting = not e.compiled and e.share("startup") >= LEAST_FIGURE
    return claims.take("blocked", *(["startup"] if starting else []))


def claim_first_touch(e: Evidence, claims: Claims) -> float:
    return claims.take(most=e.faulting / e.budget) if e.budget > 0 and e.faulting > 0 else 0.0


def has_small_chunks(e: Evidence) -> bool:
    return bool(e.chunk_seconds and e.ticket_seconds and e.chunk_seconds < TICKETS * e.ticket_seconds)

"""What a search found, and what it chose: plain data, which compute.advice.text shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.advice.decision import BreakEven, Candidate


@dataclass(frozen=True)
class Choice:
    """What to use for a work, and the measurements that say so.

    use:         `run(kernel, *args, on=advice.use.on, variant=advice.use.variant)`; never slower than serial.
    equals:      what is as fast within noise. serial: the fastest variant on one core.
    candidates:  all that was measured at the size `measured` (the asked one, where the budget had room), fastest first.
    break_evens: from which size on each backend beats serial; empty where only one size could be measured.
    by_size:     the candidates at every size measured. notes: what a reader must know.
    caution:     what a reader must know first: why this is too little to choose by; "" where it is not.
    doubtful:    candidates faster than that many workers can be: something disturbed the run on one core.
    kind:        whether the work is CPU-bound, I/O-bound or mixed, in words. waits: the part of its time on one core
                 for which it waits, 0 where it does not.
    """

    kernel: str
    size: int | None
    measured: int | None
    use: Candidate
    equals: tuple[Candidate, ...]
    serial: Candidate
    candidates: tuple[Candidate, ...]
    break_evens: tuple[BreakEven, ...]
    by_size: Mapping[int, Sequence[Candidate]]
    notes: tuple[str, ...]
    machine: Mapping[str, Any]
    caution: str = ""
    doubtful: tuple[Candidate, ...] = ()
    kind: str = ""
    waits: float = 0.0

    @property
    def speedup(self) -> float | None:
        """Serial's seconds over the advised one's; None where that is more than its workers can give."""
        return self.speedup_of(self.use)

    def speedup_of(self, candidate: Candidate) -> float | None:
        return None if candidate in self.doubtful else self.serial.seconds / candidate.seconds

"""Choice: what a search measured and which way to use, as plain data. compute.advice.text shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.advice.decision import BreakEven, Candidate


@dataclass(frozen=True)
class Choice:
    """What to use for a work, and the measurements that say so.

    size:        the asked one; None where the arguments are no example of the kernel.
    measured:    the size that the choice rests on: the asked one, where the budget had room for it.
    use:         `run(kernel, *args, on=advice.use.on, variant=advice.use.variant)`; never slower than serial.
    equals:      the candidates that are as fast within noise.
    serial:      the fastest variant on one core.
    candidates:  all that was measured at the size `measured`, the fastest first.
    break_evens: from which size on each backend beats serial; empty where only one size could be measured.
    by_size:     the candidates at every size that was measured.
    notes:       sentences about what was left out, and why.
    caution:     why too little was measured to choose by; "" where it was enough. It is shown before all else.
    doubtful:    candidates faster than that many workers can be: something disturbed the run on one core.
    kind:        whether the work is CPU-bound, I/O-bound or mixed, in words.
    waits:       the part of its time on one core for which it waits; 0 where it does not.
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
        """Serial's seconds over those of the way to use; None where that is doubtful."""
        return self.speedup_of(self.use)

    def speedup_of(self, candidate: Candidate) -> float | None:
        return None if candidate in self.doubtful else self.serial.seconds / candidate.seconds

"""One lane on the caller's thread: the baseline, with the same loop and the same statistics as every other backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.lanes.loop import Job, Outcome, in_slices, run_lane


@dataclass(frozen=True, repr=False)
class Serial(Backend):
    """The caller's own thread; no workers. `Serial()`"""

    workers: int = field(default=1, init=False)
    name = "serial"

    def __repr__(self) -> str:
        return "Serial()"

    def open(self) -> SerialPool:
        return SerialPool(self)

    def with_workers(self, workers: int) -> Serial:
        """This backend for 1; a ValueError for more."""
        if workers != 1:
            raise ValueError(f"serial has one worker, not {workers}; use threads, prange or processes")
        return self


class SerialPool(Pool):
    def lanes(self, job: Job) -> Sequence[Outcome]:
        return [run_lane(job, 0, in_slices)]

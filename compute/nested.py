"""Nested: the pool of a run that is started inside a lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compute.lanes.loop import Job, Outcome, run_lane
from compute.memory.arena import Arena
from kernels.definition import Kernel
from kernels.definition.plan import Plan


class Nested:
    """The pool for a run that is started inside a lane: one lane on this thread, whatever backend was asked for.

    All CPUs have lanes already.
    """

    workers = 1
    die_together = False
    detailed = False
    pins: Sequence[int] = ()

    def __init__(self) -> None:
        self.arena = Arena("heap")

    def make_ready(self, job: Job) -> None:
        pass

    def lanes(self, job: Job) -> Sequence[Outcome]:
        return [run_lane(job, 0)]

    def stop_lanes(self, job: Job) -> None:
        pass

    def repair(self) -> None:
        pass

    def packed(self, kernel: Kernel, plan: Plan) -> Plan:
        if kernel.timeout is not None:
            raise ValueError(f"{kernel.name} has a timeout, and within a lane nobody can end it; leave that out here")
        return plan

    def unpacked(self, job: Job) -> Any:
        return job.out

    def put_result(self, job: Job, chunk: int, values: list[Any]) -> None:
        job.out[chunk] = values

"""joblib's workers: the processes of its executor (`loky.py`), or its threads. They are given one task a lane."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compute.backends import caller
from compute.backends.backend import Backend
from compute.backends.loky import ARRAYS, LokyPool
from compute.backends.pool import Pool
from compute.lanes import interrupts
from compute.lanes.control import ControlArray
from compute.lanes.loop import Job, Outcome, in_slices, run_lane
from compute.traits import PROCESSES, Traits
from kernels.definition import Kernel, nearest

KINDS = ("loky", "threading")


@dataclass(frozen=True, repr=False)
class Joblib(Backend):
    """Lanes as tasks of joblib's workers. `Joblib(4)`, `Joblib(2, arrays="memmap")`, `Joblib(2, kind="threading")`

    kind:    "loky" (processes) or "threading".
    arrays:  for loky, how it sees arrays: "shared" (multiprocessing.shared_memory) or "memmap" (a memory-mapped file,
             as joblib itself does with large arguments).
    timeout: for loky, seconds that one chunk may take before its worker counts as hung; as for Processes.
    """

    kind: Literal["loky", "threading"] = "loky"
    arrays: Literal["shared", "memmap"] = "shared"
    timeout: float | None = None
    name = "joblib"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, value, known in (("kind", self.kind, KINDS), ("arrays", self.arrays, tuple(ARRAYS))):
            if value not in known:
                raise ValueError(
                    f"{field} must be one of {', '.join(known)}, not {value!r}{nearest(str(value), list(known))}"
                )
        caller.check_timeout(self.timeout)

    @property
    def traits(self) -> Traits:
        return PROCESSES if self.kind == "loky" else Traits()

    def refuses(self, kernel: Kernel) -> str | None:
        if kernel.timeout is not None and self.kind == "loky":
            return f"{kernel.name} has a timeout, and when loky ends one worker it ends all of them; use Processes"
        return super().refuses(kernel)

    def open(self) -> Pool:
        return LokyPool(self) if self.kind == "loky" else JoblibThreadPool(self)


class JoblibThreadPool(Pool):
    def lanes(self, job: Job) -> Sequence[Outcome]:
        import joblib

        parallel = joblib.Parallel(n_jobs=job.lanes, backend="threading", batch_size=1, pre_dispatch="all")
        # joblib's own ending of its threads can hang on a Ctrl-C, the second one above all.
        with interrupts.put_off(ControlArray(job.control).stop):
            contexts = [contextvars.copy_context() for _ in range(job.lanes)]  # of the caller, a copy for each thread
            return list(parallel(joblib.delayed(_lane_in)(contexts[me], job, me) for me in range(job.lanes)))

    def stop_lanes(self, job: Job) -> None:
        with interrupts.put_off():
            while ControlArray(job.control).is_busy():
                time.sleep(0.001)


def _lane_in(context: contextvars.Context, job: Job, me: int) -> Outcome:
    return context.run(run_lane, job, me, in_slices)

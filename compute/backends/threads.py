"""Threads of this process: lane 0 is the caller's own thread, the others wait for it in threads of the pool.

A compiled body releases the GIL, so lanes run side by side; a Python body holds it, so they take turns: the timeline's
CPU per wall shows which.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from compute import spin
from compute.backends.backend import Backend, Pool
from compute.control import Control, Words
from compute.lanes import Job, Outcome, in_slices, run_lane


@dataclass(frozen=True, repr=False)
class Threads(Backend):
    """Lanes on threads that share this process's memory. `Threads(4)`"""

    name = "threads"

    def open(self) -> ThreadPool:
        return ThreadPool(self)


class ThreadPool(Pool):
    def start(self) -> None:
        self._done: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()
        self._spin = spin.spin_time(self.workers)
        self._bell = np.zeros(1, np.int64)
        self._jobs: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(1, self.workers)]
        shared = (self._done, self._bell, self._spin)
        self._threads = [
            threading.Thread(target=_serve, args=(lane, jobs, *shared), name=f"nfold-lane-{lane}", daemon=True)
            for lane, jobs in enumerate(self._jobs, 1)
        ]
        for thread in self._threads:
            thread.start()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        while not self._done.empty():
            self._done.get()  # of lanes that came late to the run before
        for jobs in self._jobs:
            jobs.put(job)
        self._bell[0] += 1
        outcomes = [run_lane(job, 0, in_slices)]
        if isinstance(outcomes[0].error, KeyboardInterrupt):
            raise outcomes[0].error
        # A lane that comes when every chunk is done finds no ticket: nobody needs to wait for it.
        if not spin.until_over(job.control, self._spin):
            while len(outcomes) < job.lanes and not Control(job.control).is_over():
                outcomes += self._reported(job)
        return outcomes

    def _reported(self, job: Job) -> list[Outcome]:
        """Wait for some lane to end; its outcome, unless it came late to a run before this one."""
        of, outcome = self._done.get()
        return [outcome] if of is job else []

    def stop_lanes(self, job: Job) -> None:
        control = Control(job.control)
        control.left(0)  # this thread's own, which a second Ctrl-C may have cut off before it noted so
        while control.is_busy():
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C changes nothing: the lanes are stopping
                time.sleep(0.001)

    def stop(self) -> None:
        for jobs in self._jobs:
            jobs.put(None)
        for thread in self._threads:
            thread.join()


def _serve(
    lane: int, jobs: SimpleQueue[Job | None], done: SimpleQueue[tuple[Job, Outcome]], bell: Words, limit: int
) -> None:
    served = 0
    while (job := jobs.get()) is not None:
        done.put((job, run_lane(job, lane)))
        del job  # or its arrays would live until the next one
        served += 1
        spin.until_rung(bell, served, limit)

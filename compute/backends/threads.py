"""Threads of this process: lane 0 is the caller's own thread, the others wait for it in threads of the pool.

A compiled body releases the GIL, so lanes run side by side; a Python body holds it, so they take turns: the timeline's
CPU per wall shows which.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from compute.backends.backend import Backend, Pool
from compute.lanes import Job, Outcome, in_slices, run_lane


@dataclass(frozen=True)
class Threads(Backend):
    """Lanes on threads that share this process's memory. `Threads(4)`"""

    name = "threads"

    def open(self) -> ThreadPool:
        return ThreadPool(self)


class ThreadPool(Pool):
    def start(self) -> None:
        self._done: SimpleQueue[Outcome] = SimpleQueue()
        self._jobs: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(1, self.workers)]
        self._threads = [
            threading.Thread(target=_serve, args=(lane, jobs, self._done), name=f"nfold-lane-{lane}", daemon=True)
            for lane, jobs in enumerate(self._jobs, 1)
        ]
        self._running = 0
        for thread in self._threads:
            thread.start()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        for jobs in self._jobs:
            jobs.put(job)
            self._running += 1
        outcomes = [run_lane(job, 0, in_slices)]
        if isinstance(outcomes[0].error, KeyboardInterrupt):
            raise outcomes[0].error
        while self._running:
            outcomes.append(self._done.get())
            self._running -= 1
        return outcomes

    def stop_lanes(self, job: Job) -> None:
        while self._running:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C changes nothing: the lanes are stopping
                self._done.get()
                self._running -= 1

    def close(self) -> None:
        for jobs in self._jobs:
            jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._jobs, self._threads = [], []
        super().close()


def _serve(lane: int, jobs: SimpleQueue[Job | None], done: SimpleQueue[Outcome]) -> None:
    while (job := jobs.get()) is not None:
        done.put(run_lane(job, lane))
        del job  # or its arrays would live until the next one

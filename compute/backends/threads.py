"""Threads of this process: lane 0 is the caller's own thread, the others wait for it in threads of the pool.

A compiled body releases the GIL, so lanes run side by side. A Python body holds it, so lanes take turns. CPU per wall
in the timeline shows which of the two it was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compute.backends.backend import Backend
from compute.backends.lane_thread import LaneThreads
from compute.backends.pool import Pool
from compute.lanes import interrupts, ordering, spin
from compute.lanes.control import ControlArray
from compute.lanes.loop import Job, Outcome, in_slices, run_lane
from compute.memory.descriptors import LimitReached


@dataclass(frozen=True, repr=False)
class Threads(Backend):
    """Lanes on threads that share this process's memory. `Threads(4)`"""

    name = "threads"

    def open(self) -> ThreadPool:
        return ThreadPool(self)


class ThreadPool(Pool):
    """Lane 0 is run by whoever calls `run`, each other lane by a thread that waits for jobs."""

    def start(self) -> None:
        self._spin = spin.spin_time(self.workers)
        self._cpus = [cpu for cpu in spin.waiting_cpus(self.workers) if cpu is not None]
        self._threads = LaneThreads(self._spin)
        with interrupts.put_off():  # an interrupt could leave a thread that is in no list
            try:
                for lane in range(1, self.workers):
                    self._threads.add(lane, run_lane)
            except LimitReached:
                self.stop()
                raise

    def make_ready(self, job: Job) -> None:
        self._threads.repair()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        if self._cpus and self._threads.have_sleepers():
            own_cpu = spin.current_cpu()
            self._threads.wake_on([cpu for cpu in self._cpus if cpu != own_cpu])
        self._threads.give(job)
        outcomes = [run_lane(job, 0, in_slices)]
        if outcomes[0].error is not None:
            self.stop_lanes(job)
            return outcomes
        # A lane that comes when every chunk is done finds no ticket, so it is not waited for.
        if not spin.until_over(job.control, self._spin):
            while len(outcomes) < job.lanes and not ordering.is_over(job.control):
                outcomes += self._threads.next_outcome(job, outcomes)
        return outcomes

    def rest(self) -> None:
        self._threads.rest()

    def stop_lanes(self, job: Job) -> None:
        control = ControlArray(job.control)
        with interrupts.put_off():  # a second Ctrl-C changes nothing: the lanes are stopping
            control.left(0)  # this thread's lane: a second Ctrl-C may have come before it cleared INSIDE itself
            while control.is_busy():
                time.sleep(0.001)

    def stop(self) -> None:
        self._threads.dismiss()
        if not sys.is_finalizing():  # by then no other thread runs any more, and none would ever be joined
            self._threads.join()

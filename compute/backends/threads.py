"""Threads of this process: lane 0 is the caller's own thread, the others wait for it in threads of the pool.

A compiled body releases the GIL, so lanes run side by side. A Python body holds it, so lanes take turns. CPU per wall
in the timeline shows which of the two it was.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from compute.backends.backend import LOOK, RESTING, Backend, Pool
from compute.backends.lane_thread import Given, LaneThread, dismiss
from compute.lanes import interrupts, ordering, spin
from compute.lanes.control import ControlArray
from compute.lanes.loop import Job, Outcome, in_slices, run_lane


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
        self._cpus = [cpu for cpu in spin.waiting_cpus(self.workers) if cpu is not None]
        self._lanes: list[LaneThread] = []
        self._waiting: list[SimpleQueue[Given | None]] = []
        # Lanes of a pool that is never closed end, too.
        weakref.finalize(self, dismiss, self._waiting).atexit = False
        with interrupts.put_off():  # an interrupt could leave a thread that is in no list
            for lane in range(1, self.workers):
                self._lanes.append(LaneThread(lane, run_lane, self._done, self._bell, self._spin))
                self._waiting.append(self._lanes[-1].jobs)

    def lanes(self, job: Job) -> Sequence[Outcome]:
        while not self._done.empty():
            self._done.get()  # outcomes of lanes that were late in the last run
        asleep = [lane for lane in self._lanes if lane.sleeps]
        if self._cpus and asleep:
            own_cpu = spin.current_cpu()
            other_cpus = [cpu for cpu in self._cpus if cpu != own_cpu]
            for lane, cpu in zip(self._lanes, other_cpus, strict=False):
                lane.wake_on(cpu)
        for lane in self._lanes:
            lane.give(job)
        self._bell[0] += 1
        outcomes = [run_lane(job, 0, in_slices)]
        if outcomes[0].error is not None:
            self.stop_lanes(job)
            return outcomes
        # A lane that comes when every chunk is done finds no ticket, so it is not waited for.
        if not spin.until_over(job.control, self._spin):
            while len(outcomes) < job.lanes and not ordering.is_over(job.control):
                outcomes += self._reported(job)
        return outcomes

    def rest(self) -> None:
        until = time.perf_counter() + RESTING
        while any(lane.served < self._bell[0] for lane in self._lanes) and time.perf_counter() < until:
            time.sleep(LOOK)
        while not self._done.empty():
            self._done.get()

    def _reported(self, job: Job) -> list[Outcome]:
        """Wait for some lane to end. Returns its outcome, unless it is a late one of an earlier run."""
        ended_job, outcome = self._done.get()
        return [outcome] if ended_job is job else []

    def stop_lanes(self, job: Job) -> None:
        control = ControlArray(job.control)
        with interrupts.put_off():  # a second Ctrl-C changes nothing: the lanes are stopping
            control.left(0)  # this thread's lane: a second Ctrl-C may have come before it cleared INSIDE itself
            while control.is_busy():
                time.sleep(0.001)

    def stop(self) -> None:
        dismiss(self._waiting)  # not by the finalizer: it does nothing once its own exit handler has run
        if not sys.is_finalizing():  # by then no other thread runs any more, and none would ever be joined
            for lane in self._lanes:
                lane.thread.join()

"""Threads of a pool that run a lane of each job: they spin for a moment between jobs, then sleep."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import functools
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from compute.backends.pool import LOOK, RESTING
from compute.lanes import interrupts, spin, usage
from compute.lanes.control import ControlArray, Words
from compute.lanes.loop import Job, Outcome
from compute.memory import address_space
from compute.memory.descriptors import LimitReached

DEATHS = 1.0  # s between two looks whether a lane that is waited for is alive
Given = tuple[Job, contextvars.Context]  # what a lane is to run, in a copy of the caller's context


class LaneThread:
    """A thread that waits for jobs, and puts what became of each into `done`.

    run: (job, number) -> the outcome of this lane. bell: rung when all lanes have been given a job. limit: ns to spin.
    leave: called on the thread as it ends.
    It ends early where another thread raises something in it (`PyThreadState_SetAsyncExc`) while it waits.
    """

    def __init__(
        self,
        number: int,
        run: Callable[[Job, int], Outcome],
        done: SimpleQueue[tuple[Job, Outcome]],
        bell: Words,
        limit: int,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.jobs: SimpleQueue[Given | None] = SimpleQueue()
        self.sleeps = False
        self.served = int(bell[0])  # jobs so far, with those of the thread before it
        self.number, self.ended_by, self._has_left = number, "", False
        self._run, self._leave = run, leave
        self._former: set[int] = set()
        self.thread = threading.Thread(
            target=self._live, args=(number, done, bell, limit), name=f"nfold-lane-{number}", daemon=True
        )
        try:
            address_space.start(self.thread)
        except RuntimeError:
            raise LimitReached(
                errno.EAGAIN,
                f"lane {number} cannot start its thread; raise `ulimit -u` or the container's limit of processes,"
                " or use fewer workers",
            ) from None

    def give(self, job: Job) -> None:
        """Have it run a job next."""
        self.jobs.put((job, contextvars.copy_context()))

    def wake_on(self, cpu: int) -> None:
        """Make it wake on that CPU, if it sleeps. Linux tends to wake it on the caller's, where it stays for 4 ms."""
        if self.sleeps and not self._former:
            self._former = usage.pin_to(cpu, self.thread.native_id or 0) or set()

    def _live(self, *given: Any) -> None:
        try:
            self._serve(*given)
        except BaseException as error:
            self.ended_by = type(error).__name__
            raise

    def leave(self) -> None:
        """Call what is to be called as it ends, once: a thread that was ended from outside has not."""
        if not self._has_left:
            self._has_left = True
            self._leave()

    @property
    def is_dead(self) -> bool:
        return not self.thread.is_alive()

    def _serve(self, number: int, done: SimpleQueue[tuple[Job, Outcome]], bell: Words, limit: int) -> None:
        while True:
            self.sleeps = self.jobs.empty()
            given = self.jobs.get()
            self.sleeps = False
            usage.let_go(self._former)
            if given is None:
                self.leave()
                return
            self._former = set()
            job, context = given
            done.put((job, context.run(self._run, job, number)))
            del given, job, context  # or its arrays would live until the next one
            self.served += 1
            spin.until_rung(bell, self.served, limit)


class LaneThreads:
    """All such threads of a pool. They end when this does, though the pool is never closed.

    limit: ns for which a lane spins between jobs.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bell = limit, np.zeros(1, np.int64)
        self._done: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()
        self._lanes: list[LaneThread] = []
        self._made_by: list[Callable[[], LaneThread]] = []
        self._waiting: list[SimpleQueue[Given | None]] = []
        weakref.finalize(self, _dismiss, self._waiting).atexit = False

    def add(self, number: int, run: Callable[[Job, int], Outcome], leave: Callable[[], None] = lambda: None) -> None:
        """Start one more: run and leave as for `LaneThread`."""
        make = functools.partial(LaneThread, number, run, self._done, self._bell, self._limit, leave)
        self._lanes.append(make())
        self._made_by.append(make)
        self._waiting.append(self._lanes[-1].jobs)

    def repair(self) -> None:
        """Between runs: start another thread for each that is dead."""
        for k, lane in enumerate(self._lanes):
            if lane.is_dead:
                with interrupts.put_off():  # an interrupt could leave a thread that is in no list
                    self._lanes[k] = self._made_by[k]()
                    self._waiting[k] = self._lanes[k].jobs

    def have_sleepers(self) -> bool:
        """Whether any of them sleeps: waking one on a CPU of its choice costs system calls."""
        return any(lane.sleeps for lane in self._lanes)

    def wake_on(self, cpus: Sequence[int]) -> None:
        """Make those that sleep wake on these CPUs, one each, as far as there are any."""
        for lane, cpu in zip(self._lanes, cpus, strict=False):
            lane.wake_on(cpu)

    def give(self, job: Job) -> None:
        """Have each of them run its lane of a job."""
        self._forget_answers()
        for lane in self._lanes:
            lane.give(job)
        self._bell[0] += 1

    def next_outcome(self, job: Job, known: Sequence[Outcome]) -> list[Outcome]:
        """Wait for some lane to end. Its outcome, unless it is a late one of an earlier job.

        known: those that have ended. RuntimeError for a lane that is dead, and so will never end.
        """
        while True:
            with contextlib.suppress(Empty):
                ended_job, outcome = self._done.get(timeout=DEATHS)
                return [outcome] if ended_job is job else []
            ended = {outcome.lane for outcome in known}
            dead = [lane for lane in self._lanes if lane.is_dead and lane.number not in ended]
            if dead and self._done.empty():  # the dead answer no more
                return [_end_of(lane, job) for lane in dead]

    def rest(self) -> None:
        """Wait, for RESTING seconds at the most, until each is done with all that it was given."""
        until = time.perf_counter() + RESTING
        while (
            any(lane.served < self._bell[0] and not lane.is_dead for lane in self._lanes)
            and time.perf_counter() < until
        ):
            time.sleep(LOOK)
        self._forget_answers()

    def dismiss(self) -> None:
        """Have each end after the jobs that it has."""
        _dismiss(self._waiting)

    def join(self) -> None:
        """Wait until each has ended."""
        for lane in self._lanes:
            lane.thread.join()
            lane.leave()

    def _forget_answers(self) -> None:
        while not self._done.empty():
            self._done.get()


def _end_of(lane: LaneThread, job: Job) -> Outcome:
    """The outcome of a lane whose thread is dead; the others are told to stop."""
    control = ControlArray(job.control)
    control.stop()
    control.left(lane.number)
    return Outcome(
        lane.number,
        RuntimeError(
            f"the thread of lane {lane.number} was ended ({lane.ended_by or 'it is not alive'}) by something that was"
            " raised in it from outside, and its part of this run with it; run again, on this pool as well"
        ),
        control.current(lane.number),
    )


def _dismiss(waiting: Sequence[SimpleQueue[Given | None]]) -> None:
    for jobs in waiting:
        jobs.put(None)

"""A thread of a pool that runs a lane of each job: it spins for a moment between jobs, then sleeps."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from compute.lanes import spin, usage
from compute.lanes.control import Words
from compute.lanes.loop import Job, Outcome

Given = tuple[Job, contextvars.Context]  # what a lane is to run, in a copy of the caller's context


class LaneThread:
    """A thread that waits for jobs, and puts what became of each into `done`.

    run: (job, number) -> the outcome of this lane. bell: rung when all lanes have been given a job. limit: ns to spin.
    leave: called on the thread as it ends.
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
        self.served = 0  # jobs so far
        self._run, self._leave = run, leave
        self._former: set[int] = set()
        self.thread = threading.Thread(
            target=self._serve, args=(number, done, bell, limit), name=f"nfold-lane-{number}", daemon=True
        )
        self.thread.start()

    def give(self, job: Job) -> None:
        """Have it run a job next."""
        self.jobs.put((job, contextvars.copy_context()))

    def wake_on(self, cpu: int) -> None:
        """Make it wake on that CPU, if it sleeps. Linux tends to wake it on the caller's, where it stays for 4 ms."""
        if self.sleeps and not self._former:
            self._former = usage.pin_to(cpu, self.thread.native_id or 0) or set()

    def _serve(self, number: int, done: SimpleQueue[tuple[Job, Outcome]], bell: Words, limit: int) -> None:
        while True:
            self.sleeps = self.jobs.empty()
            given = self.jobs.get()
            self.sleeps = False
            usage.let_go(self._former)
            if given is None:
                self._leave()
                return
            self._former = set()
            job, context = given
            done.put((job, context.run(self._run, job, number)))
            del given, job, context  # or its arrays would live until the next one
            self.served += 1
            spin.until_rung(bell, self.served, limit)


def dismiss(waiting: Sequence[SimpleQueue[Given | None]]) -> None:
    """Have the threads that wait there end, each after the jobs that it has."""
    for jobs in waiting:
        jobs.put(None)

"""Processes of this machine, with memory of their own: arrays reach them through shared segments, never in messages.

A run sends each worker one message, whatever the number of chunks. A worker that dies is reaped, and its chunk is run
again. When the parent dies, the workers end.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from compute.backends import caller, host_program, tasks
from compute.backends.backend import Backend
from compute.backends.caller import Caller
from compute.backends.pool import LOOK, RESTING, Pool
from compute.backends.worker import PRELOAD, Tally, Worker, failed_import
from compute.dispatch import ATTEMPTS, WorkerDied
from compute.lanes import interrupts, ordering, shared_words, spin
from compute.lanes.control import N_TICKETS, ControlArray
from compute.lanes.loop import Job, Outcome
from compute.memory.descriptors import check_files
from compute.memory.segments import reference
from compute.traits import PROCESSES
from kernels.definition import nearest, numba_is_here

if sys.platform != "win32":  # here, and not as a pool opens: a fork meanwhile would have half of it, for good
    from compute.backends import fork_server

StartMethod = Literal["forkserver", "spawn", "fork"]

BACKLOG = 1  # unanswered jobs with which a worker is given another: with more, a slow worker's queue would grow
DYING = 1.0  # s from the end of a worker's pipe to its own end: the system takes microseconds
DESCRIPTORS = 8  # descriptors that starting a worker takes at the most: its pipe, multiprocessing's pipes and socket


@dataclass(frozen=True, repr=False)
class Processes(Backend):
    """Lanes in worker processes. `Processes(4)`, `Processes(2, start="spawn", timeout=10)`

    start:   how workers come to be: "forkserver" (from a clean server; the default where the system has it), "spawn"
             (each from nothing), or "fork" (copies of this process; not once it has threads).
    timeout: seconds that one chunk may take before its worker counts as hung, is killed, and the chunk is run again.
    """

    start: StartMethod = "spawn" if sys.platform == "win32" else "forkserver"
    timeout: float | None = None
    name = "processes"
    traits = PROCESSES

    def __post_init__(self) -> None:
        import multiprocessing

        super().__post_init__()
        methods = multiprocessing.get_all_start_methods()
        if self.start not in methods:
            raise ValueError(
                f"start must be one of {', '.join(methods)}, not {self.start!r}{nearest(str(self.start), methods)}"
            )
        caller.check_timeout(self.timeout)

    def open(self) -> ProcessPool:
        return ProcessPool(self)


def context_of(start: StartMethod) -> Any:
    """multiprocessing's context of this start method; for "forkserver" ours, which has a fork server of its own."""
    if start == "forkserver":
        return fork_server.Context()
    import multiprocessing

    return multiprocessing.get_context(start)


class ProcessPool(Pool):
    arena_kind = "shared"
    backend: Processes

    def start(self) -> None:
        self._caller = Caller(self.backend, self.arena, self.backend.timeout)
        if self.backend.start == "fork" and threading.active_count() > 1:
            raise RuntimeError(
                f"start='fork' would copy a process with {threading.active_count()} threads, whose locks may be held"
                " for ever; use start='forkserver', or open this pool before anything that uses threads"
            )
        self._context: Any = context_of(self.backend.start)
        self._make_way(self.workers)  # first of all: the rest is done while the server imports
        host_program.sweep_once()
        self._spin = spin.spin_time(self.workers)
        if numba_is_here():
            shared_words.calls()  # the workers find it on disk, and make none
        host_program.start_tracker()  # now, when there is little left to do here but to wait
        self._make_board()
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        try:
            self._start_workers(range(self.workers))
        except BaseException:
            self._kill_all()
            self._caller.forget()
            self._selector.close()
            raise

    def _make_board(self) -> None:
        self._board = self.arena.empty(Tally.board_length(self.workers), np.int64)
        self._board[:] = 0

    def renew(self) -> None:
        self._caller.forget()
        self._dismiss_all()  # by a message: this process may have lost the right to kill them
        self._selector = selectors.DefaultSelector()
        self.arena.close()
        self._make_board()
        self.repair()

    def repair(self) -> None:
        """Start a worker for each lane that has none."""
        if missing := [lane for lane in range(self.workers) if lane not in self._workers]:
            self._make_way(len(missing))
            self._start_workers(missing)

    def _make_way(self, count: int) -> None:
        """See that so many workers can be started, and start the fork server. It takes 0.1 s for its imports."""
        check_files(DESCRIPTORS * (count + 1))  # the fork server would die of too few in the middle of its work
        remedy = "use fewer workers" if self.workers > 1 else "run on Serial()"
        tasks.check_address_space("run on threads")
        tasks.check_tasks(1 + tasks.blas_threads() + tasks.A_WORKER * count, remedy)
        if self.backend.start == "forkserver":
            fork_server.start(PRELOAD)

    def _start_workers(self, missing: Sequence[int]) -> None:
        """Start the workers of these lanes, all at the same time; return when all are ready."""
        board = reference(self._board)
        cpus = spin.waiting_cpus(self.workers)
        # Workers may spin if there is a CPU for each of them beside the caller's, which is at work meanwhile.
        self._limit = spin.spin_time(self.workers + (cpus[0] is None))
        for _ in range(ATTEMPTS):
            for lane in missing:
                tally = Tally(self._board, lane, afresh=True)
                with interrupts.put_off():  # an interrupt could leave a worker that is in no table
                    worker = self._workers[lane] = Worker(self._context, lane, cpus[lane], board, tally)
                    self._selector.register(worker.pipe, selectors.EVENT_READ, lane)
                    self._selector.register(worker.handle.sign, selectors.EVENT_READ, ~lane)
            codes = {lane: code for lane in missing if (code := self._await(self._workers[lane]))}
            missing = list(codes)
            if not missing:
                return
        raise failed_import() or WorkerDied(
            f"worker processes died {ATTEMPTS} times before they were ready ({', '.join(set(codes.values()))});"
            " what they printed is above"
        )

    def _await(self, worker: Worker) -> str | None:
        """Wait until a new worker is ready. Returns how it died, if it did."""
        try:
            worker.await_ready()
        except (EOFError, OSError):
            return caller.describe_exit(self._remove(worker))
        return None

    def make_ready(self, job: Job) -> None:
        self._listen(job, 0)  # for deaths since the last run, and late answers of the runs before
        while self._owing(BACKLOG):
            self._wait_for_workers(job, self._caller.patience)
        self.repair()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        message = self._caller.message(job)
        outcomes = []
        own_cpu = spin.current_cpu()
        # The worker that waits on this very CPU gets its message last: once awake, it may take the CPU from us.
        for worker in sorted(self._wanted(job), key=lambda worker: worker.cpu == own_cpu):
            try:
                worker.send(job, message, 0 if worker.cpu == own_cpu else self._limit)
            except OSError:
                outcomes.append(self._reap(worker, job))
        self._caller.note_sent(job)
        if worker.cpu is not None:
            os.sched_yield()  # our spin would keep that last worker waiting
        if spin.until_over(job.control, self._spin):
            return outcomes
        # A lane that comes when every chunk is done finds no ticket, so it is not waited for.
        while not ordering.is_over(job.control, by_processes=True):
            if not self._owing():
                return outcomes + self._listen(job, 0)  # no worker owes an answer: read what is left in the pipes
            outcomes += self._wait_for_workers(job, self._caller.patience)
        return outcomes

    def _wanted(self, job: Job) -> list[Worker]:
        """The workers that get the job: no more than it has tickets, because waking one for nothing takes CPU time.

        A job without tickets is for all of them, so that they load its code.
        """
        workers, tickets = list(self._workers.values()), int(job.control[N_TICKETS])
        if not 0 < tickets < len(workers):
            return workers
        if not numba_is_here():  # there is no shared counter: ticket t is for lane t
            return [self._workers[lane] for lane in range(tickets)]
        return sorted(workers, key=lambda worker: worker.backlog)[:tickets]

    def rest(self) -> None:
        until = time.perf_counter() + RESTING
        while self._owing() and time.perf_counter() < until:
            time.sleep(LOOK)

    def _owing(self, answers: int = 0) -> list[Worker]:
        """The workers that owe more than so many answers.

        `backlog` is read of every worker, because reading it updates the worker. One that was skipped would seem to owe
        answers that it has given, and `_wait_for_workers` would not sleep.
        """
        return [worker for worker in self._workers.values() if worker.backlog > answers]

    def _wait_for_workers(self, job: Job, patience: float | None) -> list[Outcome]:
        """Sleep until some worker answers, dies, or is found hung. Returns the outcomes of its lanes in this job."""
        asleep = [worker.will_tell() for worker in self._workers.values()]
        outcomes = self._listen(job, patience if all(asleep) else 0)
        for lane in self._caller.hung(job, [worker.lane for worker in self._owing()]):
            self._workers[lane].handle.kill()
            outcomes.append(self._reap(self._workers[lane], job, self._caller.cause_of_hung))
        return outcomes

    def _listen(self, job: Job, patience: float | None) -> list[Outcome]:
        """Read all messages and deaths, waiting up to `patience` seconds for the first. Returns this job's outcomes."""
        outcomes = []
        while ready := self._selector.select(patience):
            signalled = {key.data for key, _ in ready}  # lane: its pipe has something to read; ~lane: it has ended
            for worker in [self._workers[lane] for lane in {max(lane, ~lane) for lane in signalled}]:
                try:
                    # A dead worker is reaped only when its pipe is empty: it may have answered before it died.
                    outcome = worker.receive() if worker.lane in signalled else self._reap(worker, job)
                except (EOFError, OSError):
                    outcome = self._reap(worker, job)
                if outcome is not None:
                    outcomes.append(outcome)
            patience = 0
        return outcomes

    def _reap(self, worker: Worker, job: Job, death: str | None = None) -> Outcome:
        """Remove a dead worker, and return the outcome of its lane. Only then may its chunk be given to others."""
        code = self._remove(worker)
        return self._caller.death(job, worker.lane, death or caller.describe_exit(code))

    def _remove(self, worker: Worker) -> int | None:
        """Make sure that a worker has ended, and remove it. Returns its exit code."""
        with interrupts.put_off(worker.handle.kill):
            # It may still be alive: a TimeoutError that a signal's handler raised looks like a broken pipe.
            if not worker.handle.is_over(DYING):
                worker.handle.kill()
            del self._workers[worker.lane]
            for file in (worker.pipe, worker.handle.sign):
                with contextlib.suppress(KeyError):  # it died before it was registered
                    self._selector.unregister(file)
            return worker.reap()

    def stop_lanes(self, job: Job) -> None:
        control = ControlArray(job.control)
        with interrupts.put_off(self.cut_off):  # on a second Ctrl-C, kill instead of waiting for the chunks to end
            for worker in list(self._workers.values()):
                if worker.is_talking:  # half a message may be in the pipe, and the next one would be garbled
                    worker.handle.kill()
                    self._reap(worker, job)
            while control.is_busy():
                time.sleep(0.001)
                for worker in list(self._workers.values()):
                    if worker.handle.is_over():
                        self._reap(worker, job)

    def stop(self) -> None:
        self._caller.forget()
        self._dismiss_all()
        del self._board  # so that a closed pool holds no memory and no descriptor

    def _dismiss_all(self) -> None:
        self._selector.close()
        for worker in self._workers.values():
            worker.dismiss()
        while self._workers:
            self._workers.popitem()[1].reap()

    def forget(self) -> None:
        if selector := getattr(self, "_selector", None):
            selector.close()

    def cut_off(self) -> None:
        for worker in self._workers.values():
            worker.handle.kill()

    def _kill_all(self) -> None:
        for worker in list(self._workers.values()):
            worker.handle.kill()
            self._remove(worker)

"""A pool of the processes of joblib's executor, loky, and what they run. They are given one task a lane.

The executor is used as joblib.Parallel uses it, but each pool has its own. Parallel shares a single executor in the
process, whose size changes while earlier users still rely on it, and leaves a folder in /dev/shm for every call.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
import time
import warnings
import weakref
from collections.abc import Sequence
from multiprocessing import process as processes
from typing import TYPE_CHECKING, Any

from compute.backends import caller, children, host_program, remote
from compute.backends.caller import Caller
from compute.backends.pool import Pool
from compute.backends.tasks import A_WORKER, blas_threads, check_address_space, check_tasks
from compute.backends.worker import failed_import
from compute.dispatch import ATTEMPTS, WorkerDied
from compute.lanes import interrupts
from compute.lanes.control import N_TICKETS, STOP, ControlArray
from compute.lanes.loop import Job, Outcome
from compute.memory.address_space import check_room
from compute.memory.arena import Arena
from compute.memory.segments import ArenaKind

if TYPE_CHECKING:
    from compute.backends.joblib import Joblib

ARRAYS: dict[str, ArenaKind] = {"shared": "shared", "memmap": "mapped"}
FEEDER = 60.0  # s for the thread of loky's queue to end: it has nothing left to do, but may have to wait for a CPU
# s that a worker's first task lasts, and its first with a kernel, so that loky gives a task to the other workers, too.
ARRIVAL = 0.01
LOKYS_THREADS = 2  # of this process, which it starts itself
LOKYS_OWN = 4  # tasks beside the workers: its two threads here, its resource tracker, and what starts a process


class LokyPool(Pool):
    """Workers of loky's, which joblib starts; a message for each lane is a task of its executor."""

    backend: Joblib
    die_together = True  # loky kills every worker when one dies

    def start(self) -> None:
        self.arena = Arena(ARRAYS[self.backend.arrays])
        self._caller = Caller(self.backend, self.arena, self.backend.timeout)
        host_program.start_tracker()
        host_program.sweep_once()
        self._executor: Any = None
        try:
            self.repair()
        except BaseException:
            self._shut_down()
            raise
        _close_before_exit(self)

    def repair(self) -> None:
        """Replace a broken executor by a new one."""
        # If an interrupt cut it off, loky would leave semaphores in /dev/shm, and its threads would print warnings.
        remedy = "use fewer workers" if self.workers > 1 else "run on Serial()"
        check_address_space("run on threads")
        check_room(LOKYS_THREADS, "run on threads")
        check_tasks(LOKYS_OWN + (A_WORKER + blas_threads()) * self.workers, remedy)
        with interrupts.put_off(), host_program.able_to_start_processes():
            with warnings.catch_warnings():  # joblib says at its import what is said below, with a remedy
                warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")
                from joblib.externals.loky import process_executor

            self._shut_down()
            self._caller.forget()
            host_program.check_semaphores("loky's", f"use Processes({self.workers}), which needs none")
            self._start_workers()
            # loky would register its exit handler once more for each executor: what it looks at stays None.
            process_executor.process_pool_executor_at_exit = True
            # loky waits for the end of a pipe, which a process that a body forks would hold open.
            for process in list(self._executor._processes.values()):
                _tell_by_pidfd(process)

    def _start_workers(self) -> None:
        """Start an executor's workers, and return when each has had a task: loky gives them to any that is free."""
        from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

        for attempt in range(1, ATTEMPTS + 1):
            self._executor = ProcessPoolExecutor(self.workers, initializer=_settle, initargs=(os.getpid(),))
            arrived: set[int] = set()
            try:
                while len(arrived) < self.workers:
                    with children.with_sigint_blocked():
                        tasks = [self._executor.submit(_arrive) for _ in range(self.workers)]
                    arrived |= {task.result() for task in tasks}
                return
            except BrokenProcessPool as error:
                if attempt == ATTEMPTS:
                    raise failed_import() or WorkerDied(
                        f"loky's workers died {ATTEMPTS} times before they were ready ({_exit_codes(error)});"
                        " what they printed is above"
                    ) from error
                self._shut_down()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        # If an interrupt cut its code off, loky would leave locks that are never released.
        with interrupts.put_off(lambda: self._hurry(job)):
            return self._lanes(job)

    def _lanes(self, job: Job) -> Sequence[Outcome]:
        from joblib.externals.loky import BrokenProcessPool

        message, control = self._caller.message(job), ControlArray(job.control)
        is_warming = not control.words[N_TICKETS]
        perform = _perform_and_stay if is_warming else remote.perform
        tasks: list[Any] = []
        refused: BrokenProcessPool | None = None
        try:
            for lane in range(job.lanes):
                tasks.append(self._executor.submit(perform, message, lane))  # noqa: PERF401 (a refusal keeps those)
        except BrokenProcessPool as error:  # a worker died while it was idle, or in a lane that was quicker than this
            if not tasks:
                return [Outcome(0, death=_exit_codes(error))]
            refused = error
        self._caller.note_sent(job)
        hung = self._watch(tasks, job)
        errors = [task.exception() for task in tasks]
        broken = next((error for error in errors if isinstance(error, BrokenProcessPool)), refused)
        if broken is None:
            if is_warming and len({control.process(lane) for lane in range(job.lanes)}) < job.lanes:
                return self._lanes(job)  # one worker had two of the tasks: again, until each has had one
            return [caller.outcome_of(task.result(), lane) for lane, task in enumerate(tasks)]
        self._kill_lanes(job)
        cause = self._caller.cause_of_hung if hung else _exit_codes(broken)
        ended = [caller.outcome_of(task.result(), lane) for lane, task in enumerate(tasks) if not errors[lane]]
        dead = [self._caller.death(job, lane, cause) for lane, error in enumerate(errors) if error]
        dead = [outcome for outcome in dead if outcome.chunk is not None] or dead[:1]
        return [*(outcome for outcome in ended if outcome.error), *(dead or [Outcome(len(tasks), death=cause)])]

    def _watch(self, tasks: Sequence[Any], job: Job) -> bool:
        """Wait for the lanes to end; kill those that are hung. Returns whether there were any."""
        from concurrent.futures import wait

        was_hung = False
        while running := wait(tasks, self._caller.patience or interrupts.WAKES).not_done:
            for lane in self._caller.hung(job, [lane for lane, task in enumerate(tasks) if task in running]):
                was_hung = True
                _kill(ControlArray(job.control).process(lane))
        return was_hung

    def _hurry(self, job: Job) -> None:
        """On a first Ctrl-C let each lane end its chunk, on a further one kill them."""
        if job.control[STOP]:
            self._kill_lanes(job)
        ControlArray(job.control).stop()

    def _kill_lanes(self, job: Job) -> None:
        """Kill every lane's process, and return when all of them have ended and can write nothing more."""
        for lane in range(job.lanes):
            pid = ControlArray(job.control).process(lane)
            while pid and _is_alive(pid):
                _kill(pid)
                time.sleep(0.001)

    def _shut_down(self) -> None:
        if self._executor is not None:
            # At the interpreter's end, loky's own exit handler has ended the workers, and its thread runs no more.
            feeder = getattr(getattr(self._executor, "_call_queue", None), "_thread", None)
            self._executor.shutdown(wait=not sys.is_finalizing(), kill_workers=True)
            self._executor = None
            # Its thread holds the last of loky's semaphores, which would stay if the program ended by os._exit now.
            if feeder is not None and not sys.is_finalizing():
                feeder.join(FEEDER)

    def renew(self) -> None:
        self._caller.forget()
        self._executor.shutdown(wait=True)  # not killed: they may not be ours to kill any more
        self._executor = None
        self.arena.close()
        self.repair()

    def stop(self) -> None:
        self._caller.forget()
        self._shut_down()

    def forget(self) -> None:
        from joblib.externals.loky import process_executor

        process_executor._threads_wakeups.clear()  # otherwise a fork's exit would wake the parent's threads
        manager = getattr(getattr(self, "_executor", None), "_executor_manager_thread", None)
        if manager is not None:
            manager.executor_reference = None  # and so would the end of our copy of the executor


def _tell_by_pidfd(process: Any) -> None:
    """Replace a process's sentinel, the end of a pipe, by a pidfd: waiting for it then depends on the system alone."""
    with contextlib.suppress(AttributeError, OSError):
        pidfd = os.pidfd_open(process.pid)
        weakref.finalize(process, os.close, pidfd).atexit = False
        process._sentinel = pidfd


# Priorities of exit handlers. The highest is called first, and those of multiprocessing's queues have 10.
LOKYS_END, FIRST = 20, 30
_lokys_end = -1  # the process that has loky's exit handler among multiprocessing's


def _close_before_exit(pool: LokyPool) -> None:
    """If this process is a child of multiprocessing's, close the pool when it exits, unless it is gone by then.

    Such a child first closes its queues, then waits for its own child processes, and only then does loky's exit handler
    end them. A pool that was dropped just before has to tell its workers through such a queue.
    """
    global _lokys_end
    if processes.parent_process() is not None:
        from multiprocessing import util

        from joblib.externals.loky.process_executor import _python_exit

        util.Finalize(pool, _close, (weakref.ref(pool),), exitpriority=FIRST)
        if _lokys_end != os.getpid():
            _lokys_end = os.getpid()
            util.Finalize(None, _python_exit, exitpriority=LOKYS_END)


def _close(pool: weakref.ref[LokyPool]) -> None:
    if (live := pool()) is not None:
        live.close()


def _settle(parent: int) -> None:
    """Called first in each loky worker: become one of ours.

    loky replaces a worker whose resident memory has grown by 300 MB, in the middle of a run. Here that is not a leak:
    the caller's arrays are mapped. So this check is switched off.
    """
    from joblib.externals.loky import process_executor

    process_executor._MEMORY_LEAK_CHECK_DELAY = math.inf  # in this process alone
    remote.become_worker(parent)


def _perform_and_stay(message: bytes, lane: int) -> bytes:
    """remote.perform, and then no other task for a moment."""
    reply = remote.perform(message, lane)
    time.sleep(ARRIVAL)
    return reply


def _arrive() -> int:
    time.sleep(ARRIVAL)
    return os.getpid()


def _exit_codes(error: BaseException) -> str:
    """`SIGKILL(-9)` from loky's message, whose further lines are about what it may have printed."""
    match = re.search(r"exit codes of the workers are \{([^}]+)\}", str(error))
    return match[1] if match else "killed"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

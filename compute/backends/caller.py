"""`Caller`: what every pool of worker processes needs on the caller's side.

It checks whether this process may start workers, builds the message for a job, detects hung lanes, and words deaths.
processes.py, joblib.py and backends of other distributions use it. The pool itself starts workers (the first call in
each is `remote.become_worker`), sends them what `message` gives (`remote.perform` runs it there), and checks that dead
workers have really ended.
"""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Iterable

from compute.backends import children, host_program
from compute.backends.sender import Sender
from compute.lanes.control import SENDING, ControlArray
from compute.lanes.loop import Job, Outcome
from compute.memory.arena import Arena

LOADING_TIME = 60.0  # s that a worker may take to load a kernel: a cold compilation on a busy machine takes ten


class Caller:
    """The part of a pool of worker processes that does not depend on how they are started. Made before the first is.

    backend: named in the RuntimeError where this process may not start workers. arena: the pool's; code and arrays that
    messages name are put there. timeout: seconds that one chunk may take before its worker counts as hung; None for
    ever.
    """

    def __init__(self, backend: object, arena: Arena, timeout: float | None) -> None:
        children.check_may_start(backend)
        host_program.make_able()  # and the pool sweeps, when its workers are on their way
        self._sender, self._longest = Sender(arena), timeout
        self._timeout = timeout  # of the job that was sent last
        self._began, self._made = 0, 0.0

    def message(self, job: Job) -> bytes:
        """The message for every worker that has a lane in this job."""
        self._began = time.perf_counter_ns()
        own, longest = job.kernel.timeout, self._longest
        self._timeout = longest if own is None else own if longest is None else min(own, longest)
        message = self._sender.message(job)
        self._made = time.perf_counter()
        return message

    def note_sent(self, job: Job) -> None:
        """Call it when every worker has its message: how long that took goes to the ledger."""
        job.control[SENDING] += time.perf_counter_ns() - self._began

    @property
    def patience(self) -> float | None:
        """Seconds to wait for workers before `hung` is called again; None to wait until one of them answers or dies."""
        return None if self._timeout is None else self._timeout / 8

    def hung(self, job: Job, lanes: Iterable[int]) -> list[int]:
        """Those of the lanes that have been in one chunk for longer than it may take: kill their workers."""
        if self._timeout is None:
            return []
        control = ControlArray(job.control)
        return [lane for lane in lanes if is_hung(control, lane, self._made, self._timeout)]

    @property
    def cause_of_hung(self) -> str:
        """The cause of death of a worker that was killed as hung. `death` compares causes with this text."""
        return f"killed after {self._timeout} s in one chunk"

    def death(self, job: Job, lane: int, cause: str) -> Outcome:
        """The outcome of a lane whose worker is dead: call it when that worker cannot write anything any more.

        Its chunk may be given to other lanes from now on.
        """
        control = ControlArray(job.control)
        control.left(lane)
        is_late = self._timeout is not None and cause == self.cause_of_hung
        return Outcome(lane, chunk=control.current(lane), death=cause, is_late=is_late)

    def forget(self) -> None:
        """Release all that messages named. Call it when no worker uses it any more."""
        self._sender.forget()


def outcome_of(reply: bytes, lane: int) -> Outcome:
    """The outcome of a lane, from the answer of `remote.perform`."""
    outcome: Outcome = pickle.loads(reply) if reply else Outcome(lane)
    return outcome


def is_hung(control: ControlArray, lane: int, sent: float, timeout: float) -> bool:
    """Whether a lane that got its job at `sent` has been in one chunk for longer than it may take."""
    now, began = time.perf_counter(), control.started(lane) / 1e9
    return now - began > timeout if began > sent else now - sent > timeout + LOADING_TIME


def check_timeout(timeout: float | None) -> None:
    """ValueError for a timeout that is not a positive number of seconds."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}; leave it out to wait for ever")


def describe_exit(code: int | None) -> str:
    """`SIGKILL` or `exit code 3`, from a process's exit code."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"

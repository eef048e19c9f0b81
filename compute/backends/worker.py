"""One process of a Processes pool: `Worker` is the pool's handle of it, `_serve` the process's main loop."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import sys
import time
import weakref
from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from compute import python_executable
from compute.backends import children, host_program, output, remote
from compute.backends.caller import outcome_of
from compute.lanes import spin, usage
from compute.lanes.control import WORDS_PER_LINE, Words
from compute.lanes.loop import Job, Outcome
from compute.memory.descriptors import LimitReached
from compute.memory.ownership import in_children, own_forks
from compute.memory.segments import ArrayRef
from kernels.definition import numba_is_here
from kernels.texts import visible

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# Words on a lane's line of the board that a pool and its workers share. Word 0 is the lane's tally. BELL: how many jobs
# were sent to it so far. LIMIT: ns that it may spin.
BELL, LIMIT = 1, 2
# What an ask adds to a tally. Answers are counted below it, and so many of them would take a year.
ASK = 1 << 40
LEAVE = b""  # sent instead of a job
STARTS = 3  # attempts to start a worker, each but the first with a new fork server: it may be killed at any moment
# A worker may spin for so many times as long where its last job came within that time: the next one is likely to. In a
# program that runs one short kernel after another, some 200 us of Python are between two jobs.
AGAIN = 5
NUMBER = 8  # bytes: an answer with an error begins with the job's number


class Tally:
    """One word with two counts: how many jobs a worker has answered, and how often the pool has asked it.

    An *ask* is the pool's request to be woken, through the pipe, when the worker answers next. Both sides use an atomic
    add, which returns what was there before. So if an answer and an ask meet, one side sees the other, and no wake-up
    is lost. Without numba there is no atomic add: then the worker writes to the pipe at every answer.
    """

    def __init__(self, board: Words, lane: int, afresh: bool = False) -> None:
        self._board, self._at = board, self.board_length(lane)
        self._bell, self._limit = board[self._at + BELL :], self._at + LIMIT
        self._asks = 0
        if afresh:
            board[self._at : self._at + LIMIT + 1] = 0

    @staticmethod
    def board_length(lanes: int) -> int:
        """How many words a board for so many lanes takes."""
        return WORDS_PER_LINE * lanes

    @property
    def answers(self) -> int:
        return int(self._board[self._at]) % ASK

    def answer(self) -> bool:
        """The worker's side: count an answer. Returns whether to wake the pool."""
        if not numba_is_here():
            self._board[self._at] += 1
            return True
        asks = spin.add(self._board, self._at, 1) // ASK
        known, self._asks = self._asks, asks
        return asks != known

    def ask(self) -> int:
        """The pool's side: ask to be woken at the next answer. Returns how many answers there were before."""
        return spin.add(self._board, self._at, ASK) % ASK if numba_is_here() else self.answers

    def ring(self, limit: int) -> None:
        """The pool's side: signal a message in the pipe to a spinning worker. It may spin `limit` ns for the next."""
        self._board[self._limit] = limit
        self._bell[0] += 1

    def spin(self, heard: int, waited: int) -> None:
        """The worker's side: spin until more than `heard` messages were signalled, or for as long as it may.

        waited: ns that it has waited for its last job.
        """
        limit = int(self._board[self._limit])
        spin.until_rung(self._bell, heard, AGAIN * limit if waited < AGAIN * limit else limit)


class Worker:
    """A worker process, the pipe to it, and the jobs that it has not answered yet, oldest first.

    It answers on its tally. Through the pipe it sends errors, and wakes the pool where it was asked to. A job without
    an answer is kept: its arrays are not lent again while a late worker may still use them.
    """

    def __init__(self, context: Any, lane: int, cpu: int | None, board: ArrayRef, tally: Tally) -> None:
        self.lane, self.cpu = lane, cpu
        self._tally = tally
        self._sent = 0
        self.is_talking = True  # whether half a message may be in the pipe; stays True where a Ctrl-C cut it off
        self._unanswered: deque[tuple[int, Job]] = deque()
        in_children(self, Worker._forget)
        output.flush()  # or a fork would print the contents of the buffers a second time
        for attempt in range(1, STARTS + 1):
            # A new pipe each time: a server that died meanwhile may have started a process that reads the old one.
            self.pipe, there = context.Pipe()
            self.process = context.Process(
                target=_serve,
                args=(there, lane, cpu, os.getpid(), board, dict(os.environ)),
                name=f"nfold-lane-{lane}",
                daemon=True,
            )
            try:
                with (
                    children.with_sigint_blocked(),
                    host_program.able_to_start_processes(),
                    children.without_main(),
                    own_forks(),
                ):
                    self.process.start()
                break
            except (OSError, EOFError) as error:
                self.pipe.close()
                if attempt == STARTS or context.get_start_method() != "forkserver":
                    if isinstance(error, EOFError | ConnectionError):  # the server's end, and nothing in it says so
                        raise failed_import() or LimitReached(
                            errno.EAGAIN,
                            f"the fork server of worker processes ended {STARTS} times as it started one; see what it"
                            " printed above, and `ulimit -a` for what it may have lacked",
                        ) from None
                    raise
                from compute.backends import fork_server

                fork_server.renew()
            finally:
                there.close()
        self.handle = children.ProcessHandle(self.process)
        # Workers of a pool that is never closed end, too. The finalizer also keeps the pipe alive: the garbage
        # collector calls finalizers in any order, and could close the pipe before another finalizer closes the pool.
        self._leaving = weakref.finalize(self, _dismiss, self.pipe, os.getpid())
        self._leaving.atexit = False

    def _forget(self) -> None:
        """In a fork: close our copies of its files, or the worker would not see the pipe close when the parent dies."""
        if pipe := getattr(self, "pipe", None):
            pipe.close()
        if handle := getattr(self, "handle", None):
            handle.let_go()

    def await_ready(self) -> None:
        """Return when it is ready to work. EOFError or OSError where it died before."""
        wait([self.pipe, self.handle.sign])
        if not self.pipe.poll():
            raise EOFError
        self.pipe.recv_bytes()
        self.is_talking = False

    def send(self, job: Job, message: bytes, limit: int) -> None:
        """Send it a job, and the ns that it may spin for the next one. OSError where it is dead."""
        self.is_talking = True
        self.pipe.send_bytes(message)
        self._tally.ring(limit)
        self._sent += 1
        self._unanswered.append((self._sent, job))
        self.is_talking = False

    def receive(self) -> Outcome | None:
        """Read a message; the outcome if it is about the latest job. EOFError or OSError where the worker is dead."""
        self.is_talking = True
        answer = self.pipe.recv_bytes()
        self.is_talking = False
        if int.from_bytes(answer[:NUMBER], "big") != self._sent:
            return None
        return outcome_of(answer[NUMBER:], self.lane)

    def will_tell(self) -> bool:
        """Ask it to wake us at its next answer. False where it has given one since the last look."""
        return not self._unanswered or self._tally.ask() < self._unanswered[0][0]

    @property
    def backlog(self) -> int:
        """How many jobs it has not answered."""
        answers = self._tally.answers
        while self._unanswered and self._unanswered[0][0] <= answers:
            self._unanswered.popleft()
        return len(self._unanswered)

    def dismiss(self) -> None:
        """Tell it to leave, by a message, because a process that was forked may keep the end of its pipe open."""
        if self.is_talking:
            self.handle.kill()  # it would take our message for the rest of the one that was interrupted
        self._leaving.detach()
        _dismiss(self.pipe, os.getpid())

    def reap(self) -> int | None:
        """Wait until it has ended, and release everything. Returns its exit code."""
        try:
            return self.handle.reap()
        finally:
            self._leaving.detach()
            self.pipe.close()


def _dismiss(pipe: Connection, owner: int) -> None:
    if not pipe.closed:
        with contextlib.suppress(OSError):
            if os.getpid() == owner:
                pipe.send_bytes(LEAVE)
        pipe.close()


PRELOAD = ["compute.backends.preloaded"]  # what the fork server imports once, and its children start with
# Imports what a worker does, and says as JSON which module cannot be imported, the innermost one, and why.
IMPORTING = """
import importlib, json, os, sys
sys.path[:] = json.loads(sys.argv[1])
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except BaseException as error:
        at = error.__traceback__.tb_next
        while at is not None:
            if at.tb_frame.f_code.co_name == "<module>":
                module = at.tb_frame.f_globals["__name__"]
            at = at.tb_next
        if isinstance(error, SyntaxError) and error.filename:
            module = os.path.basename(error.filename).partition(".")[0]
        print(json.dumps([module, f"{type(error).__name__}: {error}"]))
        break
"""
IMPORTED = 120.0  # s for all of these imports


def failed_import() -> ImportError | None:
    """Why workers that end before they are ready cannot import what they need; None where another Python can."""
    import json

    words = [python_executable.find(), "-c", IMPORTING, json.dumps(sys.path), *PRELOAD]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        answer = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORTED).stdout
        if answer:
            module, why = json.loads(answer.splitlines()[-1])
            return ImportError(
                f"worker processes cannot import {module} ({visible(why)}); see that no file of yours has the name of a"
                " module that it needs, or run on threads",
                name=module,
            )
    return None


def _adopt_environment(environment: dict[str, str]) -> None:
    """Set the caller's environment variables: a fork server has those of when it was started."""
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
        if hasattr(time, "tzset"):
            time.tzset()


def _serve(
    pipe: Connection,
    lane: int,
    cpu: int | None,
    parent: int,
    board: ArrayRef,
    environment: dict[str, str],
) -> None:
    """A worker's main loop: report that it is ready, then run its lane of every job, until it is told to leave.

    It waits for a job pinned to its own CPU, if it has one, and runs the job on any CPU.
    """
    in_children(pipe, type(pipe).close)  # a process that a body forks must not keep our end open when we are dead
    _adopt_environment(environment)
    remote.become_worker(parent)
    tally = Tally(board.open({}), lane)
    try:
        pipe.send_bytes(b"ready")
        waited = sys.maxsize
        for number in itertools.count(1):
            former_cpus = None if cpu is None else usage.pin_to(cpu)
            began = time.perf_counter_ns()
            tally.spin(number - 1, waited)
            message = pipe.recv_bytes()
            waited = time.perf_counter_ns() - began
            usage.let_go(former_cpus or set())
            if message == LEAVE:
                break
            if error := remote.perform(message, lane):
                pipe.send_bytes(number.to_bytes(NUMBER, "big") + error)
            if tally.answer():
                pipe.send_bytes(b"")
    except (EOFError, OSError):
        pass
    os._exit(0)  # a normal exit is slower, and nothing is left to do: buffers are flushed, and memory is the parent's

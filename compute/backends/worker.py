"""One worker process as its pool sees it, and its own life on the other side."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
import types
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from compute.backends import children, hosts, output, remote
from compute.backends.caller import outcome_of
from compute.lanes import spin, usage
from compute.lanes.control import WORDS_PER_LINE, Words
from compute.lanes.loop import Job, Outcome
from compute.memory.ownership import in_children, own_forks
from compute.memory.segments import ArrayRef
from kernels.definition import numba_is_here

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# On a lane's line of the board that a pool and its workers share: its tally, jobs sent to it so far, ns it may spin.
BELL, LIMIT = 1, 2
ASK = 1 << 40  # an ask in a tally; answers are counted below it, and so many of them would take a year
LEAVE = b""  # instead of a job
STARTS = 3  # tries to start a worker, each but the first with a new fork server: it may be killed at any moment
NUMBER = 8  # bytes: what a worker says of a job begins with the job's number


class Tally:
    """How many jobs a worker has answered, and how often it was asked to tell of its next answer: one word.

    Both sides add to it, and each add shows what was there before; so of an answer and an ask that meet, one sees the
    other, and no wake-up is lost. Without numba there is no such add: then every answer is told, and nobody asks.
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
        """The worker's side: count an answer; whether to tell of it."""
        if not numba_is_here():
            self._board[self._at] += 1
            return True
        asks = spin.add(self._board, self._at, 1) // ASK
        known, self._asks = self._asks, asks
        return asks != known

    def ask(self) -> int:
        """The pool's side: ask to be told of the next answer; how many there were until then."""
        return spin.add(self._board, self._at, ASK) % ASK if numba_is_here() else self.answers

    def ring(self, limit: int) -> None:
        """The pool's side: tell a worker that spins of a message in its pipe; it may spin `limit` ns for the next."""
        self._board[self._limit] = limit
        self._bell[0] += 1

    def spin(self, heard: int) -> None:
        """The worker's side: spin until a message comes after so many, or for as long as it may."""
        spin.until_rung(self._bell, heard, int(self._board[self._limit]))


class Worker:
    """A worker process, the pipe to it, and the jobs that it has not answered yet, oldest first.

    It answers on its tally; through the pipe it tells of errors, and of an answer where it was asked to. A job that is
    owed is held: its arrays are not lent again while a worker that comes late may still look at them.
    """

    def __init__(self, context: Any, lane: int, cpu: int | None, board: ArrayRef, tally: Tally) -> None:
        self.lane, self.cpu = lane, cpu
        self._tally = tally
        self._sent = 0
        self.is_talking = True  # half a message is in the pipe; true for good where a Ctrl-C cut it off
        self._owed: deque[tuple[int, Job]] = deque()
        in_children(self, Worker._forget)
        output.flush()  # or a fork would print once more what is in a buffer here
        for attempt in range(1, STARTS + 1):
            # A new pipe each time: a server that died half-way may have made a process that hears the old one.
            self.pipe, there = context.Pipe()
            self.process = context.Process(
                target=_serve,
                args=(there, lane, cpu, os.getpid(), board, dict(os.environ)),
                name=f"nfold-lane-{lane}",
                daemon=True,
            )
            try:
                with children.deaf_children(), hosts.parenthood(), without_main(), own_forks():
                    self.process.start()
                break
            except (OSError, EOFError):
                self.pipe.close()
                if attempt == STARTS or context.get_start_method() != "forkserver":
                    raise
                children.renew_server()
            finally:
                there.close()
        self.life = children.Life(self.process)
        # Workers of a pool that nobody closes leave, too. It also holds the pipe: the collector calls finalizers in any
        # order, and might else close the pipe before somebody's finalizer closes the pool.
        self._leaving = weakref.finalize(self, _dismiss, self.pipe, os.getpid())
        self._leaving.atexit = False

    def _forget(self) -> None:
        """In a fork: without our copies of its files, only the parent's end of the pipe is its end."""
        if pipe := getattr(self, "pipe", None):
            pipe.close()
        if life := getattr(self, "life", None):
            life.let_go()

    def await_ready(self) -> None:
        """Return when it is ready to work; EOFError or OSError where it died before."""
        wait([self.pipe, self.life.sign])
        if not self.pipe.poll():
            raise EOFError
        self.pipe.recv_bytes()
        self.is_talking = False

    def send(self, job: Job, message: bytes, limit: int) -> None:
        """Give it a job, and the ns that it may spin for the next one. OSError where it is dead."""
        self.is_talking = True
        self.pipe.send_bytes(message)
        self._tally.ring(limit)
        self._sent += 1
        self._owed.append((self._sent, job))
        self.is_talking = False

    def receive(self) -> Outcome | None:
        """What it says of the job that it was sent last, if anything; EOFError or OSError where it is dead."""
        self.is_talking = True
        answer = self.pipe.recv_bytes()
        self.is_talking = False
        if int.from_bytes(answer[:NUMBER], "big") != self._sent:
            return None
        return outcome_of(answer[NUMBER:], self.lane)

    def will_tell(self) -> bool:
        """Ask it to tell of its next answer; False where it has given one since we last looked."""
        return not self._owed or self._tally.ask() < self._owed[0][0]

    @property
    def backlog(self) -> int:
        """How many jobs it has not answered."""
        answers = self._tally.answers
        while self._owed and self._owed[0][0] <= answers:
            self._owed.popleft()
        return len(self._owed)

    def dismiss(self) -> None:
        """Tell it to leave; by a message, because the end of its pipe may be kept open by a process that was forked."""
        if self.is_talking:
            self.life.kill()  # it would take our message for the rest of the one that was cut off
        self._leaving.detach()
        _dismiss(self.pipe, os.getpid())

    def bury(self) -> int | None:
        """Wait for its end, let go of everything; its exit code."""
        try:
            return self.life.bury()
        finally:
            self._leaving.detach()
            self.pipe.close()


def _dismiss(pipe: Connection, owner: int) -> None:
    if not pipe.closed:
        with contextlib.suppress(OSError):
            if os.getpid() == owner:
                pipe.send_bytes(LEAVE)
        pipe.close()


_starting = threading.Lock()
_main: types.ModuleType | None = None  # while it is hidden


@contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from running the caller's script again in each worker.

    Nothing of it is needed there: what is defined in __main__ travels by value. So a script needs no
    `if __name__ == "__main__"`, and its imports are not paid for by every worker.
    """
    global _main
    with _starting:
        _main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"], _main = _main, None


def _uncover_main() -> None:
    """In a fork that another thread has made meanwhile: nobody else will."""
    global _starting, _main
    _starting = threading.Lock()
    if _main is not None:
        sys.modules["__main__"], _main = _main, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_uncover_main)


def _live_in(environment: dict[str, str]) -> None:
    """Have the caller's environment variables: a fork server has those of when it was started."""
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
        if hasattr(time, "tzset"):
            time.tzset()


def start_server() -> None:
    """Start multiprocessing's fork server where there is none, without waiting for what it imports."""
    from multiprocessing import forkserver

    with children.deaf_children(), without_main():
        forkserver.ensure_running()


def _serve(
    pipe: Connection,
    lane: int,
    cpu: int | None,
    parent: int,
    board: ArrayRef,
    environment: dict[str, str],
) -> None:
    """A worker's life: say that it is ready, then run its lane of every job, until it is told to leave.

    It waits for a job on its own CPU, if it has one, and runs the job wherever the system likes.
    """
    in_children(pipe, type(pipe).close)  # what a body forks must not keep our end open when we are dead
    _live_in(environment)
    remote.settle(parent)
    tally = Tally(board.open({}), lane)
    try:
        pipe.send_bytes(b"ready")
        for number in itertools.count(1):
            elsewhere = None if cpu is None else usage.pin_to(cpu)
            tally.spin(number - 1)
            message = pipe.recv_bytes()
            usage.let_go(elsewhere or set())
            if message == LEAVE:
                break
            if error := remote.perform(message, lane):
                pipe.send_bytes(number.to_bytes(NUMBER, "big") + error)
            if tally.answer():
                pipe.send_bytes(b"")
    except (EOFError, OSError):
        pass
    os._exit(0)  # nothing here is worth a slow good-bye: no buffers, no tracker, no views

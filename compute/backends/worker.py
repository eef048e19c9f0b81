"""One worker process as its pool sees it, and its own life on the other side."""

from __future__ import annotations

import os
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compute import spin
from compute.backends import remote
from compute.lanes import Job
from compute.segments import ArrayRef

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Worker:
    """A worker process, the pipe to it, and the jobs that it has not answered yet, oldest first.

    A job that is owed is held: its arrays are not lent again while a worker that comes late may still look at them.
    """

    def __init__(self, context: Any, lane: int, bell: ArrayRef, limit: int, others: Sequence[Connection]) -> None:
        self.lane = lane
        self.is_talking = True  # whether something is half said: true for good when a Ctrl-C came between
        self._owed: deque[Job] = deque()
        self.pipe, there = context.Pipe()
        inherited = [self.pipe, *others] if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=_serve,
            args=(there, lane, os.getpid(), bell, limit, inherited),
            name=f"nfold-lane-{lane}",
            daemon=True,
        )
        with remote.deaf_children(), _without_main():
            self.process.start()
        there.close()

    def await_ready(self) -> None:
        """Return when it is ready to work; EOFError or OSError where it died before."""
        self.pipe.recv_bytes()
        self.is_talking = False

    def send(self, job: Job, message: bytes) -> None:
        """Give it a job. OSError where it is dead."""
        self.is_talking = True
        self.pipe.send_bytes(message)
        self._owed.append(job)
        self.is_talking = False

    def receive(self) -> tuple[Job, bytes]:
        """Its next answer, and to what; EOFError or OSError where it is dead and has said all that it had to."""
        self.is_talking = True
        reply = self.pipe.recv_bytes()
        answered = self._owed.popleft(), reply
        self.is_talking = False
        return answered

    @property
    def backlog(self) -> int:
        """How many jobs it has not answered."""
        return len(self._owed)

    def owes(self, job: Job) -> bool:
        return any(owed is job for owed in self._owed)

    def bury(self) -> int | None:
        """Wait for its end, let go of everything; its exit code."""
        self.process.join()
        self.pipe.close()
        code: int | None = self.process.exitcode
        self.process.close()
        return code


_starting = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from running the caller's script again in each worker.

    Nothing of it is needed there: what is defined in __main__ travels by value. So a script needs no
    `if __name__ == "__main__"`, and its imports are not paid for by every worker.
    """
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _serve(
    pipe: Connection, lane: int, parent: int, bell: ArrayRef, limit: int, inherited: Sequence[Connection]
) -> None:
    """A worker's life: say that it is ready, then run its lane of every job, until the pipe is closed."""
    for other in inherited:
        other.close()  # a fork's copies of the parent's ends: while they are open, nobody's pipe ever ends
    remote.settle(parent)
    rings = bell.open({})
    heard = int(rings[0])
    try:
        pipe.send_bytes(b"ready")
        while True:
            message = pipe.recv_bytes()
            heard += 1
            pipe.send_bytes(remote.perform(message, lane))
            spin.until_rung(rings, heard, limit)
    except (EOFError, OSError):
        pass
    os._exit(0)  # nothing here is worth a slow good-bye: no buffers, no tracker, no views

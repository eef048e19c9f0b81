"""Processes of this machine, with memory of their own: arrays reach them through shared segments, never in messages.

A run sends each worker one message, whatever the number of chunks. A worker that dies is reaped, and what it had begun
is run again; when the parent dies, the workers leave.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compute.backends import remote
from compute.backends.backend import Backend, Pool
from compute.control import Control
from compute.lanes import Job, Outcome
from kernels.definition import nearest

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

StartMethod = Literal["forkserver", "spawn", "fork"]

# What every worker needs: the fork server imports it once, and its children have it at birth.
PRELOAD = ["numba", "kernels.compilation", "kernels.atomics", "compute.backends.processes", "threadpoolctl"]

DESCRIPTORS = 8  # that starting a worker takes at the most: its pipe, multiprocessing's own pipes and socket


@dataclass(frozen=True)
class Processes(Backend):
    """Lanes in worker processes. `Processes(4)`, `Processes(2, start="spawn", timeout=10)`

    start:   how workers come to be: "forkserver" (from a clean server that has numba loaded; the default where the
             system has it), "spawn" (each from nothing), or "fork" (copies of this process; not once it has threads).
    timeout: seconds that one chunk may take before its worker counts as hung, is killed, and the chunk is run again.
    """

    start: StartMethod = "spawn" if sys.platform == "win32" else "forkserver"
    timeout: float | None = None
    name = "processes"

    def __post_init__(self) -> None:
        import multiprocessing

        super().__post_init__()
        methods = multiprocessing.get_all_start_methods()
        if self.start not in methods:
            raise ValueError(
                f"start must be one of {', '.join(methods)}, not {self.start!r}{nearest(str(self.start), methods)}"
            )
        remote.check_timeout(self.timeout)

    def open(self) -> ProcessPool:
        return ProcessPool(self)


@dataclass
class _Worker:
    """A worker process, its pipe, and its state: "idle", "sending" (a message may be half sent) or "running"."""

    process: Any
    pipe: Connection
    state: str = "idle"


class ProcessPool(Pool):
    arena_kind = "shared"
    backend: Processes

    def start(self) -> None:
        import multiprocessing

        self._context: Any = multiprocessing.get_context(self.backend.start)
        if self.backend.start == "fork" and threading.active_count() > 1:
            raise RuntimeError(
                f"start='fork' would copy a process with {threading.active_count()} threads, whose locks may be held"
                " for ever; use start='forkserver', or open this pool before anything that uses threads"
            )
        if self.backend.start == "forkserver":
            self._context.set_forkserver_preload(PRELOAD)
        self._sender = remote.Sender()
        self._workers: dict[int, _Worker] = {}
        try:
            self._start_missing()
        except BaseException:
            self._kill_all()
            raise

    def _start_missing(self) -> None:
        """Start a worker for each lane that has none, side by side; return when all are ready."""
        started = [lane for lane in range(self.workers) if lane not in self._workers]
        if started and os.name == "posix":
            _check_descriptors(DESCRIPTORS * (len(started) + 1))
        for lane in started:
            here, there = self._context.Pipe()
            inherited = [worker.pipe for worker in self._workers.values()] if self.backend.start == "fork" else []
            process = self._context.Process(
                target=_serve,
                args=(there, lane, os.getpid(), [here, *inherited] if self.backend.start == "fork" else []),
                name=f"nfold-lane-{lane}",
                daemon=True,
            )
            with _without_main():
                process.start()
            self._workers[lane] = _Worker(process, here)
            there.close()
        for lane in started:
            worker = self._workers[lane]
            try:
                worker.pipe.recv_bytes()
            except (EOFError, OSError):
                worker.process.join()
                raise RuntimeError(
                    f"a worker process died before it was ready ({remote.describe_exit(worker.process.exitcode)});"
                    " its messages are above"
                ) from None

    def lanes(self, job: Job) -> Sequence[Outcome]:
        self._forget_dead()
        self._start_missing()
        message = self._sender.message(job)
        self._sent = time.perf_counter()
        outcomes = []
        for lane, worker in self._workers.items():
            worker.state = "sending"
            try:
                worker.pipe.send_bytes(message)
                worker.state = "running"
            except OSError:
                outcomes.append(self._reap(lane, job))
        while running := self._running():
            outcomes += self._wait(running, job)
        return outcomes

    def _running(self) -> dict[int, _Worker]:
        return {lane: worker for lane, worker in self._workers.items() if worker.state == "running"}

    def _wait(self, running: dict[int, _Worker], job: Job) -> list[Outcome]:
        """Wait until something happens to one of the workers; say what."""
        from multiprocessing.connection import wait

        timeout = self.backend.timeout
        ready = wait(
            [waits for worker in running.values() for waits in (worker.pipe, worker.process.sentinel)],
            None if timeout is None else timeout / 8,
        )
        outcomes = []
        for lane, worker in running.items():
            if worker.pipe in ready:
                try:
                    outcomes.append(pickle.loads(worker.pipe.recv_bytes()))
                    worker.state = "idle"
                except (EOFError, OSError):
                    outcomes.append(self._reap(lane, job))
            elif worker.process.sentinel in ready:
                outcomes.append(self._reap(lane, job))
            elif timeout is not None and remote.is_hung(Control(job.control), lane, self._sent, timeout):
                worker.process.kill()
                outcomes.append(self._reap(lane, job, f"killed after {timeout} s in one chunk"))
        return outcomes

    def _reap(self, lane: int, job: Job, death: str | None = None) -> Outcome:
        """Bury a dead worker; only then may what it had begun be given to others."""
        worker = self._workers.pop(lane)
        worker.process.join()
        worker.pipe.close()
        death = death or remote.describe_exit(worker.process.exitcode)
        worker.process.close()
        return Outcome(lane, chunk=Control(job.control).current(lane), death=death)

    def stop_lanes(self, job: Job) -> None:
        try:
            for lane, worker in list(self._workers.items()):
                if worker.state == "sending":  # it may hold half a message, which no later one could mend
                    worker.process.kill()
                    self._reap(lane, job)
            while running := self._running():
                self._wait(running, job)
        except KeyboardInterrupt:  # asked twice: do not wait for the chunks to end
            self._kill_all()

    def repair(self) -> None:
        self._start_missing()

    def _forget_dead(self) -> None:
        """Notice workers that died while they had nothing to do."""
        for lane, worker in list(self._workers.items()):
            if not worker.process.is_alive():
                del self._workers[lane]
                worker.pipe.close()
                worker.process.close()

    def stop(self) -> None:
        try:
            for worker in self._workers.values():
                worker.pipe.close()  # the end of its messages is a worker's sign to leave
            for worker in self._workers.values():
                worker.process.join()
        finally:
            self._kill_all()

    def _kill_all(self) -> None:
        while self._workers:
            _, worker = self._workers.popitem()
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            worker.pipe.close()


def _check_descriptors(count: int) -> None:
    """OSError with the remedy where so many files cannot be opened: the fork server would die of it half-way."""
    held: list[int] = []
    try:
        while len(held) < count:
            held.append(os.dup(2))
    except OSError as error:
        raise OSError(
            error.errno, f"Too many open files: workers need {count} more; raise `ulimit -n`, or use fewer workers"
        ) from None
    finally:
        for descriptor in held:
            os.close(descriptor)


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


def _serve(pipe: Connection, lane: int, parent: int, inherited: list[Connection]) -> None:
    """A worker's life: say that it is ready, then run its lane of every job, until the pipe is closed."""
    for other in inherited:
        other.close()  # a fork's copies of the parent's ends: while they are open, nobody's pipe ever ends
    remote.settle(parent)
    try:
        pipe.send_bytes(b"ready")
        while True:
            pipe.send_bytes(remote.perform(pipe.recv_bytes(), lane))
    except (EOFError, OSError):
        pass
    os._exit(0)  # nothing here is worth a slow good-bye: no buffers, no tracker, no views

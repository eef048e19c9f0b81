"""How tasks reach worker processes: each lane of a run connects to the executor, and gets one call at a time.

An empty message tells a lane to leave. When a worker dies, its connection ends. Its task goes back to the queue, and
the other lanes finish the tasks that they have begun. Then they leave, because a pool replaces a worker between runs.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from multiprocessing import util
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from compute.adapters.calls import CallEncoder, perform, set_outcome
from compute.adapters.task_queue import Task, TaskQueue, this_thread
from compute.backends import host_program
from compute.backends.pool import Pool
from compute.backends.sender import Sender
from compute.dispatch import ATTEMPTS, WorkerDied
from compute.lanes import interrupts
from compute.lanes.loop import be_a_lane
from compute.memory import address_space
from compute.memory.arena import Arena
from compute.memory.descriptors import with_more_files
from compute.memory.ownership import in_children
from kernels.definition.each import each_of
from kernels.texts import visible

LEAVE = b""
RUNS_WITHOUT_WORKER = 3  # runs in a row in which no worker connected


def serve_on_processes(pool: Pool, queue: TaskQueue, between_runs: BetweenRuns) -> None:
    """One run of the pool, in which its workers do tasks until there are none.

    WorkerDied where no worker lives long enough to be given one. RuntimeError where repeatedly no worker connects.
    """
    listener = between_runs.listener()
    with Exchange(pool, queue, between_runs, listener) as exchange:
        queue.begin(pool.workers)
        try:
            pool.run(each_of(_do_calls, retry=False), [listener.address] * pool.workers)
        except WorkerDied:
            if not exchange.has_sent:
                raise
        finally:
            queue.end()
    between_runs.runs_without_worker = 0 if exchange.has_connected else between_runs.runs_without_worker + 1
    if between_runs.runs_without_worker == RUNS_WITHOUT_WORKER:
        between_runs.runs_without_worker = 0
        raise RuntimeError(
            f"the workers of {pool!r} do not reach the socket {visible(listener.address)}, by which tasks come to them"
        )


class BetweenRuns:
    """What an executor keeps from run to run: functions and arrays that workers know, its thread, and its listener."""

    def __init__(self, kind: Any) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # One helper thread for all runs: Python 3.12.0 and 3.12.1 start no thread once the program's end has begun.
        with interrupts.put_off():
            address_space.start(
                threading.Thread(target=_run_jobs, args=(self._jobs,), name="nfold-exchange", daemon=True)
            )
        self.arena = Arena(kind)
        self.sender = Sender(self.arena)
        # Tasks that were running when all workers died. One of them caused it, so they are retried one at a time.
        self.suspects: set[Task] = set()
        self.runs_without_worker = 0
        self._listener: _Listener | None = None

    def listener(self) -> _Listener:
        """The socket to which the lanes of the next run connect; a new one where its file was removed."""
        if self._listener is None or not os.path.exists(self._listener.address):
            self._close_listener()
            self._listener = _Listener()
        return self._listener

    def in_helper(self, job: Callable[[], object]) -> threading.Event:
        """Run this on the helper thread. The event is set when it is done."""
        is_done = threading.Event()

        def do() -> None:
            try:
                job()
            finally:
                is_done.set()

        self._jobs.put(do)
        return is_done

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self._jobs.put(None)
        self._close_listener()
        self.sender.forget()
        self.arena.close()


def _run_jobs(jobs: SimpleQueue[Callable[[], object] | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job()
        except BaseException:  # a bug of ours: printed as for any thread, but the next run needs this one
            sys.excepthook(*sys.exc_info())
        del job  # it refers to a run


class Exchange:
    """The caller's side of one run: sends tasks to lanes, and sets futures to outcomes, on the helper thread."""

    def __init__(self, pool: Pool, queue: TaskQueue, between_runs: BetweenRuns, listener: _Listener) -> None:
        self._pool, self._queue, self._between_runs, self._listener = pool, queue, between_runs, listener.socket
        self._encoder = CallEncoder(between_runs.sender)
        self._lanes: dict[int, _Lane] = {}
        self._running_at_death: set[Task] | None = None  # the other lanes' tasks when a worker died
        # All workers died together: only one of these tasks is guilty, so their deaths do not count as attempts.
        self._uncounted: set[Task] = set()
        self.has_connected = self.has_sent = False

    def __enter__(self) -> Exchange:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        in_children(self, Exchange._close_files)
        self._is_over = False
        self._queue.wake_by(self._wake)
        self._ended = self._between_runs.in_helper(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._wake()
        self._ended.wait()
        self._queue.wake_by(lambda: None)  # before its socket is closed, whose number another file may get
        self._close_files()

    def _close_files(self) -> None:
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        for lane in self._lanes.values():
            lane.pipe.close()

    def _wake(self) -> None:
        with suppress(OSError):  # the socket is full: the thread will wake up anyway
            self._wake_writer.send(b"!")

    def _run(self) -> None:
        this_thread.pool = self._pool
        be_a_lane(True)  # runs that a callback starts on the pool run on this thread: the workers wait for it
        try:
            while not self._is_over:
                self._send_tasks()
                self._wait_for_events(self._patience)
        finally:
            for lane in list(self._lanes.values()):
                self._remove(lane)

    @property
    def _patience(self) -> float | None:
        """Seconds without a task after which lanes end their run; None while a lane has a task."""
        staying = [lane for lane in self._lanes.values() if not lane.leaves]
        return self._queue.patience if staying and not any(lane.task for lane in staying) else None

    def _wait_for_events(self, patience: float | None) -> None:
        ready = self._selector.select(patience)
        if not ready and patience is not None:
            self._dismiss_lanes()
        for key, _ in ready:
            if key.fileobj is self._wake_reader:
                self._wake_reader.recv(4096)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                self._receive(self._lanes[key.fd])

    def _accept(self) -> None:
        pipe = Connection(with_more_files(lambda: self._listener.accept()[0].detach()))
        self._lanes[pipe.fileno()] = _Lane(pipe)
        self._selector.register(pipe, selectors.EVENT_READ)
        self.has_connected = True

    def _send_tasks(self) -> None:
        """Send a task to every free lane, as long as there are tasks."""
        if self._is_draining():
            self._queue.end()
        gone = self._between_runs.sender.gone()
        for lane in list(self._lanes.values()):
            lane.gone += gone
            while not lane.leaves and lane.task is None and (task := self._next()) is not None:
                if not task.begin() or not self._send(lane, task):
                    self._queue.done()
                del task

    def _next(self) -> Task | None:
        if self._between_runs.suspects and any(lane.task for lane in self._lanes.values()):
            return None
        return self._queue.poll()

    def _is_draining(self) -> bool:
        """Whether lanes are to leave now, so that the pool replaces a dead worker.

        They leave when the tasks that were running at the death have ended, and not only when no lane has a task.
        """
        if self._running_at_death is None:
            return False
        self._running_at_death &= {lane.task for lane in self._lanes.values() if lane.task}
        return not self._running_at_death

    def _send(self, lane: _Lane, task: Task) -> bool:
        """Send a task. False where it cannot be sent: its future gets the error."""
        try:
            message, lane.held = self._encoder.message(task, lane.gone)
        except BaseException as error:
            task.fail(error)
            return False
        lane.task, lane.gone, self.has_sent = task, [], True
        with suppress(OSError):  # the worker is dead, and the end of its pipe will be noticed
            lane.pipe.send_bytes(message)
        return True

    def _receive(self, lane: _Lane) -> None:
        try:
            outcome = lane.pipe.recv_bytes()
        except (EOFError, OSError):
            self._remove(lane)
            return
        task, lane.task, lane.held = lane.task, None, None
        self._queue.done()
        if task is not None:
            self._between_runs.suspects.discard(task)
            set_outcome(task, outcome)

    def _remove(self, lane: _Lane) -> None:
        """Remove a lane that has left, or whose worker has died: then its task is put back."""
        del self._lanes[lane.pipe.fileno()]
        self._selector.unregister(lane.pipe)
        lane.pipe.close()
        if lane.leaves:
            return
        self._running_at_death = {other.task for other in self._lanes.values() if other.task}
        if (task := lane.task) is None:
            return
        suspects = self._between_runs.suspects
        if self._pool.die_together and self._running_at_death:
            suspects |= {task, *self._running_at_death}
            self._uncounted |= suspects
        task.begun = True
        task.attempts += task not in self._uncounted
        if task.attempts < ATTEMPTS:
            self._queue.put_back([task])
            return
        suspects.discard(task)
        self._queue.done()
        name = getattr(task.fn, "__name__", type(task.fn).__name__)
        task.fail(BrokenProcessPool(f"{name} was tried {task.attempts} times, and each time its worker died"))

    def _dismiss_lanes(self) -> None:
        self._queue.end()
        for lane in self._lanes.values():
            lane.leaves = True
            with suppress(OSError):
                lane.pipe.send_bytes(LEAVE)


class _Lane:
    """A worker that does tasks: the connection to it, and its task."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.task: Task | None = None
        self.held: Any = None  # kept alive until the task has ended
        self.gone: list[Any] = []  # segments that no longer exist, and the worker does not know of it yet
        self.leaves = False


class _Listener:
    """A listening socket, in a folder that no other user can enter."""

    def __init__(self) -> None:
        host_program.socket_folder()
        self.address = os.path.join(util.get_temp_dir(), f"nfold-{secrets.token_hex(4)}")
        self.socket = socket.socket(socket.AF_UNIX)
        in_children(self, lambda listener: listener.socket.close())
        try:
            self.socket.bind(self.address)
            self.socket.listen(128)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.socket.close()
        with suppress(OSError):
            os.unlink(self.address)


@contextmanager
def _connected(address: str) -> Iterator[Connection]:
    client = socket.socket(socket.AF_UNIX)
    client.connect(address)
    with closing(Connection(client.detach())) as pipe:
        in_children(pipe, type(pipe).close)  # a process that a task forks must not keep it open when we are dead
        yield pipe


def _do_calls(address: str) -> None:
    """What a lane does in a worker: the calls that come, until it is told to leave."""
    with suppress(OSError, EOFError), _connected(address) as pipe:  # a lane that comes too late has nothing to do
        while (message := pipe.recv_bytes()) != LEAVE:
            pipe.send_bytes(perform(message))

"""How tasks reach worker processes: each lane of a run opens a connection to the executor, and gets a call at a time.

A lane that has no more to do is told to leave by an empty message. A worker that dies ends its connection. Its task
goes back to the desk, and the others go on with what they had begun. Then they leave, because a pool replaces a worker
between two runs.
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

from compute.adapters.calls import Caller, perform, settle
from compute.adapters.desk import Desk, Task, here
from compute.backends import host_program
from compute.backends.backend import Pool
from compute.backends.sender import Sender
from compute.dispatch import ATTEMPTS, WorkerDied
from compute.lanes import interrupts
from compute.lanes.loop import be_a_lane
from compute.memory.arena import Arena
from compute.memory.descriptors import with_more_files
from compute.memory.ownership import in_children
from kernels.definition.each import each_of

LEAVE = b""
LONELY_RUNS = 3  # in a row, to none of which a worker has come


def serve_on_processes(pool: Pool, desk: Desk, memory: Memory) -> None:
    """One run of the pool, in which its workers do tasks until there are none.

    WorkerDied where no worker lives long enough to be given one. RuntimeError where none comes, time after time.
    """
    door = memory.door()
    with Exchange(pool, desk, memory, door) as exchange:
        desk.begin(pool.workers)
        try:
            pool.run(each_of(_attend, retry=False), [door.address] * pool.workers)
        except WorkerDied:
            if not exchange.has_given:
                raise
        finally:
            desk.end()
    memory.lonely_runs = 0 if exchange.has_met else memory.lonely_runs + 1
    if memory.lonely_runs == LONELY_RUNS:
        memory.lonely_runs = 0
        raise RuntimeError(
            f"the workers of {pool!r} do not reach the socket {door.address}, by which tasks come to them"
        )


class Memory:
    """What an executor keeps from run to run: what workers know of functions and arrays, and where they connect."""

    def __init__(self, kind: Any) -> None:
        self._errands: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # One for all runs: Python 3.12.0 and 3.12.1 start no thread once the program's end has begun.
        with interrupts.put_off():
            threading.Thread(target=_do_errands, args=(self._errands,), name="nfold-exchange", daemon=True).start()
        self.arena = Arena(kind)
        self.sender = Sender(self.arena)
        self.suspects: set[Task] = set()  # at work when all workers died of one of them: they are done one at a time
        self.lonely_runs = 0
        self._door: _Door | None = None

    def door(self) -> _Door:
        """Where the lanes of the next run connect; another one where somebody has removed the first."""
        if self._door is None or not os.path.exists(self._door.address):
            self._close_door()
            self._door = _Door()
        return self._door

    def beside(self, errand: Callable[[], object]) -> threading.Event:
        """Have the thread of all runs do this; set when it is done."""
        is_done = threading.Event()

        def do() -> None:
            try:
                errand()
            finally:
                is_done.set()

        self._errands.put(do)
        return is_done

    def _close_door(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def close(self) -> None:
        self._errands.put(None)
        self._close_door()
        self.sender.forget()
        self.arena.close()


def _do_errands(errands: SimpleQueue[Callable[[], object] | None]) -> None:
    while (errand := errands.get()) is not None:
        try:
            errand()
        except BaseException:  # a fault of ours, told as of a thread of its own; the next run needs this one
            sys.excepthook(*sys.exc_info())
        del errand  # it holds a run


class Exchange:
    """The caller's side of one run: hands tasks to lanes, and outcomes to futures, on the memory's thread."""

    def __init__(self, pool: Pool, desk: Desk, memory: Memory, door: _Door) -> None:
        self._pool, self._desk, self._memory, self._door = pool, desk, memory, door.socket
        self._caller = Caller(memory.sender)
        self._lanes: dict[int, _Lane] = {}
        self._at_death: set[Task] | None = None  # what was being done when a worker died
        self._blameless: set[Task] = set()  # nobody knows of which of them all workers died
        self.has_met = self.has_given = False

    def __enter__(self) -> Exchange:
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._button.setblocking(False)
        self._selector.register(self._door, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        in_children(self, Exchange._close_files)
        self._is_over = False
        self._desk.ring = self._ring
        self._ended = self._memory.beside(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._ring()
        self._ended.wait()
        self._desk.ring = lambda: None
        self._close_files()

    def _close_files(self) -> None:
        self._selector.close()
        self._bell.close()
        self._button.close()
        for lane in self._lanes.values():
            lane.pipe.close()

    def _ring(self) -> None:
        with suppress(OSError):  # full, which is loud enough
            self._button.send(b"!")

    def _run(self) -> None:
        here.pool = self._pool
        be_a_lane(True)  # what a callback runs on the pool runs here: the workers wait for this thread
        try:
            while not self._is_over:
                self._hand_out()
                self._hear(self._patience)
        finally:
            for lane in list(self._lanes.values()):
                self._lose(lane)

    @property
    def _patience(self) -> float | None:
        """How long there may be silence before the lanes leave."""
        staying = [lane for lane in self._lanes.values() if not lane.leaves]
        return self._desk.patience if staying and not any(lane.task for lane in staying) else None

    def _hear(self, patience: float | None) -> None:
        ready = self._selector.select(patience)
        if not ready and patience is not None:
            self._send_away()
        for key, _ in ready:
            if key.fileobj is self._bell:
                self._bell.recv(4096)
            elif key.fileobj is self._door:
                self._welcome()
            else:
                self._receive(self._lanes[key.fd])

    def _welcome(self) -> None:
        pipe = Connection(with_more_files(lambda: self._door.accept()[0].detach()))
        self._lanes[pipe.fileno()] = _Lane(pipe)
        self._selector.register(pipe, selectors.EVENT_READ)
        self.has_met = True

    def _hand_out(self) -> None:
        """Give every lane that is free a task, as long as there are some."""
        if self._is_draining():
            self._desk.end()
        gone = self._memory.sender.gone()
        for lane in list(self._lanes.values()):
            lane.gone += gone
            while not lane.leaves and lane.task is None and (task := self._next()) is not None:
                if not task.begin() or not self._give(lane, task):
                    self._desk.done()
                del task

    def _next(self) -> Task | None:
        if self._memory.suspects and any(lane.task for lane in self._lanes.values()):
            return None
        return self._desk.poll()

    def _is_draining(self) -> bool:
        """Whether lanes are to leave, so that the pool replaces who has died. A long task does not keep it waiting."""
        if self._at_death is None:
            return False
        self._at_death &= {lane.task for lane in self._lanes.values() if lane.task}
        return not self._at_death

    def _give(self, lane: _Lane, task: Task) -> bool:
        """Send a task; False where it cannot be sent, which its future is told."""
        try:
            message, lane.held = self._caller.message(task, lane.gone)
        except BaseException as error:
            task.fail(error)
            return False
        lane.task, lane.gone, self.has_given = task, [], True
        with suppress(OSError):  # it is dead, and its pipe's end will be heard
            lane.pipe.send_bytes(message)
        return True

    def _receive(self, lane: _Lane) -> None:
        try:
            said = lane.pipe.recv_bytes()
        except (EOFError, OSError):
            self._lose(lane)
            return
        task, lane.task, lane.held = lane.task, None, None
        self._desk.done()
        if task is not None:
            self._memory.suspects.discard(task)
            settle(task, said)

    def _lose(self, lane: _Lane) -> None:
        """A lane is gone: it was told to leave, or its worker is dead, and its task is done again."""
        del self._lanes[lane.pipe.fileno()]
        self._selector.unregister(lane.pipe)
        lane.pipe.close()
        if lane.leaves:
            return
        self._at_death = {other.task for other in self._lanes.values() if other.task}
        if (task := lane.task) is None:
            return
        suspects = self._memory.suspects
        if self._pool.die_together and self._at_death:
            suspects |= {task, *self._at_death}
            self._blameless |= suspects
        task.begun = True
        task.attempts += task not in self._blameless
        if task.attempts < ATTEMPTS:
            self._desk.put_back([task])
            return
        suspects.discard(task)
        self._desk.done()
        name = getattr(task.fn, "__name__", type(task.fn).__name__)
        task.fail(BrokenProcessPool(f"{name} was tried {task.attempts} times, and each time its worker died"))

    def _send_away(self) -> None:
        self._desk.end()
        for lane in self._lanes.values():
            lane.leaves = True
            with suppress(OSError):
                lane.pipe.send_bytes(LEAVE)


class _Lane:
    """A worker that does tasks: the connection to it, and its task."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.task: Task | None = None
        self.held: Any = None  # until the task has ended
        self.gone: list[Any] = []  # segments that are no more, of which it has not been told
        self.leaves = False


class _Door:
    """A socket that listens, in a folder that no other user can enter."""

    def __init__(self) -> None:
        host_program.socket_folder()
        self.address = os.path.join(util.get_temp_dir(), f"nfold-{secrets.token_hex(4)}")
        self.socket = socket.socket(socket.AF_UNIX)
        in_children(self, lambda door: door.socket.close())
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
def _entered(address: str) -> Iterator[Connection]:
    visitor = socket.socket(socket.AF_UNIX)
    visitor.connect(address)
    with closing(Connection(visitor.detach())) as pipe:
        in_children(pipe, type(pipe).close)  # what a task forks must not keep it open when we are dead
        yield pipe


def _attend(address: str) -> None:
    """A worker's lane: do the calls that come, until told to leave."""
    with suppress(OSError, EOFError), _entered(address) as pipe:  # whoever comes too late has nothing to do
        while (message := pipe.recv_bytes()) != LEAVE:
            pipe.send_bytes(perform(message))

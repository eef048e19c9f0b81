"""The desk of an executor: where tasks wait until a lane of the pool takes them.

The lanes stay in one run of the pool for as long as there are tasks, and for a moment longer, because beginning a run
costs more than most tasks. They leave sooner where somebody else wants to run a kernel on the pool.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

SHARE = 1  # tasks for each lane that a run does at least, however many others want the pool: or none would be done

# What this thread serves: `pool`, whose runs wait for it; `service`, while it is at a task of that executor's.
here = threading.local()


@dataclass(eq=False, slots=True)
class Task:
    """One call, and the future of its result."""

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kw: dict[str, Any]
    begun: bool = False  # by a worker that has died
    attempts: int = 0  # that ended with the death of a worker

    def begin(self) -> bool:
        """Whether it is to be run: it may have been cancelled."""
        return self.begun or self.future.set_running_or_notify_cancel()

    def succeed(self, value: Any) -> None:
        self._settle(self.future.set_result, value)

    def fail(self, error: BaseException) -> None:
        self._settle(self.future.set_exception, error)

    def cancel(self) -> None:
        """Cancel it, and tell whoever waits for it."""
        self._settle(lambda future: future.cancel() and future.set_running_or_notify_cancel(), self.future)

    @staticmethod
    def _settle(settle: Callable[[Any], object], outcome: Any) -> None:
        try:
            settle(outcome)
        except InvalidStateError:  # whoever has the future has set a result
            pass
        except BaseException:  # a callback has called sys.exit, which is to end no lane; the outcome is there
            traceback.print_exc()


class Desk:
    """Tasks that wait, and what lanes must know to take them. Every method may be called by any thread.

    The lock is one that a thread may take twice: a finalizer or a signal's handler may call while it is held.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger  # s that lanes wait for a further task
        self._lock = threading.RLock()
        self._wanted = threading.Condition(self._lock)  # who begins runs waits for it
        # The lanes that are idle, each with what it waits for, which wakes it faster than a condition would. The latest
        # is called first: waking the same one again costs half of what it costs to wake them in turn.
        self._idle: list[SimpleQueue[None]] = []
        self._waiting: deque[Task] = deque()
        self._urgent: deque[Task] = deque()  # tasks for which tasks of this desk may wait: lanes are there for them
        self._busy = self._guests = self._taken = self._lanes = 0
        self._leaves = True
        self._refusal: str | None = None  # why no more tasks are taken
        self.ring: Callable[[], None] = lambda: None  # tells who waits elsewhere than at this desk

    def _tell(self) -> None:
        while self._idle:
            self._call()
        self._wanted.notify_all()
        self.ring()

    def _call(self) -> None:
        """Wake a lane that is idle, if there is one."""
        if self._idle:
            self._idle.pop().put(None)

    def put(self, task: Task) -> None:
        """Have a task wait. RuntimeError where no more are taken."""
        with self._lock:
            if self._refusal is not None:
                raise RuntimeError(self._refusal)
            self._waiting.append(task)
            self._call()
            if self._leaves:
                self._wanted.notify()
            self.ring()

    def put_urgent(self, task: Task) -> bool:
        """Have a lane that is idle take a task at once; False where none is."""
        with self._lock:
            if self._leaves or not self._idle:
                return False
            self._urgent.append(task)
            self._call()
            return True

    def put_back(self, tasks: list[Task]) -> None:
        """Have tasks that were taken wait again, before all others."""
        with self._lock:
            self._busy -= len(tasks)
            self._waiting.extendleft(reversed(tasks))
            self._tell()

    def refuse(self, refusal: str) -> None:
        """Take no more tasks; those that wait are done all the same."""
        with self._lock:
            self._refusal = self._refusal or refusal
            self._tell()

    def clear(self, lanes: int = 0) -> list[Task]:
        """Have no task wait any more, but for those that free ones among so many lanes are about to take.

        The tasks that are left over.
        """
        with self._lock:
            kept = max(0, lanes - self._busy)
            tasks = list(self._waiting)
            self._waiting = deque(tasks[:kept])
            return tasks[kept:]

    def await_work(self) -> bool:
        """Wait until there are tasks; False where there will be none."""
        with self._lock:
            while not self._waiting:
                if self._refusal is not None:
                    return False
                self._wanted.wait()
            return True

    def begin(self, lanes: int) -> None:
        """A run begins, in which so many lanes take tasks."""
        with self._lock:
            self._leaves, self._taken, self._lanes = False, 0, lanes

    def end(self) -> None:
        """Have all lanes leave, and put no more tasks before them."""
        with self._lock:
            if not self._leaves:
                self._leaves = True
                self._tell()

    def come(self, guests: int) -> None:
        """So many more threads wait for the pool, to run kernels of their own."""
        with self._lock:
            self._guests += guests
            if guests > 0:
                self._tell()

    def poll(self) -> Task | None:
        """A task, if there is one for a lane at this moment."""
        with self._lock:
            return self._next()

    def _next(self) -> Task | None:
        if self._urgent:
            queue = self._urgent
        elif self._waiting and not (self._leaves or self._makes_way()):
            queue = self._waiting
        else:
            return None
        self._busy += 1
        self._taken += 1
        return queue.popleft()

    def _makes_way(self) -> bool:
        return self._guests > 0 and self._taken >= SHARE * self._lanes

    def done(self) -> None:
        """A lane has done its task."""
        with self._lock:
            self._busy -= 1

    @property
    def patience(self) -> float | None:
        """The seconds that a lane waits for a task; None for as long as others are at theirs."""
        if self._busy:
            return None
        return 0 if self._refusal is not None or self._guests or self._leaves else self._linger

    def take(self, had_one: bool, bell: SimpleQueue[None]) -> Task | None:
        """The next task for a lane on a thread, which waits for it by its bell; None where it is to leave."""
        with self._lock:
            self._busy -= had_one
            while (task := self._next()) is None:
                patience = self.patience
                if self._leaves or patience == 0 or not self._wait(bell, patience):
                    self.end()
                    return None
            return task

    def _wait(self, bell: SimpleQueue[None], patience: float | None) -> bool:
        """Wait for a call; False where nothing has come for so long, for whichever lane."""
        taken = self._taken
        self._idle.append(bell)
        self._lock.release()
        try:
            bell.get(timeout=patience)
        except Empty:
            pass
        finally:
            self._lock.acquire()
        if bell not in self._idle:
            while not bell.empty():  # called at the very moment when it had waited for long enough
                bell.get()
            return True
        self._idle.remove(bell)
        return bool(self._taken != taken or self._waiting or self._busy)

"""`TaskQueue`: the tasks of one executor, from which the lanes of a pool take them.

It also decides when lanes leave the pool for other runs. They stay in one run of the pool for as long as there are
tasks, and for a moment longer, because beginning a run costs more than most tasks. They leave sooner where a run of a
kernel waits for the pool.
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

# Tasks for each lane that a run does at least. Without it, other runs could keep the executor's tasks waiting for ever.
SHARE = 1

# What this thread works for: `pool`, whose runs wait for it; `service`, while it runs a task of that executor.
this_thread = threading.local()


@dataclass(eq=False, slots=True)
class Task:
    """One call, and the future of its result."""

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kw: dict[str, Any]
    begun: bool = False  # whether a worker that died had begun it
    attempts: int = 0  # attempts that ended with the death of a worker

    def begin(self) -> bool:
        """Mark it as running. False where it was cancelled: then it must not be run."""
        return self.begun or self.future.set_running_or_notify_cancel()

    def succeed(self, value: Any) -> None:
        self._set(self.future.set_result, value)

    def fail(self, error: BaseException) -> None:
        self._set(self.future.set_exception, error)

    def cancel(self) -> None:
        """Cancel it, and wake the threads that wait for it."""
        self._set(lambda future: future.cancel() and future.set_running_or_notify_cancel(), self.future)

    @staticmethod
    def _set(set_outcome: Callable[[Any], object], outcome: Any) -> None:
        try:
            set_outcome(outcome)
        except InvalidStateError:  # the owner of the future has set a result itself
            pass
        except BaseException:  # a callback has called sys.exit, which must not end a lane; the outcome is set
            traceback.print_exc()


class TaskQueue:
    """Tasks that wait, and what lanes must know to take them. Every method may be called by any thread.

    The lock can be taken twice by one thread, because a finalizer or a signal's handler may call while it is held.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger  # s that lanes wait for a further task
        self._lock = threading.RLock()
        self._has_work = threading.Condition(self._lock)  # the thread that begins runs waits for it
        # The idle lanes, each by the queue on which it waits, which wakes it faster than a condition would. The latest
        # one is woken first: waking the same lane again costs half of what it costs to wake several in turn.
        self._idle: list[SimpleQueue[None]] = []
        self._waiting: deque[Task] = deque()
        # Tasks submitted by running tasks. An idle lane takes them at once, because their submitter may wait for them.
        self._urgent: deque[Task] = deque()
        self._busy = self._waiting_runs = self._taken = self._lanes = 0
        self._is_ending = True  # whether lanes are to leave
        self._refusal: str | None = None  # why no more tasks are accepted
        self._wake_exchange: Callable[[], None] = lambda: None  # wakes the exchange's thread (worker processes)

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Wake the exchange's thread by this from now on. When this returns, nobody calls the former one any more."""
        with self._lock:
            self._wake_exchange = wake

    def _wake_all(self) -> None:
        while self._idle:
            self._wake_one()
        self._has_work.notify_all()
        self._wake_exchange()

    def _wake_one(self) -> None:
        """Wake an idle lane, if there is one."""
        if self._idle:
            self._idle.pop().put(None)

    def put(self, task: Task) -> None:
        """Add a task. RuntimeError where no more are accepted."""
        with self._lock:
            if self._refusal is not None:
                raise RuntimeError(self._refusal)
            self._waiting.append(task)
            self._wake_one()
            if self._is_ending:
                self._has_work.notify()
            self._wake_exchange()

    def put_urgent(self, task: Task) -> bool:
        """Give a task to an idle lane at once. False where no lane is idle."""
        with self._lock:
            if self._is_ending or not self._idle:
                return False
            self._urgent.append(task)
            self._wake_one()
            return True

    def put_back(self, tasks: list[Task]) -> None:
        """Put tasks that were taken back, before all others."""
        with self._lock:
            self._busy -= len(tasks)
            self._waiting.extendleft(reversed(tasks))
            self._wake_all()

    def refuse(self, refusal: str) -> None:
        """Accept no more tasks. Those that wait are still run."""
        with self._lock:
            self._refusal = self._refusal or refusal
            self._wake_all()

    def clear(self, lanes: int = 0) -> list[Task]:
        """Remove and return the waiting tasks, except as many as there are free lanes among `lanes`."""
        with self._lock:
            kept = max(0, lanes - self._busy)
            tasks = list(self._waiting)
            self._waiting = deque(tasks[:kept])
            return tasks[kept:]

    def await_work(self) -> bool:
        """Wait until there are tasks. False where there will be none."""
        with self._lock:
            while not self._waiting:
                if self._refusal is not None:
                    return False
                self._has_work.wait()
            return True

    def begin(self, lanes: int) -> None:
        """Called as a run begins, in which so many lanes take tasks."""
        with self._lock:
            self._is_ending, self._taken, self._lanes = False, 0, lanes

    def end(self) -> None:
        """Make all lanes leave; they get no more tasks."""
        with self._lock:
            if not self._is_ending:
                self._is_ending = True
                self._wake_all()

    def note_waiting_runs(self, change: int) -> None:
        """Add to the number of threads that wait for the pool, to run a kernel."""
        with self._lock:
            self._waiting_runs += change
            if change > 0:
                self._wake_all()

    def poll(self) -> Task | None:
        """Take a task, if there is one for a lane at this moment."""
        with self._lock:
            return self._next()

    def _next(self) -> Task | None:
        if self._urgent:
            queue = self._urgent
        elif self._waiting and not (self._is_ending or self._yields_to_runs()):
            queue = self._waiting
        else:
            return None
        self._busy += 1
        self._taken += 1
        return queue.popleft()

    def _yields_to_runs(self) -> bool:
        return self._waiting_runs > 0 and self._taken >= SHARE * self._lanes

    def done(self) -> None:
        """Called when a lane has done its task."""
        with self._lock:
            self._busy -= 1

    @property
    def patience(self) -> float | None:
        """Seconds that a lane waits for a task; None to wait as long as other lanes have tasks."""
        if self._busy:
            return None
        return 0 if self._refusal is not None or self._waiting_runs or self._is_ending else self._linger

    def take(self, had_one: bool, wake_up: SimpleQueue[None]) -> Task | None:
        """The next task for a lane on a thread, which waits on `wake_up`. None where the lane is to leave."""
        with self._lock:
            self._busy -= had_one
            while (task := self._next()) is None:
                patience = self.patience
                if self._is_ending or patience == 0 or not self._wait(wake_up, patience):
                    self.end()
                    return None
            return task

    def _wait(self, wake_up: SimpleQueue[None], patience: float | None) -> bool:
        """Wait to be woken. False where for so long there was no task for any lane."""
        taken = self._taken
        self._idle.append(wake_up)
        self._lock.release()
        try:
            wake_up.get(timeout=patience)
        except Empty:
            pass
        finally:
            self._lock.acquire()
        if wake_up not in self._idle:
            while not wake_up.empty():  # woken at the very moment when its time was over
                wake_up.get()
            return True
        self._idle.remove(wake_up)
        return bool(self._taken != taken or self._waiting or self._busy)

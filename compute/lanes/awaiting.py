"""The lane loop for bodies that wait: coroutine functions, many of them on one thread.

While one lane waits for a server or a disk, the others of its event loop go on. It is the loop of compute.lanes.loop
with an `await` in it, which compiled code cannot have.

A lane that waits does not look at the stop flag. So a task of the event loop looks at it every 50 ms and cancels the
lanes. A run that is interrupted, or in which another lane has failed, thus ends at once, whatever its bodies wait for.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from compute.lanes import interrupts, ordering
from compute.lanes.control import (
    CPU,
    CURRENT,
    DONE,
    FILE,
    GRAIN,
    INSIDE,
    MARK,
    N_INDICES,
    N_TICKETS,
    ORDER,
    SPANS,
    START,
    STARTED,
    STOP,
    STOPPED,
    TAKEN,
    WORDS_PER_SPAN,
    ControlArray,
    Words,
)
from kernels.definition.bodies import nothing_returned

Value = TypeVar("Value")
PERIOD = 0.05  # s between looks at the stop flag: a stop takes at most this long, and 20 wake-ups a second cost nothing
CLEANING_UP = 2.0  # s that a body has to clean up when it is cancelled, such as to roll back
EXHAUSTED, TOLD_TO_STOP = 0, 2  # states, as those of the lane loop


class AwaitingLane:
    """A lane function. Called as others are, it runs on an event loop of its own; `steps` is for a shared one."""

    def __init__(
        self,
        body: Callable[..., Any],
        target: Callable[..., Any],
        take: Callable[..., Any],
        notes: Sequence[Callable[[Words, int], None]],
        be_a_lane: Callable[[bool], bool],
    ) -> None:
        self._body, self._target, self._take, self._be_a_lane = body, target, take, be_a_lane
        self._begin, self._end = notes
        self._load, self._store = ordering.loads_and_stores()

    def __call__(self, control: Words, line: int, out: Any, inputs: tuple[Any, ...], until: int) -> int:
        """Run the lane to its end. `until` is ignored, because the lane hands over whenever it waits."""
        is_noting = control[line + FILE] != 0
        if is_noting:
            self._begin(control, line)
        state: int = run_together([self.steps(control, line, out, inputs)], control)[0]
        if is_noting:
            self._end(control, line)
        return state

    async def steps(self, control: Words, line: int, out: Any, inputs: tuple[Any, ...]) -> int:
        """Take tickets and await their chunks until there is none, or the lane is told to stop.

        The thread of its loop counts as a lane from now on.
        """
        self._be_a_lane(True)
        tickets, grain, indices = int(control[N_TICKETS]), int(control[GRAIN]), int(control[N_INDICES])
        done, order, spans = int(control[DONE]), int(control[ORDER]), int(control[SPANS])
        began = time.perf_counter_ns()
        if control[line + START] == 0:
            control[line + START] = began
        control[line + STARTED] = began
        entered = _clock.enter()
        self._store(control, line + INSIDE, 1)
        try:
            while self._load(control, STOP) == 0:
                ticket = int(self._take(control, line))
                if ticket >= tickets:
                    return EXHAUSTED
                chunk = int(control[order + ticket]) if order else ticket
                control[line + CURRENT] = chunk + 1
                lo = chunk * grain
                nothing_returned(await self._body(lo, min(lo + grain, indices), self._target(out, chunk), *inputs))
                self._store(control, done + chunk, control[line + MARK])
                control[line + CURRENT] = 0
                control[line + TAKEN] += 1
                now = time.perf_counter_ns()
                if spans:  # CPU time cannot be assigned to one lane when lanes share a thread
                    span = spans + WORDS_PER_SPAN * chunk
                    control[span], control[span + 1], control[span + 2] = began, now, 0
                control[line + STARTED] = began = now
            return TOLD_TO_STOP
        except asyncio.CancelledError:
            if control[STOP] == 0:  # the body itself raised it: not our stop
                raise
            return TOLD_TO_STOP
        finally:
            control[line + CPU] += _clock.leave(entered)
            control[line + STOPPED] = time.perf_counter_ns()
            self._store(control, line + INSIDE, 0)


def run_together(lanes: Sequence[Coroutine[Any, Any, Any]], control: Words) -> list[Any]:
    """Run the lanes on one event loop of their own; return what they return. The first that raises ends all."""
    # If a Ctrl-C comes just before a task begins, asyncio loses the task and then waits for it for ever.
    with interrupts.put_off(ControlArray(control).stop):
        return off_the_loop(lambda: _run(lanes, control))


def off_the_loop(do: Callable[[], list[Value]]) -> list[Value]:
    """do(), on a thread without an event loop: a notebook's or a server's own has one, and loops do not nest."""
    # Not get_running_loop(): it would raise, and that exception would appear in every traceback of a body.
    if asyncio._get_running_loop() is None:
        return do()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(contextvars.copy_context().run, do)
        while not wait([done], interrupts.WAKES).done:
            pass
        return done.result()


def _run(lanes: Sequence[Coroutine[Any, Any, Any]], control: Words) -> list[Any]:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_run_until_stopped(lanes, control))
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


class _SharedClock(threading.local):
    """The CPU time of the lanes on this thread: at each moment all that are in their loop have equal shares of it.

    So no lane has more than its wall time, and together they have what the thread used while any was in its loop.
    """

    def __init__(self) -> None:
        self._lanes, self._at, self._share = 0, 0, 0.0

    def _settle(self) -> None:
        now = time.thread_time_ns()
        if self._lanes > 0:
            self._share += (now - self._at) / self._lanes
        self._at = now

    def enter(self) -> float:
        """A lane begins; what `leave` needs at its end."""
        self._settle()
        self._lanes += 1
        return self._share

    def leave(self, entered: float) -> int:
        """A lane ends. Its share of the CPU time since it began, in ns."""
        self._settle()
        self._lanes -= 1
        return int(self._share - entered)


_clock = _SharedClock()


async def _run_until_stopped(lanes: Sequence[Coroutine[Any, Any, Any]], control: Words) -> list[Any]:
    """Run the lanes as tasks, until all have ended or the stop flag is set; then cancel what still runs."""
    tasks = [asyncio.ensure_future(lane) for lane in lanes]
    all_lanes = asyncio.gather(*tasks)
    # Retrieves its exception, or asyncio would print it: each task's own is raised below.
    all_lanes.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    while not all_lanes.done() and not control[STOP]:
        await asyncio.wait([all_lanes], timeout=PERIOD)
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:  # repeatedly: a body may catch the cancellation
            task.cancel()
        await asyncio.wait(waiting, timeout=CLEANING_UP)
    if strays := asyncio.all_tasks() - {asyncio.current_task()}:  # tasks that bodies have begun and not awaited
        for stray in strays:
            stray.cancel()
        await asyncio.wait(strays, timeout=PERIOD)
    return [TOLD_TO_STOP if task.cancelled() else task.result() for task in tasks]

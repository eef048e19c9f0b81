"""Coroutines of one asyncio loop: lanes that hand over to each other, between chunks, when they have had a turn.

One thread runs them all, so work that needs a CPU stays at one core, whatever the number of workers: that is what this
backend shows. Handing over costs no system call and needs nothing of the operating system. Bodies that wait (coroutine
functions) hand over whenever they do, so a thousand waits take as long as one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compute.backends.backend import Backend, Pool
from compute.lanes import interrupts, usage
from compute.lanes.control import DETAILED, PIN, ControlArray, line_of
from compute.lanes.loop import SLICE_OVER, Job, Outcome, be_a_lane, inside_a_lane, mark_worker
from compute.traits import Traits

TURN = 500_000  # ns: handing over takes asyncio 4 us, which is under 1 % of a turn, and a loop may well wait so long


@dataclass(frozen=True, repr=False)
class Coroutines(Backend):
    """Lanes as coroutines of one loop on the caller's thread. `Coroutines(4)`"""

    name = "coroutines"
    traits = Traits(shares_thread=True)

    def open(self) -> CoroutinePool:
        return CoroutinePool(self)


class CoroutinePool(Pool):
    def lanes(self, job: Job) -> Sequence[Outcome]:
        from compute.lanes.awaiting import AwaitingLane, off_the_loop, run_together

        # asyncio forgets a task whose turn a Ctrl-C cuts off before it has begun, and then waits for it for ever.
        with interrupts.put_off(ControlArray(job.control).stop):
            was_inside = inside_a_lane()
            try:
                if not isinstance(job.lane, AwaitingLane):
                    return off_the_loop(lambda: _on_a_loop(job))
                with _noted(job):
                    made = run_together([_lane(job, me) for me in range(job.lanes)], job.control, line_of(0))
                # One that was told to stop before it began says no more than that.
                return [outcome if isinstance(outcome, Outcome) else Outcome(me) for me, outcome in enumerate(made)]
            finally:
                be_a_lane(was_inside)


@contextlib.contextmanager
def _noted(job: Job) -> Iterator[None]:
    """One thread: what the system knows of it stands on the first lane's line."""
    with usage.noted(job.control, 0) if job.control[DETAILED] else contextlib.nullcontext():
        for me in range(1, job.lanes):
            job.control[line_of(me) + PIN] = job.control[line_of(0) + PIN]
        yield


def _on_a_loop(job: Job) -> list[Outcome]:
    """asyncio.run without what a loop of lanes has no need of: a third of a short run's time."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_lanes(job))
    finally:
        loop.close()


async def _lanes(job: Job) -> list[Outcome]:
    import asyncio

    with _noted(job):
        return await asyncio.gather(*(_lane(job, me) for me in range(job.lanes)))


async def _lane(job: Job, me: int) -> Outcome:
    import asyncio

    be_a_lane(True)
    line, control, lane = mark_worker(job, me), ControlArray(job.control), job.lane
    try:
        if hasattr(lane, "steps"):
            await lane.steps(job.control, line, job.out, job.inputs)
        else:
            while lane(job.control, line, job.out, job.inputs, time.perf_counter_ns() + TURN) == SLICE_OVER:
                await asyncio.sleep(0)
    except BaseException as error:
        control.stop()
        return Outcome(me, error, control.current(me))
    return Outcome(me)

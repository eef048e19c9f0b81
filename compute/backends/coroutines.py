"""Coroutines of one asyncio loop: lanes that hand over to each other between chunks, after a time slice.

One thread runs them all, so work that needs a CPU stays at one core, whatever the number of workers. This backend is
there to show that. Handing over costs no system call. Bodies that wait (coroutine functions) hand over whenever they
wait, so a thousand waits take as long as one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.lanes import interrupts, usage
from compute.lanes.control import DETAILED, PIN, ControlArray, line_of
from compute.lanes.loop import SLICE_OVER, Job, Outcome, be_a_lane, inside_a_lane, mark_worker
from compute.traits import Traits

# ns that a lane runs before it hands over. Handing over takes asyncio 4 us, under 1 % of it.
SLICE = 500_000


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
                    ended = run_together([_lane(job, me) for me in range(job.lanes)], job.control)
                # A lane that was stopped before it began returns only its state.
                return [outcome if isinstance(outcome, Outcome) else Outcome(me) for me, outcome in enumerate(ended)]
            finally:
                be_a_lane(was_inside)


@contextlib.contextmanager
def _noted(job: Job) -> Iterator[None]:
    """All lanes share one thread, so the system's figures of it go to the first lane's line."""
    with usage.shared_thread_usage(job.control, 0) if job.control[DETAILED] else contextlib.nullcontext():
        for me in range(1, job.lanes):
            job.control[line_of(me) + PIN] = job.control[line_of(0) + PIN]
        yield


def _on_a_loop(job: Job) -> list[Outcome]:
    """asyncio.run without the parts that lanes do not need, which take a third of a short run's time."""
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
            while lane(job.control, line, job.out, job.inputs, time.perf_counter_ns() + SLICE) == SLICE_OVER:
                await asyncio.sleep(0)
    except BaseException as error:
        control.stop()
        return Outcome(me, error, control.current(me))
    return Outcome(me)

"""Coroutines of one asyncio loop: lanes that hand over to each other, between chunks, when they have had a turn.

One thread runs them all, so work that needs a CPU stays at one core, whatever the number of workers: that is what this
backend shows. Handing over costs no system call and needs nothing of the operating system.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compute import usage
from compute.backends.backend import Backend, Pool
from compute.control import DETAILED, PIN, Control
from compute.lanes import SLICE_OVER, Job, Outcome, lane_of, mark_worker

TURN = 500_000  # ns: asyncio takes 4 us to hand over, so under 1 % of it; a loop that waits so long is still prompt


@dataclass(frozen=True, repr=False)
class Coroutines(Backend):
    """Lanes as coroutines of one loop on the caller's thread. `Coroutines(4)`"""

    name = "coroutines"

    def open(self) -> CoroutinePool:
        return CoroutinePool(self)


class CoroutinePool(Pool):
    def lanes(self, job: Job) -> Sequence[Outcome]:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _on_a_loop(job)
        # In a notebook the caller's thread has a loop of its own already, and loops do not nest.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_on_a_loop, job).result()


def _on_a_loop(job: Job) -> list[Outcome]:
    """The lanes' outcomes. A Ctrl-C is raised when every lane has noticed: a task that died of it would complain."""
    import asyncio

    loop = asyncio.new_event_loop()
    lanes = [loop.create_task(_lane(job, me)) for me in range(job.lanes)]
    interrupt: BaseException | None = None
    # One thread: what the system knows of it stands on the first lane's line.
    with usage.noted(job.control, 0) if job.control[DETAILED] else contextlib.nullcontext():
        for me in range(1, job.lanes):
            job.control[Control.line(me) + PIN] = job.control[Control.line(0) + PIN]
        while not all(lane.done() for lane in lanes):
            try:
                loop.run_until_complete(asyncio.wait(lanes))
            except KeyboardInterrupt as error:
                Control(job.control).stop()
                interrupt = error
    loop.close()
    outcomes = [lane.result() for lane in lanes]
    interrupts = (outcome.error for outcome in outcomes if isinstance(outcome.error, KeyboardInterrupt))
    if interrupt := next(interrupts, interrupt):
        raise interrupt
    return outcomes


async def _lane(job: Job, me: int) -> Outcome:
    import asyncio

    mark_worker(job, me)
    control = Control(job.control)
    try:
        lane = lane_of(job.kernel, job.lanes)
        while lane(job.control, me, job.out, job.inputs, time.perf_counter_ns() + TURN) == SLICE_OVER:
            await asyncio.sleep(0)
    except BaseException as error:
        control.stop()
        return Outcome(me, error, control.current(me))
    return Outcome(me)

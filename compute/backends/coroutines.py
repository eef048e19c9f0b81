"""Coroutines of one asyncio loop: lanes that hand over to each other after every chunk.

One thread runs them all, so work that needs a CPU stays at one core, whatever the number of workers: that is what this
backend shows. Handing over costs no system call and needs nothing of the operating system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compute.backends.backend import Backend, Pool
from compute.control import Control
from compute.lanes import SLICE_OVER, Job, Outcome, lane_of, mark_worker


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
            return asyncio.run(_gather(job))
        # In a notebook the caller's thread has a loop of its own already, and loops do not nest.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _gather(job)).result()


async def _gather(job: Job) -> list[Outcome]:
    import asyncio

    return await asyncio.gather(*(_lane(job, me) for me in range(job.lanes)))


async def _lane(job: Job, me: int) -> Outcome:
    import asyncio

    mark_worker(job, me)
    lane = lane_of(job.kernel, job.lanes)
    try:
        while lane(job.control, me, job.out, job.inputs, 0) == SLICE_OVER:
            await asyncio.sleep(0)
    except BaseException as error:
        control = Control(job.control)
        control.stop()
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            raise
        return Outcome(me, error, control.current(me))
    return Outcome(me)

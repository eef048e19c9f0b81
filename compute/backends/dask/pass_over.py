"""One pass of a run over a cluster: chunks are cut into groups, and each worker is kept supplied with two of them.

- A worker is given a part of what is left that shrinks as the run goes on. So there are about four groups a worker,
  however many chunks there are, and no worker is long without one at the end. There are more only where workers come
  or die during the run, or where a large output has to come back in pieces.
- A group is bound to its worker, and a second one waits there for the first to end. So a worker that comes during the
  run gets work at once, and of one that dies at most two groups are lost.
- Which of these two has killed it cannot be known: the first may have ended, and its reply be lost. So both are cut
  into smaller groups, and each of these is the only one that its worker has. A chunk that kills its worker is thus
  found by itself in the end, and is named.
- All of it happens on the client's event loop; the calling thread waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from compute.backends.caller import outcome_of
from compute.backends.dask.at_worker import run_group, stop_run
from compute.backends.dask.cluster import Cluster, Lost, to_its_end
from compute.backends.dask.hosts import Host, end_process
from compute.backends.dask.journal import Journal
from compute.backends.dask.packing import Packing
from compute.backends.dask.travels import Array, Group, Merge, Reply, Returned
from compute.lanes.control import STOP, ControlArray
from compute.lanes.loop import Job, Outcome

AHEAD = 2  # groups that a worker has: one that runs, and one that waits for it to end
# A group is half of what is left of a worker's share, and never less than 1/8 of the share: so there are four of them.
# Halves are factoring: Hummel, Schonberg and Flynn, CACM 35(8), 1992.
LAST = 8
LARGEST = 16  # parts of the output, of which at least so many are sent: what is under way takes memory of the caller's
SMALL = 2**20  # bytes of a reply from which the caller takes one at a time
MESSAGE = 2**16  # bytes of a reply from which bringing it counts as the network's: less takes the scheduler longer
LOOK = 0.25  # s between looks which workers there are
ALONE = 60.0  # s without a worker after which a run is given up; a nanny starts one within seconds
SPLIT = 8  # parts into which a group is cut whose worker has died


@dataclass(eq=False)
class _Task:
    """A group that a worker has."""

    group: Group
    chunks: Array
    host: Host
    future: Any
    sent: int  # when, in ns
    is_suspect: bool  # of a group whose worker died; its worker has no other
    is_done: asyncio.Event = field(default_factory=asyncio.Event)
    is_gathered: bool = False  # or will be: then it ends by itself


class Prepared(NamedTuple):
    """What the passes of a job have in common. merge: None where nothing of the output is sent."""

    packing: Packing
    merge: Merge | None
    killers: set[int]
    journal: Journal


class Pass:
    """One pass. `drive` is run on the event loop; `stop` may be called by any thread."""

    def __init__(self, cluster: Cluster, job: Job, prepared: Prepared, most: int) -> None:
        packing, merge, killers, self._journal = prepared
        self._cluster, self._job, self._packing, self._merge = cluster, job, packing, merge
        self._is_by_rows = job.kernel.reduce is not None or any(type(x) is Returned for x in job.inputs)
        self._most = most  # threads that may be used; 0 for all
        self._run = f"{job.kernel.name}-{secrets.token_hex(6)}"
        self._control = ControlArray(job.control)
        self._control.unpin()
        self._chunks = self._control.offered
        self._killers = killers  # chunks that were alone when their worker died, in this pass or an earlier one
        alone = [np.array([chunk]) for chunk in sorted(killers.intersection(self._chunks.tolist()))] if killers else []
        others = np.setdiff1d(self._chunks, alone) if alone else self._chunks
        self._left: deque[Array] = deque([others] if len(others) else [])
        self._suspects: deque[Array] = deque(alone)  # groups whose worker died, cut into smaller ones
        self._tasks: dict[_Task, asyncio.Task[Reply | None]] = {}
        self._numbers = itertools.count()
        self._lanes: dict[tuple[str, int], int] = {}
        self._outcomes: list[Outcome] = []
        self._end: Outcome | None = None
        self._wake = asyncio.Event()
        self._gathering = asyncio.Semaphore(1)
        self._stops = self._failures = 0
        self.leaves_lanes = False  # whether lanes may still be at work, and use the caller's memory
        self._strange: list[Host] = []  # workers in whose place another one has come, at the same address
        self._given: Counter[str] = Counter()  # address -> how many chunks it was given
        self._shifts: dict[str, tuple[int, int]] = {}  # address -> the least time under way, and the shift of its clock

    def stop(self) -> None:
        """End the pass after the chunks that are running; called again, do not wait for these either."""
        self._job.control[STOP] = 1
        self._stops += 1
        self._cluster.soon(self._wake.set)

    async def drive(self) -> list[Outcome]:
        """Run the pass to its end. Returns an outcome for each worker that died, and that of the body that raised."""
        looked = peopled = time.perf_counter()
        try:
            if not len(self._chunks):
                return await self._warm()
            while self._end is None and not self._job.control[STOP]:
                self._supply()
                if not self._tasks and not self._is_left:
                    break
                await self._news()
                self._take_done()
                await self._bury_strange()
                now = time.perf_counter()
                if now - looked > LOOK:
                    for host in await self._cluster.refresh():
                        await self._bury(host)
                    looked = now
                    peopled = now if any(self._used()) else peopled
                    if now - peopled > ALONE:
                        raise self._cluster.deserted(ALONE)
        finally:
            if self._tasks:
                await self._halt()
            else:
                self.leaves_lanes = False
        if self._end is not None:
            self._outcomes.append(self._end)
        return self._outcomes

    @property
    def _is_left(self) -> bool:
        return bool(self._left or self._suspects)

    async def _warm(self) -> list[Outcome]:
        """Have each worker load the code, with a group of no chunks."""
        for host, lanes in self._used():
            self._send(np.empty(0, np.int64), host, lanes)
        while self._tasks and not self._job.control[STOP] and self._end is None:
            await self._news()
            self._take_done()
            await self._bury_strange()
            for host in await self._cluster.refresh():
                await self._bury(host)
        return [*self._outcomes, *([self._end] if self._end else [])]

    async def _news(self) -> None:
        """Wait until a group is done or somebody has called `stop`, and no longer than until the next look."""
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([wake, *self._tasks.values()], timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wake.cancel()

    def _used(self) -> Iterator[tuple[Host, int]]:
        """The workers that may be given groups, each with the number of its threads."""
        left = self._most or self._cluster.threads
        for host in self._cluster.hosts.values():
            # Without a merge the output is not zero: a worker of another machine that has come since waits for the next
            # run.
            if left > 0 and (self._merge is not None or self._is_by_rows or host.is_local):
                yield host, min(left, host.threads)
                left -= host.threads

    def _supply(self) -> None:
        """Give each worker that has fewer than two groups another one."""
        used = list(self._used())
        threads = sum(lanes for _, lanes in used)
        # Of a kernel that may not be repeated only the group that has begun is lost with a worker.
        for round_ in range(AHEAD if self._job.kernel.is_repeatable else 1):
            for host, lanes in used:
                tasks = [task for task in self._tasks if task.host.address == host.address]
                if not tasks and self._suspects:
                    self._send(self._suspects.popleft(), host, lanes, is_suspect=True)
                elif self._left and len(tasks) <= round_ and not any(task.is_suspect for task in tasks):
                    self._send(self._next(host, lanes / threads), host, lanes)

    def _next(self, host: Host, share: float) -> Array:
        """The chunks of the next group for a worker, which has this share of the threads."""
        left, all_ = sum(map(len, self._left)), len(self._chunks)
        most = max(1, all_ // LARGEST) if self._merge is not None and self._job.out.nbytes > SMALL else all_
        own = share * all_ - self._given[host.address]  # none is left of a worker that was faster than others
        # Of a worker that has come late no more than its share of what is left. Rounded up: rounded down, a few chunks
        # would be left for groups of their own.
        size = min(most, math.ceil(max(share * all_ / LAST, min(own / 2, share * left))))
        chunks = self._left.popleft()
        self._given[host.address] += min(size, len(chunks))
        if len(chunks) > size:
            self._left.appendleft(chunks[size:])
        return chunks[:size]

    def _send(self, chunks: Array, host: Host, lanes: int, is_suspect: bool = False) -> None:
        self._packing.prepare(host)  # raises here what would be no better on another worker
        is_range = len(chunks) and int(chunks[-1]) - int(chunks[0]) == len(chunks) - 1 and (np.diff(chunks) == 1).all()
        sent = (int(chunks[0]), int(chunks[-1]) + 1) if is_range else chunks
        group = Group(self._run, next(self._numbers), sent, lanes, host.life)
        task = _Task(group, chunks, host, None, time.perf_counter_ns(), is_suspect)
        self._tasks[task] = asyncio.ensure_future(self._reply_of(task))
        self.leaves_lanes = True

    async def _reply_of(self, task: _Task) -> Reply | None:
        parcel = await self._packing.for_host(self._cluster, task.host)
        blocks = await self._packing.blocks_for(self._cluster, task.host, task.chunks)
        try:
            return await self._answer(task, parcel, blocks)
        finally:
            if blocks is not None and not isinstance(blocks, bytes):  # now, though a traceback may hold it
                blocks.release()

    async def _answer(self, task: _Task, parcel: Any, blocks: Any) -> Reply | None:
        client = self._cluster.client
        task.sent = time.perf_counter_ns()
        task.future = client.submit(
            run_group,
            parcel,
            task.group,
            blocks,
            key=f"nfold-{self._run}-{task.group.number}",
            workers=[task.host.address],
            pure=False,
        )
        task.future.add_done_callback(lambda _: self._cluster.soon(task.is_done.set))
        await task.is_done.wait()
        is_large = self._job.out.nbytes > SMALL
        began = time.perf_counter_ns()
        async with self._gathering if is_large else contextlib.nullcontext():
            task.is_gathered = True
            gathering = client.gather([task.future], asynchronous=True)
            [reply] = await to_its_end(gathering, lambda _: task.future.release())
        if reply is not None and reply.nbytes > MESSAGE:
            self._journal.carried(task.host.address, began, time.perf_counter_ns())
        task.future.release()
        return reply  # type: ignore[no-any-return]

    def _take_done(self) -> None:
        with self._journal.packing():
            for task in [task for task, reply in self._tasks.items() if reply.done()]:
                self._take(task, self._tasks.pop(task))

    def _take(self, task: _Task, result: asyncio.Task[Reply | None]) -> None:
        """Put what a group has given back into the caller's arrays."""
        error = None if result.cancelled() else result.exception()
        if result.cancelled() or error is not None:
            self._failed(task, error)
            return
        reply = result.result()
        if reply is None:
            self._tasks[task] = result  # for `_bury`, to which it is a group of a dead worker like others
            if task.host not in self._strange:
                self._strange.append(task.host)
            return
        received = time.perf_counter_ns()
        lanes = [self._lane(task.host, me) for me in range(task.group.lanes)]
        if reply.outcome:
            failed = outcome_of(reply.outcome, lanes[0])
            self._end = self._end or Outcome(lanes[0], failed.error, failed.chunk)
            return
        assert reply.part is not None
        part = reply.part._replace(chunks=task.chunks)
        job, done = self._job, task.chunks[part.marks > 0]
        if reply.results is not None:
            returned = next(x for x in job.inputs if type(x) is Returned)
            returned.results.update(reply.results)
        elif not task.host.is_local or not self._packing.is_shared:
            for start, piece in reply.pieces:
                if job.kernel.reduce is not None:
                    job.out[done] = piece
                elif self._merge is not None and not self._merge.put(start, piece):
                    first = int(task.chunks[0])
                    self._end = Outcome(lanes[0], _overlap(job.kernel.name), first)
                    return
        shift = self._shift(task, reply, received)
        self._control.add(part, lanes, shift)
        self._journal.add(task.host.address, lanes, reply, shift)
        if len(done) < len(task.chunks) and not job.control[STOP]:  # it was told to stop, and nobody else was
            self._left.append(task.chunks[part.marks == 0])

    def _lane(self, host: Host, thread: int) -> int:
        """Which of the run's lanes a worker's thread is. Workers that came during the run share those of others."""
        known = self._lanes.setdefault((host.address, thread), len(self._lanes))
        return known % self._control.lanes

    def _shift(self, task: _Task, reply: Reply, received: int) -> int:
        """ns to add to a worker's clock to have this machine's; of the group that was the least under way."""
        if task.host.has_clock:
            return 0
        arrived, _, ended = reply.clock
        under_way = (received - task.sent) - (ended - arrived)
        shift = (task.sent + received - arrived - ended) // 2
        known = self._shifts.get(task.host.address)
        if known is None or under_way < known[0]:
            known = self._shifts[task.host.address] = under_way, shift
        return known[1]

    def _failed(self, task: _Task, error: BaseException | None) -> None:
        """A group has no reply. Its input may be lost with the worker that had it, or its worker be lost."""
        self._cluster.check()
        if isinstance(error, Lost | MemoryError):
            raise error
        if task.future is not None and not self._job.kernel.is_repeatable:
            first = int(task.chunks[0])
            self._end = Outcome(self._lane(task.host, 0), chunk=first, death=f"{task.host.address} gave no reply")
            return
        if task.host.address in self._cluster.hosts:
            self._packing.forget_sent()  # it is sent again
            self._failures += 1
            if self._failures > MOST_FAILURES:
                why = CANCELLED if error is None else f"{type(error).__name__}: {error}"
                raise RuntimeError(
                    f"a group of chunks of {self._job.kernel.name} failed on {task.host.address} again and again: {why}"
                ) from error
        self._left.appendleft(task.chunks)

    async def _bury(self, host: Host) -> None:
        """A worker is gone: its groups are given to others, in smaller parts."""
        tasks = [task for task in self._tasks if task.host is host]
        for task in tasks:
            self._tasks.pop(task).cancel()
        if host.is_local:
            await end_process(host)
        self._packing.forget_sent(host)
        lane = self._lane(host, 0)
        cause = f"the worker {host.address} on {host.machine} is gone"
        if not tasks:
            return
        tasks.sort(key=lambda task: task.group.number)
        first = tasks[0]
        if len(first.chunks) and (not self._job.kernel.is_repeatable or (first.is_suspect and len(first.chunks) == 1)):
            self._killers.add(int(first.chunks[0]))
            self._end = Outcome(lane, chunk=int(first.chunks[0]), death=cause)
        else:
            self._outcomes.append(Outcome(lane, death=cause))
            for task in tasks:
                self._suspects.extend(part for part in np.array_split(task.chunks, SPLIT) if len(part))
        await self._cancel(tasks)

    async def _bury_strange(self) -> None:
        for host in self._strange:
            self._cluster.hosts.pop(host.address, None)  # it is asked again
            await self._bury(host)
        self._strange.clear()

    async def _cancel(self, tasks: list[_Task]) -> None:
        futures = [task.future for task in tasks if task.future is not None]
        if futures and self._cluster.client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                await self._cluster.client.cancel(futures, asynchronous=True, force=True)

    async def _halt(self) -> None:
        """Cancel what is under way on the cluster, and wait until the lanes that run have left their chunks."""
        tasks, replies = list(self._tasks), list(self._tasks.values())
        for reply in replies:
            reply.cancel()
        self._tasks.clear()
        # A gather whose future is cancelled makes dask log a warning, and ask again for all that it brings.
        await self._cancel([task for task in tasks if not task.is_gathered])
        await asyncio.wait(replies, timeout=LOOK)  # what has not ended when the loop does keeps the run's arrays
        addresses = sorted({task.host.address for task in tasks} & set(self._cluster.hosts))
        if not addresses:
            self.leaves_lanes = False
        if not addresses or self._cluster.client.status != "running":
            return
        run = self._cluster.client.run(stop_run, self._run, workers=addresses, on_error="ignore", asynchronous=True)
        stopping = asyncio.ensure_future(run)
        while not stopping.done() and self._stops < 2 and self._cluster.client.status == "running":
            self._wake.clear()
            wake = asyncio.ensure_future(self._wake.wait())
            await asyncio.wait([stopping, wake], timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            wake.cancel()
        self.leaves_lanes = not stopping.done()
        if self._stops < 2:  # else it is left to come: lanes that are not told would go on with all of their group
            stopping.cancel()
        stopping.add_done_callback(lambda stopping: stopping.cancelled() or stopping.exception())


MOST_FAILURES = 16  # groups that fail though their worker lives: inputs that were lost and are sent again
CANCELLED = "the Client cancels what it gathers, as it does when a gather of it was cancelled once; open another"


def _overlap(name: str) -> ValueError:
    return ValueError(
        f"two chunks of {name} wrote different values to the same element of out, so the result depends on which comes"
        " last; run(…, check=True) says which"
    )

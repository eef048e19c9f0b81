"""A cluster that runs dask.distributed: a call becomes a task for each of some groups of chunks.

cluster.py     the connection: which workers there are, and whether they may be used
knocking.py    before it: whether a scheduler answers, and whether others may listen
hosts.py       a worker: what it is asked of itself, and what is known of it
packing.py     packs a job: code by value, inputs, where the output is
travels.py     the messages, and how large outputs are cut into pieces and put together
pass_over.py   one pass of a run: groups for workers that come and go
at_worker.py   what a worker runs
journal.py     what lanes without a chunk waited for: messages, or the scheduler

docs/cluster.md is for users, and compute/backends/README.md says what is different from other backends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from compute import machine
from compute.backends import children, host_program
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.lanes import interrupts
from compute.lanes.control import PICKLING, ControlArray
from compute.lanes.loop import Job, Outcome
from compute.memory.arena import Arena
from compute.traits import Traits
from kernels.definition import Kernel, Plan, as_index

if TYPE_CHECKING:
    from compute.backends.dask.pass_over import Pass, Prepared

ALL = 0  # workers: every thread that the cluster has
TRAITS = Traits(shares_memory=False, shares_gil=False, loads_itself=True, remote=True)


@dataclass(frozen=True, repr=False, init=False)
class Dask(Backend):
    """Lanes on the workers of a Dask cluster. `Dask()`, `Dask("tcp://scheduler:8786")`, `Dask(client, workers=8)`

    address:  of a scheduler, or a distributed.Client; where left out, workers of this machine are started (a
              LocalCluster of processes with one thread each), and ended when the pool is closed.
    workers:  how many of the workers' threads to use; all of them where left out, also those that come later.
    security: a distributed.Security, for TLS; where left out, dask's configuration says which certificates.
    """

    address: Any = None
    security: Any = None
    name = "dask"
    traits = TRAITS

    def __init__(self, address: Any = None, workers: int | None = None, security: Any = None) -> None:
        if isinstance(address, int):
            raise ValueError(f"address must be a scheduler's, such as 'tcp://host:8786', not {address!r}; say workers=")
        if isinstance(address, str) and not _is_address(address):
            raise ValueError(f"address must be a scheduler's, such as 'tcp://host:8786', not {address!r}")
        count = machine.usable_cpus() if workers is None else as_index(workers, "workers", least=1)
        object.__setattr__(self, "workers", ALL if workers is None and address is not None else count)
        object.__setattr__(self, "address", address)
        object.__setattr__(self, "security", security)

    def __repr__(self) -> str:
        given = [] if self.address is None else [repr(self.address)]
        given += [] if self.workers == ALL else [f"workers={self.workers}"]
        given += [] if self.security is None else [f"security={self.security!r}"]
        return f"Dask({', '.join(given)})"

    def at(self, address: str) -> Dask:
        """The same on the cluster of another scheduler, with all its threads."""
        return Dask(address, None, self.security)

    def with_workers(self, workers: int) -> Self:
        return self if workers == self.workers else replace(self, workers=workers)

    def refuses(self, kernel: Kernel) -> str | None:
        if kernel.timeout is not None:
            return f"{kernel.name} has a timeout, and nobody here can end a function on a cluster; use Processes"
        if kernel.inout:
            names = ", ".join(kernel.inputs[k] for k in kernel.inout)
            return (
                f"{kernel.name} writes to its input {names}, which workers of a cluster have a copy of; run it on"
                " Processes, or have it write to out"
            )
        return super().refuses(kernel)

    def lacks(self) -> str | None:
        from compute.backends.dask.cluster import unavailable

        return unavailable()

    def open(self) -> DaskPool:
        return DaskPool(self)


def _is_address(text: str) -> bool:
    """Whether this has a scheme and, where that needs one, a port."""
    scheme, separator, place = text.partition("://")
    port = place.rpartition(":")[2]
    return bool(scheme and separator and place) and (
        scheme not in ("tcp", "tls") or (port.isdecimal() and 0 < int(port) < 2**16 and ":" in place)
    )


class DaskPool(Pool):
    """A connection to a cluster: each run's chunks go in groups to its workers, and results come back to the caller.

    workers: threads of the cluster that are used, at least 1; where all are, it changes as workers come and go.
    From a run: ConnectionError where the scheduler is gone, RuntimeError where there was no worker for too long.
    """

    backend: Dask

    def start(self) -> None:
        if reason := self.backend.lacks():
            raise ValueError(reason)
        children.check_may_start(self.backend)
        host_program.prepare()
        self._pass: Pass | None = None
        self._pickling = 0  # ns that pickling the items of the run that is about to begin took
        self._hurries = 0  # how often the run that is under way was told to end
        self._latest: tuple[Any, Prepared | None] = None, None  # the latest job's control array, and what is prepared
        with ExitStack() as stack:
            with interrupts.put_off():  # dask's own locks would stay held
                from compute.backends.dask.cluster import Cluster

                self._cluster = Cluster(self.backend.address, self.backend.workers, self.backend.security)
                stack.callback(self._cluster.close)
                self._cluster.call(self._cluster.await_threads(self.backend.workers))
                is_local = any(host.is_local for host in self._cluster.hosts.values())
                self.arena = Arena("shared" if is_local else "heap")
            stack.pop_all()
        self._count()

    def _count(self) -> None:
        """Note how many threads there are: of one run it is always the same number, though workers come and go."""
        self._threads = self.backend.workers or max(1, self._cluster.threads)

    @property
    def workers(self) -> int:
        return self._threads

    @property
    def cpus_elsewhere(self) -> int | None:
        from compute.backends.dask.hosts import cpus_elsewhere

        return cpus_elsewhere(self._cluster.hosts.values())

    def lanes(self, job: Job) -> Sequence[Outcome]:
        from compute.backends.dask.pass_over import Pass

        with interrupts.put_off(self._hurry):
            self._hurries = 0
            prepared = self._prepared(job)
            pass_ = self._pass = Pass(self._cluster, job, prepared, self.backend.workers)
            if self._hurries:  # while it was prepared
                pass_.stop()
            is_over = True
            try:
                outcomes = self._cluster.call(pass_.drive())
                is_done = bool(ControlArray(job.control).done.all())
                if is_done and prepared.merge is not None:
                    with prepared.journal.packing():
                        prepared.merge.finish()
                if self.detailed:
                    prepared.journal.write(job.control)
                is_over = is_done or not any(outcome.death for outcome in outcomes)
                return outcomes
            finally:
                self._pass = None
                self._count()
                if is_over:  # so that nothing of the caller's is held, here or on the cluster
                    self._latest = None, None
                    self._cluster.soon(prepared.packing.forget_sent)
                if pass_.leaves_lanes:
                    prepared.packing.leave_memory()

    def _prepared(self, job: Job) -> Prepared:
        """What the passes of a job have in common: made at its first one."""
        from compute.backends.dask.journal import Journal
        from compute.backends.dask.packing import Packing
        from compute.backends.dask.pass_over import Prepared
        from compute.backends.dask.travels import Merge, Returned

        prepared = self._latest[1]
        if prepared is None or self._latest[0] is not job.control:
            journal = Journal()
            self._cluster.call(self._cluster.settled())
            packing = Packing(job, self.arena.kind == "shared", journal)
            is_by_rows = job.kernel.reduce is not None or any(type(x) is Returned for x in job.inputs)
            is_sent = not all(host.is_local for host in self._cluster.hosts.values())
            merge = None
            if is_sent and not is_by_rows and len(ControlArray(job.control).offered):
                with journal.packing():
                    packing.keep_inputs_of(job.out)
                    merge = Merge(job.out)
            prepared = Prepared(packing, merge, set(), journal)
            job.control[PICKLING], self._pickling = self._pickling, 0
            self._latest = job.control, prepared
        return prepared

    def _hurry(self) -> None:
        self._hurries += 1
        if self._pass is not None:
            self._pass.stop()

    def cut_off(self) -> None:
        self._hurry()

    def packed(self, kernel: Kernel, plan: Plan) -> Plan:
        from compute.backends import items
        from compute.backends.dask.travels import Returned

        began = time.perf_counter_ns()
        packed = items.packed_items(plan, self.arena, kernel.name)
        self._pickling = time.perf_counter_ns() - began
        return plan._replace(inputs=(packed, Returned(plan.step, kernel.name)), shape=(), dtype="int8")

    def unpacked(self, job: Job) -> Any:
        began = time.perf_counter_ns()
        lists = job.inputs[1].lists(len(job.out))
        job.control[PICKLING] += time.perf_counter_ns() - began
        return lists

    def stop(self) -> None:
        self._latest = None, None
        self._cluster.close()

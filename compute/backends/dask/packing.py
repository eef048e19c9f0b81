"""Packs a job for the workers of a cluster: the code by value, the inputs, and where or what the output is."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from compute.backends import ambient
from compute.backends.dask.cluster import Cluster, to_its_end
from compute.backends.dask.hosts import Host
from compute.backends.dask.journal import Journal
from compute.backends.dask.travels import FIRST_INPUT, Array, Parcel, Sent, fuses
from compute.backends.items import Blocks, PackedItems
from compute.backends.sender import NOTHING, QUICK, by_value, packed_source
from compute.lanes.control import DETAILED, GRAIN, N_INDICES, SPANS
from compute.lanes.loop import Job
from compute.memory.segments import home_of, segment_of
from kernels.compilation import provenance

SMALL = 2**16  # bytes of a parcel up to which it is a part of each group's message: sending it apart takes longer


class Packing:
    """A job's parcels: one for workers of this machine that map the arrays, one for all others; made when needed.

    is_shared: whether the job's arrays lie in memory that workers of this machine can map.
    """

    def __init__(self, job: Job, is_shared: bool, journal: Journal) -> None:
        self._job, self.is_shared, self._journal = job, is_shared, journal
        self._parcels: dict[bool, Parcel | bytes] = {}
        self._sent: Any = None  # the future of the parcel that was sent to the cluster
        self._has_it: str | None = None  # the worker to which it was
        self._sending = asyncio.Lock()
        self._kept: dict[int, Array] = {}
        self._mapped: list[Array] = []  # what workers of this machine map
        self._items = next((x for x in job.inputs if isinstance(x, PackedItems)), None)

    def keep_inputs_of(self, out: Array) -> None:
        """Copy the inputs that share memory with the output, which is about to be made zero."""
        for k, x in enumerate(self._job.inputs):
            if isinstance(x, np.ndarray) and np.may_share_memory(x, out):
                self._kept[k] = x.copy(order="K")

    def prepare(self, host: Host) -> None:
        """Make the parcel that this worker is given, if nobody has. TypeError where something cannot be sent."""
        self._parcel(self.is_shared and host.is_local)

    async def for_host(self, cluster: Cluster, host: Host) -> Any:
        """What a group's task for this worker is given: a parcel as bytes, or the future of one."""
        parcel = self._parcel(self.is_shared and host.is_local)
        if isinstance(parcel, bytes):
            return parcel
        async with self._sending:
            if self._sent is None:
                with self._journal.carrying():
                    self._sent, self._has_it = await _scattered(cluster, parcel, host), host.address
            return self._sent

    async def blocks_for(self, cluster: Cluster, host: Host, chunks: Array) -> Any:
        """What a group's task is given of a function's items: as bytes, or a future. None where the parcel has all."""
        if self._items is None or (self.is_shared and host.is_local) or not len(chunks):
            return None
        with self._journal.packing():
            blocks = self._items.blocks_of(chunks)
            blocks = replace(blocks, arrays={number: Sent.of(array) for number, array in blocks.arrays.items()})
            if blocks.nbytes <= SMALL:
                return pickle.dumps(blocks, protocol=5)
        with self._journal.carrying(host.address):
            return await _scattered(cluster, blocks, host)

    def forget_sent(self, host: Host | None = None) -> None:
        """Send the parcel again before the next group; where a host is given, only if it was sent to that one."""
        if host is None or host.address == self._has_it:
            if self._sent is not None:  # now, though a traceback holds it: it would keep the inputs on the cluster
                self._sent.release()
            self._sent = self._has_it = None

    def leave_memory(self) -> None:
        """Neither lend nor free again what workers map: lanes there go on to use it."""
        for array in self._mapped:
            home_of(array).lending.leave()

    def _parcel(self, is_mapped: bool) -> Parcel | bytes:
        known = self._parcels.get(is_mapped)
        if known is None:
            with self._journal.packing():
                parcel = self._made(is_mapped)
                is_small = parcel.__sizeof__() <= SMALL
                known = self._parcels[is_mapped] = pickle.dumps(parcel, protocol=5) if is_small else parcel
        return known

    def _made(self, is_mapped: bool) -> Parcel:
        job, kernel = self._job, self._job.kernel
        variant = kernel.variants[kernel.variant]
        arrays: list[Sent] = []
        numbers: dict[int, int] = {}

        def place(array: Array) -> tuple[int]:
            """The array's number in the parcel, which stands for it in a pickle."""
            if id(array) not in numbers:
                numbers[id(array)] = len(arrays)
                held.append(array)
                arrays.append(self._reference(array) if is_mapped else Sent.of(array))
            return (numbers[id(array)],)

        held: list[Array] = []
        settings = None
        if variant.compiled:
            from kernels.compilation.compiler import settings as settings_here

            settings = settings_here()
        code = packed_source(variant.source(), kernel.reduce is not None, settings, place)
        is_alone = not arrays
        inputs = [self._kept.get(k, x) for k, x in enumerate(job.inputs)]
        if not is_mapped:  # items go with the groups
            inputs = [x.without_blocks() if isinstance(x, PackedItems) else x for x in inputs]
        items: list[Any] = [None, None, *inputs]
        others = NOTHING if QUICK.issuperset(map(type, items[FIRST_INPUT:])) else by_value(items, kernel, place)
        positions = {k - FIRST_INPUT: place(x)[0] for k, x in enumerate(items) if isinstance(x, np.ndarray)}
        control = job.control
        adds_floats = variant.compiled and provenance.is_ours(kernel.module) and job.out.dtype.kind in "fc"
        return Parcel(
            name=kernel.name,
            code=code,
            is_alone=is_alone,
            is_compiled=variant.compiled,
            reduces=kernel.reduce is not None,
            items=[None if isinstance(x, np.ndarray) else x for x in items[FIRST_INPUT:]],
            positions=positions,
            by_value=others,
            arrays=arrays,
            out=(job.out.shape, job.out.dtype),
            room=self._reference(job.out).ref if is_mapped else None,
            shape=(int(control[GRAIN]), int(control[N_INDICES])),
            records=bool(control[SPANS]),
            detailed=bool(control[DETAILED]),
            settings=None if variant.compiled else ambient.here(),
            fuses=fuses() if adds_floats else None,
        )

    def _reference(self, array: Array) -> Sent:
        """How a worker of this machine finds an array; the array itself where it lies in no segment."""
        segment = segment_of(array)
        if segment is None:
            return Sent.of(array)
        self._mapped.append(array)
        return Sent(None, 0, (), (), None, tuple(segment.reference(array)))


async def _scattered(cluster: Cluster, value: Parcel | Blocks, host: Host) -> Any:
    """The future of a value that a worker has. Where the run is cut short meanwhile, it is released as it arrives."""
    sending = cluster.client.scatter(value, workers=[host.address], hash=False, asynchronous=True)
    return await to_its_end(sending, lambda sent: sent.release())

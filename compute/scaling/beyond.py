"""Up to how many workers of a cluster a kernel pays: measured chunks and measured costs, replayed. Pure functions.

One machine can measure how long chunks take, what the caller and the scheduler do for a group of them, and how fast
bytes are packed and sent. What the network of a cluster adds is known, or measured between two of its machines. The
simulation of the lane loop (compute.scaling.laws.simulation) makes of these how long a run takes on any number of
workers: there, a worker of the cluster is a lane, a group of chunks is a chunk, and what the caller and the scheduler
do for a group is the ticket, which they hand out one at a time.

`bench/cluster.py` feeds it with what it has measured. Nobody has held it against a cluster of many machines yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from compute.backends.dask.pass_over import AHEAD, LAST
from compute.scaling.formatting import amount, percent, seconds
from compute.scaling.laws.simulation import Replay, replay

WORTH_IT = 0.5  # efficiency from which a worker is worth its price: half of it is used
COUNTS = tuple(2**k for k in range(13))  # workers: 1 … 4096
ROUND_TRIPS = 6  # of a call before its first group has its code, and after the last: measured by `make cluster`
CAUSES = {
    "inputs": "every worker needs its copy of the inputs",
    "messages": "the caller and the scheduler handle one group of chunks at a time",
    "results": "all results come through one link",
    "chunks": "there are too few chunks to share out evenly",
    "call": "a call alone takes that long",
}


class Cluster(NamedTuple):
    """A cluster whose workers are like this machine's.

    call:       seconds of a call that computes nothing, on a network without delay.
    group:      seconds of the caller and the scheduler for a group of chunks.
    bandwidth:  bytes a second between two machines, packed and unpacked.
    round_trip: seconds of a packet there and back.
    threads:    of each worker.
    """

    call: float
    group: float
    bandwidth: float
    round_trip: float = 0.0
    threads: int = 1


class Work(NamedTuple):
    """What a kernel does at one size.

    chunks:  CPU seconds of each, on one core.
    inputs:  bytes that each worker needs.
    results: bytes that come back.
    """

    chunks: Sequence[float] | np.ndarray[Any, Any]
    inputs: int = 0
    results: int = 0


class Prediction(NamedTuple):
    """A run on so many workers. lost: seconds by CAUSES, of each worker on average."""

    workers: int
    seconds: float
    speedup: float
    efficiency: float
    lost: dict[str, float]


class Reach(NamedTuple):
    """From how many workers on a cluster is faster than this machine, and up to how many they are worth their price.

    first, last: None where there is no such number among COUNTS. limit: of CAUSES, what takes most beyond `last`.
    """

    first: int | None
    last: int | None
    limit: str

    @property
    def pays(self) -> bool:
        return self.first is not None and self.last is not None and self.first <= self.last


def groups(chunks: int, workers: int) -> list[int]:
    """How many chunks each group has, in the order in which they are given out; as pass_over.py cuts them."""
    sizes: list[int] = []
    share, given, left = chunks / workers, 0, chunks
    while left:
        size = math.ceil(max(share / LAST, (share - given) / 2))
        given += size
        for _ in range(workers):
            if left:
                sizes.append(min(size, left))
                left -= sizes[-1]
    return sizes


def predict(work: Work, cluster: Cluster, workers: int) -> Prediction:
    """How long the work takes on so many workers of the cluster. ValueError for chunks or workers that cannot be."""
    chunks = np.asarray(work.chunks, np.float64)
    ends = np.cumsum(groups(len(chunks), workers))
    parts = np.split(chunks, ends[:-1])
    if cluster.threads == 1:
        shares = [float(part.sum()) for part in parts]
    else:
        shares = [replay(part, cluster.threads).seconds if part.any() else 0.0 for part in parts]
    # A worker has a group ahead, so that a message's way is only waited for where it takes longer than a group.
    way = ROUND_TRIPS * cluster.round_trip / AHEAD
    run: Replay = replay([max(share, way) for share in shares], workers, ticket=cluster.group, contended=cluster.group)
    call = cluster.call + ROUND_TRIPS * cluster.round_trip
    inputs = workers * work.inputs / cluster.bandwidth
    results = work.results / cluster.bandwidth
    # Results travel while others compute; those of the last group do not.
    late = max(0.0, results - run.seconds) + results / len(parts)
    taken = call + inputs + run.seconds + late
    total = float(chunks.sum())
    lost = {
        "inputs": inputs,
        "messages": run.tickets / workers + (run.busy - sum(shares)) / workers,
        "results": late,
        "chunks": run.idle / workers,
        "call": call,
    }
    return Prediction(workers, taken, total / taken, total / taken / workers / cluster.threads, lost)


def reach(work: Work, cluster: Cluster, here: float) -> Reach:
    """Where the work pays on the cluster, that takes this machine `here` seconds."""
    runs = [predict(work, cluster, workers) for workers in COUNTS]
    first = next((run.workers for run in runs if run.seconds < here), None)
    last = max((run.workers for run in runs if run.efficiency >= WORTH_IT), default=None)
    beyond = next((run for run in runs if last is None or run.workers > last), runs[-1])
    return Reach(first, last, max(beyond.lost, key=lambda cause: beyond.lost[cause]))


def tell(reach: Reach) -> str:
    """`pays from 4 up to 64 workers; beyond, every worker needs its copy of the inputs`"""
    if reach.pays:
        upto = f"from {reach.first} up to {reach.last}" if reach.first != reach.last else f"with {reach.last}"
        if reach.last == COUNTS[-1]:
            return f"pays from {reach.first} up to {reach.last} workers and more"
        return f"pays {upto} worker{'s' * (reach.last != 1)}; beyond, {CAUSES[reach.limit]}"
    why = CAUSES[reach.limit]
    return f"does not pay: {why}"


def assumptions(cluster: Cluster) -> list[str]:
    """What a prediction takes for granted, a sentence each."""
    return [
        f"Every worker has {cluster.threads} thread{'s' * (cluster.threads != 1)} on cores like this machine's, and"
        " nobody else uses them; chunks take what they took here on one core.",
        f"A call takes {seconds(cluster.call)}, and the caller and the scheduler"
        f" {seconds(cluster.group)} for each group of chunks, one group at a time, however many workers there are.",
        f"Bytes travel at {amount(cluster.bandwidth, 'B/s')} on each machine's link, with"
        f" {seconds(cluster.round_trip)} for a packet and its answer; a call waits for {ROUND_TRIPS} of these.",
        "Inputs leave one machine's link once for each worker, before any of them begins: an upper bound, since workers"
        " pass them on. Results come through the caller's link while others compute.",
        f"It pays where it is faster than this machine alone, and at least {percent(WORTH_IT)} of what the workers"
        " could do is used.",
    ]

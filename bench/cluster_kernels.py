"""What cluster.py and hosts.py (tests/cluster, with slow links) run on a Dask cluster and feed the simulation with."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from compute import Serial
from compute.scaling import beyond
from kernels import Kernel, Plan, kernel

TASKS = 300  # to learn what the scheduler and the caller do for one


@kernel(plan=lambda n: Plan(n, (), grain=1))
def nothing(lo, hi, out):
    out[lo] = lo


@kernel(plan=lambda x: Plan(len(x), (x,), grain=2**14), reduce=np.sum)
def read(lo, hi, out, x):
    part = 0.0
    for i in range(lo, hi):
        part += x[i]
    out[0] = part


@kernel(plan=lambda x, steps: Plan(len(x), (x, steps), shape=x.shape, grain=256))
def iterated(lo, hi, out, x, steps):
    """A kernel of one's own that computes: steps of the logistic map for each element."""
    for i in range(lo, hi):
        y = x[i]
        for _ in range(steps):
            y = 3.9 * y * (1.0 - y)
        out[i] = y


def seconds_of_a_task(pool: Any) -> float:
    """Of the caller, the scheduler and the workers, for a task that does nothing, of which there are many at once."""
    client, hosts = pool._cluster.client, list(pool._cluster.hosts)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        futures = [client.submit(int, pure=False, workers=[hosts[k % len(hosts)]]) for k in range(TASKS)]
        for future in futures:
            future.result()
        best = min(best, (time.perf_counter() - began) / TASKS)
    return best


def work_of(kernel: Kernel, args: tuple[Any, ...]) -> beyond.Work:
    """Its chunks on one core, and the bytes that travel."""
    plan = kernel.plan(*args)
    with Serial().open() as pool:
        pool.warm(kernel, *args)
        result = pool.run(kernel, *args)
    spans = result.timeline.spans
    chunks = spans["cpu"] if len(spans) else np.full(plan.chunks, result.timeline.cpu / plan.chunks)
    inputs = sum(x.nbytes for x in plan.inputs if isinstance(x, np.ndarray))
    return beyond.Work(chunks, inputs, 8 * plan.chunks if kernel.reduce else np.asarray(result.value).nbytes)

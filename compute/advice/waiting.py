"""Measure on one core how much of its time a work waits; and more lanes than CPUs for work that does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from compute import backends
from compute.backends.backend import Backend
from compute.lanes import usage
from compute.scaling.formatting import percent
from kernels.definition import Kernel
from kernels.definition.plan import surrounded

ENOUGH = 0.05  # seconds of chunks, or one chunk where that takes longer
SOME = 0.2  # of the time: on a busy machine, work that only computes seems to wait for up to this
MOST = 0.9  # of the time: work that waits for more is called I/O-bound; one CPU computes for ten such lanes
LANES = (200, 50, 10)  # for work that waits: each a few times the next, so that one of them is near the best


def share(kernel: Kernel, args: tuple[Any, ...], kw: Mapping[str, Any]) -> float:
    """The part of its time on one core for which the work waits; 0 where it is too little to tell.

    Compiled bodies compute. Of others a few chunks are run on this thread, on arrays of their own.
    """
    if kernel.bound in ("compute", "memory") or kernel.variants[kernel.variant].compiled or kernel.inout:
        return 0.0
    body = kernel.body()
    with surrounded(kernel.plan(*args, **kw)) as plan:
        plan = plan._replace(out=None)
        out = kernel.allocate(plan)
        began, cpu_began, queue_began = time.perf_counter(), time.process_time(), usage.queued()
        slept = usage.sleeps()
        for chunk in range(plan.chunks):
            try:
                kernel.run_chunk(body, chunk, out, plan)
            except Exception:  # the first checked run says what is wrong
                return 0.0
            if time.perf_counter() - began > ENOUGH:
                break
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        own = wall - (usage.queued() - queue_began)  # without the time in which it waited for a CPU
    if slept is not None and usage.sleeps() == slept:  # it never slept, so the hypervisor had the CPU
        return 0.0
    part = 1 - cpu / own if own > 0 else 0.0
    return part if part >= SOME else 0.0


def more_lanes(asked: Iterable[Backend | str], kernel: Kernel, chunks: int) -> list[Backend]:
    """Backends with more lanes than CPUs, for work that waits: of those that were asked for by name, where that helps.

    Coroutines are among them where the kernel awaits.
    """
    names = [name for name in asked if isinstance(name, str)]
    if names and any(v.mode == "awaits" for v in kernel.variants.values()):
        names.append("coroutines")
    kinds = [backends.named(name) for name in dict.fromkeys(names)]
    helped = [kind for kind in kinds if kind.traits.exceeds_cpus and kind.traits.overlaps_waits]
    shared = [kind for kind in helped if kind.traits.shares_memory and not kind.traits.loads_itself]
    counts = [count for count in LANES if count <= chunks] or [chunks]
    return [kind.with_workers(count) for kind in shared for count in counts if count > 1]


def sentence(waits: float, bound: str | None, has_gil: bool = True) -> str:
    """`I/O-bound: on one core it waits for 98 % of its time, so more lanes than CPUs help`"""
    if waits >= MOST:
        return f"I/O-bound: on one core it waits for {percent(waits)} of its time, so more lanes than CPUs help"
    if waits:
        return (
            f"mixed: on one core it waits for {percent(waits)} of its time; the rest computes, which the CPUs hold"
            f"{', and in Python the GIL' * has_gil}"
        )
    return "memory-bound" if bound == "memory" else "CPU-bound: on one core it computes all the time"

"""A kernel whose workers die where they are told to: at any line of the lane loop, by any means, so many times."""

from __future__ import annotations

import asyncio
import ctypes
import linecache
import os
import resource
import signal
import sys
import time

import numpy as np
from patience import PATIENCE

from kernels import Plan, kernel
from kernels.definition.each import each_of

# Point -> the line of compute.lanes.loop.make_lane before which the worker dies, or a place in the body.
POINTS = {
    "before a claim": "ticket = int(take(",
    "after a claim": "store(control, line + CURRENT, chunk + 1)",
    "before the body": "lo = chunk * grain",
    "mid-write": None,
    "after the write": "store(control, done + chunk",
    "done, not yet left": "store(control, line + CURRENT, 0)",
    "after done": "taken += 1",
}
WAYS = ("SIGKILL", "SIGSEGV", "exit", "SIGSTOP")
SIDE = 8  # numbers to a chunk


def die(way: str) -> None:
    """End this process, or stop it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if way == "exit":
        os._exit(0)
    if way == "SIGSEGV":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, way))


def die_at(point: str, way: str) -> None:
    """Die when the lane loop that called the caller gets to a line (of this chunk, or of the next)."""
    text = POINTS[point]
    frame = sys._getframe(2)
    assert frame.f_code.co_name == "lane"
    assert any(text in line for line in linecache.getlines(frame.f_code.co_filename)), f"no line has {text!r}"

    def watch(frame, event, arg):
        if event == "line" and text in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
            die(way)
        return watch

    sys.settrace(lambda *_: None)
    frame.f_trace = watch


def _plan(chunks, faults, together=0, nap=0.001):
    """faults: chunk -> (point, way, times). The first `together` chunks wait for each other before anything happens."""
    from compute import shared

    seen = shared.empty(chunks, np.int64)  # how often each chunk was begun
    seen[:] = 0
    begun[:] = [seen]
    return Plan(chunks * SIDE, (np.arange(chunks * SIDE), seen, faults, together, nap), dtype=np.int64, grain=SIDE)


begun: list = []  # of the latest run


@kernel(plan=_plan, compiled=False)
def risky(lo, hi, out, numbers, seen, faults, together, nap):
    """out = numbers², with accidents."""
    chunk = lo // SIDE
    seen.flags.writeable = True  # past the rule: it is these tests' instrument
    seen[chunk] += 1
    if chunk < together and seen[chunk] == 1:
        until = time.monotonic() + PATIENCE
        while not seen[:together].all() and time.monotonic() < until:
            time.sleep(0.001)
    time.sleep(nap)
    point, way, times = faults.get(chunk, ("", "", 0))
    out[lo : lo + SIDE // 2] = numbers[lo : lo + SIDE // 2] ** 2
    if seen[chunk] <= times:
        if point == "mid-write":
            out[lo:hi] = -1
            die(way)
        else:
            die_at(point, way)
    out[lo:hi] = numbers[lo:hi] ** 2


def answer(chunks: int) -> np.ndarray:
    return np.arange(chunks * SIDE) ** 2


@kernel(plan=lambda n, ns: Plan(n, (ns,), grain=1, dtype=np.int64), dtype=np.int64)
def busy(lo, hi, out, ns):
    """Compute for so many nanoseconds in each chunk; a compiled loop that no signal interrupts."""
    until = time.perf_counter_ns() + ns
    while time.perf_counter_ns() < until:
        pass
    out[lo] = lo


busy.add_variant("nogil", "example_bodies:spin", compiled=True)


def measured(k):
    """An item: some computing, and for some items a result that lies in shared memory."""
    until = time.perf_counter_ns() + 200_000
    while time.perf_counter_ns() < until:
        pass
    return k, np.full(20_000, k) if k % 10 == 0 else None


async def awaited(k):
    """An item that waits."""
    await asyncio.sleep(0.0002)
    return measured(k)


def map_items(pool, f, count):
    """Map, and check every result to the bit; the Result."""
    result = pool.run(each_of(f), range(count))
    for k, (number, array) in enumerate(result.value):
        assert number == k, result.value
        assert (array is None) == bool(k % 10), (k, array)
        assert array is None or array.tobytes() == np.full(20_000, k).tobytes(), k
    assert len(result.value) == count
    return result

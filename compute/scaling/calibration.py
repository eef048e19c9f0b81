"""How long would it take? From a few chunks of the real thing, before anyone waits for all of it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from compute.scaling import statistics
from kernels.definition import Kernel
from kernels.plan import Plan

ENOUGH = 0.05  # seconds of chunks: far above a clock tick and a cold cache, far below a user's patience
LARGEST_STEP = 64.0  # in predicted time, from one size to the next: small sizes foretell large ones badly
AGAIN = 2  # looks at a size that seems to take long enough
SMALLEST = 16
LARGEST = 10**15
MEMORY = 2**28  # bytes: a size whose arrays need more is not for finding out how long something takes


def predict(kernel: Kernel, *args: Any, enough: float = ENOUGH, **kw: Any) -> float:
    """About how many seconds one serial run takes, without the compiling; measured on chunks spread over its indices.

    Stops after `enough` seconds of chunks, or after one chunk where that takes longer. Writes into no array of the
    caller's.
    """
    plan = kernel.plan(*args, **kw)
    if not plan.chunks:
        return 0.0
    body = kernel.variants[kernel.variant].load()
    scratch = np.empty(kernel.output_shape(plan), plan.dtype)  # pages that no chunk writes cost nothing
    order = _spread(plan.chunks)
    if kernel.variants[kernel.variant].compiled:
        _run(kernel, plan, body, scratch, order[0])  # compiles
    spent, indices = 0.0, 0
    for chunk in order:
        lo, hi = plan.bounds(chunk)
        began = time.perf_counter()
        _run(kernel, plan, body, scratch, chunk)
        spent += time.perf_counter() - began
        indices += hi - lo
        if spent >= enough:
            break
    return spent * plan.indices / indices


def calibrate(kernel: Kernel, seconds: float, variant: str | None = None, *, memory: float = MEMORY) -> int:
    """A size, of two significant digits, at which one serial run takes about that many seconds.

    Sizes grow until one takes a quarter of it; the kernel's own cost then says how much further to go. Smaller where
    the arrays would need more than `memory` bytes. ValueError where seconds is not a positive number.
    """
    if not (isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0, not {seconds!r}")
    kernel = kernel.held_to(variant)
    size = SMALLEST
    while True:
        args = kernel.example(size)
        enough = min(ENOUGH, seconds / 4)
        taken = predict(kernel, *args, enough=enough)
        if taken >= seconds / 4:  # the end, unless something else had the CPU just then: that makes times longer only
            taken = min(taken, *(predict(kernel, *args, enough=enough) for _ in range(AGAIN)))
        taken = max(taken, 1e-7)  # a clock tick, which keeps the ratio below finite
        last = taken >= seconds / 4
        target = _size_for(kernel, kernel.cost(size) * min(seconds / taken, LARGEST_STEP))
        roof = _size_within(kernel, size, _bytes(kernel, args), memory)
        larger = statistics.two_digits(min(target, roof, LARGEST))
        if last or larger <= size:
            return max(larger, 1) if last else size
        size = larger


def _run(kernel: Kernel, plan: Plan, body: Any, out: Any, chunk: int) -> None:
    lo, hi = plan.bounds(chunk)
    body(lo, hi, out[chunk : chunk + 1] if kernel.reduce else out, *plan.inputs)


def _spread(chunks: int) -> list[int]:
    """Chunk numbers, each once, every first few of them spread over the whole range (a stride of the golden ratio)."""
    # At most 4096 of them: more chunks than that are too short for a few more to matter.
    return list(
        dict.fromkeys(int(chunks * math.modf(0.5 + k * 0.6180339887498949)[0]) for k in range(min(chunks, 4096)))
    )


def _size_for(kernel: Kernel, cost: float) -> int:
    """The largest size whose cost is at most that; cost grows with size."""
    low, high = 1, 2
    while high < LARGEST and kernel.cost(high) <= cost:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kernel.cost(middle) <= cost else (low, middle)
    return low


def _bytes(kernel: Kernel, args: tuple[Any, ...]) -> float:
    plan = kernel.plan(*args)
    output = math.prod(kernel.output_shape(plan)) * np.dtype(plan.dtype).itemsize
    return float(output + sum(getattr(x, "nbytes", 0) for x in args))


def _size_within(kernel: Kernel, size: int, held: float, memory: float) -> int:
    """The largest size whose arrays fit, foretold from this size and from half of it; LARGEST where nothing grows."""
    half = size // 2
    power = math.log(held / max(_bytes(kernel, kernel.example(half)), 1.0), size / half) if held else 0.0
    return LARGEST if power < 0.1 or memory == math.inf else max(1, int(size * (memory / held) ** (1 / power)))

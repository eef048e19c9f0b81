"""`predict`: how long a run would take, from a few of its chunks. `calibrate`: which size takes a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from compute import machine
from compute.scaling import statistics
from kernels.definition import Kernel
from kernels.definition.arguments import with_copied_inputs
from kernels.definition.plan import Plan, surrounded

ENOUGH = 0.05  # seconds of chunks: far above a clock tick and a cold cache, far below a user's patience
LARGEST_STEP = 64.0  # in predicted time, from one size to the next: a forecast over a larger step is unreliable
AGAIN = 2  # more predictions at a size that seems to take long enough: the first may have been disturbed
SMALLEST = 16
LARGEST = 10**15
SHARE = 1 / 8  # of the memory that is free: each of half a dozen open pools holds copies of the arrays
OPERANDS = 2**29  # bytes: more takes seconds to make, and at that size a memory-bound kernel is in no cache either
GRID = 2.0  # in cost, from one size to the next: two predictions on one machine differ by a tenth of that


def predict(kernel: Kernel, *args: Any, enough: float = ENOUGH, **kw: Any) -> float:
    """About how many seconds one serial run takes, without the compiling; measured on chunks spread over its indices.

    Stops after `enough` seconds of chunks, or after one chunk, run twice, where that takes longer. Writes into no array
    of the caller's.
    """
    with surrounded(kernel.plan(*args, **kw)) as plan:
        try:
            return _predict(kernel, with_copied_inputs(plan, kernel.inout), enough)
        except Exception as error:
            if (explanation := kernel.explained(error)) is not error:
                raise explanation from None
            raise


def _predict(kernel: Kernel, plan: Plan, enough: float) -> float:
    if not plan.chunks:
        return 0.0
    body = kernel.body()
    scratch = np.empty(kernel.output_shape(plan), plan.dtype)  # pages that no chunk writes cost nothing
    order = _spread(plan.chunks)
    if kernel.variants[kernel.variant].compiled:
        _run(kernel, plan, body, scratch, order[0])  # compiles
    # A chunk that runs for the first time also pays for the memory page that it touches (up to 10 ms for 2 MiB where
    # memory is fragmented). In a whole run many chunks share that page. So the first pass only decides how many chunks
    # to look at, and the second pass is what counts.
    looked: list[int] = []
    first = 0.0
    for chunk in order:
        looked.append(chunk)
        first += _seconds(kernel, plan, body, scratch, chunk)
        if first >= enough / 2:
            break
    again = sum(_seconds(kernel, plan, body, scratch, chunk) for chunk in looked)
    indices = sum(hi - lo for lo, hi in map(plan.bounds, looked))
    return min(first, again) * plan.indices / indices


def calibrate(kernel: Kernel, seconds: float, variant: str | None = None, *, memory: float | None = None) -> int:
    """A size, of two significant digits, at which one serial run takes about that many seconds, to a factor of √GRID.

    Sizes grow until one takes a quarter of it; the kernel's own cost then says how much further to go. They stand on a
    grid, so that the next measurement finds the same size as a rule, and can be compared with this one. Smaller where
    all arrays would need more than `memory` bytes (an eighth of what is free, where left out), or the operands alone
    more than 512 MiB. ValueError where seconds is not a positive number.
    """
    if not (isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0, not {seconds!r}")
    kernel = kernel.held_to(variant)
    memory = machine.memory_available() * SHARE if memory is None else memory
    size = SMALLEST
    while True:
        args = kernel.example(size)
        enough = min(ENOUGH, seconds / 4)
        taken = predict(kernel, *args, enough=enough)
        if taken >= seconds / 4:  # long enough, unless another program had the CPU: the shortest time counts
            taken = min(taken, *(predict(kernel, *args, enough=enough) for _ in range(AGAIN)))
        taken = max(taken, 1e-7)  # a clock tick, which keeps the ratio below finite
        last = taken >= seconds / 4
        target = size_for(kernel, on_grid(kernel.cost(size) * min(seconds / taken, LARGEST_STEP)))
        roof = _roof(kernel, size, args, memory)
        larger = statistics.two_digits(min(target, roof, LARGEST))
        if last or larger <= size:
            return max(larger, 1) if last else size
        size = larger


def _seconds(kernel: Kernel, plan: Plan, body: Any, out: Any, chunk: int) -> float:
    began = time.perf_counter()
    _run(kernel, plan, body, out, chunk)
    return time.perf_counter() - began


def _run(kernel: Kernel, plan: Plan, body: Any, out: Any, chunk: int) -> None:
    kernel.run_chunk(body, chunk, out, plan)


def _spread(chunks: int) -> list[int]:
    """Chunk numbers, each once. However few are taken, they spread over the whole range (a stride of the golden
    ratio)."""  # At most 4096 of them: more chunks than that are too short for a few more to matter.
    return list(
        dict.fromkeys(int(chunks * math.modf(0.5 + k * 0.6180339887498949)[0]) for k in range(min(chunks, 4096)))
    )


def on_grid(cost: float) -> float:
    """The nearest power of GRID, by how many times as much one is as the other."""
    return GRID ** round(min(math.log(cost, GRID), 1000.0)) if cost > 0 else cost


def size_for(kernel: Kernel, cost: float) -> int:
    """The largest size whose cost is at most that; cost grows with size."""
    return size_with(kernel.cost, cost)


def size_with(cost_of: Callable[[int], float], cost: float) -> int:
    """`size_for` with any cost function, which must grow with the size."""
    low, high = 1, 2
    while high < LARGEST and cost_of(high) <= cost:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_of(middle) <= cost else (low, middle)
    return low


def _roof(kernel: Kernel, size: int, args: tuple[Any, ...], memory: float) -> int:
    """The largest size whose arrays fit into `memory`, and whose operands into OPERANDS."""
    half, whole = _bytes(kernel, kernel.example(size // 2)), _bytes(kernel, args)
    return min(_size_within(size, *held) for held in zip(half, whole, (OPERANDS, memory), strict=True))


def _bytes(kernel: Kernel, args: tuple[Any, ...]) -> tuple[float, float]:
    """Bytes of the operands alone, and of operands and output together."""
    plan = kernel.plan(*args)
    operands = float(sum(getattr(x, "nbytes", 0) for x in args))
    return operands, operands + math.prod(kernel.output_shape(plan)) * np.dtype(plan.dtype).itemsize


def _size_within(size: int, half: float, whole: float, memory: float) -> int:
    """The largest size that fits, told from the bytes of this size and half of it; LARGEST where bytes do not grow."""
    power = math.log(whole / max(half, 1.0), 2) if whole else 0.0
    return LARGEST if power < 0.1 or memory == math.inf else max(1, int(size * (memory / whole) ** (1 / power)))

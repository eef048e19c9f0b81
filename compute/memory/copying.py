"""Copies of large arrays, by as many threads as a pool has lanes: one core cannot use all of memory's bandwidth.

Lanes in other processes do not see the caller's heap, so the copy into shared memory is the caller's own. Meanwhile
their CPUs have nothing to do.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from compute.lanes import usage

Array = np.ndarray[Any, Any]

PART = 4 << 20  # bytes that a thread copies at once: 0.25 ms
LEAST = 4 * PART  # bytes: starting a thread takes 0.1 ms


def copy_into(target: Array, source: Array, lanes: int = 1, pins: Sequence[int] = ()) -> None:
    """np.copyto(target, source), for arrays of one shape and dtype; pins: the CPU of each lane, or nothing."""
    parts = _parts(target, source) if lanes > 1 and source.nbytes >= LEAST else None
    if parts is None:
        np.copyto(target, source)
        return
    count, finished = len(parts), SimpleQueue[None]()
    for lane in range(1, min(lanes, count)):
        try:
            start_new_thread(_copy_parts, (parts, finished, pins[lane] if lane < len(pins) else None))
        except RuntimeError:  # no more threads, or the program is at its end
            break
    # A thread that never runs (as in uWSGI without threads) takes no part, and nobody waits for it.
    for _ in range(count - _copy_parts(parts, None)):
        finished.get()


def _copy_parts(parts: deque[tuple[Array, Array]], finished: SimpleQueue[None] | None, pin: int | None = None) -> int:
    """Copy parts until none is left; how many. What was copied is kept by nobody then, also where a thread is late."""
    copied = 0
    with usage.held_to(pin):
        while True:
            try:
                target, source = parts.popleft()
            except IndexError:
                return copied
            try:
                np.copyto(target, source)
            finally:
                del target, source
                copied += 1
                if finished is not None:
                    finished.put(None)


def _parts(target: Array, source: Array) -> deque[tuple[Array, Array]] | None:
    """Both in parts along the axis that goes furthest through memory; None where that is too short."""
    axis = max(range(source.ndim), key=lambda axis: (abs(target.strides[axis]), target.shape[axis]))
    step = max(1, PART * source.shape[axis] // source.nbytes)
    if step >= source.shape[axis]:
        return None
    cuts = [(slice(None),) * axis + (slice(k, k + step),) for k in range(0, source.shape[axis], step)]
    return deque((target[cut], source[cut]) for cut in cuts)

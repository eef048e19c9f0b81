"""What it costs that arrays are copied for the lanes, measured: the same runs on arrays that lanes see as they are."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from compute import machine
from compute.backends.pool import Pool
from compute.memory.arena import shared
from compute.scaling import statistics
from compute.scaling.build_point import share_of
from compute.scaling.dataset import Point
from kernels.definition import Kernel

Array = np.ndarray[Any, Any]

WORTH = 0.1  # of the core-seconds: what transfer takes less than this is not looked into
LEAST = 1 << 16  # bytes of an array whose copy counts
ROOM = 0.25  # of what is free in memory, and for segments: the copies take no more
SECONDS = 0.3  # for these runs; there are two pairs of them at the least
LONGEST = 3.0  # s that these may take


def without_copies(
    pool: Pool, kernel: Kernel, args: tuple[Any, ...], kw: Mapping[str, Any], point: Point
) -> dict[str, Any]:
    """{"copied": the names of what is copied, "without_copies": how much faster it is where nothing is}, or nothing.

    It runs the kernel some more times on the pool, in pairs. Nothing is said where that would take too long.
    """
    if pool.backend.traits.shares_memory or (share_of(point, "transfer") or 0.0) < WORTH:
        return {}
    copied = _copied(pool, kernel, args, kw)
    if not copied:
        return {}
    evidence = {"copied": ", ".join(copied)}
    room = min(free for free in (machine.memory_available(), machine.shared_memory_free()) if free is not None)
    if sum(x.nbytes for x in copied.values()) > ROOM * room or 5 * point.seconds > LONGEST:
        return evidence
    seen = {id(x): shared.array(x) for x in copied.values()}

    def there(x: Any) -> Any:
        return seen.get(id(x), x)

    given, named = tuple(map(there, args)), {name: there(x) for name, x in kw.items()}
    pool.warm(kernel, *given, **named)  # lanes map the segments
    until, pairs = time.perf_counter() + SECONDS, list[tuple[float, float]]()
    while len(pairs) < 2 or time.perf_counter() < until:
        pairs.append((_seconds(pool, kernel, args, kw), _seconds(pool, kernel, given, named)))
    return evidence | {"without_copies": statistics.median([copying / seeing for copying, seeing in pairs])}


def _seconds(pool: Pool, kernel: Kernel, args: tuple[Any, ...], kw: Mapping[str, Any]) -> float:
    seconds = pool.run(kernel, *args, **kw).seconds
    pool.rest()
    return seconds


def _copied(pool: Pool, kernel: Kernel, args: tuple[Any, ...], kw: Mapping[str, Any]) -> dict[str, Array]:
    """The arguments that a run copies, by the names by which the user passes them."""
    try:
        bound = inspect.signature(kernel.planner).bind(*args, **kw).arguments
    except (TypeError, ValueError):
        return {}
    return {
        name: x
        for name, x in bound.items()
        if isinstance(x, np.ndarray) and x.nbytes >= LEAST and not x.dtype.hasobject and not pool.arena.sees(x)
    }

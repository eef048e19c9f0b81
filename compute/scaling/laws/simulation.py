"""Measured chunks replayed on any number of lanes: a simulation of the lane loop, not a formula.

Every lane takes the next ticket when it is free, as in compute.lanes.loop. Only what the caller names slows it: the
ticket counter, a bandwidth roof, start-up, a serial section. So a replay says what the chunks alone allow.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ALONE, CONTENDED = 12e-9, 25e-9  # seconds a fetch-add: its line is in this core's cache, or in another's (AMD Zen 3)


@dataclass(frozen=True)
class Replay:
    """One replayed run. Core-seconds: workers × (seconds − startup − serial) = busy + idle + tickets.

    speedup:    against one thread without tickets or start-up: (serial + all chunks) / seconds.
    efficiency: speedup / workers.
    busy:       core-seconds in chunks, waiting for memory included.
    idle:       core-seconds of lanes that found no ticket left while others still ran: the tail.
    tickets:    core-seconds of taking tickets and of waiting for the counter.
    """

    workers: int
    chunks: int
    seconds: float
    speedup: float
    efficiency: float
    busy: float
    idle: float
    tickets: float


def replay(
    chunk_seconds: Sequence[float] | np.ndarray[Any, Any],
    workers: int,
    *,
    ticket: float = ALONE,
    contended: float = CONTENDED,
    memory_share: float = 0.0,
    roof: float = math.inf,
    startup: float = 0.0,
    serial: float = 0.0,
) -> Replay:
    """Run chunks of these CPU seconds, in ticket order, on so many lanes.

    ticket:       seconds that a ticket costs where the same lane took the last one.
    contended:    seconds that it costs where another lane did. The counter serves one lane at a time, in the order in
                  which they ask. Each lane asks once more at the end, and finds that no chunk is left.
    memory_share: the share of a chunk's seconds that streams memory. All lanes together stream no faster than roof ×
                  one lane, so that k working lanes are slowed by max(1, memory_share × k / roof): the steady state of
                  lanes whose memory phases do not coincide.
    startup, serial: seconds before the first ticket, and in the caller, where no lane works.
    ValueError for values that cannot be. 4,096 chunks take 4,096 lanes some hundredths of a second.
    """
    costs = _checked(chunk_seconds, workers, memory_share, roof)
    for name, seconds in (("ticket", ticket), ("contended", contended), ("startup", startup), ("serial", serial)):
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{name} must be seconds from 0 on, not {seconds!r}; leave it out for the default")
    asking: deque[tuple[float, int]] = deque()  # (when the counter will have served it, lane)
    running: list[tuple[float, int]] = []  # heap of (the clock of work at which its chunk is done, lane)
    counter_free, last_lane, in_tickets = 0.0, 0, 0.0

    def ask(lane: int, now: float) -> None:
        nonlocal counter_free, last_lane, in_tickets
        counter_free = max(now, counter_free) + (ticket if lane == last_lane else contended)
        last_lane = lane
        in_tickets += counter_free - now
        asking.append((counter_free, lane))

    for lane in range(workers):
        ask(lane, 0.0)
    # All running lanes are slowed alike, so one clock of work serves them: it advances by 1 / slowness a second.
    now = progress = left_at = 0.0
    taken = 0
    while asking or running:
        slowness = max(1.0, memory_share * len(running) / roof)
        done = now + (running[0][0] - progress) * slowness if running else math.inf
        if asking and asking[0][0] <= done:
            then, lane = asking.popleft()
            progress, now = progress + (then - now) / slowness, then
            if taken < len(costs):
                heapq.heappush(running, (progress + costs[taken], lane))
                taken += 1
            else:
                left_at += now
        else:
            progress, lane = heapq.heappop(running)
            now = done
            ask(lane, now)
    idle = max(workers * now - left_at, 0.0)
    total, seconds = serial + math.fsum(costs), startup + serial + now
    return Replay(
        workers=workers,
        chunks=len(costs),
        seconds=seconds,
        speedup=total / seconds,
        efficiency=total / seconds / workers,
        busy=left_at - in_tickets,
        idle=idle,
        tickets=in_tickets,
    )


def bounds(
    chunk_seconds: Sequence[float] | np.ndarray[Any, Any],
    workers: int,
    *,
    contended: float = CONTENDED,
    memory_share: float = 0.0,
    roof: float = math.inf,
    startup: float = 0.0,
    serial: float = 0.0,
) -> Mapping[str, float]:
    """The speedup that each thing alone allows on so many lanes: chunk (the longest), counter, memory, serial.

    serial is Amdahl's law with start-up. No replay exceeds them (the counter's: none in which lanes take turns at it).
    """
    work = _checked(chunk_seconds, workers, memory_share, roof)
    own = math.fsum(work)
    total, shared = serial + own, own / workers
    floors = {
        "chunk": max(max(work), shared),
        "counter": max((len(work) - 1) * contended, shared) if workers > 1 else shared,
        "memory": max(memory_share * own / roof, shared),
        "serial": startup + serial + shared,
    }
    return {name: total / floor for name, floor in floors.items()}


def _checked(chunk_seconds: Any, workers: int, memory_share: float, roof: float) -> list[float]:
    """The chunks as a list; ValueError for what cannot be."""
    work = np.asarray(chunk_seconds, np.float64)
    if work.ndim != 1 or not np.isfinite(work).all() or (work < 0).any() or not work.sum() > 0:
        raise ValueError(
            f"chunk_seconds must be a row of seconds from 0 on, some above 0, not {chunk_seconds!r}; measure the chunks"
        )
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise ValueError(f"workers must be a whole number from 1 on, not {workers!r}; give the lanes to replay on")
    if not 0 <= memory_share <= 1:
        raise ValueError(f"memory_share must be from 0 to 1, not {memory_share!r}; leave it out for none")
    if not roof > 0:
        raise ValueError(f"roof must be above 0, not {roof!r}; leave it out for none")
    listed: list[float] = work.tolist()
    return listed

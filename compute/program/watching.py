"""The threads of a program's processes while they live: how long each was on a CPU, and how long it waited for one.

The system adds up what a process and its waited-for children used (`os.wait4`), but for the waits for a CPU, which it
counts by thread and forgets when the thread ends (/proc/<pid>/task/<tid>/schedstat). So the threads are looked at again
and again. What a thread did after the last look at it is missed, and so is a thread that began and ended between two
looks. How much that is can be told: CPU time is in both accounts, and `Watched.cpu` over the other is what was seen.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from compute.program.families import read

PERIOD = 0.01  # s between looks, at least: of a thread that lives for 50 ms, that misses a tenth on average
SHARE = 0.01  # of one CPU, which looking may take at most: a look that takes long is followed by a longer pause
SLICE = 0.025  # s: a thread's CPU time is brought up to date at each tick, of 1 to 10 ms
HALF = 0.5  # of a slice: who is at work for less of it began or ended in it
WORK = 0.9  # of the CPU time: the rest is of shells, launchers and threads that only watch over others

Ticks = tuple[int, int]  # ns on a CPU, ns waiting for one


@dataclass(frozen=True)
class Watched:
    """What was seen of a run. In seconds.

    cpu, queued:  of all threads that were seen: on a CPU, and waiting for one.
    threads:      how many of them, the busiest first, did nine tenths of the work.
    one:          for how long one thread at most had a CPU or wanted one; within it, nobody: for how long none did.
    first, last:  how much of that was at the beginning and at the end, without a break.
    late:         how much of `last` was the work of a thread that had worked beside others before: a worker that ended
                  after the others. A process's main thread that has others beside it is not one: what it does alone is
                  taken for a step of the program's.
    cost:         CPU seconds that looking took.
    """

    cpu: float
    queued: float
    threads: int
    one: float | None
    nobody: float | None
    first: float | None
    last: float | None
    late: float | None
    cost: float


class Slice(NamedTuple):
    """A part of the run: seconds, threads that had or wanted a CPU on average, and which did for half of it."""

    seconds: float
    wanted: float
    at_work: frozenset[int]

    @property
    def alone(self) -> float:
        """For how long one thread at most was at work."""
        return self.seconds * min(max(2.0 - self.wanted, 0.0), 1.0)

    @property
    def nobody(self) -> float:
        return self.seconds * min(max(1.0 - self.wanted, 0.0), 1.0)


@dataclass
class Watch:
    """Look at processes again and again: `look` now, and next after `pause` seconds."""

    began: float
    pause: float = PERIOD
    _threads: dict[int, Ticks] = field(default_factory=dict)  # what each that may still live had at the last look
    _over: list[Ticks] = field(default_factory=list)
    _leaders: set[int] = field(default_factory=set)  # main threads of processes that have others
    _slices: list[Slice] = field(default_factory=list)
    _sliced: float = 0.0  # seconds that are in slices
    _wanted: dict[int, int] = field(default_factory=dict)  # ns of this slice for which each had or wanted one
    _cost: float = 0.0

    def look(self, processes: Callable[[], Iterable[int]], ended: float | None = None) -> None:
        """Note what the threads of these processes have used so far; ended: when the run was over, if it is.

        processes: finds them. That is most of a look where there are many, so it is called within the look's own time.
        """
        began = time.thread_time()
        now = time.perf_counter() if ended is None else ended
        seen: dict[int, Ticks] = {}
        for pid in processes():
            threads = dict(_threads_of(pid))
            seen |= threads
            if len(threads) > 1:
                self._leaders.add(pid)
        for thread, ticks in self._threads.items():
            if thread not in seen or seen[thread] < ticks:  # the number may be another thread's by now
                self._over.append(ticks)
        for thread, ticks in seen.items():
            before = self._threads.get(thread, (0, 0))
            more = sum(ticks) - (sum(before) if before <= ticks else 0)
            self._wanted[thread] = self._wanted.get(thread, 0) + more
        self._threads = seen
        self._end_slice(now, at_once=ended is not None)
        took = time.thread_time() - began
        self._cost += took
        self.pause = max(PERIOD, took / SHARE)

    def _end_slice(self, now: float, at_once: bool) -> None:
        """Begin a new slice where this one is long enough."""
        seconds = now - self.began - self._sliced
        if seconds > 0 and (at_once or seconds >= SLICE):
            # A wait is counted when it is over: then a thread seems to have wanted more than one CPU.
            wanted = {thread: min(ns / 1e9 / seconds, 1.0) for thread, ns in self._wanted.items()}
            at_work = frozenset(thread for thread, part in wanted.items() if part >= HALF)
            self._slices.append(Slice(seconds, sum(wanted.values()), at_work))
            self._sliced += seconds
            self._wanted.clear()

    def result(self) -> Watched:
        """What was seen until the last look."""
        threads = self._all()
        cpu = sum(on_cpu for on_cpu, _ in threads)
        shares = itertools.accumulate(sorted((on_cpu for on_cpu, _ in threads), reverse=True))
        # Slices much longer than a phase of the program say nothing of it, and a single one nothing at all.
        is_seen = len(self._slices) > 2
        return Watched(
            cpu=cpu / 1e9,
            queued=sum(waited for _, waited in threads) / 1e9,
            threads=1 + sum(share < WORK * cpu for share in shares),
            one=sum(part.alone for part in self._slices) if is_seen else None,
            nobody=sum(part.nobody for part in self._slices) if is_seen else None,
            first=sum(part.alone for part in _unbroken(self._slices)) if is_seen else None,
            last=sum(part.alone for part in _unbroken(self._slices[::-1])) if is_seen else None,
            late=self._late() if is_seen else None,
            cost=self._cost,
        )

    def _late(self) -> float:
        """Seconds at the end for which one worker alone was at work."""
        beside = set().union(*(part.at_work for part in self._slices if len(part.at_work) > 1)) - self._leaders
        return sum(part.alone for part in _unbroken(self._slices[::-1]) if part.at_work and part.at_work <= beside)

    def _all(self) -> list[Ticks]:
        return [*self._over, *self._threads.values()]


def _unbroken(slices: Iterable[Slice]) -> list[Slice]:
    """Those from the first on in which one thread at most was at work, most of the time."""
    return list(itertools.takewhile(lambda part: part.alone >= part.seconds * HALF, slices))


def _threads_of(pid: int) -> Iterable[tuple[int, Ticks]]:
    """(number, what it has used so far) of each thread of a process; none where it has gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            fields = read(f"/proc/{pid}/task/{thread}/schedstat").split()
            yield int(thread), (int(fields[0]), int(fields[1]))
        except (OSError, ValueError, IndexError):
            continue  # it has ended


def can_watch() -> bool:
    """Whether the system tells how long a thread was on a CPU and how long it waited for one (Linux, not gVisor)."""
    return bool(list(_threads_of(os.getpid())))

"""Open pools that no call of joblib.Parallel uses at the moment, kept for the next one. Used by joblib.py."""

from __future__ import annotations

import math
import threading
import time

from compute import machine
from compute.backends.pool import Pool
from compute.backends.processes import Processes


class IdlePools:
    """Open pools that no call is using; closed when they have been idle for long, or are more than there are CPUs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: list[tuple[float, bytes, Pool]] = []  # kept until when, the initializer that workers ran
        self._timer: threading.Timer | None = None
        self._due = math.inf  # when it goes off
        self.is_over = False  # whether the interpreter is ending, and starts no more threads

    def take(self, size: int, initial: bytes) -> Pool:
        """A pool of so many workers that have run this initializer, or none: an idle one, or a new one."""
        with self._lock:
            for place, (_, ran, pool) in enumerate(self._pools):
                if ran in (initial, b"") and pool.workers == size:
                    del self._pools[place]
                    return pool
        return Processes(size).open()

    def give(self, initial: bytes, pool: Pool, lasts: float) -> None:
        """Keep a pool for so many seconds; close the oldest ones if there are too many."""
        with self._lock:
            self._pools.append((time.monotonic() + lasts, initial, pool))
            spare = sum(pool.workers for _, _, pool in self._pools) - max(machine.usable_cpus(), pool.workers)
            old = []
            while spare > 0:
                old.append(self._pools.pop(0)[2])
                spare -= old[-1].workers
        _close(old)
        self._watch()

    def _watch(self) -> None:
        """Set a timer for the moment when the first pool's time is over."""
        with self._lock:
            first = min((until for until, _, _ in self._pools), default=math.inf)
            if self._timer is not None and (first < self._due or not self._pools):
                self._timer.cancel()
                self._timer = None
            if self._timer is None and self._pools and not self.is_over:
                self._due = first
                self._timer = threading.Timer(max(first - time.monotonic(), 0), self._close_old)
                self._timer.daemon = True
                self._timer.start()

    def _close_old(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # and not one that another thread has set since
                self._timer = None
        self.close(until=time.monotonic())

    def close(self, until: float = math.inf) -> None:
        """Close the pools that were to last until then; all of them where that is left out."""
        with self._lock:
            old = [pool for lasts, _, pool in self._pools if lasts <= until]
            self._pools = [entry for entry in self._pools if entry[0] > until]
        _close(old)
        self._watch()


def _close(pools: list[Pool]) -> None:
    for pool in pools:
        pool.close()

"""Whether the GIL was taken: a thread that wakes now and then and sees whether it has to queue for it.

The look is not a clock. A thread that comes back from a sleep and finds the GIL free goes on; one that finds it taken
goes to sleep again, and the kernel counts that as one more voluntary switch of the thread. So a look costs exactly one
switch where the GIL was free and two or more where it was not. A machine with too few CPUs, a noisy neighbour or a late
timer makes the wake-up late (an involuntary wait), but adds no voluntary switch: nothing has to be calibrated, and an
oversubscribed machine is not read as a GIL. Clocks only say for how long a taken GIL stayed so.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from types import TracebackType

from compute.lanes.usage import RUSAGE_THREAD, rusage
from compute.machine import has_gil

PERIOD = 0.002  # s between looks: one costs 20 to 40 us of CPU, so 1 to 2 % of one CPU; a timed run is not to be probed
FEWEST_LOOKS = 5  # one in nine hundred such probes puts a true 0.05 or 0.95 on the wrong side of a half
ENOUGH = 0.1  # s, in place of that many looks: compiled lanes that never give the GIL up allow one look in a whole run
LONGEST = 2  # switch intervals that a look may have been late to count in full: a lane in Python gives the GIL up after
# one, and twice that covers a queue; beyond it, the kernel had stopped somebody. Beside three busy processes on two
# CPUs, worst of 25 probes: GIL-free lanes came to 0.40 without this bound and to 0.26 with it, lanes in Python to 0.92.
ASLEEP = 1  # voluntary switches of a look at a free GIL: falling asleep


class Probe:
    """`with Probe() as probe: work()`; then `probe.taken` is the share of that time in which others held the GIL.

    taken is None where there is no GIL, where the system does not count a thread's switches (macOS, Windows, gVisor),
    or where the time was too short to tell, about 10 ms. It is of this process: workers in other processes have a GIL
    of their own. One busy Python thread takes it as fully as four do: it costs only where there are more.

    period: seconds between looks, on average. A look speaks for the time since the one before, so that a GIL that
            makes looks rare does not count for less.
    """

    def __init__(self, period: float = PERIOD) -> None:
        if not period > 0:
            raise ValueError(f"period must be above 0 seconds, not {period}; leave it out for {PERIOD}")
        self._period = period
        self._longest = LONGEST * sys.getswitchinterval()
        self._seconds = {False: 0.0, True: 0.0}  # by whether the GIL was taken
        self.looks = 0
        self.watched = 0.0  # seconds
        self._ready = threading.Event()
        self._over = threading.Event()  # is_set() takes no lock: looking at it never switches
        self._thread = threading.Thread(target=self._look, name="nfold-gil-probe", daemon=True)

    @property
    def taken(self) -> float | None:
        if self.looks < FEWEST_LOOKS and self.watched < ENOUGH:
            return None
        return self._seconds[True] / sum(self._seconds.values())

    def __enter__(self) -> Probe:
        if has_gil() and RUSAGE_THREAD is not None:
            self._thread.start()
            self._ready.wait()  # else a call that never gives the GIL up is over before the first look
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _look(self) -> None:
        over, period, uneven = self._over, self._period, random.Random().uniform  # not the caller's own generator
        before, at = switches(), time.perf_counter()
        self._ready.set()
        while not over.is_set():
            # Of uneven length, so as not to keep step with chunks of the same length.
            nap = period * uneven(0.5, 1.5)
            time.sleep(nap)
            took, slept = time.perf_counter() - at, switches() - before
            before, at = before + slept, at + took
            if slept >= ASLEEP:
                self._seconds[slept > ASLEEP] += min(took, nap + self._longest)
                self.watched += took
                self.looks += 1
            # else it did not sleep: the thread came too late to, or the system does not count switches


def switches() -> int:
    """Voluntary switches of this thread so far."""
    voluntary: int = rusage().ru_nvcsw
    return voluntary

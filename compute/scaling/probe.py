"""Probe: how much of the time the GIL was taken. A thread wakes now and then and sees whether it has to wait for it.

The probe counts switches and does not measure time. A thread that wakes and finds the GIL free goes on. One that finds
it taken goes to sleep again, and the kernel counts one more voluntary switch of that thread. So a look costs exactly
one switch where the GIL was free, and two or more where it was taken. Too few CPUs, a noisy neighbour or a late timer
make the wake-up late, but add no voluntary switch. So nothing has to be calibrated, and an oversubscribed machine is
not mistaken for a GIL. Clocks only say for how long a taken GIL stayed taken.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from types import TracebackType

from compute.lanes.usage import RUSAGE_THREAD, rusage
from compute.machine import has_gil
from compute.memory import address_space

PERIOD = 0.002  # s between looks: one costs 20 to 40 us, so they take 1 to 2 % of a CPU, and no timed run is probed
FEWEST_LOOKS = 5  # with these, one probe in nine hundred takes a true share of 0.05 or 0.95 for one beyond a half
ENOUGH = 0.1  # s that stand for FEWEST_LOOKS: compiled lanes that never release the GIL allow one look in a whole run
# Switch intervals: a look that was later than this counts as if it had been no later. A lane in Python releases the GIL
# after one interval, and two cover a queue; if it took longer, the kernel had stopped somebody. Worst of 25 probes
# beside three busy processes on two CPUs: lanes without a GIL came to 0.40 without this bound and to 0.26 with it,
# lanes in Python to 0.92.
LONGEST = 2
ASLEEP = 1  # voluntary switches of a look at a free GIL: its own sleep


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
            address_space.start(self._thread)
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
            # Naps of one length could keep step with chunks of that length.
            nap = period * uneven(0.5, 1.5)
            time.sleep(nap)
            took, slept = time.perf_counter() - at, switches() - before
            before, at = before + slept, at + took
            if slept >= ASLEEP:
                self._seconds[slept > ASLEEP] += min(took, nap + self._longest)
                self.watched += took
                self.looks += 1
            # Otherwise it did not sleep: the nap was over before it began, or the system counts no switches.


def switches() -> int:
    """Voluntary switches of this thread so far."""
    voluntary: int = rusage().ru_nvcsw
    return voluntary

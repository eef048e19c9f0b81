"""From points and the rounds that they were measured in to their verdicts."""

from invented import a_point

from compute.scaling.ceiling import Ceilings
from compute.scaling.collecting import judged
from compute.scaling.derive import compared
from compute.scaling.ledger import ENTRIES
from compute.scaling.noise import Conditions
from kernels import mandelbrot

NOTHING = dict.fromkeys(ENTRIES, 0.0)


def two(waited):
    """A serial run and one of two threads, of which that many of the core-seconds went to waiting for a CPU."""
    serial = a_point("serial", 1, [1.0] * 6, ledger={**NOTHING, "useful": 1.0})
    threads = {**NOTHING, "useful": 1.0, "runqueue": waited}
    return compared([serial, a_point("threads", 2, [0.5 + waited / 2] * 6, ledger=threads)])


def test_what_a_quota_stopped_in_a_round_falls_on_those_who_waited():
    stopped = Conditions(1.8, steal=0.0, others=0.0, throttled=0.45, load=0.1, running=0, marked="the CPU quota")
    _, threads = judged(two(0.6), mandelbrot, Ceilings({}, 2), [stopped] * 6)
    assert threads.cause == "quota"
    assert "stopped the lanes for 28 % of core-seconds" in threads.verdict


def test_where_nobody_waited_for_a_cpu_it_stopped_nobody_for_long():
    stopped = Conditions(1.5, steal=0.0, others=0.0, throttled=0.01, load=0.1, running=0, marked=None)
    serial, threads = judged(two(0.0), mandelbrot, Ceilings({}, 2), [stopped] * 6)
    assert (serial.cause, threads.cause) == ("none", "none")

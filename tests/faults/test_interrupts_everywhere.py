"""Ctrl-C at one place after the other where the caller's thread can be: it is raised, and nothing is left behind."""

from __future__ import annotations

import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

RUNNING = """
import signal, sys
from compute import *
from compute.lanes.loop import inside_a_lane
from ctrl_c import CtrlC
from fault_kernels import busy

def run():
    return pool.run(busy, 20, 1000, variant="nogil").value.tolist()

hears = signal.getsignal(signal.SIGINT)
right = list(range(20))
backend, every = eval(sys.argv[1]), int(sys.argv[2])
with backend.open() as pool:
    assert run() == right
    k, came = 1, True
    while came:
        interrupted = False
        try:
            with CtrlC(k) as at:
                run()
        except KeyboardInterrupt:
            interrupted = True
        came = at.came
        state = interrupted, inside_a_lane(), signal.getsignal(signal.SIGINT) is hears
        assert state == (came, False, True), (k, state)
        assert run() == right, k
        k += every
    assert k > 100, k
print("done")
"""

# With a pool that is lost because the interrupt came too late for it to be closed.
OPENING = """
import gc, multiprocessing, os, signal, sys, threading, time, warnings
from compute import *
from ctrl_c import CtrlC
from patience import PATIENCE

def left():
    pids = [child.pid for child in multiprocessing.active_children()]
    ours = [name for name in os.listdir("/dev/shm") if str(os.getpid()) in name]  # loky's say so
    return pids, ours, threading.active_count(), sorted(os.listdir("/proc/self/fd"))

def await_gone(before):
    deadline = time.monotonic() + PATIENCE
    while (now := left())[:len(before)] != before:
        assert time.monotonic() < deadline, (before, now)
        time.sleep(0.002)
        gc.collect()

warnings.simplefilter("ignore", ResourceWarning)  # of a file that was being opened
backend, every = eval(sys.argv[1]), int(sys.argv[2])
hears = signal.getsignal(signal.SIGINT)
backend.open().close()
await_gone(([], [], 1))
before = left()
k, came = 1, True
while came:
    interrupted = False
    try:
        with CtrlC(k) as at:
            pool = backend.open()
        pool.close()
    except KeyboardInterrupt:
        interrupted = True
    came, pool = at.came, None
    assert interrupted == came, k
    assert signal.getsignal(signal.SIGINT) is hears, k
    await_gone(before)
    k += every
assert k > 1000, k
print("done")
"""


# every: how many places from one to the next, where each takes long.
@pytest.mark.parametrize(
    ("backend", "every"), [("Serial()", 1), ("Threads(2)", 1), ("Prange(2)", 1), ("Processes(2)", 7), ("Joblib(2)", 11)]
)
def test_while_a_pool_runs(warm_python, no_leaks, backend, every):
    assert warm_python.run(RUNNING, backend, str(every)) == "done\n"


@pytest.mark.parametrize(("backend", "every"), [("Threads(3)", 7), ("Processes(2)", 61), ("Joblib(2)", 1999)])
def test_while_a_pool_opens(warm_python, no_leaks, backend, every):
    assert warm_python.run(OPENING, backend, str(every)) == "done\n"

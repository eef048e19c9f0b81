"""Ctrl-C at any moment, once or twice, and a parent that is killed: no orphan, no segment, no noise, a usable pool."""

from __future__ import annotations

import os
import re
import signal
import time

import psutil
import pytest
from every_case import INTERPRETERS
from patience import PATIENCE
from watched import wait_for

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

# Interrupts its whole process group, as a terminal does, at random moments of opening, running and closing.
AT_RANDOM = """
import os, random, signal, sys, threading, time
from compute import *
from fault_kernels import busy
from kernels.definition import numba_is_here

backend, times, seed, again = eval(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
rng = random.Random(seed)

def interrupt(moment):
    time.sleep(moment)
    os.killpg(0, signal.SIGINT)
    if again >= 0:
        time.sleep(again)
        os.killpg(0, signal.SIGINT)

def once(pool, moment):
    caught, thread = 0, threading.Thread(target=interrupt, args=(moment,))
    try:
        try:
            thread.start()
            # without the interrupt it would take minutes
            pool.run(busy, 50_000, 5_000_000, variant=rng.choice(variants))
            print("never interrupted")
        except KeyboardInterrupt:
            caught += 1
        thread.join()
    except KeyboardInterrupt:  # the second
        caught += 1
        thread.join()
    for _ in range(200 if again >= 0 else 1):  # a second one may still be on its way to this thread
        try:
            time.sleep(0.0005)
        except KeyboardInterrupt:
            caught += 1
    return caught

variants = ["nogil"] if isinstance(backend, Prange) else ["python"] + ["nogil"] * numba_is_here()
with backend.open() as pool:
    for variant in variants:
        pool.warm(busy, 10, 1000, variant=variant)
    for k in range(times):
        assert once(pool, rng.uniform(0, 0.04)) >= 1
        assert pool.run(busy, 20, 1000).value.tolist() == list(range(20)), k
print("done")
"""

# Nothing is caught: what a user sees who interrupts a script.
UNCAUGHT = """
import sys
from compute import *
from fault_kernels import busy

with eval(sys.argv[1]).open() as pool:
    pool.run(busy, 20, 1000)
    print("busy", flush=True)
    pool.run(busy, 50_000, 5_000_000)
"""

OPENING = """
import sys, time
from compute import *
print("opening", flush=True)
while True:
    with eval(sys.argv[1]).open() as pool:
        pass
"""


def in_session(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found


def wait_until_gone(pids):
    deadline = time.monotonic() + PATIENCE
    while alive := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
    return []


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


slow = pytest.mark.slow
ONCE, TWICE = -1.0, 0.003  # s after which the second comes


@pytest.mark.parametrize(
    ("backend", "times", "again"),
    [
        pytest.param("Threads(2)", 10, ONCE, marks=slow),
        ("Threads(2)", 5, TWICE),
        pytest.param("Processes(2)", 10, ONCE, marks=slow),
        ("Processes(2)", 4, TWICE),
        pytest.param("Processes(2, start='spawn')", 1, TWICE, marks=slow),
        pytest.param("Serial()", 2, ONCE, marks=slow),
        pytest.param("Prange(2)", 3, ONCE, marks=slow),
        pytest.param("Prange(2)", 3, TWICE, marks=slow),
        pytest.param("Coroutines(2)", 3, TWICE, marks=slow),
        pytest.param("Joblib(2)", 1, TWICE, marks=slow),
        pytest.param("Joblib(2, kind='threading')", 4, TWICE, marks=slow),
        *((repr(backend), 4, TWICE) for backend in INTERPRETERS),
    ],
)
def test_interrupts_at_random_moments(warm_python, no_leaks, backend, times, again):
    assert warm_python.run(AT_RANDOM, backend, str(times), "7", str(again)) == "done\n"


@pytest.mark.parametrize(
    ("backend", "interrupts"),
    [
        ("Threads(2)", 1),
        ("Processes(2)", 2),
        *(pytest.param(backend, 1, marks=slow) for backend in ("Prange(2)", "Processes(2)", "Joblib(2)")),
        *(pytest.param(backend, 2, marks=slow) for backend in ("Threads(2)", "Prange(2)", "Joblib(2)")),
        *(pytest.param("Processes(2, start='fork')", times, marks=slow) for times in (1, 2)),
    ],
)
def test_an_interrupted_script_says_so_and_nothing_else(warm_python, no_leaks, backend, interrupts):
    script = warm_python.start(UNCAUGHT, backend)
    script.await_line("busy")
    for _ in range(interrupts):
        time.sleep(0.03)
        os.killpg(script.pid, signal.SIGINT)
    assert script.ended() == -signal.SIGINT
    said = script.stderr
    # A second one may meet the interpreter while it prints the first, and cut that off, or has closed sys.stderr.
    if interrupts == 1:
        assert said.startswith("Traceback")
        # A note names the chunk where it came in a body that Python runs.
        assert re.search(r"\nKeyboardInterrupt(\nin chunk .*)?$", said.rstrip()), said
    assert said.count("KeyboardInterrupt\n") <= interrupts, said
    assert "resource_tracker" not in said
    assert wait_until_gone(in_session(script.pid)) == []


@pytest.mark.parametrize(
    "backend", ["Processes(2)", *(pytest.param(b, marks=slow) for b in ("Processes(2, start='spawn')", "Joblib(2)"))]
)
def test_an_interrupt_while_a_pool_opens(warm_python, no_leaks, backend):
    script = warm_python.start(OPENING, backend)
    script.await_line("opening")
    # The script, a resource tracker (loky has one of its own), and a worker or the fork server that is to make it.
    wait_for(lambda: len(in_session(script.pid)) >= (4 if "Joblib" in backend else 3))
    os.killpg(script.pid, signal.SIGINT)
    assert script.ended() == -signal.SIGINT
    assert script.stderr.count("Traceback") == 1, script.stderr
    assert script.stderr.rstrip().endswith("KeyboardInterrupt")
    assert wait_until_gone(in_session(script.pid)) == []


# What is raised in a finalizer is lost to Python, which says "Exception ignored in ...".
LOST = """
import signal, sys
from compute import *
from fault_kernels import busy
from kernels import Plan, kernel

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def planned_while_dying(n):
    Dying()
    return Plan(n, (), grain=1)

@kernel(plan=planned_while_dying)
def never(lo, hi, out):
    print("ran")

def interrupted(call, *args):
    try:
        call(*args)
    except KeyboardInterrupt:
        return True

backend = eval(sys.argv[1])
sys.unraisablehook = lambda lost: print(lost.exc_type.__name__, getattr(lost.object, "__qualname__", ""))
hears = signal.getsignal(signal.SIGINT)
fired, fired_inside = [], []

def alarm(*_):
    fired.append(True)
    Dying()

def opened():
    backend.open()
    fired_inside.extend(fired)  # threads that are warm open before the alarm

signal.signal(signal.SIGALRM, alarm)
with backend.open() as pool:
    pool.run(busy, 20, 1000)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    print("in lanes:", interrupted(pool.run, busy, 50_000, 5_000_000))
    print("before:", interrupted(pool.run, never, 1))
    print("warming:", interrupted(pool.warm, never, 1))
    assert pool.run(busy, 20, 1000).value.tolist() == list(range(20))
if pool.startup > 0.1:
    fired.clear()
    signal.setitimer(signal.ITIMER_REAL, 0.003)
    raised = interrupted(opened)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if raised or fired_inside:
        print("opening:", raised)
assert signal.getsignal(signal.SIGINT) is hears
"""


@pytest.mark.parametrize(
    "backend",
    [
        *(pytest.param(backend, marks=slow) for backend in ("Serial()", "Prange(2)", "Coroutines(2)")),
        pytest.param("Joblib(2, kind='threading')", marks=slow),
        "Threads(2)",
        "Processes(2)",
        "Joblib(2)",
        *map(repr, INTERPRETERS),
    ],
)
def test_an_interrupt_that_python_loses_is_raised_all_the_same(warm_python, no_leaks, backend):
    told = [line.split(": ") for line in warm_python.run(LOST, backend).splitlines() if ": " in line]
    assert [moment for moment, _ in told][:3] == ["in lanes", "before", "warming"]
    assert [moment for moment, raised in told if raised != "True"] == []


# By a signal of its own, because a fork's copy of a process with threads is refused.
CLOSING = """
import multiprocessing, random, signal, time
from compute import Processes

signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
rng = random.Random(3)
for k in range(40):
    pool = Processes(2, start="fork").open()
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 0.004))
        pool.close()
        time.sleep(1)
    except KeyboardInterrupt:
        pool.close()
    else:
        print("never interrupted")
    assert multiprocessing.active_children() == []
print("done")
"""


@pytest.mark.slow
def test_an_interrupt_while_a_pool_closes_loses_no_worker(warm_python, no_leaks):
    assert warm_python.run(CLOSING) == "done\n"


FOUR_POOLS = """
import os, sys, threading
import psutil
from compute import Joblib, Processes
from fault_kernels import busy
from kernels.definition import numba_is_here
from patience import PATIENCE
from watched import wait_for

pools = [Processes(2, start="fork").open(), Processes(2).open(), Processes(1, start="spawn").open(), Joblib(1).open()]
for pool in pools:
    pool.warm(busy, 4, 1000)
LONG = int(2e9 * PATIENCE)  # ns: no chunk ends while the test waits
variants = ["python", "nogil" if numba_is_here() else "python"] * 2

def used():
    # Seconds of CPU time of each process below this one.
    below = psutil.Process().children(recursive=True)
    return {child.pid: child.cpu_times().user for child in below}

before = used()
threads = [
    threading.Thread(target=lambda p=p, v=v: p.run(busy, 4, LONG, variant=v), daemon=True)
    for p, v in zip(pools, variants)
]
for thread in threads:
    thread.start()
WORKERS = 6  # only those that are in a chunk use so much
wait_for(lambda: sum(now > before[pid] + 0.1 for pid, now in used().items()) == WORKERS)
print("busy", flush=True)
threading.Event().wait()
"""


def test_busy_workers_of_every_kind_are_gone_after_their_parent_was_killed(warm_python, no_leaks):
    script = warm_python.start(FOUR_POOLS)
    script.await_line("busy")
    below = [child.pid for child in psutil.Process(script.pid).children(recursive=True)]
    assert len(below) >= 6
    os.kill(script.pid, signal.SIGKILL)
    assert script.ended() == -signal.SIGKILL
    alive = wait_until_gone(below)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert alive == []
    # The killed had no time to free loky's own semaphores: loky's tracker does, and says so.
    said = [
        line for line in script.stderr.splitlines() if "leaked semlock" not in line and "warnings.warn(" not in line
    ]
    assert said == []


# asyncio.run has a handler of its own, which raises nothing the first time: it cancels the task that waits for us.
UNDER_ASYNCIO = """
import asyncio, os, signal, sys, threading, time
from compute import *
from fault_kernels import busy

def sleeps(path):
    open(path, "a").close()
    time.sleep(0.05)

async def waits(path):
    open(path, "a").close()
    await asyncio.sleep(1000)

def interrupt(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(path, do):
    threading.Thread(target=interrupt, args=(path,)).start()
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(within(do))
    async def within(do):
        do()
        print("never interrupted")
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        return
    print("no KeyboardInterrupt")

backend = eval(sys.argv[1])
with backend.open() as pool:
    interrupted("began-1", lambda: pool.map(waits, ["began-1"] * 2))
    interrupted("began-2", lambda: pool.map(sleeps, ["began-2"] * 20_000))
    pool.warm(busy, 10, 1000)
    begin = lambda *_: open("began-3", "a").close()
    interrupted("began-3", lambda: pool.run(busy, 50_000, 5_000_000, progress=begin))
    assert pool.run(busy, 20, 1000).value.tolist() == list(range(20))
    async def goes_on():
        return pool.map(abs, [-1, -2])
    assert asyncio.run(goes_on()) == [1, 2]
print("done")
"""


@pytest.mark.parametrize(
    "backend",
    ["Threads(2)", "Processes(2)", *(pytest.param(b, marks=slow) for b in ("Serial()", "Coroutines(1)", "Joblib(2)"))],
)
def test_one_ctrl_c_is_enough_under_asyncio_run(warm_python, no_leaks, backend):
    assert warm_python.run(UNDER_ASYNCIO, backend) == "done\n"

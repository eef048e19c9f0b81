"""Pools that are used from within their own runs, and closed at any moment: by other threads, at exit, never, twice."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest
from every_case import INTERPRETERS
from example_kernels import nothing, squares
from fault_kernels import busy
from patience import PATIENCE
from watched import said

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from kernels import Plan, kernel

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

BACKENDS = [
    Serial(),
    Threads(2),
    Prange(2),
    Coroutines(2),
    Processes(2),
    Joblib(2),
    Joblib(2, kind="threading"),
    *INTERPRETERS,
]


# From within a run.

asked: dict = {}  # what a plan, a reduce or a finalizer of the next run is to do


def _asking(n, when):
    if when == "plan":
        asked["plan"] = asked["do"]()
    if when == "finalizer":
        Dying()
    return Plan(n, grain=1, dtype=np.int64)


class Dying:
    def __del__(self):
        asked["finalizer"] = asked["do"]()


def _reduced(rows):
    if "reduce" in asked:
        asked["reduce"] = asked["do"]()
    return rows.sum()


@kernel(plan=_asking, dtype=np.int64)
def asking(lo, hi, out):
    out[lo:hi] = lo


@kernel(plan=lambda n: Plan(n, grain=1, dtype=np.int64), dtype=np.int64, reduce=_reduced)
def reducing(lo, hi, out):
    out[0] = lo


@pytest.fixture(params=BACKENDS, ids=repr)
def pool(request):
    asked.clear()
    with request.param.open() as pool:
        yield pool
    asked.clear()


def in_time(call, *args, **kw):
    """Call it in a thread, so that a deadlock is a failure and not the end of the tests."""
    found = []

    def calls():
        try:
            found.append((call(*args, **kw), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=calls, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it hangs"
    value, error = found[0]
    if error is not None:
        raise error
    return value


@pytest.mark.parametrize("when", ["plan", "finalizer"])
def test_a_plan_and_a_finalizer_may_use_the_pool(pool, when):
    values = np.arange(500.0)
    asked["do"] = lambda: (pool.warm(squares, values), pool.run(squares, values).value)[1]
    assert in_time(pool.run, asking, 6, when).value.tolist() == list(range(6))
    assert asked[when].tobytes() == (values**2).tobytes()
    assert pool.run(squares, values).value.tobytes() == (values**2).tobytes()


def test_a_reduce_may_use_the_pool(pool):
    values = np.arange(500.0)
    asked.update(do=lambda: pool.run(squares, values).value, reduce=None)
    assert in_time(pool.run, reducing, 6).value == 15
    assert asked["reduce"].tobytes() == (values**2).tobytes()


def test_a_pool_that_is_closed_from_within_closes_as_the_run_ends(pool):
    asked["do"] = pool.close
    assert in_time(pool.run, asking, 6, "plan").value.tolist() == list(range(6))
    assert said(RuntimeError, pool.run, nothing, 3).startswith("this pool is closed")
    assert getattr(pool, "_workers", {}) == {}


# By other threads.


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
def test_closing_while_other_threads_run(backend, no_leaks):
    for k in range(8 if isinstance(backend, Joblib) and backend.kind == "loky" else 40):
        pool = backend.open()
        pool.run(busy, 2, 1000, variant="nogil")
        odd, began = [], threading.Barrier(4)

        def runs(pool=pool, odd=odd, began=began):
            began.wait()
            try:
                while True:
                    found = pool.run(busy, 20, 20_000, variant="nogil").value
                    assert found.tolist() == list(range(20))
            except RuntimeError as error:
                if "this pool is closed" not in str(error):
                    odd.append(error)
            except BaseException as error:
                odd.append(error)

        def closes(pool=pool, odd=odd, began=began, k=k):
            began.wait()
            threading.Event().wait(0.0005 * (k % 5))
            try:
                pool.close()
            except BaseException as error:
                odd.append(error)

        threads = [threading.Thread(target=what, daemon=True) for what in (runs, runs, closes, closes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not [thread for thread in threads if thread.is_alive()], "it hangs"
        assert odd == []
        assert getattr(pool, "_workers", {}) == {}


# A second thread's run would take minutes; the first thread closes, and is asked to hurry.
HURRIED = """
import os, signal, sys, threading, time
from compute import *
from fault_kernels import busy
from watched import wait_for

pool = eval(sys.argv[1]).open()
pool.run(busy, 20, 1000)
said = []

def runs():
    try:
        pool.run(busy, 50_000, 5_000_000)
    except RuntimeError as error:
        said.append(str(error))

thread = threading.Thread(target=runs)
thread.start()
wait_for(lambda: pool._running)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    pool.close()
    print("never interrupted")
except KeyboardInterrupt:
    pass
thread.join()
assert said and said[0].startswith("this pool is closed"), said
print("done")
"""


@pytest.mark.parametrize("backend", [*map(repr, BACKENDS), "Processes(2, start='spawn')"])
def test_a_close_that_is_interrupted_does_not_wait_for_another_threads_run(warm_python, no_leaks, backend):
    assert warm_python.run(HURRIED, backend) == "done\n"


# As the interpreter ends.
AT_EXIT = """
import atexit, os, sys, threading, weakref

backend, when = sys.argv[1:]
pools = []

def close():
    for pool in pools:
        pool.close()
        pool.close()

class Holder:
    def __init__(self, pool):
        self.pool = pool
    def __del__(self):
        self.pool.close()
        self.pool.close()

if when == "atexit, before":
    atexit.register(close)
from compute import *
from example_kernels import squares

if when == "threading, before":
    threading._register_atexit(close)
pool = eval(backend).open()
assert pool.run(squares, [1.0, 2.0]).value.tolist() == [1, 4]
if when == "threading":
    threading._register_atexit(close)
elif when == "atexit":
    atexit.register(close)
elif when == "finalize":
    class Anything: pass
    kept = Anything()
    weakref.finalize(kept, close)
elif when == "finalize a module":
    weakref.finalize(sys.modules["os"], close)
if when == "__del__":
    holder = Holder(pool)
elif when == "__del__ in a cycle":
    holder = Holder(pool)
    holder.itself = holder
    del holder
elif when == "__del__ of a module's":
    sys.holder = Holder(pool)
elif when != "never":
    pools.append(pool)
"""
MOMENTS = [
    "atexit, before",
    "atexit",
    "threading, before",
    "threading",
    "finalize",
    "finalize a module",
    "__del__",
    "__del__ in a cycle",
    "__del__ of a module's",
    "never",
]


@pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked for in /proc")
@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize(
    "backend", ["Threads(2)", "Prange(2)", "Processes(2)", "Processes(2, start='fork')", "Joblib(2)"]
)
def test_a_pool_can_be_closed_at_any_moment_of_the_end(warm_python, no_leaks, backend, when):
    assert warm_python.run(AT_EXIT, backend, when, to_the_end=True) == ""


@pytest.mark.parametrize("backend", ["Threads(2)", "Processes(2)"])
def test_an_exit_handler_that_was_registered_before_anything_else(script, no_leaks, backend):
    script(AT_EXIT, backend, "atexit, before")  # a new interpreter: in a warm one, weakref's own comes first


# Programs that the pool's program starts meanwhile, and that have what it had.
HELPERS = """
import os, signal, sys, time
import ctypes
from compute import *
from example_kernels import squares

libc = ctypes.CDLL(None)  # a fork of which Python hears nothing, as C libraries make them
pool = eval(sys.argv[1]).open()
assert pool.run(squares, [1.0, 2.0]).value.tolist() == [1, 4]
helper = libc.fork()
if not helper:
    while True:
        libc.sleep(100)
try:
    assert pool.run(squares, [3.0]).value.tolist() == [9]
    for worker in list(getattr(pool, "_workers", {}).values())[:1]:
        os.kill(worker.process.pid, signal.SIGKILL)
    assert pool.run(squares, [3.0]).value.tolist() == [9]
    pool.close()
finally:
    os.kill(helper, signal.SIGKILL)
    os.waitpid(helper, 0)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it needs pidfds")
@pytest.mark.parametrize(
    "backend", ["Threads(2)", "Processes(2)", "Processes(2, start='fork')", "Processes(2, start='spawn')", "Joblib(2)"]
)
def test_closing_waits_for_no_process_that_was_forked_meanwhile(warm_python, no_leaks, backend):
    assert warm_python.run(HELPERS, backend) == "done\n"


# A body that forks a helper, and dies: the helper has all that the worker had.
OF_A_BODY = """
import ctypes, os, signal, sys, time
import numpy as np
from compute import *
from kernels import Plan, kernel

@kernel(plan=lambda n: Plan(n, grain=1, dtype=np.int64), dtype=np.int64, compiled=False)
def forks(lo, hi, out):
    if lo == 2 and not os.path.exists("helper"):
        libc = ctypes.CDLL(None)
        if not (helper := libc.fork()):
            while True:
                libc.sleep(100)
        with open("helper", "x") as file:
            file.write(str(helper))
        os.kill(os.getpid(), signal.SIGKILL)
    out[lo] = lo

try:
    with eval(sys.argv[1]).open() as pool:
        result = pool.run(forks, 8)
        assert result.value.tolist() == list(range(8))
        assert len(result.timeline.events) == 1, result.timeline.events
        assert "SIGKILL" in result.timeline.events[0], result.timeline.events
finally:
    with open("helper") as file:
        os.kill(int(file.read()), signal.SIGKILL)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it needs pidfds")
@pytest.mark.parametrize(
    "backend", ["Processes(2)", "Processes(2, start='fork')", "Processes(2, start='spawn')", "Joblib(2)"]
)
def test_a_worker_dies_and_what_its_body_has_forked_lives(warm_python, no_leaks, backend):
    assert warm_python.run(OF_A_BODY, backend) == "done\n"

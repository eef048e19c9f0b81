"""Signal handlers that raise, at any moment, on every backend: it is raised, and the pool is as good as new."""

from __future__ import annotations

import os

import pytest
from every_case import INTERPRETERS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

ALL = [
    "Serial()",
    "Threads(2)",
    "Prange(2)",
    "Coroutines(2)",
    "Processes(2)",
    "Processes(2, start='fork')",
    "Joblib(2)",
    "Joblib(2, kind='threading')",
    *map(repr, INTERPRETERS),
]


# Of a test runner's timeout, of a service that is told to end, of what the system's own errors look like.
RAISING = """
import os, random, signal, sys, time, warnings
from compute import *
from fault_kernels import busy

warnings.simplefilter("ignore", ResourceWarning)  # of a file that was being opened

class Enough(BaseException):
    pass

backend, kind, times = eval(sys.argv[1]), sys.argv[2], int(sys.argv[3])
number = signal.SIGTERM if kind == "SystemExit" else signal.SIGALRM
error = {"SystemExit": SystemExit, "TimeoutError": TimeoutError, "Enough": Enough, "EOFError": EOFError}[kind](7)

def handler(*_):
    raise error

# In a finalizer that is Python's, it is lost, and said to be; what becomes of the run is what is looked at here.
sys.unraisablehook = lambda lost: None if lost.exc_value is error else sys.__unraisablehook__(lost)
signal.signal(number, handler)
if number != signal.SIGALRM:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
rng = random.Random(5)
right = list(range(20))

def interrupted(call, moment, *args, **kw):
    error.__traceback__ = None
    try:
        signal.setitimer(signal.ITIMER_REAL, moment)
        call(*args, **kw)
        time.sleep(5)
        print("never interrupted")
    except BaseException as found:
        assert found is error, (found, kind)

variants = ["nogil"] if isinstance(backend, Prange) else ["python", "nogil"]
with backend.open() as pool:
    for variant in variants:
        pool.warm(busy, 10, 1000, variant=variant)
    for k in range(times):
        # without the error it would take minutes
        interrupted(pool.run, rng.uniform(1e-4, 0.03), busy, 50_000, 5_000_000, variant=rng.choice(variants))
        assert pool.run(busy, 20, 1000).value.tolist() == right, k
        # a short run, at whose every step it may come
        interrupted(pool.run, rng.uniform(1e-5, 1e-3), busy, 3, 100_000, variant=rng.choice(variants))
        assert pool.run(busy, 20, 1000).value.tolist() == right, k
    for moment in (0.02, 0.1):
        interrupted(pool.run, moment, busy, 50_000, 5_000_000, variant=variants[0], check=True)
    interrupted(pool.close, 1e-4)
    pool.close()
for k in range(3 if pool.startup < 1 else 0):
    interrupted(lambda: backend.open().close(), rng.uniform(1e-4, pool.startup))
print("done")
"""


@pytest.mark.parametrize("kind", ["TimeoutError", "SystemExit", "Enough", "EOFError"])
@pytest.mark.parametrize("backend", ALL)
def test_what_a_handler_raises_is_raised(warm_python, no_leaks, backend, kind):
    assert warm_python.run(RAISING, backend, kind, "6") == "done\n"


EVERYWHERE = """
import signal, sys
from compute import *
from compute.lanes.loop import inside_a_lane
from ctrl_c import CtrlC
from fault_kernels import busy

def handler(*_):
    raise TimeoutError("the handler's")

def run():
    return pool.run(busy, 20, 1000, variant="nogil").value.tolist()

hears = signal.getsignal(signal.SIGINT)
signal.signal(signal.SIGALRM, handler)
right = list(range(20))
backend, every = eval(sys.argv[1]), int(sys.argv[2])
with backend.open() as pool:
    assert run() == right
    k, came = 1, True
    while came:
        raised = False
        try:
            with CtrlC(k, signal.SIGALRM) as at:
                run()
        except TimeoutError as error:
            assert str(error) == "the handler's", error
            raised = True
        came = at.came
        put_back = signal.getsignal(signal.SIGINT) is hears and signal.getsignal(signal.SIGALRM) is handler
        state = raised, inside_a_lane(), put_back
        assert state == (came, False, True), (k, state)
        assert run() == right, k
        k += every
    assert k > 100, k
print("done")
"""


# every: how many places from one to the next, where each takes long.
@pytest.mark.parametrize(
    ("backend", "every"),
    [
        ("Serial()", 1),
        ("Threads(2)", 1),
        ("Coroutines(2)", 7),
        ("Processes(2)", 11),
        ("Joblib(2)", 17),
        ("Joblib(2, kind='threading')", 23),
        *((repr(backend), 1) for backend in INTERPRETERS),
    ],
)
def test_what_a_handler_raises_at_one_place_after_the_other(warm_python, no_leaks, backend, every):
    assert warm_python.run(EVERYWHERE, backend, str(every)) == "done\n"


COMPILING = """
import random, signal, sys
from compute import *
from ctrl_c import CtrlC
from fault_kernels import busy
from kernels.compilation import compiler as compilation
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

def handler(*_):
    raise TimeoutError("the handler's")

def run():
    return pool.run(busy, 20, 1000, variant="nogil").value.tolist()

signal.signal(signal.SIGALRM, handler)
right, rng = list(range(20)), random.Random(3)
with eval(sys.argv[1]).open() as pool:
    assert run() == right
    compilation.forget()
    with CtrlC(sys.maxsize) as at:
        assert run() == right
    places = sys.maxsize - at._left
    assert places > 1000, places
    for _ in range(40):
        compilation.forget()  # as a program that begins: what is kept on disk is loaded
        try:
            with CtrlC(rng.randint(1, places), signal.SIGALRM) as at:
                run()
        except TimeoutError as error:
            assert str(error) == "the handler's", error
        # In the hands of nobody, or other threads would wait for ever.
        assert not global_compiler_lock._lock._is_owned()
        assert not ffi.lib._lock._lock._is_owned()
        assert run() == right
print("done")
"""


@pytest.mark.parametrize("backend", ["Serial()", "Threads(2)"])
def test_a_handler_that_raises_while_code_is_loaded(warm_python, no_leaks, backend):
    assert warm_python.run(COMPILING, backend) == "done\n"


PREPARING = """
import signal
from compute.backends import host_program
from ctrl_c import CtrlC

def handler(*_):
    raise TimeoutError("the handler's")

signal.signal(signal.SIGALRM, handler)
host_program.prepare()
k, came = 1, True
while came:
    raised = False
    try:
        with CtrlC(k, signal.SIGALRM) as at:
            host_program.prepare()
    except TimeoutError as error:
        assert str(error) == "the handler's", error
        raised = True
    came = at.came
    assert raised == came, k
    k += 1
assert k > 20, k
print("done")
"""


def test_what_a_handler_raises_is_not_taken_for_the_systems_word(warm_python, no_leaks):
    """multiprocessing, which asks whether its resource tracker lives, would take a TimeoutError for its death."""
    assert warm_python.run(PREPARING) == "done\n"


# A program's own clock: its handler raises nothing, and changes nothing.
TICKING = """
import os, signal, sys
from compute import *
from fault_kernels import busy

backend, ticks = eval(sys.argv[1]), []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
with backend.open() as pool:
    workers = {lane.process for lane in pool.run(busy, 40, 1_000_000, variant="nogil").timeline.lanes}
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    for _ in range(10):
        result = pool.run(busy, 40, 1_000_000, variant="nogil")
        assert result.value.tolist() == list(range(40))
        assert result.timeline.events == ()
    seen = len(ticks)
    signal.setitimer(signal.ITIMER_REAL, 0)
assert seen >= 10, seen  # in every run (compiled code of short runs lets none in before its end), not when all are over
print("done")
"""


@pytest.mark.parametrize("backend", ALL)
def test_a_handler_that_raises_nothing_changes_nothing(warm_python, no_leaks, backend):
    assert warm_python.run(TICKING, backend) == "done\n"


# uWSGI's way: Python's own handler is in its table, and not in the system's.
IN_C = """
import faulthandler, os, signal, sys
from compute import *
from fault_kernels import busy

signal.signal(signal.SIGUSR2, lambda *_: print("Python's"))
with open("dumped", "w") as file:
    faulthandler.register(signal.SIGUSR2, file)
    for backend in (Threads(2), Processes(2)):
        with backend.open() as pool:
            assert pool.run(busy, 20, 1000).value.tolist() == list(range(20))
        os.kill(os.getpid(), signal.SIGUSR2)
with open("dumped") as file:
    assert file.read().count("most recent call first") == 2
print("done")
"""


def test_a_handler_that_is_not_pythons_stays_in_place(warm_python, no_leaks):
    assert warm_python.run(IN_C) == "done\n"


IN_OBJMODE = """
import signal, sys, warnings
import numba
import numpy as np
from numba.core import serialize
from compute import *
from kernels import Plan, kernel

warnings.simplefilter("ignore", numba.NumbaWarning)  # objmode holds the GIL
unpickle, armed = serialize._numba_unpickle, False

def interrupted(*given):  # numba looks this function up once, and goes on whatever it raises
    global armed
    if armed:
        armed = False
        signal.raise_signal(signal.SIGINT)
    return unpickle(*given)

serialize._numba_unpickle = interrupted

def times_two(x):
    return 2 * x

def of_its_own(x):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("its own") from None

by_one = {"plan": lambda x: Plan(len(x), (x,), grain=1)}

@kernel(**by_one)
def doubled(lo, hi, out, x):
    value = x[lo]
    with numba.objmode(y="float64"):
        y = times_two(value)
    out[lo] = y

@kernel(**by_one)
def catches(lo, hi, out, x):
    value = x[lo]
    with numba.objmode():
        of_its_own(value)
    out[lo] = value

for backend in map(eval, sys.argv[1:]):
    with backend.open() as pool:
        assert pool.run(doubled.nogil, np.ones(3)).value.tolist() == [2.0, 2.0, 2.0]
        if backend.name == "prange" and numba.threading_layer() == "workqueue":
            break  # its only lane is on another thread
        for _ in range(5):
            armed = True
            try:
                pool.run(doubled.nogil, np.ones(3))
            except KeyboardInterrupt:
                print("interrupted")
        armed = False
        try:
            pool.run(catches.nogil, np.ones(1))
        except ValueError as error:
            print(error)
"""


def test_an_interrupt_that_numba_loses_in_objmode_is_raised_as_one(script, no_leaks):
    on = ["Serial()", "Threads(1)", "Prange(1)"]  # of one lane: others are on threads that hear no signal
    told = script(IN_OBJMODE, *on).stdout
    assert told == (5 * "interrupted\n" + "its own\n") * told.count("its own")
    assert told.count("its own") >= 2

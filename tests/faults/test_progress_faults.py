"""A run whose progress is told, in trouble: Ctrl-C, deaths, forks, closing, exit. Nobody goes on telling after it."""

from __future__ import annotations

import os
import threading

import pytest
from every_case import INTERPRETERS
from fault_kernels import answer, begun, busy, risky

from compute import Joblib, Processes, Threads, WorkerDied

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

BACKENDS = [
    "Serial()",
    "Threads(2)",
    "Prange(2)",
    "Coroutines(2)",
    "Processes(2)",
    "Joblib(2)",
    "Joblib(2, kind='threading')",
    *map(repr, INTERPRETERS),
]


INTERRUPTED = """
import random, signal, sys, threading, time
from compute import *
from fault_kernels import busy

def alarm(*_):
    raise KeyboardInterrupt

def tell(done, total):
    if ended:
        print("told after the end")
    told.append(done)
    time.sleep(rng.choice([0, 0.002]))

def tellers():
    return [thread for thread in threading.enumerate() if thread.name == "nfold-progress"]

sys.unraisablehook = lambda lost: None  # Python says so of what it loses; the run raises it all the same
signal.signal(signal.SIGALRM, alarm)
rng, backend, ended, told = random.Random(11), eval(sys.argv[1]), False, []
variants = ["nogil"] if isinstance(backend, Prange) else ["python", "nogil"]
with backend.open() as pool:
    for k in range(int(sys.argv[2])):
        variant, ended = rng.choice(variants), False
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.3))
        try:
            pool.run(busy, 50_000, 5_000_000, variant=variant, progress=tell)  # it would take minutes
        except KeyboardInterrupt:
            ended = True
        assert ended and not tellers(), k
        assert pool.run(busy, 20, 1000, progress=lambda done, total: None).value.tolist() == list(range(20)), k
assert told
print("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_ends_the_telling(warm_python, no_leaks, backend):
    assert warm_python.run(INTERRUPTED, backend, "12") == "done\n"


# At one place after the other where the caller's thread can be.
EVERYWHERE = """
import signal, sys, threading, time
from compute import *
from compute.lanes.loop import inside_a_lane
from ctrl_c import CtrlC
from fault_kernels import busy
from patience import PATIENCE

def tell(done, total):
    assert not ended

def run():
    return pool.run(busy, 20, 1000, variant="nogil", progress=tell).value.tolist()

def tellers():
    return [thread for thread in threading.enumerate() if thread.name == "nfold-progress"]

hears = signal.getsignal(signal.SIGINT)
right = list(range(20))
backend, every, ended = eval(sys.argv[1]), int(sys.argv[2]), False
threading.excepthook = lambda told: print(told)
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
        ended = True
        came = at.came
        state = interrupted, inside_a_lane(), signal.getsignal(signal.SIGINT) is hears
        assert state == (came, False, True), (k, state)
        deadline = time.monotonic() + PATIENCE
        while tellers():  # one that was not asked to end looks up in a tenth of a second
            assert time.monotonic() < deadline, k
            time.sleep(0.001)
        ended = False
        assert run() == right, k
        k += every
    assert k > 100, k
print("done")
"""


@pytest.mark.parametrize(("backend", "every"), [("Serial()", 1), ("Threads(2)", 3), ("Processes(2)", 17)])
def test_an_interrupt_at_any_place(warm_python, no_leaks, backend, every):
    assert warm_python.run(EVERYWHERE, backend, str(every)) == "done\n"


# One Ctrl-C is enough, whenever it comes, where the callable itself never returns.
HANGING = """
import signal, sys, threading
from compute import *
from fault_kernels import busy

def hang(done, total):
    if done == total or sys.argv[2] == "under way":
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        never.wait()

never = threading.Event()
sys.unraisablehook = lambda lost: None  # Python says so of what it loses; the run raises it all the same
with eval(sys.argv[1]).open() as pool:
    pool.warm(busy, 20, 1000)
    try:
        pool.run(busy, 50_000 if sys.argv[2] == "under way" else 20, 5_000_000, progress=hang)
    except KeyboardInterrupt:
        print("interrupted")
    assert pool.run(busy, 20, 1000).value.tolist() == list(range(20))
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("when", ["under way", "at the end"])
def test_an_interrupt_does_not_wait_for_a_callable_that_hangs(warm_python, no_leaks, backend, when):
    assert warm_python.run(HANGING, backend, when) == "interrupted\n"


def told_of(pool, chunks, faults, **settings):
    told = []
    value = pool.run(risky, chunks, faults, progress=lambda *now: told.append(now), **settings).value
    begun.clear()
    assert value.tobytes() == answer(chunks).tobytes()
    assert told == sorted(told)
    assert [done for done, _ in told].index(chunks) == len(told) - 1
    assert {total for _, total in told} == {chunks}


@pytest.mark.parametrize("backend", [Processes(2), Processes(2, start="spawn"), Joblib(2)], ids=repr)
def test_done_never_falls_where_workers_die(backend):
    deaths = dict.fromkeys((2, 9, 17), ("mid-write", "SIGKILL", 1))
    with backend.open() as pool:
        for _ in range(2):
            told_of(pool, 24, deaths, nap=0.02)
        with pytest.raises(WorkerDied):
            pool.run(risky, 12, {5: ("mid-write", "SIGKILL", 9)}, progress=lambda done, total: None)
        begun.clear()
        assert not [thread for thread in threading.enumerate() if thread.name == "nfold-progress"]


# With every warning an error, such as that a process with threads forks.
FORKED = """
import os, signal, threading
from compute import Processes
from fault_kernels import answer, risky

counts = []
fork = os.fork

def counting():
    counts.append(threading.active_count())
    return fork()

os.fork = counting
with Processes(2, start="fork").open() as pool:
    for chunks, faults in ((24, {2: ("mid-write", "SIGKILL", 1), 9: ("mid-write", "exit", 1)}), (24, {})):
        told = []
        result = pool.run(risky, chunks, faults, nap=0.02, progress=lambda *now: told.append(now))
        assert result.value.tobytes() == answer(chunks).tobytes()
        assert told == sorted(told) and told[-1] == (chunks, chunks)
        for lane in result.timeline.lanes:  # and while they are idle
            try:
                os.kill(lane.process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert pool.run(risky, 24, {}, progress=lambda *now: None).value.tobytes() == answer(24).tobytes()
assert len(counts) > 4 and set(counts) == {1}, counts
print("done")
"""


def test_workers_that_are_forks_are_replaced_while_nobody_tells(warm_python, no_leaks):
    assert warm_python.run(FORKED) == "done\n"


FORKS = """
import os, sys, threading
from compute import *
from fault_kernels import busy
from watched import await_children, in_child

children = []

def forks(done, total):
    if len(children) < 3:
        pid = os.fork()
        if not pid:
            if len(children) == 0:
                return  # the child goes on by itself: it has nothing to tell, and ends
            if len(children) == 1:
                raise LookupError("the child's own")
            os._exit(7)
        children.append(pid)

sys.stdout.flush()
threading.excepthook = lambda told: None  # of the child that raises
with eval(sys.argv[1]).open() as pool:
    found = pool.run(busy, 100, 10_000_000, variant="nogil", progress=forks)
    assert found.value.tolist() == list(range(100))
    assert found.timeline.events == ()
    assert sum(lane.chunks for lane in found.timeline.lanes) == 100
    await_children(*children[:2])
    await_children(*children[2:], code=7)
    assert len(children) == 3
print("done")
"""


@pytest.mark.parametrize("backend", ["Serial()", "Threads(2)", "Processes(2)"])
def test_a_callable_that_forks(warm_python, no_leaks, backend):
    assert warm_python.run(FORKS, backend) == "done\n"


BODY_FORKS = """
import os
from compute import Serial
from kernels import Plan, kernel

@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def forking(lo, hi, out):
    if lo == 3 and not parents:
        parents.append(os.getpid())
        children.append(os.fork())
    out[lo] = lo

parents, children = [], []
with Serial().open() as pool:
    value = pool.run(forking, 9, progress=lambda done, total: None).value.tolist()
    if not children[0]:
        os._exit(0 if value == list(range(9)) else 5)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert value == list(range(9))
print("done")
"""


def test_a_body_that_forks(warm_python, no_leaks):
    assert warm_python.run(BODY_FORKS) == "done\n"


@pytest.mark.parametrize("backend", [Threads(2), Processes(2)], ids=repr)
def test_a_pool_that_another_thread_closes(backend):
    told, closers = [], []

    def tell(done, total):
        told.append(done)
        if not closers:
            closers.append(threading.Thread(target=pool.close))
            closers[0].start()

    with backend.open() as pool:
        assert pool.run(busy, 60, 10_000_000, progress=tell).value.tolist() == list(range(60))
        closers[0].join()
        assert told[-1] == 60
        with pytest.raises(RuntimeError, match="this pool is closed"):
            pool.run(busy, 1, 1, progress=tell)


AT_EXIT = """
import atexit, sys, threading
from compute import *
from fault_kernels import busy

def last():
    told = []
    assert pool.run(busy, 20, 1000, variant="nogil", progress=lambda *now: told.append(now)).value.tolist() == right
    assert told[-1] == (20, 20)
    print("ran at exit", flush=True)

right = list(range(20))
pool = eval(sys.argv[1]).open()
pool.run(busy, 20, 1000, variant="nogil")
atexit.register(last)
# And a run that the end of the interpreter finds under way.
endless = Threads(1).open()
threading.Thread(
    target=lambda: endless.run(busy, 10**6, 10**7, progress=lambda done, total: None), daemon=True
).start()
"""


@pytest.mark.parametrize("backend", ["Serial()", "Threads(2)", "Processes(2)"])
def test_the_end_of_the_interpreter(warm_python, no_leaks, backend):
    assert warm_python.run(AT_EXIT, backend, to_the_end=True) == "ran at exit\n"

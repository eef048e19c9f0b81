"""Programs that fork while they have pools, results and shared arrays: parent and child never touch each other's."""

from __future__ import annotations

import sys

import pytest
from every_case import INTERPRETERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks are watched by pidfd"),
]

BACKENDS = [
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


# Two servers of a master that has opened a pool, and goes on using it.
SERVERS = """
import multiprocessing, os, sys
from compute import *
from example_kernels import squares
from watched import await_children, in_child, said, serve

backend, leave = eval(sys.argv[1]), sys.argv[2]
with backend.open() as pool:
    serve(pool, squares, 5, 0)

    def server(seed):
        told = said(RuntimeError, pool.run, squares, [1.0])
        says = f"this pool belongs to process {os.getppid()}; open another one here, after the fork"
        assert told.startswith(says), told
        assert "\\n" not in told
        said(RuntimeError, pool.warm, squares, [1.0])
        pool.close()
        if isinstance(backend, Prange):
            assert "OpenMP" in said(RuntimeError, backend.open)
            return
        if isinstance(backend, Processes) and backend.start == "fork":
            backend_here = Processes(2)
        else:
            backend_here = backend
        with backend_here.open() as own:
            serve(own, squares, 100, seed)

    master = os.getpid()
    children = [in_child(lambda seed=seed: server(seed), leave) for seed in (1, 2)]
    serve(pool, squares, 60, 3)
    await_children(*children, code=1 if leave == "exception" else 0)
    serve(pool, squares, 20, 4)
    if not isinstance(backend, Prange):
        child = multiprocessing.get_context("fork").Process(target=server, args=(5,))
        child.start()
        serve(pool, squares, 20, 6)
        child.join()
        assert child.exitcode == 0, child.exitcode
    # Nothing of the parent's died meanwhile.
    assert pool.run(squares, [2.0, 3.0]).timeline.events == ()
print("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_master_and_two_servers(warm_python, no_leaks, backend):
    assert warm_python.run(SERVERS, backend, "sys.exit") == "done\n"


# Children that do nothing but end, with a pool and its arrays in their hands.
ENDS = """
import gc, os, sys
from compute import *
from example_kernels import squares
from watched import await_children, in_child, serve

backend, leave = eval(sys.argv[1]), sys.argv[2]
pool = backend.open()
serve(pool, squares, 3, 0)
workers = {worker.process.pid for worker in getattr(pool, "_workers", {}).values()}

def lose():
    global pool
    pool = None
    gc.collect()

for do in (lambda: None, lose, lambda: pool.close(), lambda: pool.__exit__(None, None, None)):
    await_children(in_child(do, leave), code=1 if leave == "exception" else 0)
    serve(pool, squares, 3, 1)
assert pool.run(squares, [2.0, 3.0]).timeline.events == ()
assert {worker.process.pid for worker in getattr(pool, "_workers", {}).values()} == workers
pool.close()
print("done")
"""


@pytest.mark.parametrize("leave", ["_exit", "sys.exit", "exception"])
@pytest.mark.parametrize("backend", ["Threads(2)", "Processes(2)", "Processes(2, start='fork')", "Joblib(2)"])
def test_however_a_child_ends_the_parents_workers_live(warm_python, no_leaks, backend, leave):
    assert warm_python.run(ENDS, backend, leave) == "done\n"


# A child writes down what it was given; the parent lets go of it and runs on.
SAVERS = """
import gc, multiprocessing, os, sys
import numpy as np
from compute import *
from example_kernels import squares
from watched import await_children, in_child, wait_for

backend, how = eval(sys.argv[1]), sys.argv[2]
rounds = 8
values = np.arange(40_000.0)

def save(result, k):
    wait_for(lambda: os.path.exists(f"go{k}"))  # the parent is some steps further
    result.tofile(f"saved{k}")

def fork(result, k):
    if how == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=save, args=(result, k))
        child.start()
        return child.pid
    if how == "forkpty":
        pid, terminal = os.forkpty()
        if not pid:
            save(result, k)
            os._exit(0)
        terminals.append(terminal)
        return pid
    return in_child(lambda: save(result, k))

terminals = []
with backend.open() as pool:
    children = []
    for k in range(rounds):
        result = pool.run(squares, values + k).value
        children.append(fork(result, k))
        del result
        gc.collect()
    for k in range(rounds):
        pool.run(squares, values - 7)
    for k in range(rounds):
        open(f"go{k}", "x").close()
    await_children(*children)
    for k in range(rounds):
        expected = (values + k) ** 2
        assert np.fromfile(f"saved{k}").tobytes() == expected.tobytes(), k
print("done")
"""


@pytest.mark.parametrize("how", ["fork", "multiprocessing", "forkpty"])
@pytest.mark.parametrize("backend", ["Processes(2)", "Joblib(1)", "Joblib(1, arrays='memmap')", "Threads(2)"])
def test_a_result_that_a_child_holds_is_never_lent_again(warm_python, no_leaks, backend, how):
    assert warm_python.run(SAVERS, backend, how) == "done\n"


SHARED = """
import gc, os
import numpy as np
from compute import *
from example_kernels import doubled, squares
from watched import await_children, in_child, wait_for

here = np.arange(30_000.0)
there = shared.array(here)

def reads():
    global there
    wait_for(lambda: os.path.exists("gone"))
    assert there.tobytes() == here.tobytes()
    with Processes(2).open() as pool:  # by the child's own descriptor: the parent's may mean another array by now
        assert pool.run(squares, there).value.tobytes() == (here * here).tobytes()
        out = shared.empty(len(here))
        pool.run(doubled, there, out=out)
        assert out.tobytes() == (2 * here).tobytes()

children = [in_child(reads) for _ in range(2)]
there = None
gc.collect()
others = [shared.array(np.zeros(30_000)) for _ in range(30)]
open("gone", "x").close()
await_children(*children)
assert not any(other.any() for other in others)
print("done")
"""


def test_a_child_keeps_the_shared_arrays_that_its_parent_drops(warm_python, no_leaks):
    assert warm_python.run(SHARED) == "done\n"


CLOSED = """
import gc, os, warnings
import numpy as np
from compute import *
from compute.memory.segments import segment_of
from example_kernels import squares
from watched import await_children, in_child

here = np.arange(30_000.0)
there = shared.array(here)
number = segment_of(there).file.descriptor

def daemon():
    global there
    os.closerange(3, 4096)  # as a daemon does; multiprocessing's tracker will complain
    warnings.simplefilter("ignore")
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    assert number in others
    with Processes(1).open() as pool:
        assert pool.run(squares, there).value.tobytes() == (here * here).tobytes()
    there = None
    gc.collect()
    os.fstat(number)

await_children(in_child(daemon))
assert there.tobytes() == here.tobytes()
print("done")
"""


def test_a_daemon_that_has_closed_all_files_keeps_its_arrays_and_loses_no_other_file(warm_python, no_leaks):
    assert warm_python.run(CLOSED) == "done\n"


OWN = """
import os, sys
import numpy as np
import compute.memory.arena
from compute import *
from example_kernels import squares
from watched import serve

made, create = [], compute.memory.arena.create_segment
compute.memory.arena.create_segment = lambda size, *rest: made.append(size) or create(size, *rest)
pools = [Processes(2, start="fork").open(), Processes(1, start="fork").open()]
serve(pools[0], squares, 30, 0)
before = len(made)
again = Processes(1, start="fork").open()
again.close()
serve(pools[0], squares, 30, 0)
assert len(made) - before < 20, made
for pool in pools:
    pool.close()
print("done")
"""


def test_nfolds_own_forks_do_not_keep_memory_from_being_used_again(warm_python, no_leaks):
    assert warm_python.run(OWN) == "done\n"


# While other threads of the parent open pools and run.
BUSY = """
import os, sys, threading
from compute import *
from example_kernels import squares
from watched import await_children, in_child, serve

over = threading.Event()

def works(backend):
    while not over.is_set():
        with backend.open() as pool:
            serve(pool, squares, 5, 1)

def child():
    assert sys.modules["__main__"].__dict__ is globals()
    with Processes(1).open() as own:
        serve(own, squares, 3, 2)

with Processes(1).open() as pool:
    serve(pool, squares, 1, 0)  # a fork server
threads = [threading.Thread(target=works, args=(backend,)) for backend in (Processes(1), Threads(2))]
for thread in threads:
    thread.start()
for _ in range(6):
    await_children(*[in_child(child, "_exit") for _ in range(2)])
over.set()
for thread in threads:
    thread.join()
print("done")
"""


def test_forks_while_other_threads_open_pools_and_run(warm_python, no_leaks):
    assert warm_python.run(BUSY) == "done\n"


COMPILING = """
import threading
import numba
from compute import *
from watched import await_children, in_child

over = threading.Event()

def compiles():
    k = 0
    while not over.is_set():
        k += 1
        numba.njit(lambda x: x + k)(3)

def child():
    assert numba.njit(lambda x: x * 2)(4) == 8

Threads(2).open().close()
thread = threading.Thread(target=compiles)
thread.start()
try:
    for _ in range(10):
        await_children(in_child(child))
finally:
    over.set()  # or it would compile, and take memory, for ever
thread.join()
print("done")
"""


def test_forks_while_another_thread_compiles(warm_python, no_leaks):
    assert warm_python.run(COMPILING) == "done\n"


WORKQUEUE = """
import os
import numpy as np
from compute import *
from example_kernels import squares
from watched import await_children, in_child, serve

def child():
    with Prange(2).open() as own:
        serve(own, squares, 20, 1)

with Prange(2).open() as pool:
    serve(pool, squares, 3, 0)
    children = [in_child(child) for _ in range(2)]
    serve(pool, squares, 20, 2)
    await_children(*children)
print("done")
"""


def test_prange_in_a_child_where_numbas_threads_survive_a_fork(script, no_leaks):
    assert script(WORKQUEUE, NUMBA_THREADING_LAYER="workqueue").stdout == "done\n"


BESIDE_AN_IMPORT = """
import os, sys, types
from compute import Processes

assert "compute.backends.fork_server" in sys.modules, "it is imported as a pool opens: a fork could have half of it"
for name in ("multiprocessing.forkserver", "joblib.externals.loky.backend.resource_tracker"):
    sys.modules[name] = types.ModuleType(name)  # as another thread that imports it has it first
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_fork_beside_the_import_of_a_server_or_tracker_forgets_the_rest(script):
    done = script(BESIDE_AN_IMPORT)
    assert (done.stdout, done.stderr) == ("0\n", "")

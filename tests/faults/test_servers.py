"""What stands between a pool and its workers: a fork server that is killed, a module that runs kernels at import."""

from __future__ import annotations

import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="fork servers are POSIX's")]


SERVER = """
import multiprocessing.util, os, shutil, signal, sys, threading, time
from compute import *
from compute.backends.fork_server import server
from fault_kernels import answer, busy, risky
from example_kernels import squares
from watched import serve, wait_for

what, when = sys.argv[1:]

def destroy():
    if what == "killed":
        os.kill(server._forkserver_pid, signal.SIGKILL)
    elif what == "killed and reaped":
        os.kill(server._forkserver_pid, signal.SIGKILL)
        os.waitpid(server._forkserver_pid, 0)
    elif what == "socket removed":
        os.unlink(server._forkserver_address)
    elif what == "folder removed":
        shutil.rmtree(os.path.dirname(server._forkserver_address))
    else:
        for worker in pool._workers.values():
            os.kill(worker.process.pid, signal.SIGKILL)
        os.kill(server._forkserver_pid, signal.SIGKILL)

def meanwhile():
    thread = threading.Thread(target=lambda: (time.sleep(0.05), destroy()))
    thread.start()
    found = pool.run(busy, 100, 3_000_000, variant="python").value
    assert found.tolist() == list(range(100))
    thread.join()

with Processes(2, timeout=20).open() as pool:
    serve(pool, squares, 3, 0)
    for _ in range(3):
        destroy() if when == "idle" else meanwhile()
        serve(pool, squares, 3, 0)
        # A worker dies without, or with, a server: its place is taken.
        result = pool.run(risky, 12, {2: ("mid-write", "SIGKILL", 1)})
        assert result.value.tobytes() == answer(12).tobytes()
        assert len(result.timeline.events) == 1, result.timeline.events
        with Processes(1).open() as other:
            serve(other, squares, 2, 1)
        serve(pool, squares, 3, 0)
print("done")
"""


@pytest.mark.parametrize("when", ["idle", "in a run"])
@pytest.mark.parametrize("what", ["killed", "killed and reaped", "socket removed", "folder removed", "all killed"])
def test_a_fork_server_that_is_lost_is_started_again(warm_python, no_leaks, what, when):
    assert warm_python.run(SERVER, what, when) == "done\n"


AT_RANDOM = """
import os, random, signal, threading, time, contextlib
from compute import *
from compute.backends.fork_server import server
from example_kernels import squares
from watched import serve

rng, over = random.Random(4), threading.Event()

def kills():
    while not over.is_set():
        pid = server._forkserver_pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        over.wait(rng.uniform(1, 4))  # a server takes most of a second to start

with Processes(1).open() as pool:
    serve(pool, squares, 1, 0)
thread = threading.Thread(target=kills)
thread.start()
for k in range(8):
    with Processes(2).open() as pool:
        serve(pool, squares, 20, k)
over.set()
thread.join()
print("done")
"""


def test_a_fork_server_that_is_killed_at_random_moments_while_pools_open(warm_python, no_leaks):
    assert warm_python.run(AT_RANDOM) == "done\n"


# Modules that run a kernel when they are imported; workers import them where an object of their classes is in it.
AT_IMPORT = """
import os
from compute import *
from kernels import Plan, kernel

class Rate:
    value = 1

rate = Rate() if NEEDED else 1

@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def body(lo, hi, out):
    out[lo:hi] = lo * getattr(rate, "value", rate)

with open("imported", "a") as file:
    file.write(f"{os.getpid()}\\\\n")
value = run(body, 4, on=BACKEND).value
"""
IMPORTS = f"""
import os, sys
from pathlib import Path
from compute import *

backend, needed = sys.argv[1:]
with open("runs_at_import.py", "x") as file:
    file.write('''{AT_IMPORT}'''.replace("BACKEND", backend).replace("NEEDED", needed))
sys.path.insert(0, os.getcwd())
try:
    import runs_at_import
    assert needed == "False"
    assert runs_at_import.value.tolist() == [0, 1, 2, 3]
except RuntimeError as error:
    message = str(error)
    assert message.startswith(f"module 'runs_at_import' opens {{backend}} when it is imported"), message
    assert "__main__" in message and "\\n" not in message
imported = len(set(Path("imported").read_text().split()))
assert imported <= (3 if needed == "True" else 1), imported  # here, and in each of two workers
print("done")
"""


@pytest.mark.parametrize("needed", ["True", "False"])
@pytest.mark.parametrize("backend", ["Processes(2)", "Processes(2, start='spawn')", "Joblib(2)"])
def test_a_module_that_runs_a_kernel_at_import_is_told_so(warm_python, no_leaks, backend, needed):
    """Where workers need to import it; else they do not, and it runs."""
    assert warm_python.run(IMPORTS, backend, needed) == "done\n"


IN_A_BODY = """
import sys
from compute import *
from kernels import Plan, kernel

@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def nested(lo, hi, out):
    from example_kernels import squares
    out[lo] = run(squares, [3.0], on=Processes(2)).value[0]

with eval(sys.argv[1]).open() as pool:
    assert pool.run(nested, 3).value.tolist() == [9, 9, 9]
print("done")
"""


@pytest.mark.parametrize("backend", ["Processes(2)", "Joblib(2)"])
def test_a_run_in_a_body_is_no_opening_of_pools(warm_python, no_leaks, backend):
    assert warm_python.run(IN_A_BODY, backend) == "done\n"

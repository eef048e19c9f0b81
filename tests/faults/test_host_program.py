"""Programs that are not as a script in a terminal is: daemons, closed streams, long paths, other folders and paths."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
BACKENDS = ["Processes(2)", "Joblib(2)"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the programs are POSIX's"),
]


def program(tmp_path, text, *args, shell="", **env):
    """A script as a program of its own, under a line of shell if one is given."""
    path = tmp_path / "program.py"
    path.write_text(text)
    command = [sys.executable, str(path), *args]
    if shell:
        command = ["sh", "-c", shell, "sh", *command]
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    settings = os.environ | {"PYTHONPATH": paths} | env
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=settings, cwd=tmp_path)


DAEMON = """
import multiprocessing, sys
import numpy as np
from compute import *
from example_kernels import squares
from watched import serve

def job(given):
    global pool
    backend, closes = given
    pool = eval(backend).open()
    serve(pool, squares, 5, 3)
    if closes:
        pool.close()
    assert multiprocessing.current_process().daemon
    return True

if __name__ == "__main__":
    for start, closes in (("fork", True), ("fork", False), ("spawn", True)):
        with multiprocessing.get_context(start).Pool(1) as others:
            assert others.map(job, [(sys.argv[1], closes)] * 2) == [True] * 2
            others.close()
            others.join()
    print("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_pools_open_in_the_daemons_of_multiprocessing(tmp_path, no_leaks, backend):
    done = program(tmp_path, DAEMON, backend)
    assert (done.stdout, done.stderr) == ("done\n", "")


DROPPED = """
import multiprocessing
from compute import Joblib

def job():
    Joblib(2).open().map(abs, [-1, -2])  # the pool is dropped, and the process ends

if __name__ == "__main__":
    for _ in range(10):
        process = multiprocessing.get_context("fork").Process(target=job)
        process.start()
        process.join()
        assert process.exitcode == 0
    print("done")
"""


def test_a_child_that_dropped_a_pool_ends(tmp_path, no_leaks):
    done = program(tmp_path, DROPPED)
    assert (done.stdout, done.stderr) == ("done\n", "")


NESTED = """
import multiprocessing, sys
import compute, joblib
from concurrent.futures import ProcessPoolExecutor
from example_kernels import squares
from watched import serve

def job(backend):
    with eval("compute." + backend, {"compute": compute}).open() as pool:
        serve(pool, squares, 5, 3)
    return True

if __name__ == "__main__":
    way, backend = sys.argv[1:]
    if way == "loky":
        done = joblib.Parallel(n_jobs=2)(joblib.delayed(job)(backend) for _ in range(2))
    elif way == "loky's start method":
        multiprocessing.set_start_method("loky")
        done = [job(backend)]
        assert multiprocessing.get_start_method() == "loky"
    elif way == "nfold":
        with compute.Joblib(2).open() as pool:
            done = pool.map(job, [backend])
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(way)) as others:
            done = list(others.map(job, [backend] * 2))
    assert done and all(done)
    print("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["loky", "loky's start method", "nfold", "fork"])
def test_pools_open_in_the_workers_of_others(tmp_path, no_leaks, way, backend):
    done = program(tmp_path, NESTED, way, backend)
    assert (done.stdout, done.stderr) == ("done\n", "")


SERVES = """
import os, sys
from compute import *
from example_kernels import squares
from watched import serve

with eval(sys.argv[1]).open() as pool:
    serve(pool, squares, 5, 3)
with eval(sys.argv[1]).open() as pool:
    serve(pool, squares, 5, 3)
open("done", "w").write("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_temporary_folders_with_long_paths(tmp_path, no_leaks, backend):
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    done = program(tmp_path, SERVES, backend, TMPDIR=str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_standard_streams(tmp_path, no_leaks, backend, closed):
    done = program(tmp_path, SERVES, backend, shell=f'exec "$@" {closed}')
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").exists()


MOVES = """
import os, sys
from pathlib import Path
from compute import *
from kernels import Plan, kernel

Path("one").mkdir(), Path("two").mkdir()
Path("one/told").write_text("1"), Path("two/told").write_text("2")
Path("two/found_late.py").write_text("import enum\\nclass Kind(enum.Enum):\\n    A = 20\\n\\nVALUE = 40\\n")

@kernel(plan=lambda *given: Plan(2, given, grain=1), compiled=False)
def told(lo, hi, out):
    out[lo] = int(Path("told").read_text())

@kernel(plan=lambda *given: Plan(2, given, grain=1), compiled=False)
def found(lo, hi, out, kind):
    import found_late
    assert kind is found_late.Kind.A
    out[lo] = found_late.VALUE + kind.value

here = os.getcwd()
os.chdir("one")
with eval(sys.argv[1]).open() as pool:
    for folder, expected in (("two", 2), ("one", 1), ("two", 2), ("one", 1)):
        os.chdir(os.path.join(here, folder))
        for _ in range(2):
            assert pool.run(told).value.tolist() == [expected] * 2
    sys.path.append(os.path.join(here, "two"))
    import found_late
    for _ in range(2):
        assert pool.run(found, found_late.Kind.A).value.tolist() == [60, 60]
print("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_workers_look_where_the_caller_looks(warm_python, no_leaks, backend):
    assert warm_python.run(MOVES, backend) == "done\n"


BY_HAND = """
import sys, types
from compute import *
from kernels import Plan, kernel

module = types.ModuleType("made_by_hand")
exec("class Point:\\n    def __init__(self, x):\\n        self.x = x\\ndef twice(x):\\n    return 2 * x", vars(module))
sys.modules["made_by_hand"] = module

@kernel(plan=lambda *given: Plan(2, given, grain=1), compiled=False)
def taken(lo, hi, out, point):
    assert isinstance(point, module.Point)
    out[lo] = module.twice(point.x)

with eval(sys.argv[1]).open() as pool:
    assert pool.run(taken, module.Point(4)).value.tolist() == [8, 8]

    from importlib.machinery import ModuleSpec
    module.__spec__ = ModuleSpec("made_by_hand", None)  # it says that it can be imported, and no worker can
    try:
        pool.run(taken, module.Point(4))
    except ModuleNotFoundError as error:
        print(error)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_modules_made_by_hand_travel_or_are_named(warm_python, no_leaks, backend):
    told = warm_python.run(BY_HAND, backend)
    assert told.startswith("worker processes cannot import made_by_hand, which the kernel or its inputs need")
    assert "on sys.path" in told


ENVIRONMENT = """
import os, sys, time
from compute import *
from kernels import Plan, kernel

os.environ["GONE"] = "1"

@kernel(plan=lambda *given: Plan(2, given, grain=1), compiled=False)
def told(lo, hi, out):
    assert "GONE" not in os.environ or os.environ["OURS"] == "1"
    out[lo] = int(os.environ["OURS"]) + time.timezone

for k in (1, 2, 3):
    os.environ["OURS"] = str(k)
    os.environ["TZ"] = f"XYZ{k}"
    with eval(sys.argv[1]).open() as pool:
        assert pool.run(told).value.tolist() == [k + 3600 * k] * 2
    os.environ.pop("GONE", None)
print("done")
"""


@pytest.mark.parametrize("backend", [*BACKENDS, "Processes(1, start='spawn')"])
def test_workers_have_the_environment_of_when_they_were_started(warm_python, no_leaks, backend):
    assert warm_python.run(ENVIRONMENT, backend) == "done\n"


PRANGE = """
import joblib
from compute import *
from example_kernels import squares

def job(k):
    import numpy as np
    backend = Prange()
    return backend.workers, run(squares, np.arange(5.0) + k, on=backend).value.tolist()

if __name__ == "__main__":
    for workers, value in joblib.Parallel(n_jobs=2)(joblib.delayed(job)(k) for k in range(4)):
        print(workers, value[0])
"""


def test_prange_takes_what_numba_is_allowed(tmp_path):
    done = program(tmp_path, PRANGE)
    assert (done.stdout, done.stderr) == ("1 0.0\n1 1.0\n1 4.0\n1 9.0\n", "")


EMBEDDED = """
import sys
sys.executable = "/bin/false"  # as an application server has its own program there
import multiprocessing.spawn
multiprocessing.spawn.set_executable(sys.executable)
sys.argv[1:] = [sys.argv[1]]
exec(open("serves.py").read())
assert sys.executable == "/bin/false"
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_in_which_python_is_embedded(tmp_path, no_leaks, backend):
    (tmp_path / "serves.py").write_text(SERVES)
    done = program(tmp_path, EMBEDDED, backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").exists()


KILLED = """
import os, signal, sys
from compute import *
from example_kernels import squares
from watched import serve

if sys.argv[1] == "another's":
    from multiprocessing import util
    assert str(os.getpid()) not in util.get_temp_dir()  # multiprocessing's own name for it
pools = [Processes(1).open(), Joblib(1).open()]
for pool in pools:
    serve(pool, squares, 1, 1)
print(sorted(name for name in os.listdir("/dev/shm") if f"-{os.getpid()}-" in name), flush=True)
os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.parametrize("folder", ["ours", "another's"])
def test_what_a_killed_program_leaves_is_removed_by_the_next(warm_python, no_leaks, folder):
    with tempfile.TemporaryDirectory() as short:  # for sockets
        leave_and_remove(warm_python, Path(short), folder)


def leave_and_remove(warm_python, tmp_path, folder):
    killed = warm_python.start(KILLED, folder, TMPDIR=str(tmp_path))
    killed.ended()
    left = eval(killed.stdout)
    assert left
    assert [path for path in tmp_path.iterdir() if path.name.startswith("pymp-")]
    assert all(os.path.exists(f"/dev/shm/{name}") for name in left)
    # Of nobody that is known, of a process that lives, of another container's process, of the user.
    container = tmp_path / f"pymp-{killed.pid}-alive"
    others = [tmp_path / "pymp-other", tmp_path / f"pymp-{os.getpid()}-alive", container, tmp_path / "nfold-1-results"]
    for other in others:
        other.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(container / "listener"))
        listener.listen()
        remove(warm_python, tmp_path, left)
        assert sorted(tmp_path.iterdir()) == sorted(others)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has heard nothing
            listener.accept()
    remove(warm_python, tmp_path, left)
    assert not container.exists()


def remove(warm_python, tmp_path, left):
    for _ in range(5):  # its processes may end a moment after it
        warm_python.run("from compute import *\nwith Processes(1).open(): pass", TMPDIR=str(tmp_path))
        if not [name for name in left if os.path.exists(f"/dev/shm/{name}")]:
            break
        time.sleep(1)
    assert not [name for name in left if os.path.exists(f"/dev/shm/{name}")]

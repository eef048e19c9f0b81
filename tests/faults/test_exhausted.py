"""Limits of the system that are reached: each is a line with the remedy, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import private_mounts
import pytest
from compiler import needs_compiler
from patience import PATIENCE

from compute import Joblib, Processes, machine, python_executable
from compute.dispatch import WorkerDied
from compute.memory.address_space import IS_FREE_THREADED
from kernels import kernel
from kernels.definition.plan import Plan

ROOT = Path(__file__).parent.parent.parent
NOBODY = 54321  # a user of whom no process runs, so that all of the limit is the command's

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


def limited(limit):
    """What runs a command under a limit of bash's ulimit."""
    return ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash"]


def with_tasks(count):
    """What runs a command as a user who may have so many processes and threads: for root the limit does not hold.

    Python may be below a home that only its owner may enter, so this user may read everything.
    """
    may = ["--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override"]
    user = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    return ["setpriv", *user, *may, *limited(f"-u {count}")]


def why_not_with_tasks():
    if os.geteuid() or not shutil.which("setpriv"):
        return "only root can become another user, by setpriv(1)"
    tried = subprocess.run([*with_tasks(1), "true"], capture_output=True, text=True)
    return tried.stderr.strip() or None


NO_TASKS = pytest.mark.skipif(bool(why_not_with_tasks()), reason=str(why_not_with_tasks()))
# What is too little for a worker with numba is too little for the command line of a Python with a heap for each thread.
NO_WORKER = "raise `ulimit -v`" if IS_FREE_THREADED else "given up: a worker process needs"
FREE_THREADED = pytest.mark.skipif(not IS_FREE_THREADED, reason="this Python's threads share a heap")
GONE = ["bash", "-c", 'there=$(mktemp -d); cd "$there"; rmdir "$there"; exec "$@"', "bash"]


BLAS_THREADS = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}  # with one alone, nothing here would need a second thread


def nfold(words, prefix=()):
    """The command's exit code, what it printed, and its complaint."""
    with tempfile.TemporaryDirectory(prefix="nfold-limits-") as home:
        os.chmod(home, 0o1777)
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "compute", *words.split()],
            capture_output=True, text=True, timeout=PATIENCE, cwd=home, stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in BLAS_THREADS}
            | {"PYTHONPATH": str(ROOT), "HOME": home, "NFOLD_CACHE_DIR": f"{home}/cache"},
        )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def on(backend):
    variant = "nogil" if backend == "prange" else "python"
    return f"run count_primes 1e4 --workers 2 --variant {variant} --on {backend}"


slow = pytest.mark.slow
THREADS = "raise `ulimit -u`"
THREADS_OF_BLAS = pytest.mark.skipif(machine.usable_cpus() < 2, reason="numpy's BLAS starts no thread on one CPU")
REACHED = [
    pytest.param(with_tasks(1), on("threads"), THREADS, id="no thread at all", marks=NO_TASKS),
    pytest.param(with_tasks(1), "doctor", THREADS, id="none for doctor", marks=[NO_TASKS, THREADS_OF_BLAS]),
    pytest.param(
        [*with_tasks(1), "env", "OPENBLAS_NUM_THREADS=1"], on("threads"), THREADS, id="none", marks=[NO_TASKS, slow]
    ),
    pytest.param(with_tasks(4), on("processes"), THREADS, id="none for processes", marks=NO_TASKS),
    pytest.param(with_tasks(4), on("joblib"), THREADS, id="none for joblib", marks=[NO_TASKS, slow]),
    pytest.param(with_tasks(9), on("joblib"), THREADS, id="few for joblib", marks=[NO_TASKS, slow]),
    pytest.param(
        with_tasks(5), f"scale {on('processes')[4:]} --budget 1s", THREADS, id="scale", marks=[NO_TASKS, slow]
    ),
    pytest.param(with_tasks(2), on("prange"), THREADS, id="none for prange", marks=[NO_TASKS, slow]),
    pytest.param(limited("-n 20"), on("processes"), "raise `ulimit -n`", id="files of processes"),
    pytest.param(limited("-n 20"), on("joblib"), "raise `ulimit -n`", id="files of joblib", marks=slow),
    pytest.param(limited("-n 20"), on("dask"), "raise `ulimit -n`", id="files of dask", marks=slow),
    pytest.param(limited("-n 24"), "--budget 5s", "raise `ulimit -n`", id="files", marks=slow),
    pytest.param(limited("-v 100000"), "list", "`ulimit -v` allows 102 MB", id="no space for numpy"),
    pytest.param(
        limited("-s 2000000 -v 1500000"), "list", "lower `ulimit -s`", id="no space for stacks", marks=THREADS_OF_BLAS
    ),
    pytest.param(limited("-v 1100000"), "list", "raise `ulimit -v`", id="no space beside heaps", marks=FREE_THREADED),
    pytest.param(limited("-v 300000"), on("processes"), "and `ulimit -v` allows 307 MB", id="no space for workers"),
    pytest.param(
        limited("-v 300000"), on("joblib"), "and `ulimit -v` allows 307 MB", id="none for joblib's", marks=slow
    ),
    pytest.param(
        limited("-v 300000"), "run count_primes 1e4 --on prange", "raise `ulimit -v`", id="no space for numba"
    ),
    pytest.param(limited("-v 300000"), "lessons 8 --budget 1s", NO_WORKER, id="for a lesson", marks=slow),
    pytest.param(
        limited("-f 1"), "run primes 3e6 --on processes --workers 2", "and `ulimit -f` allows", id="no file so large"
    ),
    pytest.param(GONE, on("processes"), "the current folder was removed; change to one", id="no folder for processes"),
    pytest.param(
        GONE, on("joblib"), "the current folder was removed; change to one", id="no folder for joblib", marks=slow
    ),
    pytest.param(GONE, "run nowhere:task 4", "the current folder was removed; change to one", id="no folder to import"),
]


@pytest.mark.parametrize(("prefix", "words", "told"), REACHED)
def test_a_limit_that_is_reached_is_a_line_with_the_remedy(prefix, words, told, no_leaks):
    code, out, complaint = nfold(words, prefix)
    assert (code, out) == (2, ""), complaint
    assert complaint.startswith("nfold: ")
    assert complaint.count("\n") == 1, complaint
    assert told in complaint


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", ["threads", pytest.param("prange", marks=needs_compiler), "processes", "joblib", "coroutines"]
)
@pytest.mark.parametrize("prefix", [limited("-n 256"), limited("-v 4000000")], ids=["files", "space"])
def test_what_fits_under_a_limit_runs_as_ever(prefix, backend, no_leaks):
    code, out, complaint = nfold(on(backend) if backend != "coroutines" else "run read 2 --on coroutines", prefix)
    assert (code, complaint) == (0, "")
    assert out


@pytest.mark.slow
def test_a_lesson_measures_what_a_limit_allows_and_prints_nothing_else(no_leaks):
    code, out, complaint = nfold("lessons 8 --budget 1s", limited("-f 100"))
    assert (code, complaint) == (0, "")
    assert "File too large" in " ".join(out.split())


LEAVES = {
    "leaves": "import sys\nsys.exit('not today')\ndef task(x):\n    return x\n",
    "leaves_well": "import sys\nsys.exit()\n",
}


@pytest.mark.parametrize("module", LEAVES)
@pytest.mark.parametrize("words", ["run {}:task 4", "scale {}:task 4", "advise {}:task 4", "show {}:task"])
def test_a_module_that_leaves_when_imported_is_named(module, words, tmp_path, capsys, monkeypatch):
    from compute.cli import main

    (tmp_path / f"{module}.py").write_text(LEAVES[module])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(words.format(module).split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"nfold: cannot import '{module}'" in said.err
    assert "it calls sys.exit(" in said.err


@kernel(plan=lambda: Plan(1, ()), compiled=False)
def kills_its_worker(lo, hi, out):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_death_of_loky_s_is_told_by_its_signal_alone(no_leaks):
    with Joblib(1).open() as pool, pytest.raises(WorkerDied, match=r"died \(SIGKILL\(-9\)\); run it on Serial") as died:
        pool.run(kills_its_worker)
    assert "\n" not in str(died.value)


READ_ONLY = ["mount -t tmpfs -o ro tmpfs /dev/shm"]
INSTEAD = "nfold: shared memory cannot be used (Read-only"


@pytest.mark.skipif(bool(private_mounts.refused()), reason=str(private_mounts.refused()))
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (on("processes"), 0, INSTEAD),
        (on("joblib"), 2, "nfold: loky's semaphores cannot be made (Read-only"),
        pytest.param(on("dask"), 2, "nfold: dask's semaphores cannot be made (Read-only", marks=slow),
        pytest.param("lessons 2 --budget 1s", 0, INSTEAD, marks=slow),
        ("lessons 8 --budget 1s", 2, "nfold: lesson 8 (space) was given up: multiprocessing.Queue's semaphores"),
    ],
)
def test_a_read_only_shared_memory_is_told_in_a_line(words, code, told, no_leaks):
    done = nfold(words, private_mounts.in_private(READ_ONLY))
    assert done[0] == code, done[2]
    assert done[2].startswith(told)
    assert done[2].count("\n") == 1


@pytest.mark.parametrize("backend", [Processes(1), Processes(1, start="spawn"), Joblib(1)], ids=repr)
def test_a_python_that_may_not_be_executed_is_named(tmp_path, monkeypatch, backend, no_leaks):
    python = tmp_path / "python\x1b[31m"
    python.touch(0o644)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(python_executable.NoPython) as told:
        backend.open()
    assert str(told.value).startswith("worker processes need a Python, and this user may not execute ")
    assert str(told.value).isprintable()

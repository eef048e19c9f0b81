"""What programs are started by, with and in: timeout, nohup, deafness, closed streams, containers' /dev/shm."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from loopback import snippet
from private_mounts import in_private, refused

BACKENDS = ["Processes(2)", "Threads(2)", "Joblib(2)"]

# A hundred runs, each checked; what it has to say goes into a file, for its streams may be closed.
WORK = """
import os, sys, warnings
import numpy as np
from compute import *
from example_kernels import squares
from watched import serve

def say(what):
    with open("said", "a") as file:
        print(what, file=file)

backend = eval(sys.argv[1])
with warnings.catch_warnings(record=True) as came:
    warnings.simplefilter("always", RuntimeWarning)
    try:
        pool = backend.open()
        serve(pool, squares, 1, 0)
    except Exception as error:
        # A remedy in one line is an answer, too.
        say(f"{type(error).__name__}: {error}")
        pool = Threads(2).open()
serve(pool, squares, 99, 1)
# joblib's own, of a read-only /dev/shm, is a UserWarning.
say(f"{sum(warning.category is RuntimeWarning for warning in came)} warnings")
say("a hundred")
"""


@pytest.fixture
def work(folder, start):
    """Start a program that does a hundred runs, and then this, by a command line made from its own."""

    def begin(then, *command, backend, **env):
        (folder / "work.py").write_text(WORK + then)
        return start(*command, sys.executable, "work.py", backend, **env)

    return begin


@pytest.fixture
def said(folder):
    return lambda: (folder / "said").read_text().splitlines() if (folder / "said").exists() else []


FOR_EVER = """
while True:
    serve(pool, squares, 1, 2)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_timeout_ends_a_program_in_the_middle(start, folder, backend):
    """The docs' program, which turns SIGTERM into SystemExit: its pool is closed, its exit code is its own."""
    (folder / "job.py").write_text(snippet("job.py").replace("Processes(2)", backend))
    program = start("timeout", "-s", "TERM", "--preserve-status", "600", sys.executable, "job.py")
    program.await_line("100 steps")
    program.signal(signal.SIGALRM)  # what timeout is told by that its time is over
    assert program.ended() == 143, program.said
    assert program.said.splitlines()[-1] == "stopped", program.said


@pytest.mark.parametrize("backend", BACKENDS)
def test_timeout_ends_a_program_that_does_not_listen(work, said, sweep, backend):
    program = work(FOR_EVER, "timeout", "-s", "TERM", "600", backend=backend)
    program.wait_until(lambda: "a hundred" in said())
    program.signal(signal.SIGALRM)
    assert program.ended() == 124, program.said
    sweep()


UNTIL_TOLD = """
while not os.path.exists("enough"):
    serve(pool, squares, 1, 2)
    if not os.path.exists("on"):
        open("on", "x").close()
pool.close()
say("done")
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_nohup_keeps_a_program_from_being_hung_up(work, said, folder, backend):
    program = work(UNTIL_TOLD, "nohup", backend=backend)
    program.wait_until((folder / "on").exists)
    for _ in range(20):
        os.killpg(program.process.pid, signal.SIGHUP)
        time.sleep(0.01)
    (folder / "enough").touch()
    assert program.ended() == 0, program.said
    assert said() == ["0 warnings", "a hundred", "done"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_is_hung_up_leaves_nothing(work, said, sweep, backend):
    program = work(FOR_EVER, backend=backend)
    program.wait_until(lambda: "a hundred" in said())
    program.signal(signal.SIGHUP)
    assert program.ended() == -signal.SIGHUP, program.said
    sweep()


BLOCKED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
"""


@pytest.mark.parametrize("how", ["ignored", "blocked"])
@pytest.mark.parametrize("backend", [*BACKENDS, "Processes(2, start='spawn')"])
def test_a_program_deaf_to_sigterm_ends_with_its_pool_open(start, folder, said, backend, how):
    """multiprocessing ends workers by SIGTERM at exit, and they are born as deaf as the program."""
    (folder / "work.py").write_text((BLOCKED if how == "blocked" else "") + WORK)
    deaf = "trap '' TERM\n" if how == "ignored" else ""
    program = start("sh", "-c", deaf + 'exec "$@"', "sh", sys.executable, "work.py", backend)
    assert program.ended() == 0, program.said
    assert said() == ["0 warnings", "a hundred"]


def _is_one_line_with_a_remedy(lines):
    """At the most one thing is said beside the hundred right answers: a warning, or an error that names a remedy."""
    *refusals, warnings, last = lines
    assert last == "a hundred"
    assert len(refusals) + int(warnings.split()[0]) <= 1, lines
    for refusal in refusals:
        assert not refusal.startswith(("AssertionError", "BrokenPipeError", "ConnectionRefusedError")), lines
        assert ";" in refusal, f"no remedy: {refusal}"


@pytest.mark.parametrize("streams", ["<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_streams(start, folder, said, backend, streams):
    (folder / "work.py").write_text(WORK)
    program = start("sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "work.py", backend)
    assert program.ended() == 0, program.said
    _is_one_line_with_a_remedy(said())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_tmpdir(start, folder, said, backend):
    """As Slurm makes them: sockets' names have 107 characters at the most."""
    long = folder / "tmp" / ("x" * (110 - len(str(folder / "tmp"))))
    long.mkdir()
    (folder / "work.py").write_text(WORK)
    program = start(sys.executable, "work.py", backend, TMPDIR=str(long))
    assert program.ended() == 0, program.said
    _is_one_line_with_a_remedy(said())
    long.rmdir()


SHARED_MEMORY = {
    "64 kB": "mount -t tmpfs -o size=64k tmpfs /dev/shm",
    "read-only": "mount -t tmpfs -o ro tmpfs /dev/shm",
    "no rights": "mount -t tmpfs -o mode=000 tmpfs /dev/shm",
}


@pytest.mark.skipif(refused() is not None, reason=str(refused()))
@pytest.mark.parametrize("how", SHARED_MEMORY)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_containers_shared_memory(work, said, folder, backend, how):
    program = work("", *in_private([SHARED_MEMORY[how]]), backend=backend)
    assert program.ended() == 0, program.said
    _is_one_line_with_a_remedy(said())


LARGE = """
big = np.arange(1e6)
with warnings.catch_warnings(record=True) as came:
    warnings.simplefilter("always")
    for _ in range(3):
        assert pool.run(squares, big).value.tobytes() == (big * big).tobytes()
say([str(warning.message) for warning in came][:1])
"""


@pytest.mark.skipif(refused() is not None, reason=str(refused()))
@pytest.mark.parametrize("backend", ["Processes(2)", "Joblib(2)"])
def test_arrays_larger_than_a_containers_shared_memory(work, said, backend):
    mount = "mount -t tmpfs -o size=4m tmpfs /dev/shm"
    program = work(LARGE, *in_private([mount]), backend=backend)
    assert program.ended() == 0, program.said
    assert "docker run --shm-size" in said()[-1], said()

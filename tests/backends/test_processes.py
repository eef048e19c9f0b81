"""How a pool of processes and its workers talk: no wake-up is lost, nobody waits busily, no error comes late."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import threadpoolctl
from compiler import needs_compiler
from example_kernels import fails, nothing, spin
from patience import PATIENCE

from compute import Joblib, Processes
from compute.backends import caller, fork_server, host_program, sender
from compute.backends.worker import AGAIN, Tally
from compute.lanes import usage
from kernels import Plan, kernel

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def cpus_allowed(lo, hi, out):
    out[lo:hi] = len(os.sched_getaffinity(0))


@kernel(plan=lambda x: Plan(2, (x,), grain=1))
def signs(lo, hi, out, x):
    out[lo] = math.copysign(1.0, x)


@kernel(plan=lambda x: Plan(2, (x,), grain=1))
def doubled(lo, hi, out, x):
    out[lo] = 2 * x


@kernel(plan=lambda slow: Plan(2, (slow,), grain=1), compiled=False)
def one_is_slow(lo, hi, out, slow):
    out[lo] = os.getpid()
    if os.getpid() == slow:
        time.sleep(0.15)
    while not out.all():  # the other chunk is the other worker's
        time.sleep(0.001)


def two_sides(lane=0):
    """The worker's and the pool's view of one lane's tally."""
    board = np.zeros(Tally.board_length(1 + lane), np.int64)
    return Tally(board, lane), Tally(board, lane)


@needs_compiler
def test_answers_are_counted_and_the_next_one_after_an_ask_is_told():
    worker, pool = two_sides()
    assert [worker.answer() for _ in range(3)] == [False] * 3
    assert pool.answers == 3
    assert [pool.ask(), pool.ask()] == [3, 3]
    assert [worker.answer() for _ in range(3)] == [True, False, False]  # two asks, one word
    assert pool.ask() == pool.answers == 6
    assert worker.answer()


@needs_compiler
def test_a_repeated_message_tells_numbers_apart_that_are_equal():
    with Processes(2).open() as pool:
        for x in (0.0, -0.0, math.nan, -math.nan, 1.0, 1) * 8:
            assert pool.run(signs, x).value.tolist() == [math.copysign(1.0, x)] * 2


@needs_compiler
def test_a_repeated_message_reaches_new_workers_when_other_code_took_its_place(monkeypatch):
    monkeypatch.setattr(sender, "CODES", 1)
    with Processes(2).open() as pool:
        for _ in range(10):
            assert pool.run(doubled, 3.0).value.tolist() == [6.0, 6.0]
        pool.run(signs, 3.0)
        pool.begin_anew()
        for _ in range(10):
            assert pool.run(doubled, 3.0).value.tolist() == [6.0, 6.0]
        for worker in list(pool._workers.values()):
            worker.handle.kill()
        assert pool.run(doubled, 3.0).value.tolist() == [6.0, 6.0]


@needs_compiler
def test_a_new_worker_begins_at_nothing():
    worker, pool = two_sides(lane=2)
    worker.answer(), pool.ask(), worker.answer()
    renewed = Tally(pool._board, 2, afresh=True)
    assert (renewed.answers, Tally(pool._board, 2).answer(), renewed.answers) == (0, False, 1)


def test_a_worker_may_spin_longer_where_its_last_job_came_soon(monkeypatch):
    worker, pool = two_sides()
    limits = []
    monkeypatch.setattr("compute.lanes.spin.until_rung", lambda bell, heard, limit: limits.append(limit))
    pool.ring(1000)
    for waited in (10**9, 1000 * AGAIN, 1000 * AGAIN - 1):
        worker.spin(1, waited)
    pool.ring(0)
    worker.spin(2, 0)
    assert limits == [1000, 1000, 1000 * AGAIN, 0]


def test_of_an_ask_and_an_answer_that_meet_one_sees_the_other():
    worker, pool = two_sides()
    total, told = 20_000, threading.Semaphore(0)

    def answers():
        for _ in range(total):
            if worker.answer():
                told.release()

    thread = threading.Thread(target=answers)
    thread.start()
    while pool.ask() < total:  # each ask but the last is before some answer, which must tell of it
        assert told.acquire(timeout=PATIENCE), "an ask was overlooked"
    thread.join()
    assert pool.answers == total


def test_without_numba_every_answer_is_told(monkeypatch):
    monkeypatch.setattr("compute.backends.worker.numba_is_here", lambda: False)
    worker, pool = two_sides()
    assert [worker.answer(), pool.ask(), worker.answer(), pool.ask()] == [True, 1, True, 2]


def test_no_wake_up_is_lost():
    rng = random.Random(5)
    with Processes(2).open() as pool:
        for _ in range(300):  # around the time for which the caller spins before it sleeps
            chunks, long = rng.randrange(1, 4), rng.randrange(0, 150_000)
            value = pool.run(spin, chunks, long, variant="nogil").value
            assert value.tolist() == list(range(chunks))


def test_idle_workers_sleep():
    with Processes(2).open() as pool:
        found = pool.run(nothing, 40)
        workers = [psutil.Process(lane.process) for lane in found.timeline.lanes]
        assert workers
        for worker in workers:
            deadline = time.monotonic() + PATIENCE
            while worker.status() != psutil.STATUS_SLEEPING and time.monotonic() < deadline:
                time.sleep(0.01)
        before = [worker.cpu_times() for worker in workers]
        time.sleep(0.2)
        assert [worker.cpu_times() for worker in workers] == before  # not one tick of the clock


@pytest.mark.parametrize("last", [0, 1])
def test_the_caller_sleeps_while_one_lane_works_and_another_is_done(last, monkeypatch):
    with Processes(2).open() as pool:
        pool.run(nothing, 2)
        pids = [pool._workers[lane].process.pid for lane in range(2)]
        looks, look = [], pool._wait_for_workers
        monkeypatch.setattr(pool, "_wait_for_workers", lambda *args: looks.append(args) or look(*args))
        deadline = time.monotonic() + PATIENCE
        while set(pool.run(one_is_slow, pids[last]).value) != set(pids):  # a single CPU may let one do all there is
            assert time.monotonic() < deadline
            looks.clear()
        assert len(looks) < 8  # once for each answer, and once more where it came between two looks


@pytest.mark.skipif(sys.platform != "linux", reason="CPUs are chosen on Linux only")
@pytest.mark.parametrize("spare", [0, 1])
def test_a_lane_for_every_cpu_waits_on_its_own_and_works_on_any(spare):
    allowed = os.sched_getaffinity(0)
    workers = len(allowed) + spare
    with Processes(workers).open() as pool:
        assert pool.run(cpus_allowed, 4 * workers).value.tolist() == [len(allowed)] * 4 * workers
        waiting = [allowed] * workers if spare else [{cpu} for cpu in sorted(allowed)]
        pids = [pool._workers[lane].process.pid for lane in range(workers)]
        deadline = time.monotonic() + PATIENCE
        while [os.sched_getaffinity(pid) for pid in pids] != waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [os.sched_getaffinity(pid) for pid in pids] == waiting


def test_a_cpu_that_is_refused_changes_nothing(monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert usage.pin_to(0) is None
    usage.let_go({0, 1})  # refused as well: no error


def test_an_error_of_one_run_is_not_the_next_ones():
    with Processes(3).open() as pool:
        for chunk in range(40):
            with pytest.raises(ValueError, match="no good"):
                pool.run(fails, 40, chunk)
            assert pool.run(nothing, 5).value.tolist() == [0, 1, 2, 3, 4]


def test_a_worker_that_hangs_while_it_has_nothing_to_do(monkeypatch):
    with Processes(2, timeout=0.3).open() as pool:
        pool.run(nothing, 2)
        hung = pool._workers[0].process.pid
        # Without the minute that a worker has for loading a kernel.
        monkeypatch.setattr(caller, "is_hung", lambda _, lane, *__: lane == 0 and pool._workers[0].process.pid == hung)
        os.kill(hung, signal.SIGSTOP)
        for _ in range(4):  # the other one does all there is, until the first owes too many answers
            assert pool.run(nothing, 9).value.tolist() == list(range(9))
        assert not psutil.pid_exists(hung)


def threads_of_blas(_=None):
    np.ones((300, 300)) @ np.ones((300, 300))
    return {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.skipif(not threads_of_blas(), reason="numpy has no BLAS of which that can be told")
@pytest.mark.parametrize("backend", [Processes(2), Joblib(2)], ids=repr)
def test_blas_has_one_thread_in_each_worker_for_all_that_python_runs(backend):
    with backend.open() as pool:
        assert pool.executor().submit(threads_of_blas).result() == {1}
    with backend.open() as pool:
        pool.run(nothing, 2)
        assert pool.map(threads_of_blas, range(4)) == [{1}] * 4
        assert pool.executor().submit(threads_of_blas).result() == {1}


@pytest.mark.parametrize("given", [None, "3"])
def test_a_worker_has_the_callers_number_of_blas_threads_and_a_collector(monkeypatch, given):
    """The fork server has others while it imports."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    fork_server.renew()
    with Processes(1).open() as pool:
        [(seen, collects)] = pool.map(lambda _: (os.environ.get("OPENBLAS_NUM_THREADS"), gc.isenabled()), [0])
    assert (seen, collects) == (given, True)


BREAKS = """
import sys
from compute import Joblib, Processes

try:
    Processes(1).open()
except ImportError as error:
    print(error.name, "|", error)
"""


@pytest.mark.parametrize(
    "broken",
    [
        "raise AttributeError('not\\x1b[31m today')",
        *(pytest.param(broken, marks=pytest.mark.slow) for broken in ("def (", "import sys; sys.exit(3)")),
    ],
)
def test_the_import_that_ends_the_fork_server_is_named(script, tmp_path, broken):
    (tmp_path / "cloudpickle.py").write_text(broken)
    done = script(BREAKS, quiet=False)
    assert done.stdout.startswith("cloudpickle | worker processes cannot import cloudpickle ("), done.stderr
    assert done.stdout.count("\n") == 1
    assert "ulimit" not in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
    assert {"raise": "AttributeError", "def (": "SyntaxError", "impor": "SystemExit"}[broken[:5]] in done.stdout


USERS_SERVER = """
import multiprocessing, os, sys
from pathlib import Path
from compute import Processes
from kernels import each

def parent_of(_):
    return os.getppid()

def ours():
    with Processes(1).open() as pool:
        return pool.map(parent_of, [0])[0]

if __name__ == "__main__":
    import mine
    Path("chosen.py").write_text("import os; SERVER = os.getpid()")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chosen"])
    servers = [ours()] if sys.argv[1] == "after" else []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=mine.tell, args=(there,))
        process.start()
        parent, preloaded_in = here.recv()
        process.join()
        assert parent == preloaded_in, (parent, preloaded_in)
        servers += [parent, ours()]
    print(len(servers), len(set(servers)))
"""
MINE = """
import os, sys

def tell(pipe):
    chosen = sys.modules.get("chosen")
    pipe.send((os.getppid(), chosen and chosen.SERVER))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_users_own_fork_server_is_as_they_set_it(script, tmp_path, when):
    (tmp_path / "mine.py").write_text(MINE)
    count = script(USERS_SERVER, when).stdout
    assert count == {"before": "4 2\n", "after": "5 2\n"}[when]  # two servers, each the same one all the time


LEAN = """
import os, sys
from compute import Joblib, Processes
from kernels import each

def loaded(_):
    return sorted(sys.modules), os.environ.get("OPENBLAS_THREAD_TIMEOUT")

if __name__ == "__main__":
    for start in sys.argv[1:]:
        with Processes(1, start=start).open() as pool:
            modules, waits = pool.run(each(loaded), [0]).value[0]
        of_pools = {f"compute.backends.{name}" for name in ("dask", "joblib", "prange", "threads", "interpreters")}
        of_kernels = {f"kernels.{name}" for name in ("sieve", "matrix", "streams", "escape_time", "waiting")}
        unneeded = of_pools | of_kernels | {"joblib", "asyncio", "concurrent.futures"}
        assert "numpy" in modules and not unneeded.intersection(modules), unneeded.intersection(modules)
        print(start, waits, os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
"""


@pytest.mark.parametrize("setting", [None, "9"])
def test_workers_import_what_they_need_and_have_the_callers_environment(script, setting, monkeypatch):
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    kept = {} if setting is None else {"OPENBLAS_THREAD_TIMEOUT": setting}
    methods = [name for name in ("forkserver", "spawn") if name in multiprocessing.get_all_start_methods()]
    done = script(LEAN, *methods, **kept)
    assert done.stdout.splitlines() == [f"{method} {setting} {setting}" for method in methods]


def told_by_environment(_):
    return os.environ.get("OPENBLAS_THREAD_TIMEOUT")


@pytest.mark.parametrize("setting", [None, "9"])
@pytest.mark.parametrize("backend", [Processes(1), Joblib(1)], ids=repr)
def test_workers_have_the_callers_environment_though_others_start_some(backend, setting, monkeypatch):
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    if setting is not None:
        monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", setting)
    with host_program.able_to_start_processes():  # as another thread may be, which opens a pool meanwhile
        pool = backend.open()
    with pool:
        assert pool.map(told_by_environment, [0]) == [setting]

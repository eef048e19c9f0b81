"""pool.executor(): what any executor promises, and what ours promises beyond it."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import CancelledError, as_completed, wait

import numpy as np
import pytest
from patience import PATIENCE
from tasks import square, wait_for

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from compute.adapters.executor import Executor
from kernels import count_primes

BACKENDS = [Threads(2), Processes(2)]


@pytest.fixture(scope="module", params=BACKENDS, ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


@pytest.fixture
def executor(pool):
    with pool.executor() as executor:
        yield executor


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def times(self, x):
        return self.factor * x

    def __call__(self, x):
        return self.times(x)


@pytest.mark.parametrize(
    ("fn", "args", "kw", "value"),
    [
        (square, (7,), {}, 49),
        (pow, (2, 8), {"mod": 7}, 4),
        (lambda x, *, y: (x, y), (1,), {"y": 2}, (1, 2)),
        (functools.partial(divmod, 17), (5,), {}, (3, 2)),
        (functools.partial(lambda x, y: x - y, y=1), (5,), {}, 4),
        (Scaled(3).times, (4,), {}, 12),
        (Scaled(3), (5,), {}, 15),
        (Scaled, (3,), {}, Scaled),
        ([3, 1, 2].index, (2,), {}, 2),
        (np.add, (1, 2), {}, 3),
        (dict, (), {"self": 1, "fn": 2}, {"self": 1, "fn": 2}),
        (square, (np.arange(3.0),), {}, np.array([0.0, 1.0, 4.0])),
        (np.sum, (np.ones(10**5),), {}, 1e5),
        (np.zeros, (10**6,), {}, np.zeros(10**6)),
    ],
)
def test_any_callable(executor, fn, args, kw, value):
    found = executor.submit(fn, *args, **kw).result(PATIENCE)
    assert isinstance(found, value) if isinstance(value, type) else np.array_equal(found, value)


def test_a_function_is_called_as_it_is_when_the_task_begins(executor):
    def scaled(x):
        return x * factors[0]

    factors = [2]
    assert executor.submit(scaled, 3).result(PATIENCE) == 6
    factors[0] = 5
    assert executor.submit(scaled, 3).result(PATIENCE) == 15


def test_a_long_task_holds_nobody_up(executor, tmp_path):
    path = str(tmp_path / "now")
    long = executor.submit(wait_for, path)
    short = [executor.submit(square, x) for x in range(100)]
    assert [one.result(PATIENCE) for one in short] == [x * x for x in range(100)]
    assert not long.done()
    open(path, "w").close()
    assert long.result(PATIENCE) == path


def test_results_come_as_they_are_done(executor, tmp_path):
    path = str(tmp_path / "now")
    tasks = [executor.submit(wait_for, path), executor.submit(square, 3)]
    arrivals = as_completed(tasks, PATIENCE)
    assert next(arrivals) is tasks[1]
    open(path, "w").close()
    assert next(arrivals) is tasks[0]


def test_an_exception_comes_with_where_it_was_raised(executor):
    def outer():
        inner()

    def inner():
        raise KeyError("missing")

    error = executor.submit(outer).exception(PATIENCE)
    assert isinstance(error, KeyError)
    assert error.args == ("missing",)
    told = "".join(traceback.format_exception(error))  # notes are in it
    assert "in outer" in told
    assert "in inner" in told


def test_a_task_that_exits_ends_no_worker(executor):
    assert isinstance(executor.submit(sys.exit, 3).exception(PATIENCE), SystemExit)
    assert executor.submit(square, 2).result(PATIENCE) == 4


def test_map_in_chunks_and_in_order(executor):
    assert list(executor.map(square, range(100), timeout=PATIENCE)) == [x * x for x in range(100)]
    assert list(executor.map(pow, range(10), range(7), chunksize=4)) == [x**x for x in range(7)]
    assert list(executor.map(square, [])) == []
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(square, [1], chunksize=0)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="buffersize is new in Python 3.14")
def test_map_takes_no_more_than_its_buffer(executor):
    taken = []
    results = executor.map(square, (taken.append(x) or x for x in range(100)), buffersize=3)
    assert len(taken) == 3
    assert list(results) == [x * x for x in range(100)]


def test_a_task_that_has_not_begun_can_be_cancelled(executor, tmp_path):
    path = str(tmp_path / "now")
    at_work = [executor.submit(wait_for, path) for _ in range(2)]
    while not all(task.running() for task in at_work):
        time.sleep(0.001)
    waiting = executor.submit(square, 3)
    assert waiting.cancel()
    assert not at_work[0].cancel()
    open(path, "w").close()
    assert wait(at_work, PATIENCE).not_done == set()
    with pytest.raises(CancelledError):
        waiting.result()


def test_shutdown_cancels_what_waits_and_leaves_the_pool_open(pool, tmp_path):
    path = str(tmp_path / "now")
    executor = pool.executor()
    tasks = [executor.submit(wait_for, path) for _ in range(2)] + [executor.submit(square, x) for x in range(20)]
    while not all(task.running() for task in tasks[:2]):
        time.sleep(0.001)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(task.cancelled() for task in tasks[2:])
    open(path, "w").close()
    executor.shutdown()
    assert [task.result() for task in tasks[:2]] == [path, path]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 2)
    assert pool.map(square, [1, 2]) == [1, 4]


def test_callbacks_may_submit_and_raise(executor, caplog):
    done, came = [], threading.Event()

    def again(task):
        done.append(task.result())
        if len(done) < 500:  # deeper than calls within calls could go
            executor.submit(square, len(done)).add_done_callback(again)
        else:
            came.set()
        raise ValueError("of a callback")

    executor.submit(square, 0).add_done_callback(again)
    assert came.wait(PATIENCE)
    assert done == [x * x for x in range(500)]


def test_a_callback_and_a_task_may_shut_the_executor_down(pool):
    executor, came = pool.executor(), threading.Event()
    executor.submit(square, 1).add_done_callback(lambda _: (executor.shutdown(), came.set()))
    assert came.wait(PATIENCE)
    executor.shutdown()
    if pool.backend.traits.shares_memory:
        executor = pool.executor()
        executor.submit(executor.shutdown).result(PATIENCE)


def test_kernels_are_functions_too(executor):
    assert executor.submit(count_primes, 10**5).result(PATIENCE) == 9592


def test_a_callback_may_use_the_pool(pool, executor):
    found, came = [], threading.Event()

    def use(_):
        found.extend(pool.map(square, [1, 2, 3]))
        came.set()

    executor.submit(square, 1).add_done_callback(use)
    assert came.wait(PATIENCE)
    assert found == [1, 4, 9]


def test_many_threads_submit_at_once(executor):
    sums = []

    def add(k):
        sums.append(sum(executor.submit(square, x).result(PATIENCE) for x in range(k, k + 50)))

    threads = [threading.Thread(target=add, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(sums) == [sum(x * x for x in range(k, k + 50)) for k in range(8)]


def test_asyncio_runs_in_it(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, square, x) for x in range(20)))

    assert asyncio.run(main()) == [x * x for x in range(20)]


def test_runs_of_the_pool_come_between_tasks(pool, executor):
    """A stream of tasks that never ends does not keep a run waiting for ever."""
    ends = threading.Event()

    def keep_busy():
        while not ends.is_set():
            wait([executor.submit(square, 1) for _ in range(20)])

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        assert [pool.map(square, [1, 2]) for _ in range(5)] == [[1, 4]] * 5
    finally:
        ends.set()
        busy.join(PATIENCE)


def test_two_executors_share_a_pool(pool):
    with pool.executor() as one, pool.executor() as two:
        ours = [(one.submit(square, x), two.submit(square, -x)) for x in range(50)]
        assert [(a.result(PATIENCE), b.result(PATIENCE)) for a, b in ours] == [(x * x, x * x) for x in range(50)]


def test_a_lane_of_the_pool_may_submit_and_wait():
    """The executor's own run would wait for the run of which the lane is a part."""
    with Threads(2).open() as pool, pool.executor() as executor:
        assert pool.map(lambda x: executor.submit(square, x).result(PATIENCE), range(4)) == [0, 1, 4, 9]
        assert pool.map(lambda x: list(executor.map(square, [x, 5])), [2]) == [[4, 25]]
        assert executor.submit(square, 3).result(PATIENCE) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_may_wait_for_tasks_that_it_submits(workers):
    with Threads(workers).open() as pool, pool.executor() as executor, pool.executor() as other:

        def total(depth):
            if depth == 0:
                return 1
            parts = [executor.submit(total, depth - 1), other.submit(square, 1), executor.submit(total, depth - 1)]
            return sum(part.result(PATIENCE) for part in parts)

        tasks = [executor.submit(total, 4) for _ in range(3)]
        assert [task.result(PATIENCE) for task in tasks] == [31] * 3


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
def test_closing_the_pool_ends_what_has_begun_and_refuses_the_rest(backend, tmp_path):
    path = str(tmp_path / "now")
    pool = backend.open()
    executor = pool.executor()
    begun = [executor.submit(wait_for, path) for _ in range(2)]
    while not all(task.running() for task in begun):
        time.sleep(0.001)
    waits = executor.submit(square, 1)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(RuntimeError, match="was closed before this task began"):
        waits.result(PATIENCE)
    open(path, "w").close()
    closing.join(PATIENCE)
    assert [task.result(PATIENCE) for task in begun] == [path, path]
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(square, 1)
    executor.shutdown()


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
def test_an_executor_of_a_backend_closes_its_own_pool(backend):
    with Executor(backend) as executor:
        assert executor.submit(square, 3).result(PATIENCE) == 9
        pool = executor._service.pool
    assert not pool.is_open


def test_serial_and_joblib_pools_run_tasks_too():
    for backend in (Serial(), Joblib(2), Joblib(2, kind="threading")):
        with backend.open() as pool, pool.executor() as executor:
            assert list(executor.map(square, range(20), timeout=PATIENCE)) == [x * x for x in range(20)]


@pytest.mark.parametrize(
    ("backend", "told"),
    [(Prange(2), "prange"), (Coroutines(3), "one thread for all"), (Processes(1, timeout=5), "time limit")],
    ids=repr,
)
def test_pools_that_run_no_tasks_say_so(backend, told):
    with backend.open() as pool, pytest.raises(ValueError, match=told):
        pool.executor()


def test_a_closed_pool_has_no_executor():
    pool = Threads(1).open()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.executor()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_is_refused_and_ends(pool, executor):
    assert executor.submit(square, 1).result(PATIENCE) == 1
    child = os.fork()
    if child == 0:
        try:
            executor.submit(square, 1)
        except RuntimeError as error:
            executor.shutdown()
            os._exit(0 if "belongs to process" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert executor.submit(square, 2).result(PATIENCE) == 4


def python(text, **kw):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE, **kw)


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
@pytest.mark.parametrize(
    "end",
    ["executor.shutdown(wait=False)", *(pytest.param(end, marks=pytest.mark.slow) for end in ("", "del executor"))],
)
def test_the_interpreter_ends_when_all_is_done(backend, end):
    text = f"""
import time
import traceback
from compute import Processes, Threads
pool = {backend!r}.open()
executor = pool.executor()
task = executor.submit(lambda: (time.sleep(0.3), print("apple", flush=True)))
{end}
"""
    done = python(text)
    assert (done.stdout, done.stderr, done.returncode) == ("apple\n", "", 0)


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_a_result():
    text = f"""
import os, signal, threading, time
from compute import Processes, Threads
for backend in {BACKENDS}:
    with backend.open() as pool, pool.executor() as executor:
        task = executor.submit(time.sleep, 2)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            task.result()
        except KeyboardInterrupt:
            print("interrupted", not task.done())
        print(executor.submit(pow, 2, 3).result())
"""
    done = python(text)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted True\n8\n" * 2, "", 0)

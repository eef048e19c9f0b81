"""Workers that die, come or differ, a scheduler that goes away, bodies that raise: on a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from dask_processes import RealCluster
from killed_workers import killed_runs
from patience import PATIENCE
from rules import dies_once, raises

from compute import Dask
from compute.backends.dask.cluster import to_its_end
from compute.dispatch import WorkerDied
from kernels import Plan, count_primes, kernel, matvec

pytest.importorskip("distributed", reason="the extra nfold[dask] is not installed")


@kernel(plan=lambda n, seconds: Plan(n, (seconds,), grain=1, dtype=np.int64), compiled=False)
def naps(lo, hi, out, seconds):
    """The process of each chunk."""
    time.sleep(seconds)
    out[lo] = os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize(("elsewhere", "runs"), [(True, 20), (False, 4)], ids=["network", "shared memory"])
def test_runs_with_a_worker_killed_at_a_random_moment_are_right(elsewhere, runs):
    found = list(killed_runs(range(runs), elsewhere=elsewhere))
    assert len(found) == runs
    assert sum(run.noticed for run in found) >= runs // 2  # the others' worker had no group at that moment


@pytest.fixture(scope="module")
def pool():
    with Dask(workers=2).open() as pool:
        yield pool


def test_a_chunk_whose_worker_dies_is_run_again(pool, tmp_path):
    a = np.arange(64.0)
    result = pool.run(dies_once, a, str(tmp_path / "died"))
    assert (result.value == 2 * a).all()
    assert any("is gone" in event for event in result.timeline.events)


def test_a_client_that_cancels_what_it_gathers_is_told_of():
    """A user's own, one gather of which was cancelled as it began: distributed remembers it."""
    import distributed

    async def cancelled_after(client, future, steps):
        gathering = asyncio.ensure_future(client.gather([future], asynchronous=True))
        for _ in range(steps):
            await asyncio.sleep(0)
        gathering.cancel()
        await asyncio.wait([gathering])

    with RealCluster(1) as cluster:
        errors = []
        for steps in range(10):
            with distributed.Client(cluster.address, set_as_default=False) as client, Dask(client).open() as pool:
                future = client.submit(int, pure=False)
                assert future.result() == 0
                pool._cluster.call(cancelled_after(client, future, steps))
                try:
                    assert pool.map(abs, [-1, 2]) == [1, 2]
                except RuntimeError as error:
                    errors.append(str(error))
        assert len(errors) <= 1  # the others came too early or too late
        assert all(error.endswith("when a gather of it was cancelled once; open another") for error in errors)


def test_what_is_gathered_as_a_run_ends_is_not_asked_for_again():
    """Where its future was cancelled, distributed warned of it, and asked anew for whatever it gathered with it."""

    def gathers_slowly(dask_scheduler):
        gather = dask_scheduler.handlers["gather"]

        async def slowly(*args, **kw):
            await asyncio.sleep(0.5)
            return await gather(*args, **kw)

        dask_scheduler.handlers["gather"] = slowly

    async def gathers():
        return [task for task in asyncio.all_tasks() if "Client._gather" in repr(task)]

    @kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
    def first_fails(lo, hi, out):
        time.sleep(0.25 * (lo > 0))
        out[lo] = 1 // lo

    logger, told = logging.getLogger("distributed.client"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = told.append
    with RealCluster(2, elsewhere=True) as cluster, Dask(cluster.address).open() as pool:
        client = pool._cluster.client
        client.run_on_scheduler(gathers_slowly)
        logger.addHandler(handler)
        try:
            with pytest.raises(ZeroDivisionError):
                pool.run(first_fails, 2)
            until = time.monotonic() + PATIENCE
            while pool._cluster.call(gathers()) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            logger.removeHandler(handler)
        assert (list(client.futures), [record.getMessage() for record in told]) == ([], [])


def test_what_comes_late_is_no_error_of_the_event_loop():
    """asyncio.shield would make it one, from Python 3.14 on."""

    async def raises_late():
        await asyncio.sleep(0)
        raise OSError("late")

    async def told_of():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        asked = asyncio.ensure_future(to_its_end(raises_late()))
        await asyncio.sleep(0)
        asked.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert asked.cancelled()
        return told

    assert asyncio.run(told_of()) == []


@kernel(plan=lambda x, nap, begun: Plan(len(x), (x, nap, begun), shape=(len(x), 1000), grain=1), compiled=False)
def late_rows(lo, hi, out, x, nap, begun):
    with open(begun, "a"):
        time.sleep(nap)
    out[lo:hi] = x[lo:hi, None]


def test_two_ctrl_c_leave_the_workers_alive(tmp_path):
    """A worker that maps the caller's memory still writes to it when the caller has dropped it."""
    x, begun = np.arange(8.0), tmp_path / "begun"
    with RealCluster(2) as cluster, Dask(cluster.address).open() as pool:

        def twice():
            while not begun.exists():
                time.sleep(0.02)
            for stops in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                while pool._hurries == stops:
                    time.sleep(0.02)

        thread = threading.Thread(target=twice)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            pool.run(late_rows, x, 2.0, str(begun))
        thread.join()
        assert (pool.run(late_rows, x, 0.0, str(begun)).value == x[:, None]).all()
        assert [worker.process.poll() for worker in cluster.workers] == [None, None]


@kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
def deadly(lo, hi, out):
    if lo == 37:
        os.kill(os.getpid(), signal.SIGKILL)
    out[lo] = lo


@pytest.mark.slow
def test_a_chunk_that_kills_every_worker_is_named(pool):
    with pytest.raises(WorkerDied, match=r"chunk 37 \(indices 37..38\) of deadly was tried 3 times"):
        pool.run(deadly, 64)
    assert pool.run(naps, 4, 0.0).value.all()


@pytest.mark.slow
def test_what_may_not_be_repeated_is_not(pool):
    def ends(item):
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(WorkerDied, match=r"was made with retry=False"):
        pool.map(ends, range(8), retry=False)
    assert pool.map(abs, range(-8, 0)) == list(range(8, 0, -1))


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_an_error_in_a_body_has_its_chunk_and_its_traceback(pool, variant):
    with pytest.raises(ValueError, match=r"no good") as caught:
        pool.run(raises, np.zeros(40), 23, variant=variant)
    notes = "\n".join(caught.value.__notes__)
    assert "in chunk 23 (indices 23..24) of raises" in notes
    assert "in worker process" in notes
    assert "rules.py" in notes or variant == "nogil"
    assert pool.map(abs, [-1]) == [1]


def test_an_error_is_not_waited_for_by_the_other_lanes(pool):
    @kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
    def fails_first(lo, hi, out):
        if lo == 0:
            raise KeyError("first")
        time.sleep(0.05)
        out[lo] = lo

    began = time.monotonic()
    with pytest.raises(KeyError, match=r"first"):
        pool.run(fails_first, 20_000)
    assert time.monotonic() - began < 250  # all of it would take 500 s


@pytest.mark.slow
def test_workers_that_come_during_a_run_take_part():
    with RealCluster(1) as cluster, Dask(cluster.address).open() as pool:
        threading.Timer(0.1, cluster.add).start()
        assert len(set(pool.run(naps, 600, 0.05).value.tolist())) == 2


@pytest.mark.slow
def test_the_worker_that_holds_the_inputs_may_die():
    """The inputs are sent to one worker, from which the others have them: that one is killed while they are there."""
    a = np.random.default_rng(1).random(500_000)
    with RealCluster(2, elsewhere=True) as cluster, Dask(cluster.address).open() as pool:
        held = []

        def kill_the_holder():
            until = time.monotonic() + PATIENCE
            while not held and time.monotonic() < until:
                held.extend(
                    pool._cluster.client.run_on_scheduler(
                        lambda dask_scheduler: [
                            worker.address
                            for key, task in dask_scheduler.tasks.items()
                            if str(key).startswith("Parcel")
                            for worker in task.who_has
                        ]
                    )
                )
            next(worker for worker in cluster.workers if worker.process.pid == pids[held[0]]).kill()

        for _ in range(2):
            cluster.add().told(r"Registered to:\s+(\S+)")  # so that there are two, or three
            pids = pool._cluster.client.run(os.getpid)
            killer = threading.Thread(target=kill_the_holder)
            killer.start()
            result = pool.run(slowly_summed, a)
            killer.join()
            assert result.value == slowly_summed(a)
            assert any("is gone" in event for event in result.timeline.events)
            held.clear()


@kernel(plan=lambda a: Plan(len(a), (a,), grain=10_000), reduce=np.sum, compiled=False)
def slowly_summed(lo, hi, out, a):
    time.sleep(0.02)
    out[0] = a[lo:hi].sum()


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_an_error_in_bounded_time(caplog):
    with RealCluster(1) as cluster, Dask(cluster.address).open() as pool:
        threading.Timer(0.5, cluster.scheduler.kill).start()
        with pytest.raises(ConnectionError, match=f"the scheduler at {cluster.address} is gone"):
            pool.run(naps, 100_000, 0.01)
        with pytest.raises(ConnectionError, match=r"is gone"):
            pool.run(naps, 4, 0.0)
    caplog.clear()  # where dask could tell in time that it cannot connect, its frames hold the arrays of the run


def test_a_client_that_is_closed_is_an_error_that_says_so():
    import distributed

    with RealCluster(1) as cluster:
        for seconds in (0.0, 0.05, 0.3):
            client = distributed.Client(cluster.address, set_as_default=False)
            with Dask(client).open() as pool:
                closing = threading.Timer(seconds, client.close)
                closing.start()
                for _ in range(2):  # in the run, or before it
                    with pytest.raises(ConnectionError, match=r"is gone.*, or the Client was closed"):
                        pool.run(naps, 1000, 0.01)
                    closing.join()


def answer_as_a_web_server(listening):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.slow
def test_no_scheduler_or_no_worker_is_told(monkeypatch):
    monkeypatch.setattr("compute.backends.dask.cluster.CONNECTING", 2.0)
    with pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127.0.0.1:1 "):
        Dask("tcp://127.0.0.1:1").open()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        backend = Dask(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://.* within 2 s \(TimeoutError\)"):
            backend.open()
        other = threading.Thread(target=answer_as_a_web_server, args=(listening,))
        other.start()
        with pytest.raises(ConnectionError, match=r"no scheduler answers .*what answers there is another program"):
            backend.open()
        listening.shutdown(socket.SHUT_RDWR)
        other.join()
    with RealCluster(0) as cluster, pytest.raises(ValueError, match=r"has no workers.*dask worker tcp://127"):
        Dask(cluster.address).open()
    with RealCluster(1) as cluster, pytest.raises(ValueError, match=r"has 1 threads, not 3"):
        Dask(cluster.address, workers=3).open()


@pytest.mark.slow
def test_versions_that_differ_are_refused_and_both_are_named(tmp_path):
    about = tmp_path / "numpy-1.2.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.2.3\n")
    with RealCluster(0) as cluster:
        worker = cluster.add(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        worker.told(r"Registered to:\s+(\S+)")
        with pytest.raises(ValueError, match=f"numpy is 1.2.3 on the worker and {np.__version__} here"):
            Dask(cluster.address).open()


@pytest.mark.slow
def test_code_is_compiled_for_the_workers_own_cpu():
    """A worker that compiles for a plain x86-64 runs what is exact there, and is refused what it would round anew."""
    with RealCluster(0, elsewhere=True) as cluster:
        cluster.add(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+sse2").told(r"Registered to:\s+(\S+)")
        with Dask(cluster.address).open() as pool:
            assert pool.run(count_primes, 10**5).value == 9592
            with pytest.raises(ValueError, match=r"matvec multiplies and adds with one rounding on the caller's CPU"):
                pool.run(matvec, np.ones((300, 200)), np.ones(200))

"""Every kernel on a real Dask cluster, over the network and in shared memory, equal to one core to the bit."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading

import numpy as np
import pytest
from dask_processes import RealCluster
from every_case import cases

from compute import Dask
from kernels import Plan, kernel

pytest.importorskip("distributed", reason="the extra nfold[dask] is not installed")


@pytest.fixture(
    scope="module",
    params=[pytest.param(True, id="network"), pytest.param(False, id="shared memory", marks=pytest.mark.slow)],
)
def pool(request):
    """A pool on two workers, which say that they are on another machine, or not."""
    with RealCluster(2, elsewhere=request.param) as cluster, Dask(cluster.address).open() as pool:
        assert pool.arena.kind == ("heap" if request.param else "shared")
        assert pool.workers == 2
        yield pool


# Of the others each is compiled in each worker for seconds.
QUICK = {"squares", "total", "histogram", "ordered", "nothing"}
CASES = [
    pytest.param(case, marks=[] if case.kernel.name in QUICK else pytest.mark.slow, id=repr(case)) for case in cases()
]


@pytest.mark.parametrize("case", CASES)
def test_every_kernel_on_a_cluster(pool, case):
    case.check(pool)


@kernel(plan=lambda a: Plan(len(a), (a,), shape=(2, len(a)), grain=3))
def two_rows(lo, hi, out, a):
    """Write down columns and from the end: nothing says which elements belong to a chunk."""
    for i in range(lo, hi):
        out[0, i] = a[i]
        out[1, len(a) - 1 - i] = -a[i]


@kernel(plan=lambda n: Plan(n, (), shape=(n,), dtype=np.int64, grain=1))
def sparse(lo, hi, out):
    """Zeros but for every hundredth element."""
    for i in range(lo, hi):
        out[i] = i * (i % 100 == 0)


@kernel(plan=lambda n: Plan(n, (), shape=(n,), dtype=np.complex64, grain=5))
def negative_zeros(lo, hi, out):
    for i in range(lo, hi):
        out[i] = complex(-0.0, i)


@pytest.mark.parametrize("variant", ["python", pytest.param("nogil", marks=pytest.mark.slow)])
def test_elements_may_be_anywhere_in_out(pool, variant):
    a = np.random.default_rng(3).random(50_000)
    for it, args in ((two_rows, (a[:5000],)), (sparse, (3000,)), (negative_zeros, (3000,))):
        held = it.held_to(variant)
        assert pool.run(held, *args).value.tobytes() == held(*args).tobytes()


@kernel(plan=lambda a, out=None: Plan(len(a), (a,), shape=a.shape, out=out, elementwise=True, grain=100))
def tripled(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = 3 * a[i]


def test_the_result_is_written_into_the_callers_array(pool):
    a = np.arange(30_000.0)
    out = np.full(30_000, 7.0)
    assert pool.run(tripled, a, out=out).value is out
    assert (out == 3 * a).all()
    assert pool.run(tripled, a, out=a).value is a  # an input that is the output as well
    assert (a == out).all()
    whole = np.full((2, 30_000), 7.0)
    column = whole.T[:, 1]
    assert pool.run(tripled, out, out=column).value is column
    assert (column == 3 * out).all()
    assert (whole[0] == 7).all()


def overlapping(lo, hi, out):
    for i in range(lo, hi):
        out[i] = 1.0
    out[0] = lo + 1.0


def test_chunks_that_write_to_the_same_element_are_noticed_over_the_network(pool):
    if pool.arena.kind == "shared":
        pytest.skip("shared memory has no trace of it; check=True is there")
    clashing = kernel(plan=lambda n: Plan(n, (), grain=1))(overlapping)
    with pytest.raises(ValueError, match=r"wrote different values to the same element of out"):
        pool.run(clashing, 64)


def test_after_many_runs_that_failed_the_pool_goes_on(pool):
    """As a group fails others have just been asked for; one of ten such runs was the last of its pool."""

    def one_fails(item):
        return 1 // item

    for _ in range(60):
        with pytest.raises(ZeroDivisionError):
            pool.map(one_fails, [1, 1, 0, 1] * 8)
        assert pool.map(abs, [-1, 2]) == [1, 2]


def test_functions_over_items(pool):
    k = 3
    assert pool.map(lambda x: x * k, range(1000)) == [3 * x for x in range(1000)]
    arrays = [np.full(20_000, i) for i in range(20)]
    assert [a.sum() for a in pool.map(lambda a: a + 1, arrays)] == [20_000 * (i + 1) for i in range(20)]
    assert pool.map(str, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    drawn = pool.map(lambda x, rng: rng.integers(1000), range(30), seed=4)
    assert drawn == pool.map(lambda x, rng: rng.integers(1000), range(30), seed=4)
    errors = pool.map(lambda x: 1 // x, [1, 0], errors="return")
    assert errors[0] == 1
    assert isinstance(errors[1], ZeroDivisionError)


def test_imap_goes_on_and_an_executor_is_refused(pool):
    assert list(pool.imap(lambda x: x + 1, iter(range(20)))) == list(range(1, 21))
    with pytest.raises(ValueError, match=r"Client.get_executor"):
        pool.executor()


@kernel(plan=lambda x: Plan(8, (x,), grain=1), compiled=False)
def takes_anything(lo, hi, out, x):
    out[lo] = lo


def test_what_cannot_be_sent_is_told_as_elsewhere(pool):
    with pytest.raises(TypeError, match=r"^what is given for x cannot be sent to worker processes"):
        pool.run(takes_anything, threading.Lock())
    with pytest.raises(TypeError, match=r"^item 1 of str, .* cannot be sent to worker processes"):
        pool.map(str, [1, threading.Lock()])
    assert pool.run(takes_anything, 1.0).value.tolist() == list(range(8))


def test_what_a_cluster_cannot_do_is_refused(pool):
    @kernel(inout=("a",))
    def in_place(lo, hi, out, a):
        a[lo:hi] += 1
        out[lo:hi] = lo

    with pytest.raises(ValueError, match=r"writes to its input a.*run it on Processes"):
        pool.run(in_place, np.zeros(3))
    with pytest.raises(ValueError, match=r"has a timeout.*use Processes"):
        pool.map(str, [1], timeout=5)


def test_the_timeline_tells_of_the_workers(pool):
    from example_kernels import who

    value = pool.run(who, 64).value
    timeline = pool.run(who, 64).timeline
    assert sum(lane.chunks for lane in timeline.lanes) == 64
    assert {lane.process for lane in timeline.lanes} == set((value // 10**9).tolist())
    assert (timeline.spans["stop"] > timeline.spans["start"]).all()
    assert all(lane.wall > 0 and lane.away >= 0 for lane in timeline.lanes)


def test_a_million_chunks_are_as_many_messages_as_a_thousand(pool):
    from example_kernels import nothing

    def seen():
        """What the scheduler has counted: changes of a task's state, and the tasks of this kernel that it knows of."""

        def ask(dask_scheduler):
            keys = {key for key, *_ in dask_scheduler.transition_log if str(key).startswith("nfold-nothing")}
            return dask_scheduler.transition_counter, len(keys)

        return np.array(pool._cluster.client.run_on_scheduler(ask))

    counts = []
    for chunks in (1000, 10**6):
        before = seen()
        assert pool.run(nothing, chunks).value[-1] == chunks - 1
        counts.append(seen() - before)
    (few, groups), (many, as_many) = counts
    most = 16 + 1 if pool.arena.kind == "heap" else 8  # a large output comes back in sixteen parts at least
    assert groups == 8
    assert as_many <= most
    assert many <= few * most / 8 * 1.25


@pytest.mark.skipif(sys.platform != "linux", reason="no system else tells")
@pytest.mark.parametrize("kind", [bytes, np.frombuffer], ids=["bytes", "arrays"])
def test_each_item_is_sent_to_one_worker_and_what_all_share_to_each(pool, kind):
    if pool.arena.kind == "shared":
        pytest.skip("nothing is sent")

    def received():
        """Bytes that have come in over the connections of this process that are open."""
        size = 0
        for file in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(file))) as one:
                [more] = struct.unpack_from("Q", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 128)
                size += more
        return size

    rng = np.random.default_rng(0)
    own = [kind(rng.bytes(100_000)) for _ in range(64)]
    shared = rng.random(50_000)
    before = sum(pool._cluster.client.run(received).values())
    found = pool.map(lambda item: (bytes(item[0][:8]), float(item[1].sum())), [(item, shared) for item in own])
    came = sum(pool._cluster.client.run(received).values()) - before
    assert found == [(bytes(item[:8]), float(shared.sum())) for item in own]
    least = 64 * 100_000 + 2 * 400_000
    assert least <= came < 1.1 * least

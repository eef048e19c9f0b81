"""Work that waits: async functions on every backend, many waits at a time, and an end to them at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from compute import Coroutines, Joblib, Processes, Serial, Threads, run
from kernels import each

pytestmark = pytest.mark.sampled

BACKENDS = [Serial(), Coroutines(3), Threads(3), Processes(2), Joblib(2), Joblib(2, kind="threading")]
on_every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=repr)
at_once = pytest.mark.parametrize("backend", BACKENDS[1:], ids=repr)


async def doubled(x):
    await asyncio.sleep(0.001)
    return 2 * x


class Doubles:
    async def __call__(self, x):
        return 2 * x

    async def method(self, x):
        return await doubled(x)


FUNCTIONS = {"function": doubled, "object": Doubles(), "method": Doubles().method}


@pytest.mark.parametrize("case", FUNCTIONS)
@on_every_backend
def test_results_are_in_order(pool_of, backend, case):
    assert pool_of(backend).map(FUNCTIONS[case], range(50)) == [2 * k for k in range(50)]


@on_every_backend
def test_options_are_those_of_plain_functions(pool_of, backend):
    async def random(item, rng):
        return item, rng.random()

    async def fails(x):
        return 1 // x

    pool = pool_of(backend)
    assert pool.map(random, range(4), seed=3) == pool.map(lambda item, rng: (item, rng.random()), range(4), seed=3)
    found = pool.map(fails, [1, 0], errors="return")
    assert found[0] == 1
    assert type(found[1]) is ZeroDivisionError
    assert pool.map(fails, []) == []


def test_a_kernel_of_it_is_a_plain_function():
    assert each(doubled)([1, 2]) == [2, 4]


@on_every_backend
def test_where_a_loop_runs_already(backend):
    async def within():
        return run(each(doubled), range(5), on=backend).value, each(doubled)([3])

    assert asyncio.run(within()) == ([0, 2, 4, 6, 8], [6])


def test_many_waits_overlap():
    """Each waits until all have begun: nobody would ever end if they took turns."""
    begun = []

    async def waits(x):
        begun.append(x)
        while len(begun) < 500:
            await asyncio.sleep(0)
        return x

    assert run(each(waits), range(500), on=Coroutines(500)).value == list(range(500))


def test_threads_more_than_cpus_overlap_waits():
    gate = threading.Barrier(40)

    def waits(x):
        gate.wait()
        return x

    assert run(each(waits), range(40), on=Threads(40)).value == list(range(40))


@at_once
def test_an_exception_ends_all_waits_and_names_its_item(pool_of, backend):
    async def fails(x):
        await asyncio.sleep(1000 * (x != 1))
        raise KeyError(x)

    with pytest.raises(KeyError) as caught:
        pool_of(backend).map(fails, range(2))
    assert "in item 1 of fails: 1" in caught.value.__notes__
    assert pool_of(backend).map(doubled, [1]) == [2]


@on_every_backend
def test_an_interrupt_ends_all_waits(pool_of, backend, tmp_path):
    begun = str(tmp_path / "begun")

    async def waits(x):
        open(begun, "a").close()
        await asyncio.sleep(1000)

    def interrupt():
        while not os.path.exists(begun):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    pool = pool_of(backend)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.map(waits, range(3))
    thread.join()
    assert pool.map(doubled, [1]) == [2]


@on_every_backend
def test_an_interrupt_ends_all_waits_where_a_loop_runs_already(pool_of, backend, tmp_path):
    """As in a notebook: the main thread has a loop, and ours has a thread of its own."""
    begun = tmp_path / "begun"

    async def waits(x):
        begun.touch()
        await asyncio.sleep(1000)

    def interrupt():
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    async def within():
        with pytest.raises(KeyboardInterrupt):
            pool.map(waits, range(3))
        return pool.map(doubled, [1])

    pool = pool_of(backend)
    loop = asyncio.new_event_loop()  # asyncio.run has a handler of its own
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        assert loop.run_until_complete(within()) == [2]
    finally:
        thread.join()
        loop.close()


@on_every_backend
def test_what_runs_in_an_awaiting_body_runs_serially_where_a_loop_runs_already(pool_of, backend):
    async def nests(x):
        return run(each(lambda y: os.getpid()), [x], on=Processes(2)).value == [os.getpid()]

    async def within():
        return pool_of(backend).map(nests, [1, 2])

    assert asyncio.run(within()) == [True, True]


@on_every_backend
def test_what_a_body_begins_and_leaves_is_cancelled(pool_of, backend, tmp_path):
    marks = str(tmp_path / "cancelled")

    async def goes_on():
        try:
            await asyncio.sleep(1000)
        finally:
            open(marks, "x").close()

    async def begins(x):
        task = asyncio.create_task(goes_on())
        await asyncio.sleep(0)
        return task.done()

    assert pool_of(backend).map(begins, [1]) == [False]
    assert os.path.exists(marks)


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend.workers == 2], ids=repr)
def test_a_body_that_is_cancelled_may_wait_for_its_end(pool_of, backend, tmp_path):
    """Such as to roll back: a second cancel would cut that off."""
    undone = tmp_path / "undone"

    async def waits(x):
        if x == 1:
            await asyncio.sleep(0.2)  # until the other waits
            raise KeyError(x)
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.3)
            undone.touch()

    with pytest.raises(KeyError):
        pool_of(backend).map(waits, range(2))
    assert undone.exists()


@on_every_backend
def test_what_runs_in_an_awaiting_body_runs_serially(pool_of, backend):
    async def nests(x):
        return run(each(abs), [x, -x], on=Processes(2)).value

    assert pool_of(backend).map(nests, [1, 2]) == [[1, 1], [2, 2]]


def test_the_caller_is_no_lane_afterwards():
    run(each(doubled), range(3), on=Coroutines(2))
    assert run(each(os.getppid), [], on=Processes(1)).value == []
    assert run(each(lambda x: os.getpid()), [1], on=Processes(1)).value != [os.getpid()]


@on_every_backend
def test_no_lane_has_more_cpu_time_than_there_was_time(pool_of, backend):
    """Making an event loop takes longer than a short lane, and several lanes share the CPU time of one thread."""
    pool = pool_of(backend)
    for items in (range(1), range(8), range(50)):
        result = pool.run(each(doubled), items)
        assert all(0 <= lane.cpu <= lane.wall for lane in result.timeline.lanes)
    lanes = pool.run(each(computes), range(6)).timeline.lanes
    assert all(0 < lane.cpu <= lane.wall for lane in lanes if lane.chunks)


async def computes(x):
    await asyncio.sleep(0.001)
    return sum(k * k for k in range(20_000))

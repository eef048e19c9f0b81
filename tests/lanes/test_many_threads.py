"""Eight threads at once in everything of ours that threads share: pools, tables, arrays. Most telling without a GIL."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from patience import PATIENCE

from compute import Coroutines, Processes, Serial, Threads, run
from compute.memory.arena import Arena, shared
from compute.memory.segments import segment_of
from kernels import Plan, kernel
from kernels.compilation.bounded import Bounded
from kernels.compilation.reach import reach_of
from kernels.definition.each import each_of

THREADS = 8
TIMES = 40


@pytest.fixture(autouse=True)
def often():
    """Where there is a GIL, threads hand it over as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(do):
    """do(k) on eight threads that begin together; what each returns, and the first error is raised."""
    together = threading.Barrier(THREADS)

    def one(k):
        together.wait(PATIENCE)
        return do(k)

    with ThreadPoolExecutor(THREADS) as threads:
        return [future.result(PATIENCE) for future in [threads.submit(one, k) for k in range(THREADS)]]


@kernel(plan=lambda n, factor: Plan(n, (factor,), grain=2), compiled=False, bound="compute")
def multiples(lo, hi, out, factor):
    """Fill out[lo:hi] with factor · index."""
    for i in range(lo, hi):
        out[i] = factor * i


def is_right(pool, k):
    """Whether a pool gives this thread's own answers, and not another's."""
    result = pool.run(multiples, 20 + k, float(k))
    items = pool.map(lambda item: item + k, range(k, k + 9))
    return result.value.tolist() == [float(k) * i for i in range(20 + k)] and items == list(range(2 * k, 2 * k + 9))


@pytest.mark.parametrize("backend", [Serial(), Threads(3), Coroutines(2), Processes(2)], ids=repr)
def test_one_pool_for_all_of_them(backend):
    times = TIMES if backend.traits.shares_memory else TIMES // 4
    with backend.open() as pool:
        assert all(at_once(lambda k: all(is_right(pool, k) for _ in range(times))))


def test_a_pool_each_of_the_same_kernel():
    def opened(k):
        with Threads(2).open() as pool:
            return all(is_right(pool, k) for _ in range(TIMES))

    assert all(at_once(opened))


def test_runs_of_a_moment_each_with_workers_of_its_own():
    def ran(k):
        return [run(multiples, 9, float(k), on=Threads(2)).value[-1] for _ in range(TIMES // 4)]

    assert at_once(ran) == [[8.0 * k] * (TIMES // 4) for k in range(THREADS)]


def test_tasks_for_one_executor():
    with Threads(3).open() as pool, pool.executor() as executor:

        def submitted(k):
            return [future.result(PATIENCE) for future in [executor.submit(pow, k, 2) for _ in range(TIMES)]]

        assert at_once(submitted) == [[k * k] * TIMES for k in range(THREADS)]


def test_a_table_that_forgets():
    table = Bounded(16)

    def used(k):
        wrong = 0
        for number in range(50 * TIMES):
            key = (number * (k + 1)) % 40
            known = table.get(key)
            if known is None:
                known = table[key] = ("of", key)
            wrong += known != ("of", key)
        return wrong

    assert at_once(used) == [0] * THREADS
    table["one", "more"] = 0
    assert len(table) <= 16


def test_kernels_that_are_made_on_the_way():
    def made(k):
        right = True
        for number in range(TIMES):
            factor = float(k * TIMES + number)

            def body(lo, hi, out, x, factor=factor):
                for i in range(lo, hi):
                    out[i] = factor * x[i]

            own = kernel(compiled=False)(body)
            with Serial().open() as pool:
                right &= pool.run(own, np.ones(3)).value.tolist() == [factor] * 3
        return right

    assert all(at_once(made))


RATE = [0.0]


def rated(item):
    return item * RATE[0]


def test_the_same_function_is_asked_for_by_all():
    def asked(k):
        keys = {reach_of(rated, compiled=False).key for _ in range(TIMES)}
        kernels = [each_of(rated) for _ in range(TIMES)]
        return keys, {one(range(3)) == [0.0] * 3 for one in kernels}

    found = at_once(asked)
    assert len(set().union(*(keys for keys, _ in found))) == 1
    assert {True} == set().union(*(values for _, values in found))


@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_arrays_of_one_arena_are_nobody_else_s(kind):
    arena = Arena(kind, keeps=kind == "heap")

    def filled(k):
        whole = True
        for number in range(5 * TIMES):
            array = arena.empty(2000 + number % 7, np.float64)
            array[:] = k
            again = arena.place(array[:10])
            whole &= bool((array == k).all() and (again == k).all())
            del array, again  # somebody else may have it from now on
            arena.forget_idle()
        return whole

    assert all(at_once(filled))
    arena.close()


def test_every_segment_has_a_number_of_its_own():
    def numbers(k):
        arrays = [shared.empty(16) for _ in range(TIMES)]
        return [segment_of(array).serial for array in arrays]

    assert len(set().union(*at_once(numbers))) == THREADS * TIMES


def test_results_that_are_read_as_they_come():
    with Threads(2).open() as pool:
        assert at_once(lambda k: list(pool.imap(each_number, range(k, k + 20)))) == [
            list(range(k, k + 20)) for k in range(THREADS)
        ]


def each_number(item):
    return item


def test_a_timeline_that_several_ask_for():
    result = run(multiples, 50, 1.0, on=Threads(2))
    assert len({sum(lane.chunks for lane in timeline.lanes) for timeline in at_once(lambda k: result.timeline)}) == 1

"""pool.imap: in order or as they come, from items without end, and never further ahead than was said."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor

import pytest

from compute import Coroutines, Joblib, Processes, Serial, Threads

pytestmark = pytest.mark.sampled

BACKENDS = [Serial(), Threads(2), Coroutines(2), Processes(2), Joblib(2)]


@pytest.fixture(scope="module", params=BACKENDS, ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


def doubled(x):
    return 2 * x


async def awaits(x):
    await asyncio.sleep(0)
    return 2 * x


@pytest.mark.parametrize("f", [doubled, awaits, lambda x: x + x])
@pytest.mark.parametrize("ordered", [True, False])
def test_every_result_comes_once(pool, f, ordered):
    found = list(pool.imap(f, range(30), ordered))
    assert (found if ordered else sorted(found)) == [2 * k for k in range(30)]


def test_items_may_have_no_end_and_are_read_no_further_than_said(pool):
    read = []

    def items():
        for k in itertools.count():
            read.append(k)
            yield k

    results = pool.imap(doubled, items(), limit=5)
    assert list(itertools.islice(results, 20)) == [2 * k for k in range(20)]
    assert len(read) <= 25
    results.close()
    assert pool.map(doubled, [1]) == [2]


def test_options_are_those_of_each(pool):
    assert list(pool.imap(pow, [(2, 3), (3, 2)], star=True)) == [8, 9]
    found = list(pool.imap(lambda item, rng: rng.random(), range(5), seed=4))
    assert found == pool.map(lambda item, rng: rng.random(), range(5), seed=4)
    first, second = pool.imap(lambda x: 1 // x, [1, 0], errors="return")
    assert (first, type(second)) == (1, ZeroDivisionError)


def test_an_error_names_its_item_when_it_is_read(pool):
    results = pool.imap(lambda x: 6 // x, [1, 2, 0], limit=1)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert any("in item 2 of <lambda>: 0" in note for note in caught.value.__notes__)
    assert pool.map(doubled, [1]) == [2]


def test_an_error_of_the_items_ends_it(pool):
    def items():
        yield 1
        raise KeyError("no more")

    results = pool.imap(doubled, items(), limit=3)
    assert next(results) == 2
    with pytest.raises(KeyError, match="no more"):
        next(results)
    assert list(results) == []


def dies(x):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_told_with_the_functions_name():
    with Processes(1).open() as pool, pytest.raises(BrokenExecutor, match="dies was tried 3 times, and each time its"):
        list(pool.imap(dies, [1]))


def test_results_come_as_they_are_done():
    gate = threading.Event()

    def waits(x):
        if x == 0:
            gate.wait()
        return x

    with Threads(2).open() as pool:
        results = pool.imap(waits, range(4), ordered=False)
        assert sorted(next(results) for _ in range(3)) == [1, 2, 3]
        gate.set()
        assert list(results) == [0]


def waits_for(path):
    while path and not os.path.exists(path):
        time.sleep(0.01)


def test_the_first_result_does_not_wait_for_the_others(tmp_path):
    with Processes(2).open() as pool:
        results = pool.imap(waits_for, ["", str(tmp_path / "read")], limit=2)
        assert next(results) is None
        (tmp_path / "read").touch()
        assert next(results) is None


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"limit": 0}, ValueError, "limit must be at least 1, not 0"),
        ({"errors": "x"}, ValueError, "errors must be 'raise' or 'return'"),
        ({"retry": False}, ValueError, "doubled is made with retry=False, and imap runs items again"),
        ({"timeout": 1}, ValueError, "doubled has a timeout, and imap ends no function; use map"),
        ({"cost": len}, TypeError, "cost orders items that are all known"),
    ],
)
def test_bad_use_is_told_before_an_item_is_read(pool, more, kind, told):
    with pytest.raises(kind, match=told):
        pool.imap(doubled, iter([1]), **more)
    with pytest.raises(TypeError, match="not iterable"):
        pool.imap(doubled, 5)

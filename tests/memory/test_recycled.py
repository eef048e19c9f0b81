"""Memory of large results is used again when nothing can reach it any more, and at no other time."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from example_kernels import squares
from patience import PATIENCE

from compute import Coroutines, Processes, Serial, Threads
from kernels import triad
from kernels.definition import recycled
from kernels.vectors import memory

SIZE = 400_000  # float64: 3.2 MB


@pytest.fixture(autouse=True)
def nothing_unused():
    recycled.give_back()
    yield
    recycled.give_back()


def address(array):
    return array.__array_interface__["data"][0]


def result(k=0.0, size=SIZE):
    """A large result full of k."""
    return triad.nogil(np.full(size, k), np.zeros(size), 1.0)


def many(k, times=6):
    """Results of the same size, all alive at once, in memory that may be there."""
    return [result(k) for _ in range(times)]


def test_memory_of_a_result_that_is_gone_is_used_again():
    a, places = np.ones(SIZE), set()
    for k in range(8):
        value = triad.nogil(a, a, float(k))
        assert (value == 1 + k).all()
        places.add(address(value))
    assert len(places) == 2  # the one that is about to be dropped, and the one that is being made


@pytest.mark.parametrize("backend", [Serial(), Threads(2), Coroutines(2)], ids=repr)
def test_backends_whose_lanes_see_everything_use_it_again(backend):
    a, places = np.ones(SIZE), set()
    with backend.open() as pool:
        for k in range(12):
            value = pool.run(triad, a, a, float(k), variant="nogil").value
            assert (value == 1 + k).all()
            places.add(address(value))
    assert len(places) < 12  # a lane that comes late holds its own until it has come


def test_a_result_begins_where_its_operands_do_in_a_line():
    room = np.empty(SIZE + 8)
    for begin in range(8):
        a = room[begin : begin + SIZE]
        assert address(triad.nogil(a, a, 1.0)) % 64 == address(a) % 64
    assert address(recycled.empty((SIZE,))) % 64 == 0
    odd = np.frombuffer(bytes(8 * SIZE + 1), np.uint8)[1:]
    assert address(recycled.empty((SIZE,), beside=odd[address(odd) % 2 :])) % 8 == 0


def chain(array):
    """The array, and everything behind it that Python shows."""
    found, link = [], array
    while link is not None:
        found.append(link)
        link = link.obj if isinstance(link, memoryview) else getattr(link, "base", None)
    return found


HOLDS = {
    "the array": lambda v: v,
    "a slice": lambda v: v[5:7],
    "a number's view": lambda v: v[11:12].reshape(()),
    "backwards": lambda v: v[::-3],
    "another dtype": lambda v: v.view(np.uint8)[3:],
    "a matrix": lambda v: v.reshape(2, -1).T.view(np.matrix),
    "as_strided": lambda v: np.lib.stride_tricks.as_strided(v, (3, 2), (8, 16)),
    "a window": lambda v: np.lib.stride_tricks.sliding_window_view(v, 5),
    "memoryview": memoryview,
    "a part of a memoryview": lambda v: memoryview(v).cast("B")[8:80],
    "frombuffer": lambda v: np.frombuffer(memoryview(v)[3:9], np.float64),
    "PickleBuffer": lambda v: pickle.PickleBuffer(v),
    "out of band": lambda v: pickle.loads(*_out_of_band(v)),
    "ctypes": lambda v: (ctypes.c_char * 100).from_buffer(v),
    "as_ctypes": np.ctypeslib.as_ctypes,
    "data_as": lambda v: v.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    "dlpack": lambda v: np.from_dlpack(v),
    "flat": lambda v: v.flat,
    "nditer": lambda v: np.nditer(v),
    "a frame": lambda v: (x for x in (v,)),
    "an error": lambda v: _error_over(v),
}


def _out_of_band(array):
    buffers = []
    return pickle.dumps(array, protocol=5, buffer_callback=buffers.append), iter(()), buffers


HOLDS["out of band"] = lambda v: (lambda data, _, buffers: pickle.loads(data, buffers=buffers))(*_out_of_band(v))


def _error_over(array):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        return error


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_what_can_still_be_reached_is_not_used_again(hold):
    value = result(7.0)
    place, held = address(value), hold(value)
    del value
    others = many(1.0)
    assert all(address(other) != place for other in others)
    del held
    gc.collect()
    del others
    assert recycled.unused() >= 7 * SIZE * 8


def test_nothing_behind_an_array_leads_to_memory_that_is_used_again():
    for step in itertools.count():
        value = result(7.0)
        links = chain(value)
        if step == len(links):
            break
        link = links[step]
        del value, links
        others = many(1.0)
        try:
            seen = np.frombuffer(link, np.float64)
        except (TypeError, ValueError):
            seen = np.asarray(link) if hasattr(link, "__array_interface__") else np.array(7.0)
        assert (seen == 7).all() or not any(np.shares_memory(seen, other) for other in others)
        assert not hasattr(link, "__array_interface__") or isinstance(link, np.ndarray)
        del others
    assert step >= 3


class Keeper:
    """An object of a cycle whose finalizer saves what it held."""

    saved = []  # noqa: RUF012  # the same for all of them

    def __init__(self, held):
        self.held, self.itself = held, self

    def __del__(self):
        self.saved.append(self.held)


@pytest.mark.parametrize("held", [lambda v: v, lambda v: v.base, memoryview, lambda v: memoryview(v).obj])
def test_a_finalizer_that_saves_a_result_saves_it(held):
    value = result(7.0)
    Keeper(held(value))
    del value
    gc.collect()
    others = many(1.0)
    saved = np.asarray(Keeper.saved.pop()).view(np.float64)
    assert (saved[8:SIZE] == 7).all()  # it may begin a few numbers before the result
    del others


def test_threads_get_memory_of_their_own():
    """Each holds a few results, drops them at random, and finds in each what it computed."""

    def work(seed):
        rng, held = np.random.default_rng(seed), []
        for step in range(60):
            size = int(rng.integers(140_000, 160_000))
            k = float(seed * 1000 + step)
            held.append((k, result(k, size)[:: int(rng.integers(1, 5))]))
            if len(held) > 3:
                k, value = held.pop(int(rng.integers(len(held))))
                assert (value == k).all()
        return all((value == k).all() for k, value in held)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(8)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_keeps_what_it_saw_and_no_more_is_kept_for_it(warm_python):
    told = warm_python.run(FORKING)
    assert told.split() == ["7.0", "True", "0", "0", "True"]


FORKING = """
import os
import numpy as np
from kernels import triad
from kernels.definition import recycled
from kernels.vectors import memory

def result(k):
    return triad.python(np.full((1, 140_000), k), np.zeros((1, 1)), 1.0)

value, dropped = result(7.0), result(1.0)
del dropped
assert recycled.unused()
ask, answer = os.pipe(), os.pipe()
child = os.fork()
if not child:
    os.read(ask[0], 1)
    mine = [result(5.0) for _ in range(4)]  # in the child, too, nothing that was lent before is
    fine = value.ctypes.data not in [one.ctypes.data for one in mine]
    os.write(answer[1], f"{value.min()} {fine}".encode())
    os._exit(0)
before = recycled.unused()
del value
after = recycled.unused()
others = [result(3.0) for _ in range(4)]
os.write(ask[1], b"x")
print(os.read(answer[0], 100).decode(), before, after)
os.waitpid(child, 0)
again = others.pop().ctypes.data
print(result(2.0).ctypes.data == again)  # what was made after the fork is used again
"""


def test_no_thread_of_it_is_there_when_a_program_forks(warm_python):
    """Python 3.12 warns where a process of several threads forks, and `start="fork"` refuses it."""
    assert warm_python.run(QUIET_FORK).split() == ["1", "1.0", "1.0"]


QUIET_FORK = """
import os, threading, warnings
warnings.simplefilter("error")
import numpy as np
from compute import Processes
from kernels import triad

a = np.ones((1, 140_000))
value = triad.python(a, a, 0.0)
print(threading.active_count())
child = os.fork()
if not child:
    os._exit(0 if triad.python(a, a, 0.0).max() == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
print(value.max())
with Processes(1, start="fork").open() as pool:
    print(pool.run(triad, a, a, 0.0, variant="python").value.max())
"""


def test_what_lives_until_the_very_end_stays_valid(warm_python):
    assert warm_python.run(AT_THE_END, to_the_end=True).split() == ["3.0", "3.0"]


AT_THE_END = """
import atexit, builtins, sys
import numpy as np
from kernels import triad

class Late:
    def __init__(self, value): self.value = value
    def __del__(self, show=print): show(self.value.item(-1), flush=True)

a = np.ones((1, 140_000))
late = Late(triad.python(a, a, 2.0))
builtins.later = Late(triad.python(a, a, 2.0))
"""


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    clock.now = time.monotonic()
    monkeypatch.setattr(recycled, "clock", clock)
    return clock


def test_unused_memory_is_freed_after_a_minute(clock):
    result()
    assert recycled.unused() >= SIZE * 8
    clock.now += 59
    assert recycled.unused() >= SIZE * 8
    clock.now += 2
    assert recycled.unused() == 0


def test_unused_memory_is_bounded_by_what_the_system_could_still_give(clock, monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda: 1 << 40)
    clock.now += 10
    many(1.0, 2 * recycled.MOST)
    assert recycled.unused() <= recycled.MOST * (SIZE * 8 + 2**16)
    assert recycled.unused() >= recycled.MOST * SIZE * 8
    monkeypatch.setattr(memory, "memory_available", lambda: recycled.SHARE * 3 * (SIZE * 8 + 2**16))
    clock.now += 10
    assert 0 < recycled.unused() <= 3 * (SIZE * 8 + 2**16)
    monkeypatch.setattr(memory, "memory_available", lambda: 0)
    clock.now += 10
    assert recycled.unused() == 0


def test_what_is_not_in_use_makes_room_before_memory_is_refused(monkeypatch):
    result(), result(size=SIZE * 8)
    assert recycled.unused()
    free = iter([10_000_000, 10**12])  # what is free before, and after

    monkeypatch.setattr(memory, "memory_available", lambda: next(free, 10**12))
    with Threads(1).open() as pool:
        assert pool.run(triad, np.ones(SIZE * 20), np.ones(SIZE * 20), 1.0).value[-1] == 2
    assert next(free, None) is None


def test_it_is_freed_also_where_nothing_more_is_called(monkeypatch):
    monkeypatch.setattr(recycled, "PACE", 0.01)
    monkeypatch.setattr(recycled, "LIFETIME", 0.05)
    of, until = recycled.Recycling(), time.monotonic() + PATIENCE  # of its own: arrays of other tests may live on
    of.empty(SIZE * 8)
    assert of._watch is not None
    while of._watch is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert (of._lent, of._unused, of._watch) == ({}, [], None)


def test_the_environment_switches_it_off(monkeypatch):
    monkeypatch.setenv("NFOLD_RECYCLE", "0")
    result()
    assert recycled.unused() == 0
    assert not recycled._recycling._lent


def test_small_results_are_left_to_malloc():
    recycled.empty((recycled.LEAST // 8 - 1,))
    assert recycled.unused() == 0


def test_more_than_can_be_mapped_is_numpys_own_error():
    with pytest.raises((MemoryError, ValueError)):
        recycled.empty((2**62,), np.uint8)


# On processes: segments.


def test_a_shared_result_is_not_used_again_by_way_of_what_is_behind_it():
    values = np.arange(300_000.0)
    with Processes(1).open() as pool:
        for step in range(1, 4):
            value = pool.run(squares, values).value
            links = chain(value)
            link = links[min(step, len(links) - 1)]
            del value, links
            for k in range(1, 4):
                pool.run(squares, values + k)
            np.testing.assert_array_equal(np.frombuffer(link, np.float64)[: values.size], values**2)
            del link


def answered(pool):
    """Wait until no worker owes an answer: until then it has the segments of its run."""
    until = time.monotonic() + PATIENCE
    while pool._owing() and time.monotonic() < until:
        time.sleep(0.01)


def test_segments_that_wait_are_freed_after_a_minute_too(clock):
    with Processes(1).open() as pool:
        pool.run(squares, np.ones(300_000))
        answered(pool)
        assert pool.arena.give_back(clock.now - recycled.LIFETIME, 10**9)
        assert any(len(segment) > 2**20 for segment in pool.arena._idle)
        clock.now += 61
        assert not pool.arena.give_back(clock.now - recycled.LIFETIME, 10**9)
        assert not pool.arena._idle
        pool.run(squares, np.ones(300_000))
        answered(pool)
        assert not pool.arena.give_back(clock.now - recycled.LIFETIME, 0)


def test_the_thread_looks_after_segments(monkeypatch):
    monkeypatch.setattr(recycled, "PACE", 0.01)
    monkeypatch.setattr(recycled, "LIFETIME", 0.05)
    with Processes(1).open() as pool:
        pool.run(squares, np.ones(300_000))
        until = time.monotonic() + PATIENCE
        while pool.arena._idle and time.monotonic() < until:
            time.sleep(0.01)
        assert not pool.arena._idle
        assert pool.run(squares, np.ones(300_000)).value[-1] == 1


def test_nothing_of_it_is_a_thread_that_a_program_sees():
    result()
    assert all("recycled" not in str(thread) for thread in threading.enumerate())

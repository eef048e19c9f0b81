"""Atomic words: no add is lost between threads or processes, and a store is seen after what came before it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numba import njit

from compute import Processes, Threads
from kernels import Plan, kernel
from kernels.vectors import atomics

LANES, ADDS = 4, 50_000


@njit(nogil=True)
def add_many(words, index, times, value):
    """Each answer must be one that nobody else got: sum them, to tell."""
    seen = 0
    for _ in range(times):
        seen += atomics.fetch_add(words, index, value)
    return seen


def test_fetch_add_gives_what_was_there_before():
    words = np.zeros(4, np.int64)
    assert [add_many(words, 2, 1, step) for step in (5, -2, 0)] == [0, 5, 3]
    assert words.tolist() == [0, 0, 3, 0]


def test_four_threads_on_one_counter_lose_nothing():
    words, seen = np.zeros(8, np.int64), []
    threads = [threading.Thread(target=lambda: seen.append(add_many(words, 3, ADDS, 1))) for _ in range(LANES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = LANES * ADDS
    assert words.tolist() == [0, 0, 0, total, 0, 0, 0, 0]
    assert sum(seen) == total * (total - 1) // 2  # every number from 0 to total - 1 was answered once


def _one_counter(times):
    from compute import shared

    words = shared.empty(16, np.int64)
    words[:] = 0
    counters.append(words)
    return Plan(LANES, (words, times), dtype=np.int64, grain=1)


def _adds(lo, hi, out, words, times):
    atomics.fetch_add(words, 1, 1)
    while atomics.load(words, 1) < LANES:  # all four at once
        pass
    out[lo] = 0
    for _ in range(times):
        out[lo] += atomics.fetch_add(words, 0, 1)


counters: list = []


@kernel(plan=_one_counter, compiled=False)
def adds(lo, hi, out, words, times):
    raise NotImplementedError


adds.add_variant("nogil", _adds, compiled=True)


@pytest.mark.parametrize("backend", [Processes(LANES), Threads(LANES)], ids=repr)
def test_four_lanes_on_one_counter_lose_nothing(backend):
    with backend.open() as pool:
        seen = pool.run(adds, ADDS).value
    total = LANES * ADDS
    assert counters.pop()[:2].tolist() == [total, LANES]
    assert seen.sum() == total * (total - 1) // 2


@njit(nogil=True)
def publish(words, rounds):
    for k in range(1, rounds + 1):
        words[0] = k
        atomics.store(words, 16, k)
        while atomics.load(words, 32) != k:
            atomics.pause()


@njit(nogil=True)
def consume(words, rounds):
    wrong = 0
    for k in range(1, rounds + 1):
        while atomics.load(words, 16) != k:
            atomics.pause()
        wrong += words[0] != k
        atomics.store(words, 32, k)
    return wrong


def test_what_was_stored_before_a_release_is_there_after_its_acquire():
    words, rounds = np.zeros(48, np.int64), 2000
    consume(words[:0], 0), publish(words[:0], 0)  # compile both, so that neither waits for the other's compiler
    publisher = threading.Thread(target=publish, args=(words, rounds))
    publisher.start()
    assert consume(words, rounds) == 0
    publisher.join()


def test_the_clocks_are_pythons():
    @njit
    def clocks():
        return atomics.monotonic_ns(), atomics.thread_cpu_ns()

    clocks()
    before = time.perf_counter_ns(), time.thread_time_ns()
    found = clocks()
    after = time.perf_counter_ns(), time.thread_time_ns()
    for low, middle, high in zip(before, found, after, strict=True):
        assert low <= middle <= high


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros(3, np.int32), np.zeros((2, 2), np.int64), [1, 2]])
def test_other_arrays_are_refused_when_compiled(bad):
    import warnings

    from numba.core.errors import NumbaPendingDeprecationWarning, TypingError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPendingDeprecationWarning)
        with pytest.raises(TypingError):
            add_many(bad, 0, 1, 1)

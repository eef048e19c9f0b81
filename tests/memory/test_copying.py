"""Large arrays copied by several threads: the same bytes as one copy, and nothing kept by a thread that is late."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from compute.memory import copying
from compute.memory.arena import Arena
from compute.memory.copying import copy_into


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(copying, "PART", 1 << 10)
    monkeypatch.setattr(copying, "LEAST", 1 << 12)


def numbers(*shape, dtype=np.float64):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize("lanes", [1, 2, 7])
@pytest.mark.parametrize("shape", [(9999,), (7, 3000), (3000, 7), (1, 1, 5000), (20, 30, 40), (5000, 0)])
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a.T, lambda a: a[::-1], lambda a: a[..., ::2]])
def test_every_element_is_copied(lanes, shape, view):
    source = view(numbers(*shape))
    target = np.full(source.shape, -1.0)
    copy_into(target, source, lanes)
    np.testing.assert_array_equal(target, source)
    placed = Arena("shared").copy(source, lanes)
    np.testing.assert_array_equal(placed, source, strict=True)


@pytest.mark.parametrize("dtype", ["i1", "c16", "S5", "M8[ns]", [("x", "f4"), ("y", "S3")]])
def test_of_any_dtype(dtype):
    source = np.frombuffer(np.random.default_rng(0).bytes(np.dtype(dtype).itemsize * 4000), dtype)
    target = np.zeros(4000, dtype)
    copy_into(target, source, 3)
    assert target.tobytes() == source.tobytes()


@pytest.mark.parametrize("starts", ["never", "late", "refused"])
def test_threads_that_do_not_come_are_not_waited_for(monkeypatch, starts):
    late = []

    def start(work, args):
        if starts == "refused":
            raise RuntimeError("can't start new thread")
        late.append((work, args))
        return 0

    monkeypatch.setattr(copying, "start_new_thread", start)
    source, target = numbers(5000), np.zeros(5000)
    copy_into(target, source, 3)
    np.testing.assert_array_equal(target, source)
    assert len(late) == (0 if starts == "refused" else 2)
    ended = weakref.ref(target)
    del target
    gc.collect()
    assert ended() is None, "a thread that is late keeps what was copied"
    for work, args in late if starts == "late" else ():
        assert work(*args) == 0


def test_several_threads_take_part(monkeypatch):
    started, begin = [], copying.start_new_thread

    def start(work, args):
        started.append(args)
        return begin(work, args)

    monkeypatch.setattr(copying, "start_new_thread", start)
    Arena("shared").place(numbers(5000), 3)
    assert len(started) == 2

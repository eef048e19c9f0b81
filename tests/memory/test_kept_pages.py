"""Pages that stay for a whole measurement: the same for every run, whatever ran in between, and gone afterwards."""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path

import numpy as np
import pytest

from compute import Processes, Serial, Threads, machine
from compute.memory.arena import SPOILT, Arena, kept_pages
from compute.memory.segments import segment_of
from kernels import Plan, kernel

MANY = 2**20 // 8 * 6  # float64: 6 MB, 1,536 pages


@kernel(plan=lambda n, value: Plan(n, (value,)))
def filled(lo, hi, out, value):
    for i in range(lo, hi):
        out[i] = value


def at(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("kind", ["heap", "shared", "mapped"])
def test_arenas_of_a_kind_lend_the_same_pages_again_whatever_was_lent_in_between(kind):
    one, other = Arena(kind), Arena(kind)
    with kept_pages([one, other]):
        first = one.empty(MANY)
        where = at(first)
        del first
        for size in (MANY // 2, MANY - 512, 2 * MANY):
            array = one.empty(size)
            assert at(array) != where
            del array
            for _ in range(9):
                one.forget_idle()
        assert at(other.empty((2, MANY // 2))) == where
    assert (one.source, other.source) == (None, None)


@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_what_somebody_holds_is_not_lent_and_outlives_it_all(kind):
    arena = Arena(kind)
    with kept_pages([arena]):
        held = arena.empty(MANY)
        held[:] = 7.0
        part = held[5:10]
        del held
        assert at(arena.empty(MANY)) != at(part) - 40
    gc.collect()
    assert part.tolist() == [7.0] * 5


def test_kinds_keep_to_themselves():
    heap, shared = Arena("heap"), Arena("shared")
    with kept_pages([heap, shared]) as sources:
        assert [source.kind for source in sources] == ["heap", "shared"]
        assert segment_of(heap.empty(MANY)) is None
        assert segment_of(shared.empty(MANY)) is not None


@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_what_is_kept_can_be_spoilt_and_what_is_lent_is_not(kind):
    arena = Arena(kind)
    with kept_pages([arena]) as (source,):
        arena.empty(MANY)[:] = 1.0
        lent = arena.empty(2 * MANY)
        lent[:] = 2.0
        source.spoil()
        assert (lent == 2.0).all()
        assert (arena.empty(MANY).view(np.uint8) == SPOILT).all()


@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_pages_that_are_drawn_again_are_others_and_what_is_lent_stays(kind):
    arena = Arena(kind)
    with kept_pages([arena]) as (source,):
        arena.empty(MANY)[:] = 1.0
        lent = arena.empty(2 * MANY)
        lent[:] = 2.0
        former = {segment.serial for segment in source._idle}
        source.redraw()
        assert not source._idle
        arena.empty(MANY)[:] = 3.0
        source.spoil()
        assert not former & {segment.serial for segment in source._idle}
        assert (lent == 2.0).all()


def test_what_is_kept_gives_way_where_memory_is_short(monkeypatch):
    arena = Arena("shared")
    with kept_pages([arena]) as (source,):
        arena.empty(MANY)[:] = 1.0
        monkeypatch.setattr(machine, "shared_memory_free", lambda *_: MANY * 8)
        arena.empty(MANY // 2)
        assert len(source._idle) == 1  # it fits beside
        arena.empty(MANY + 512)
        assert len(source._idle) == 0
        arena.empty(MANY)
        assert [len(segment) for segment in source._idle] == [(MANY + 512) * 8]


def shared_bytes():
    """Of this process: others' come and go meanwhile."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssShmem:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="shared memory elsewhere")
def test_nothing_of_it_is_left(no_leaks):
    arena = Arena("shared")
    before = shared_bytes()
    with kept_pages([arena]):
        for size in (MANY, 2 * MANY):
            arena.empty(size)[:] = 1.0
        assert shared_bytes() >= before + 3 * MANY * 8 - 2**20
    assert shared_bytes() <= before + 2**20


def faults(pool, *args):
    """Page faults that the lanes of one run take; its value is let go of."""
    with pool.observed():
        lanes = pool.run(filled, *args, variant="nogil").timeline.lanes
    pool.rest()
    return sum(lane.faults or 0 for lane in lanes)


@pytest.mark.parametrize("backend", [Serial(), Threads(2), Processes(1), Processes(2)], ids=repr)
def test_a_run_takes_no_page_faults_even_after_others_had_their_turn(backend):
    with backend.open() as pool, kept_pages([pool.arena]):
        for size in (MANY, MANY // 2):
            pool.warm(filled, size, 1.0, variant="nogil")
            faults(pool, size, 1.0)
        counted = [faults(pool, size, float(turn)) for turn in range(3) for size in (MANY // 2, MANY)]
    if backend.workers == 1:
        assert max(counted) < 40  # of 768 and 1,536 pages, and of some huge ones
    else:  # a lane that came late may have held pages for longer than anybody waits
        assert sorted(counted)[len(counted) // 2] < 40

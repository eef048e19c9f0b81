"""Arrays that show an element more than once, or backwards: placed once, and to numpy as they are in the caller."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from compute import shared
from compute.memory.arena import Arena
from compute.memory.segments import reference, segment_of
from kernels import Plan, kernel
from kernels.vectors import memory


@kernel(plan=lambda x: Plan(len(x), (x,)), compiled=False)
def rows_summed(lo, hi, out, x):
    """The sums of the rows of a matrix: with numpy their last bits depend on how a row lies in memory."""
    out[lo:hi] = x[lo:hi].sum(axis=1)


RANDOM = np.random.default_rng(5).random((50, 400))
SHOWN = {
    "a row repeated": (np.broadcast_to(RANDOM[3], (5000, 400)), 3200),
    "a column repeated": (np.broadcast_to(RANDOM[:, 7:8], (50, 9000)), 400),
    "a number repeated": (np.broadcast_to(np.float64(0.1), (2000, 2000)), 8),
    "a matrix repeated": (np.broadcast_to(RANDOM[:, None, ::-1], (50, 99, 400))[3], 3200),
    "backwards": (RANDOM[::-1, ::-1], 160_000),
    "windows": (sliding_window_view(RANDOM[0], 100), 3200),
    "windows, backwards": (sliding_window_view(RANDOM[0][::-1], 100), 3200),
    "overlapping rows": (as_strided(RANDOM[0], (40, 300), (8, 8)), 3200),
    "nothing": (np.broadcast_to(RANDOM[:0, :1], (0, 9)), 1),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_an_element_is_placed_once_however_often_an_array_shows_it(pool, segments, shown):
    array, size = SHOWN[shown]
    np.testing.assert_array_equal(pool.run(rows_summed, array).value, rows_summed(array))
    memory_of_one = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    assert max(segments, default=0) <= max(memory_of_one, 2**16)  # where the result and the control are larger


@pytest.mark.parametrize("kind", ["shared", "mapped"])
@pytest.mark.parametrize("shown", SHOWN)
def test_a_copy_has_the_strides_that_numpy_sums_by(shown, kind):
    array, size = SHOWN[shown]
    placed = Arena(kind).copy(array)
    assert len(segment_of(placed)) <= max(size, 1) + mmap.PAGESIZE
    np.testing.assert_array_equal(placed, array)
    np.testing.assert_array_equal(reference(placed).open({}), array)
    for axis in range(array.ndim if array.size else 0):
        repeats, backwards = array.strides[axis] == 0, array.strides[axis] < 0
        assert (placed.strides[axis] == 0, placed.strides[axis] < 0) == (repeats, backwards)


def test_what_is_shown_far_more_often_than_it_is_there_needs_no_memory_for_it(pool, monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda: 2**24 + 1)
    array = np.broadcast_to(np.arange(1000.0), (250_000, 1000))  # 2 GB by its shape, 8 kB in memory
    assert pool.run(corner, array).value.tolist() == [0.0, 999.0]


@kernel(plan=lambda x: Plan(2, (x,)))
def corner(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[-i, -i]


def test_windows_over_shared_memory_are_seen_where_they_lie(segments):
    windows = sliding_window_view(shared.array(RANDOM[0]), 9)
    segments.clear()
    assert Arena("shared").place(windows) is windows
    assert segments == []


def test_an_input_that_runs_backwards_can_be_written_to(pool):
    values = np.arange(12.0)
    pool.run(counted_up, values[::-1])
    assert values.tolist() == [value + 1 for value in range(12)]


@kernel(inout=("x",), compiled=False)
def counted_up(lo, hi, out, x):
    x[lo:hi] += 1
    out[lo:hi] = 0

"""Blocks moved through registers, in a compiled function, against numpy."""

import numpy as np
import pytest

from kernels.compilation.compiler import compiled
from kernels.vectors.blocks import (
    LANES,
    and_bytes_at,
    copy_row,
    flush_stream,
    load_each,
    load_u_at,
    opaque,
    prefetch,
    store_u_at,
    stream_at,
    transpose_block,
)
from kernels.vectors.caches import empty
from kernels.vectors.operations import reduce_sum


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 8, 24])
def test_transpose_block_of_any_rows(rows):
    @compiled
    def turn(source, target):
        transpose_block(source.ctypes.data, source.shape[1], target.ctypes.data, target.shape[1], rows, False)

    source, target = np.random.default_rng(0).random((rows, LANES + 3)), np.full((LANES, rows + 2), np.nan)
    turn(source, target)
    np.testing.assert_array_equal(target[:, :rows], source[:, :LANES].T)
    assert np.isnan(target[:, rows:]).all()


@pytest.mark.parametrize("count", [1, 2, 6, 8, 24, 31])
def test_copy_row_moves_that_many_and_no_more(count):
    @compiled
    def move(source, target):
        copy_row(source.ctypes.data, target.ctypes.data, count)

    source, target = np.arange(40.0), np.full(40, np.nan)
    move(source, target)
    np.testing.assert_array_equal(target[:count], source[:count])
    assert np.isnan(target[count:]).all()


@compiled
def _through_registers(source, target, past):
    prefetch(source.ctypes.data)
    vector = load_u_at(source.ctypes.data, LANES)
    if past:
        stream_at(target.ctypes.data, vector + vector)
        flush_stream()
    else:
        store_u_at(target.ctypes.data, vector + vector)
    return reduce_sum(vector)


@pytest.mark.parametrize("past", [False, True])
def test_load_store_and_sum(past):
    source, room = np.arange(1.0, LANES + 1), np.zeros(3 * LANES)
    target = room[-(room.ctypes.data // 8) % LANES :]
    assert _through_registers(source, target, past) == LANES * (LANES + 1) / 2
    np.testing.assert_array_equal(target[:LANES], 2 * source)
    assert room.sum() == 2 * source.sum()


@pytest.mark.parametrize("shape", [(), 0, 1, 1000, (0, 3), (30, 41)])
def test_an_empty_array_begins_with_a_cache_line(shape):
    array = empty(shape, np.float32)
    assert array.shape == np.empty(shape).shape
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % 64 == 0


MASKS = tuple(np.uint8(mask) for mask in (1, 2, 255, 0xF0))


@pytest.mark.parametrize("of_a_tuple", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_and_bytes_at_distances(of_a_tuple, dtype):
    @compiled
    def clear(target, table):
        if of_a_tuple:
            and_bytes_at(np.uint64(target.ctypes.data), load_each(table, 1, 4), MASKS)
        else:
            and_bytes_at(np.uint64(target.ctypes.data), table[1:], MASKS)

    table = np.array([9, 40_000, 5, 7, 5, 9], dtype)
    target = np.full(40_001, 0b1011_0011, np.uint8)
    clear(target, table)
    right = np.full(40_001, 0b1011_0011, np.uint8)
    right[40_000], right[5], right[7] = 1, 2 & 0xF0, 0b1011_0011
    assert target.tolist() == right.tolist()


def test_opaque_is_its_argument():
    @compiled
    def add(x, y):
        return opaque(x + y)

    assert add(np.uint64(2**63), np.uint64(5)) == 2**63 + 5
    assert add(-3, 1) == -2

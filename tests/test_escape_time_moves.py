"""Lanes that come and go: packed in order, counted where they are wanted."""

import numpy as np
import pytest

pytest.importorskip("numba")

from kernels.compilation.compiler import compiled
from kernels.escape_time.moves import as_int32, count_where, leading, pack
from kernels.vectors.operations import bits, broadcast, load, store


def packing(lanes):
    def body(out, a, threshold):
        end = 1
        for i in range(0, len(a), lanes):
            x = load(a, i, lanes)
            end = pack(out, end, x > threshold, x)
        return end

    return body


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_wanted_lanes_stand_one_behind_the_other(lanes, dtype):
    a = np.random.default_rng(lanes).permutation(96).astype(dtype)
    for threshold in (-1, 10, 48, 90, 96):
        out = np.zeros(1 + 96 + lanes, dtype)
        end = compiled(packing(lanes))(out, a, dtype(threshold))
        assert out[1:end].tolist() == a[a > threshold].tolist()
        assert out[0] == 0


def test_every_mask_of_eight_lanes():
    def body(out, mask, a):
        return pack(out, 0, load(mask, 0, 8) != 0.0, load(a, 0, 8))

    run, a = compiled(body), np.arange(1.0, 9.0)
    for number in range(256):
        mask = np.array([number >> lane & 1 for lane in range(8)], float)
        out = np.zeros(16)
        assert run(out, mask, a) == mask.sum()
        assert out[: int(mask.sum())].tolist() == a[mask == 1].tolist()


def test_leading_lanes():
    def body(count):
        return bits(leading(count, 5))

    assert [compiled(body)(count) for count in (-3, 0, 2, 5, 2**40)] == [0, 0, 0b11, 0b11111, 0b11111]


def test_counts_where_and_as_int32():
    def body(out, a):
        x = load(a, 0, 4)
        count = broadcast(7, 4)
        for _ in range(3):
            count = count_where(count, x > 0.0)
        store(out, 0, as_int32(count))

    out = np.zeros(4, np.int32)
    compiled(body)(out, np.array([1.0, -1.0, np.nan, 5.0]))
    assert out.tolist() == [10, 7, 7, 10]

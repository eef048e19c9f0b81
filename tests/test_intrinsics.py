"""Vector lanes: every operation gives, lane for lane and bit for bit, what numpy gives."""

import numpy as np
import pytest

pytest.importorskip("numba")

from kernels.compilation.compiler import compiled
from kernels.vectors.operations import (
    bit_count,
    bits,
    broadcast,
    fma,
    load,
    ramp,
    select,
    store,
)
from kernels.vectors.target import vector_registers, vector_width

WIDTHS = [1, 2, 3, 4, 8, 16, 32, 64]

# Each is one line of a body, and the same line in numpy.
A = np.array(
    [0.0, -0.0, 1.5, -2.25, 1e308, -1e308, np.inf, -np.inf, np.nan, 5e-324, 1 / 3, 2.0**53, 7.0, 1e-9, 3.0, -1.0]
)
A = np.concatenate([A, np.random.default_rng(1).normal(size=48)])
B = np.concatenate([A[5:], A[:5]])


# ---------------------------------------------------------------- vectors


def arithmetic(lanes):
    def body(out, a, b):
        for i in range(0, len(a) - lanes + 1, lanes):
            x, y = load(a, i, lanes), load(b, i, lanes)
            s = x * y - 3.0
            s += 2.0 * x
            store(out, i, s / y)

    return body


def masking(lanes):
    def body(out, a, b):
        found = 0
        for i in range(0, len(a) - lanes + 1, lanes):
            x, y = load(a, i, lanes), load(b, i, lanes)
            chosen = ((x < y) & ~(x == y)) | (x != x)
            found += bit_count(bits(chosen))
            store(out, i, select(chosen, x, broadcast(9.0, lanes) + ramp(lanes)))
        return found

    return body


@pytest.mark.parametrize("lanes", WIDTHS)
def test_arithmetic_rounds_as_numpy_does(lanes):
    out = np.full(len(A), 7.0)
    compiled(arithmetic(lanes))(out, A, B)
    done = len(A) // lanes * lanes
    with np.errstate(all="ignore"):
        expected = ((A * B - 3.0) + 2.0 * A) / B
    assert np.array_equal(out[:done], expected[:done], equal_nan=True)
    assert (out[done:] == 7.0).all()  # nothing beyond the last whole vector


@pytest.mark.parametrize("lanes", WIDTHS)
def test_masks_select_and_count(lanes):
    out = np.zeros(len(A))
    found = compiled(masking(lanes))(out, A, B)
    done = len(A) // lanes * lanes
    chosen = ((A < B) | np.isnan(A))[:done]
    expected = np.where(chosen, A[:done], 9.0 + np.arange(done) % lanes)
    assert found == chosen.sum()
    assert np.array_equal(out[:done], expected, equal_nan=True)


def test_bits_are_in_lane_order():
    def body(a):
        return bits(load(a, 0, 5) > broadcast(0.0, 5))

    assert compiled(body)(np.array([1.0, -1, -1, 1, 1])) == 0b11001


def test_fma_rounds_once():
    def body(out, a):
        x = load(a, 0, 2)
        store(out, 0, fma(x, x, -1.0))

    out = np.empty(2)
    compiled(body)(out, np.array([1 + 2.0**-30, 2.0]))
    assert out.tolist() == [2.0**-29 + 2.0**-60, 3.0]  # rounded twice, the first would be 2^-29


def test_any_address_and_any_rank():
    def body(out, a):
        store(out, 1, load(a, 3, 4))

    a = np.arange(12.0).reshape(3, 4)
    out = np.zeros((2, 3))
    compiled(body)(out, a)
    assert out.ravel().tolist() == [0, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_other_dtypes(dtype):
    def body(out, a):
        store(out, 0, load(a, 0, 4) * load(a, 4, 4) + load(a, 8, 4))

    a = np.arange(12, dtype=dtype)
    out = np.zeros(4, dtype)
    compiled(body)(out, a)
    assert np.array_equal(out, a[:4] * a[4:8] + a[8:])


def test_what_does_not_fit_is_refused():
    from numba.core.errors import TypingError

    def strided(a):
        return bits(load(a, 0, 2) == load(a, 0, 2))

    def mixed(a):
        return bits(load(a, 0, 2) == load(a, 0, 4))

    def varying(a, lanes):
        return bits(load(a, 0, lanes) == load(a, 0, lanes))

    with pytest.raises(TypingError, match="contiguous"):
        compiled(strided)(np.zeros(8)[::2])
    with pytest.raises(TypingError, match="eq"):
        compiled(mixed)(np.zeros(8))
    with pytest.raises(TypingError, match="lanes must be a constant"):
        compiled(varying)(np.zeros(8), 4)


def test_the_machine_has_a_width():
    assert vector_width(np.float64) in (2, 4, 8)
    assert vector_width(np.float32) == 2 * vector_width(np.float64)
    assert vector_registers() in (16, 32)

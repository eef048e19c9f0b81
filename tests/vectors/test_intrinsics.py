"""Vector lanes: every operation gives, lane for lane and bit for bit, what numpy gives."""

import numpy as np
import pytest

pytest.importorskip("numba")

from kernels.compilation.compiler import compiled
from kernels.vectors.operations import (
    all_false,
    all_true,
    bit_cast_u64,
    count_true,
    first_n,
    gather_index,
    if_then_else,
    iota,
    load_u,
    min_,
    mul_add,
    population_count,
    promote_to,
    reduce_sum,
    set_,
    store_u,
    truncate_to,
    vec_from_mask,
)
from kernels.vectors.target import compress_instruction, has_fma, vector_registers, vector_width

WIDTHS = [1, 3, 4, 64, *(pytest.param(lanes, marks=pytest.mark.slow) for lanes in (2, 8, 16, 32))]

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
            x, y = load_u(a, i, lanes), load_u(b, i, lanes)
            s = x * y - 3.0
            s += 2.0 * x
            store_u(out, i, s / y)

    return body


def masking(lanes):
    def body(out, a, b):
        found = 0
        for i in range(0, len(a) - lanes + 1, lanes):
            x, y = load_u(a, i, lanes), load_u(b, i, lanes)
            chosen = ((x < y) & ~(x == y)) | (x != x)
            found += count_true(chosen)
            store_u(out, i, if_then_else(chosen, x, iota(9.0, lanes)))
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


@pytest.mark.parametrize("lanes", [1, 5, 8, 64])
def test_all_none_and_some_lanes_true(lanes):
    def body(a, threshold):
        mask = load_u(a, 0, lanes) > threshold
        return all_true(mask), all_false(mask), count_true(mask)

    run, a = compiled(body), np.arange(64.0)
    assert run(a, -1.0) == (True, False, lanes)
    assert run(a, 64.0) == (False, True, 0)
    assert run(a, 0.0) == (False, lanes == 1, lanes - 1)
    assert run(a, lanes - 1.5) == (lanes == 1, False, 1)


def test_the_first_n_lanes():
    def body(out, count):
        store_u(out, 0, vec_from_mask(first_n(count, 5)))

    for count, expected in ((-3, 0), (0, 0), (2, 2), (5, 5), (2**40, 5)):
        out = np.full(5, 9)
        compiled(body)(out, count)
        assert out.tolist() == [-1] * expected + [0] * (5 - expected)


def test_a_mask_as_a_vector_counts_lanes():
    def body(out, a):
        count = set_(7, 4)
        for _ in range(3):
            count = count - vec_from_mask(load_u(a, 0, 4) > 0.0)
        store_u(out, 0, truncate_to(out, count))

    for dtype in (np.int32, np.int64):
        out = np.zeros(4, dtype)
        compiled(body)(out, np.array([1.0, -1.0, np.nan, 5.0]))
        assert out.tolist() == [10, 7, 7, 10]


def test_mul_add_rounds_once_where_the_machine_does():
    def body(out, a):
        x = load_u(a, 0, 2)
        store_u(out, 0, mul_add(x, x, -1.0))

    out = np.empty(2)
    compiled(body)(out, np.array([1 + 2.0**-30, 2.0]))
    assert out.tolist() == [2.0**-29 + (2.0**-60 if has_fma() else 0.0), 3.0]


def test_mul_add_is_for_floats():
    from numba.core.errors import TypingError

    def body(a):
        return reduce_sum(mul_add(load_u(a, 0, 4), load_u(a, 0, 4), 1))

    with pytest.raises(TypingError, match="floats"):
        compiled(body)(np.arange(4))


@pytest.mark.parametrize("lanes", [1, 2, 8, 32])
def test_sums_of_lanes(lanes):
    def body(a):
        return reduce_sum(load_u(a, 0, lanes))

    whole = np.arange(5, 5 + lanes)
    assert compiled(body)(whole) == whole.sum()
    assert compiled(body)(whole.astype(np.float64)) == whole.sum()


def test_a_sum_of_floats_adds_halves_to_halves():
    def body(a):
        return reduce_sum(load_u(a, 0, 4))

    # From left to right it would be 0: 1 is lost beside 1e16.
    assert compiled(body)(np.array([1.0, 1e16, 1.0, -1e16])) == 2.0


def test_bits_are_counted_in_each_lane():
    def body(out, a):
        store_u(out, 0, population_count(bit_cast_u64(load_u(a, 0, 16))))

    a = np.random.default_rng(2).integers(0, 256, 16).astype(np.uint8)
    out = np.zeros(2, np.uint64)
    compiled(body)(out, a)
    assert out.tolist() == [sum(int(x).bit_count() for x in half) for half in (a[:8], a[8:])]


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_integers_of_another_width(dtype):
    def body(out, narrow, wide):
        store_u(out, 0, min_(promote_to(out, load_u(narrow, 0, 4)), truncate_to(out, load_u(wide, 0, 4))))

    narrow, wide = np.array([0, 200, 7, 255], np.uint8), np.array([9, 100, 2**40 + 3, 300], np.uint64)
    out = np.zeros(4, dtype)
    compiled(body)(out, narrow, wide)
    assert out.tolist() == np.minimum(narrow.astype(dtype), wide.astype(dtype)).tolist()


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64, np.int64, np.int32])
def test_shifts(dtype):
    def body(out, a, b):
        store_u(out, 0, load_u(a, 0, 4) << b[0])
        store_u(out, 4, load_u(a, 0, 4) >> load_u(b, 0, 4))

    bits = np.dtype(dtype).itemsize * 8
    a, b = np.array([1, 77, 2 ** (bits - 1) - 3, 5], dtype), np.array([1, 3, 0, bits - 1], dtype)
    a[3] = np.invert(a[3])  # negative, or large
    out = np.zeros(8, dtype)
    compiled(body)(out, a, b)
    assert out.tolist() == [*(a << b[0]), *(a >> b)]


def test_unsigned_integers_are_compared_and_divided_as_such():
    def body(out, a, b):
        x, y = load_u(a, 0, 4), load_u(b, 0, 4)
        store_u(out, 0, if_then_else(x < y, x, x / y))

    a, b = np.array([2**63 + 9, 3, 2**64 - 1, 5], np.uint64), np.array([7, 2**63, 2**64 - 2, 2**64 - 1], np.uint64)
    out = np.zeros(4, np.uint64)
    compiled(body)(out, a, b)
    assert out.tolist() == np.where(a < b, a, a // b).tolist()


def test_floats_are_not_shifted():
    from numba.core.errors import TypingError

    def body(out, a):
        store_u(out, 0, load_u(a, 0, 4) >> 1.0)

    with pytest.raises(TypingError, match="rshift"):
        compiled(body)(np.zeros(4), np.zeros(4))


def test_unsigned_integers_as_floats():
    def body(out, a):
        store_u(out, 0, promote_to(out, load_u(a, 0, 4)))

    a, out = np.array([0, 1, 2**31, 2**32 - 1], np.uint32), np.zeros(4)
    compiled(body)(out, a)
    assert out.tolist() == a.tolist()


@pytest.mark.parametrize("index", [np.uint64, np.uint8])
@pytest.mark.parametrize("dtype", [np.float64, np.uint32])
def test_elements_at_indices(dtype, index):
    def body(out, a, at):
        store_u(out, 0, gather_index(a, load_u(at, 0, 8)))

    a, at, out = np.arange(250).astype(dtype) * 3, np.array([200, 0, 249, 7, 7, 1, 128, 127], index), np.zeros(8, dtype)
    compiled(body)(out, a, at)
    assert out.tolist() == a[at].tolist()


def test_signed_indices_are_refused():
    from numba.core.errors import TypingError

    def body(out, a, at):
        store_u(out, 0, gather_index(a, load_u(at, 0, 4)))

    with pytest.raises(TypingError, match="unsigned"):
        compiled(body)(np.zeros(4), np.zeros(4), np.zeros(4, np.int64))


def test_a_promotion_does_not_narrow_and_a_truncation_does_not_widen():
    from numba.core.errors import TypingError

    def promotes(out, a):
        store_u(out, 0, promote_to(out, load_u(a, 0, 4)))

    def truncates(out, a):
        store_u(out, 0, truncate_to(out, load_u(a, 0, 4)))

    with pytest.raises(TypingError, match="narrower"):
        compiled(promotes)(np.zeros(4, np.uint8), np.zeros(4, np.uint64))
    with pytest.raises(TypingError, match="wider"):
        compiled(truncates)(np.zeros(4, np.uint64), np.zeros(4, np.uint8))


def test_any_address_and_any_rank():
    def body(out, a):
        store_u(out, 1, load_u(a, 3, 4))

    a = np.arange(12.0).reshape(3, 4)
    out = np.zeros((2, 3))
    compiled(body)(out, a)
    assert out.ravel().tolist() == [0, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_other_dtypes(dtype):
    def body(out, a):
        store_u(out, 0, load_u(a, 0, 4) * load_u(a, 4, 4) + load_u(a, 8, 4))

    a = np.arange(12, dtype=dtype)
    out = np.zeros(4, dtype)
    compiled(body)(out, a)
    assert np.array_equal(out, a[:4] * a[4:8] + a[8:])


def test_what_does_not_fit_is_refused():
    from numba.core.errors import TypingError

    def strided(a):
        return all_true(load_u(a, 0, 2) == load_u(a, 0, 2))

    def mixed(a):
        return all_true(load_u(a, 0, 2) == load_u(a, 0, 4))

    def varying(a, lanes):
        return all_true(load_u(a, 0, lanes) == load_u(a, 0, lanes))

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
    assert compress_instruction(3) == ""
    assert compress_instruction(vector_width(np.float64)) in ("", "vpermps", "vcompresspd")

"""transpose and triad against numpy, to the bit, over shapes, dtypes, strides and out=."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from kernels import transpose, triad
from kernels.definition.arguments import guarded
from kernels.vectors.caches import LARGE_BYTES

VARIANTS = ["python", "nogil"]
every_variant = pytest.mark.parametrize("variant", VARIANTS)

shapes = np_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
SIDES = [1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 300]


def numbers(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


@given(shape=shapes, variant=st.sampled_from(VARIANTS))
def test_transpose_reverses_the_axes(shape, variant):
    A = numbers(shape)
    value = transpose.held_to(variant)(A)
    np.testing.assert_array_equal(value, A.T, strict=len(shape) > 0)
    transpose.check(np.asarray(value), A)


@pytest.mark.parametrize("rows", SIDES)
@pytest.mark.parametrize("columns", [1, 8, 61, 257])
def test_transpose_of_any_sides(rows, columns):
    A = numbers((rows, columns))
    np.testing.assert_array_equal(transpose.nogil(A), A.T)
    np.testing.assert_array_equal(transpose.nogil(np.asfortranarray(A)), A.T)
    np.testing.assert_array_equal(transpose.nogil(A[::-1, ::2]), A[::-1, ::2].T)


@pytest.mark.parametrize("shape", [(8, 8), (64, 512), (72, 65), (200, 531), (1200, 130), None])
@pytest.mark.parametrize("into", [0, 2])
def test_transpose_in_whole_lines_and_by_way_of_a_buffer(shape, into):
    """Rows of `out` begin with a cache line, or do not; the last shape is one that goes past the caches."""
    A = numbers(shape or (1504, LARGE_BYTES // 16 // 1504 + 11))
    room = np.full(A.size + 64, np.nan)
    begin = -(room.ctypes.data // 8) % 8 + 8 + into
    out = room[begin : begin + A.size].reshape(A.shape[::-1])
    assert out.ctypes.data % 64 == 8 * into
    assert transpose.nogil(A, out=out) is out
    np.testing.assert_array_equal(out, A.T)
    assert np.isnan(room[:begin]).all()
    assert np.isnan(room[begin + A.size :]).all()


def test_triad_past_the_caches():
    a, b = numbers(LARGE_BYTES // 24 + 100), numbers(LARGE_BYTES // 24 + 100, 1)
    np.testing.assert_array_equal(triad.nogil(a, b, 0.3), a + 0.3 * b)


@every_variant
def test_transpose_fills_out_and_only_out(variant):
    A = numbers((70, 40))
    wide = np.full((80, 140), np.nan)
    out = wide[::2, ::2]
    assert transpose.held_to(variant)(A, out=out) is out
    assert transpose.plan(A, out=out).writes_into_out
    np.testing.assert_array_equal(out, A.T)
    assert np.isnan(wide[1::2]).all()
    assert np.isnan(wide[:, 1::2]).all()
    assert transpose.held_to(variant)(A, out=(out,)) is out


@every_variant
def test_transpose_onto_itself(variant):
    A = numbers((50, 50))
    expected = A.T.copy()
    transpose.held_to(variant)(A, out=A)
    np.testing.assert_array_equal(A, expected)
    same = numbers((20, 30))
    expected = same.copy()
    transpose.held_to(variant)(same.T, out=same)
    np.testing.assert_array_equal(same, expected)


@given(
    shapes=np_st.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=7, min_side=0),
    s=st.floats(-1e3, 1e3) | st.integers(-9, 9),
    variant=st.sampled_from(VARIANTS),
)
def test_triad_broadcasts_as_numpy_does(shapes, s, variant):
    a, b = (numbers(shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    value = triad.held_to(variant)(a, b, s)
    assert np.shape(value) == shapes.result_shape
    np.testing.assert_array_equal(value, a + np.float64(s) * b)
    triad.check(value, a, b, s)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000, 65_535, 65_536, 65_537, 200_001])
def test_triad_of_any_length_and_alignment(size):
    a, b = numbers(size + 3), numbers(size + 3, 1)
    for first, second, third in [(0, 0, 0), (1, 2, 3), (3, 0, 1)]:
        out = np.full(size + 4, np.nan)
        x, y, z = a[first : first + size], b[second : second + size], out[third : third + size]
        assert triad.nogil(x, y, -1.7, out=z) is z
        np.testing.assert_array_equal(z, x + -1.7 * y)
        assert np.isnan(out).sum() == 4
    np.testing.assert_array_equal(triad.nogil(a[::2], b[::-2], 2.0), a[::2] + 2.0 * b[::-2])


@every_variant
def test_triad_updates_in_place(variant):
    a, b = numbers((30, 40)), numbers((30, 40), 1)
    expected = a + 2.0 * b
    assert triad.plan(a, b, 2.0, out=a).writes_into_out
    assert triad.plan(a, b, 2.0, out=b).writes_into_out
    x, y = a.copy(), b.copy()
    assert triad.held_to(variant)(x, b, 2.0, out=x) is x
    np.testing.assert_array_equal(x, expected)
    triad.held_to(variant)(a, y, 2.0, out=y)
    np.testing.assert_array_equal(y, expected)


@every_variant
def test_triad_with_out_one_element_along(variant):
    a = numbers(3000)
    expected = a[:-1] + 3.0 * a[1:]
    triad.held_to(variant)(a[:-1], a[1:], 3.0, out=a[1:])
    np.testing.assert_array_equal(a[1:], expected)


@every_variant
def test_triad_broadcasts_to_out_and_rounds_into_it(variant):
    out = np.empty((4, 5), np.float32)
    assert triad.held_to(variant)(numbers(5), 1, 0.1, out=out) is out
    np.testing.assert_array_equal(out, np.broadcast_to((numbers(5) + 0.1).astype(np.float32), (4, 5)))


@every_variant
def test_triad_rounds_the_product_before_the_sum(variant):
    a, b = np.full(100, -1.0), np.full(100, 1 + 2.0**-30)
    np.testing.assert_array_equal(
        triad.held_to(variant)(a, b, 1 + 2.0**-30), a + (1 + 2.0**-30) * b
    )  # fused: 2**-60 more


@every_variant
def test_nan_infinities_and_signed_zeros(variant):
    a, b = np.array([np.nan, 1, np.inf, -np.inf, -0.0, 1e308]), np.array([1, np.nan, -1, -1, 0.0, 1e308])
    with np.errstate(over="ignore"):
        value, expected = triad.held_to(variant)(a, b, -0.5), a + -0.5 * b
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(np.signbit(value), np.signbit(expected))
    np.testing.assert_array_equal(transpose.held_to(variant)(a[None]), a[:, None])


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", ">f8", "f2", "f4", np.longdouble])
def test_any_dtype_that_float64_holds(dtype):
    a = np.abs(numbers((6, 7)) * 50).astype(dtype)
    assert transpose(a).dtype == (np.float32 if dtype == "f4" else np.float64)
    np.testing.assert_array_equal(transpose(a), a.T.astype(float))
    np.testing.assert_array_equal(
        triad(a, a.tolist() if a.dtype.kind != "g" else a, np.float32(2)), 3 * a.astype(float)
    )


@pytest.mark.parametrize("kernel", [triad, transpose], ids=lambda kernel: kernel.name)
def test_every_chunk_keeps_to_its_own(kernel):
    operands = (numbers((400, 300)), numbers((400, 300), 1), 0.5) if kernel is triad else (numbers((400, 300)),)
    plan = kernel.plan(*operands)
    assert plan.chunks > 1
    filled = np.full(plan.shape, np.nan)
    body, inputs = kernel.variants["nogil"].load(), guarded(plan.inputs, ())
    for chunk in range(plan.chunks):
        before = np.isfinite(filled).sum()
        body(*plan.bounds(chunk), filled, *inputs)
        after = np.isfinite(filled).sum()
        body(*plan.bounds(chunk), filled, *inputs)
        assert np.isfinite(filled).sum() == after > before
    np.testing.assert_array_equal(filled.reshape(plan.value_shape), kernel.nogil(*operands))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: triad(np.ones(2), np.ones(3), 1), r"a's \(2,\) and b's \(3,\) do not broadcast together"),
        (lambda: triad(np.ones(2), np.ones(2), np.ones(2)), r"s must be a number, not an array of shape \(2,\)"),
        (lambda: triad(np.ones(2), np.ones(2), 1j), "s must hold real numbers, not complex128; pass s.real"),
        (lambda: triad(np.ones(2), None, 1), "b must hold real numbers, not object"),
        (lambda: triad(np.ones((2, 2)), np.ones(2), 1, out=np.ones(2)), "out has the wrong shape"),
        (lambda: transpose(np.ones((2, 3)), out=np.ones((2, 3))), r"shape \(2, 3\), and the transpose has \(3, 2\)"),
        (lambda: transpose([[1, 2], [3]]), "rows of equal length"),
        (lambda: transpose([[2**60]]), "A holds 1152921504606846976"),
        (lambda: triad.example(-1), "size must be at least 0, not -1"),
    ],
)
def test_bad_input_is_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_checks_find_a_wrong_answer():
    A = numbers((30, 40))
    with pytest.raises(AssertionError):
        transpose.check(A.T + 1e-9, A)
    with pytest.raises(AssertionError):
        transpose.check(A, A)
    with pytest.raises(AssertionError):
        triad.check(A + 2 * A, A, A, 1.9)


def test_work_is_counted_in_bytes_as_stream_does():
    assert transpose.plan(*transpose.example(20)).work == transpose.cost(20) == 16 * 400
    assert triad.plan(*triad.example(20)).work == triad.cost(20) == 24 * 400

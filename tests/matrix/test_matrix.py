"""matmul and matvec against numpy, exact integers and longdouble, over shapes, dtypes, strides and out=."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import matmul, matvec, triad
from kernels.definition import operands
from kernels.definition.arguments import guarded
from kernels.matrix import matrix_product

EPS = np.finfo(float).eps
VARIANTS = ["python", "nogil", "blas"]
every_variant = pytest.mark.parametrize("variant", VARIANTS)

sides = st.integers(0, 9)
MATMUL_SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 6)),
    ((4,), (2, 3, 4, 5)),
    ((2, 3, 4), (4,)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((0,), (0,)),
    ((0, 3, 4), (4, 5)),
    ((1, 700), (700, 1)),
    ((700, 1), (1, 90)),
    ((1, 1), (1, 1)),
]
MATVEC_SHAPES = [
    ((3, 4), (4,)),
    ((2, 3, 4), (4,)),
    ((3, 4), (2, 4)),
    ((2, 1, 3, 4), (5, 4)),
    ((0, 4), (4,)),
    ((3, 0), (0,)),
]


def numbers(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def exact_matvec(A, x):
    return np.einsum("...ij,...j->...i", A, x)


def within(value, expected, depth, scale):
    """Whether each element is within depth·eps of the magnitudes that were summed."""
    return (np.abs(value - expected) <= (depth + 1) * EPS * scale).all()


@every_variant
@pytest.mark.parametrize(("a", "b"), MATMUL_SHAPES, ids=str)
def test_matmul_takes_numpys_shapes(variant, a, b):
    A, B = numbers(a), numbers(b, 1)
    value, expected = matmul.held_to(variant)(A, B), np.matmul(A, B)
    assert np.shape(value) == expected.shape
    np.testing.assert_allclose(value, expected, rtol=0, atol=800 * EPS)
    matmul.check(value, A, B)


@every_variant
@pytest.mark.parametrize(("a", "x"), MATVEC_SHAPES, ids=str)
def test_matvec_takes_numpys_shapes(variant, a, x):
    A, v = numbers(a), numbers(x, 1)
    value, expected = matvec.held_to(variant)(A, v), exact_matvec(A, v)
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=0, atol=10 * EPS)
    matvec.check(value, A, v)


@given(n=sides, k=sides, m=sides, stack=st.sampled_from([(), (1,), (3,), (2, 3)]), variant=st.sampled_from(VARIANTS))
def test_products_of_small_integers_are_exact(n, k, m, stack, variant):
    rng = np.random.default_rng(n * 100 + k * 10 + m)
    A, B = rng.integers(-99, 99, (*stack, n, k)), rng.integers(-99, 99, (k, m))
    np.testing.assert_array_equal(matmul.held_to(variant)(A, B), A @ B)
    np.testing.assert_array_equal(
        matvec.held_to(variant)(A, B.T[0] if m else np.zeros(k)), A @ (B.T[0] if m else np.zeros(k))
    )


@pytest.mark.parametrize(
    ("variant", "side"),
    # A loop of Python's own has as many tiles at 64, and takes a second at 129.
    [
        pytest.param(variant, side, marks=pytest.mark.slow if (variant, side) == ("python", 129) else ())
        for variant in VARIANTS
        for side in (1, 31, 64, 129)
    ],
)
def test_large_integers_are_exact_over_many_tiles(variant, side):
    rng = np.random.default_rng(side)
    A, B = rng.integers(-(2**20), 2**20, (side, side + 3)), rng.integers(-(2**20), 2**20, (side + 3, side + 40))
    np.testing.assert_array_equal(matmul.held_to(variant)(A, B), A @ B)


@pytest.mark.parametrize("variant", ["nogil", "blas"])
@pytest.mark.parametrize(("n", "k", "m"), [(257, 511, 301), (600, 40, 1030), (1, 3000, 7), (70, 1200, 1)])
def test_products_are_within_n_eps_of_longdouble(variant, n, k, m):
    A, B = numbers((n, k)), numbers((k, m), 1)
    scale = np.abs(A) @ np.abs(B)
    assert within(matmul.held_to(variant)(A, B), A.astype(np.longdouble) @ B.astype(np.longdouble), k, scale)
    assert within(
        matvec.held_to(variant)(A, B[:, 0]), A.astype(np.longdouble) @ B[:, 0].astype(np.longdouble), k, scale[:, 0]
    )


def views(matrix):
    """The same matrix in other layouts."""
    wide = np.zeros((2 * matrix.shape[0], 3 * matrix.shape[1]))
    wide[::2, ::3] = matrix
    readonly = matrix.copy()
    readonly.setflags(write=False)
    return {
        "fortran": np.asfortranarray(matrix),
        "every second": wide[::2, ::3],
        "backwards": matrix[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": readonly,
        "swapped bytes": matrix.astype(">f8"),
        "lists": matrix.tolist(),
        "unaligned": np.frombuffer(b"x" + matrix.tobytes(), dtype=np.uint8)[1:].view(float).reshape(matrix.shape),
    }


@every_variant
@pytest.mark.parametrize("view", list(views(np.ones((1, 1)))))
def test_any_layout_gives_the_same_product(variant, view):
    A, B = numbers((37, 21)), numbers((21, 70), 1)
    np.testing.assert_allclose(
        matmul.held_to(variant)(views(A)[view], views(B)[view]), A @ B, rtol=0, atol=22 * EPS, strict=True
    )
    np.testing.assert_allclose(matvec.held_to(variant)(views(A)[view], B[:, 3]), A @ B[:, 3], rtol=0, atol=22 * EPS)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("side", [200, 431])
def test_packing_from_rows_and_from_columns_gives_the_same_bits(layout, side):
    A, B = numbers((side, 2 * side + 3)), numbers((2 * side + 3, side + 5), 1)
    expected = matmul.nogil(A, B)
    assert within(expected, A @ B, 2 * side + 3, np.abs(A) @ np.abs(B))
    np.testing.assert_array_equal(matmul.nogil(np.array(A, order=layout), np.asfortranarray(B)), expected)
    out = np.empty((side + 5, side)).T
    np.testing.assert_array_equal(matmul.nogil(np.array(A, order=layout), B, out=out), expected)


def test_matvec_of_a_band_and_a_matrix_that_lies_by_columns():
    A, x = numbers((1203, 77)), numbers(77, 1)
    for matrix in (A, np.asfortranarray(A), A[::-1], A[:, ::-1]):
        assert within(matvec.nogil(matrix, x), matrix @ x, 77, np.abs(matrix) @ np.abs(x))


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_matvec_of_a_strided_matrix_is_that_of_its_copy_to_the_bit(rows):
    A, x = numbers((120, 330)), numbers(120, 1)
    strided = A.T[::3][:rows]
    np.testing.assert_array_equal(matvec.nogil(strided, x), matvec.nogil(strided.copy(order="C"), x))
    if rows == 1:
        np.testing.assert_array_equal(matvec.nogil(A.T[:1], x), matvec.nogil(A.T[:1].copy(order="C"), x))


# Run by itself: numba reads the names of the target when it is imported.
ON_ANOTHER_CPU = """
import numpy as np
from kernels import matmul, matvec, transpose, triad
from kernels.streams import scaled_sum_compiled, transposition_compiled
from kernels.vectors.blocks import LANES
scaled_sum_compiled.LARGE_BYTES = transposition_compiled.LARGE_BYTES = 0  # small arrays go past the caches, too
rng = np.random.default_rng(5)
A, B = rng.integers(-99, 99, (131, 300)).astype(float), rng.integers(-99, 99, (300, 75)).astype(float)
np.testing.assert_array_equal(matmul.nogil(A, B), A @ B)
np.testing.assert_array_equal(matvec.nogil(A, B[:, 0]), A @ B[:, 0])
np.testing.assert_array_equal(transpose.nogil(A), A.T)
np.testing.assert_array_equal(transpose.nogil(A[:128]), A[:128].T)  # of which the rows are whole lines
np.testing.assert_array_equal(triad.nogil(A, A, 3.0), A + 3.0 * A)
print(LANES)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86's instruction sets")
@pytest.mark.parametrize(("features", "lanes"), [("", "2"), pytest.param("+avx", "4", marks=pytest.mark.slow)])
def test_answers_are_the_same_on_a_cpu_with_less(features, lanes):
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_CPU],
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == lanes, done.stderr


@pytest.mark.parametrize(
    "dtype",
    [
        np.int8,
        np.uint8,
        np.int16,
        np.int32,
        np.uint32,
        np.int64,
        np.uint64,
        np.float16,
        np.float32,
        np.longdouble,
    ],
)
def test_any_dtype_that_float64_holds(dtype):
    A, B = np.abs(numbers((6, 7)) * 50).astype(dtype), np.ones((7, 3), dtype)
    value = matmul(A, B)
    assert value.dtype == (np.float32 if dtype is np.float32 else np.float64)
    np.testing.assert_allclose(value, A.astype(float) @ B.astype(float), rtol=1e-6 if dtype is np.float32 else 1e-15)


def test_truth_values_count_beside_numbers_and_are_refused_alone():
    A, B = numbers((6, 7)) > 0, numbers((7, 3))
    np.testing.assert_allclose(matmul(A, B), A @ B, rtol=1e-15)
    np.testing.assert_allclose(matvec(A, B[:, 0]), A @ B[:, 0], rtol=1e-14)
    np.testing.assert_array_equal(triad(A, A, 2.0), A + 2.0 * A)
    np.testing.assert_array_equal(triad(A, A, 1), A + 1 * A)
    calls = [
        (lambda: matmul(A, A.T), "A and B"),
        (lambda: matmul(A.tolist(), A.T.tolist()), "A and B"),
        (lambda: matvec(A, A[0]), "A and x"),
        (lambda: triad(A, A, True), "a and b and s"),
        (lambda: triad(A, A, np.True_), "a and b and s"),
    ]
    for call, names in calls:
        with pytest.raises(ValueError, match=f"{names} hold truth values, .*pass numbers"):
            call()


@every_variant
def test_nan_and_infinities_go_where_numpy_has_them(variant):
    A, B = numbers((40, 50)), numbers((50, 60), 1)
    A[3, 4], A[5, 6], A[7, 8], B[9, 10] = np.nan, np.inf, -np.inf, np.inf
    A[11, 12], B[12, 13] = np.inf, 0.0  # inf·0 is NaN
    with np.errstate(invalid="ignore"):
        expected = A @ B
        np.testing.assert_allclose(matmul.held_to(variant)(A, B), expected, rtol=1e-12)
        np.testing.assert_allclose(matvec.held_to(variant)(A, B[:, 10]), expected[:, 10], rtol=1e-12)


@every_variant
def test_out_is_filled_and_returned(variant):
    A, B = numbers((5, 6)), numbers((6, 7), 1)
    product = matmul.held_to(variant)
    out = np.full((5, 7), np.nan)
    assert product(A, B, out=out) is out
    assert product.plan(A, B, out=out).writes_into_out
    np.testing.assert_allclose(out, A @ B, rtol=1e-12)
    every_second = np.full((10, 14), np.nan)
    assert product(A, B, out=(every_second[::2, ::2],)).base is every_second
    np.testing.assert_allclose(every_second[::2, ::2], A @ B, rtol=1e-12)
    assert np.isnan(every_second[1::2]).all()
    single = np.empty((5, 7), np.float32)
    assert product(A, B, out=single) is single
    np.testing.assert_allclose(single, A @ B, rtol=1e-5)
    stack = np.empty((3, 5, 7))
    product(A, B, out=stack)  # numpy, too, broadcasts to out
    np.testing.assert_allclose(stack, np.broadcast_to(A @ B, (3, 5, 7)), rtol=1e-12)
    tail = np.empty((5, 2))[:, 0]
    assert matvec.held_to(variant)(A, B[:, 0], out=tail) is tail
    np.testing.assert_allclose(tail, A @ B[:, 0], rtol=1e-12)


@every_variant
def test_out_may_overlap_the_operands(variant):
    A, B = numbers((6, 6)), numbers((6, 6), 1)
    expected = A @ B
    out = A.copy()
    assert matmul.held_to(variant)(out, B, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    band = np.concatenate([A, A[:1]])
    matmul.held_to(variant)(band[:6], B, out=band[1:])
    np.testing.assert_allclose(band[1:], expected, rtol=1e-12)
    x = B[:, 0].copy()
    matvec.held_to(variant)(A, x, out=x)
    np.testing.assert_allclose(x, expected[:, 0], rtol=1e-12)


@every_variant
def test_running_a_chunk_twice_changes_nothing_and_touches_only_its_tiles(variant):
    rows, depth, columns = (50, 30, 40) if variant == "python" else (150, 90, 140)  # several tiles in each
    A, B = numbers((rows, depth)), numbers((depth, columns), 1)
    plan = matmul.held_to(variant).plan(A, B)
    body, inputs = matmul.variants[variant].load(), guarded(plan.inputs, ())
    once = matmul.held_to(variant)(A, B)
    assert plan.chunks > 1
    filled = np.full(plan.shape, np.nan)
    for chunk in range(plan.chunks):
        before = np.isfinite(filled).sum()
        body(*plan.bounds(chunk), filled, *inputs)
        after = np.isfinite(filled).sum()
        body(*plan.bounds(chunk), filled, *inputs)
        assert np.isfinite(filled).sum() == after > before
    np.testing.assert_array_equal(filled[0], once)


CUTS = [matrix_product.packed_tile, matrix_product.blas_tile, matrix_product.python_bands]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@given(rows=st.integers(0, 9000), columns=st.integers(0, 9000), depth=st.integers(1, 9000), matrices=st.integers(1, 99))
def test_tiles_cover_the_product_once_and_are_worth_a_chunk(cut, rows, columns, depth, matrices):
    tall, wide = cut(matrices, rows, columns, depth)
    count = operands.tiles(rows, columns, tall, wide)
    area = 0
    for tile in range(count):
        matrix, top, bottom, left, right = operands.tile_at(tile, rows, columns, tall, wide)
        assert matrix == 0
        assert 0 <= top < bottom <= rows
        assert 0 <= left < right <= columns
        area += (bottom - top) * (right - left)
    assert area == rows * columns
    assert count <= 600


@pytest.mark.parametrize("cores", [1, 2, 3, 6, 7, 16])
@given(rows=st.integers(1, 9000), columns=st.integers(1, 9000), depth=st.integers(0, 9000))
def test_blas_has_an_even_tile_for_every_core_of_the_machine(cores, rows, columns, depth):
    depth += 1 + cores * matrix_product.CHUNK_FLOPS // (2 * rows * columns)  # enough work for all of them
    tall, wide = matrix_product.blas_tile(1, rows, columns, depth, cores)
    even = min(rows * columns / cores, matrix_product.MOST_FLOPS / (2 * depth))
    assert tall * wide <= even + matrix_product.BLAS_MULTIPLE * (tall + wide)  # as far as whole lines allow


@pytest.mark.parametrize("cores", [1, 2, 3, 6, 64])
@given(rows=st.integers(1, 9000), columns=st.integers(1, 9000), depth=st.integers(1, 2**30))
def test_packed_tiles_are_two_for_each_core_and_none_takes_too_long(cores, rows, columns, depth):
    tall, wide = matrix_product.packed_tile(1, rows, columns, depth, cores=cores)
    block = matrix_product.REGISTER_BLOCK
    assert max(tall, wide) <= matrix_product.SIDE
    assert 2 * (tall - block) * (wide - block) * depth <= matrix_product.MOST_FLOPS
    enough = min(max(4, 2 * cores), 2 * rows * columns * depth / (2 * matrix_product.CHUNK_FLOPS))
    assert (tall - block) * (wide - block) * enough <= rows * columns  # as far as whole blocks allow


def test_blas_cuts_rows_first_and_leaves_the_matrices_of_a_large_stack_whole():
    """Packing A again costs more than packing B again."""
    assert matrix_product.blas_tile(1, 1024, 1024, 1024, cores=4) == (256, 1024)
    assert matrix_product.blas_tile(1, 64, 9000, 1024, cores=4) == (64, 2256)
    assert matrix_product.blas_tile(16, 1024, 1024, 1024, cores=4) == (1024, 1024)
    assert matrix_product.blas_tile(1, 8, 8, 8, cores=4) == (8, 8)


@pytest.mark.parametrize(
    ("operands", "complaint"),
    [
        ((np.ones((2, 3)), np.ones((2, 3))), r"A's \(2, 3\) has 3 columns and B's \(2, 3\) has 2 rows"),
        ((np.ones((2, 2, 3)), np.ones((4, 3, 2))), "do not broadcast together"),
        ((3.0, np.ones((2, 2))), "A is a single number; multiply with"),
        ((np.ones((2, 2)), 1), "B is a single number"),
        ((np.ones((2, 2)) * 1j, np.ones((2, 2))), "A must hold real numbers, not complex128; pass A.real"),
        (([["a"]], [[1]]), "A must hold real numbers, not <U1"),
        (([[2**70]], [[1]]), "not object; convert it"),
        (([[1, 2], [3]], [[1]]), "rows of equal length"),
        (([[2**53 + 1]], [[1]]), "A holds 9007199254740993, beyond the integers of float64"),
        (([[1]], [[-(2**60)]]), "B holds -1152921504606846976"),
        ((np.array([[np.longdouble(1) / 3]]), [[1]]), "which float64 cannot hold; round it first"),
        ((np.ma.masked_equal([[1, 2]], 1), [[1], [2]]), r"mask would be lost; pass A.filled"),
        ((np.array([["2020-01-01"]], "M8[D]"), [[1]]), "must hold real numbers"),
    ],
)
def test_bad_operands_are_named(operands, complaint):
    with pytest.raises(ValueError, match=complaint):
        matmul(*operands)


@pytest.mark.parametrize(
    ("out", "error", "complaint"),
    [
        (np.empty((2, 3)), ValueError, r"out has shape \(2, 3\), and the product has \(2, 2\)"),
        (np.empty((2, 2), int), ValueError, "int64, which cannot hold float64"),
        (np.broadcast_to(np.empty(2), (2, 2)), ValueError, "read-only"),
        ([[0, 0], [0, 0]], TypeError, "out must be an array, not list"),
    ],
)
def test_bad_out_is_named(out, error, complaint):
    with pytest.raises(error, match=complaint):
        matmul(np.ones((2, 2)), np.ones((2, 2)), out=out)


def test_out_may_not_be_smaller_than_the_stack():
    with pytest.raises(ValueError, match="out has the wrong shape"):
        matmul(np.ones((3, 2, 2)), np.ones((2, 2)), out=np.ones((1, 2, 2)))


@pytest.mark.parametrize(
    ("operands", "complaint"),
    [
        ((np.ones(3), np.ones(3)), "A must have at least two dimensions, not 1"),
        ((np.ones((2, 3)), 2.0), "x must have at least one dimension"),
        ((np.ones((2, 3)), np.ones(2)), r"3 columns and x's \(2,\) has 2 elements; make them equal"),
    ],
)
def test_matvec_names_bad_shapes(operands, complaint):
    with pytest.raises(ValueError, match=complaint):
        matvec(*operands)


@pytest.mark.parametrize("product", [matmul, matvec], ids=lambda kernel: kernel.name)
def test_checks_find_a_wrong_element(product):
    operands = product.example(50)
    value = product(*operands)
    product.check(value, *operands)
    value[(0,) * value.ndim] += 1e-9
    with pytest.raises(AssertionError):
        product.check(value, *operands)


def test_work_is_counted_in_flops():
    A, B = matmul.example(64)
    assert matmul.plan(A, B).work == matmul.cost(64) == 2 * 64**3
    assert matvec.plan(A, B[0]).work == matvec.cost(64) == 2 * 64**2


@pytest.mark.parametrize("size", [-1, 1.5, "ten"])
def test_example_refuses_bad_sizes(size):
    with pytest.raises(ValueError, match="size must be"):
        matmul.example(size)

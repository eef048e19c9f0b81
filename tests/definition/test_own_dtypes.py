"""float32, complex128 and int64 in the kernels that have code of their own for them."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compute import Processes, Threads
from kernels import count_primes, mandelbrot, matmul, matvec, primes, transpose, triad
from kernels.definition.arguments import guarded
from kernels.definition.operands import COMPLEX128, FLOAT32, INT64, as_operand, dtype_of
from kernels.streams import scaled_sum_compiled
from kernels.vectors.caches import LARGE_BYTES
from kernels.vectors.target import has_fma

STREAMED = ["f4", "c16"]
COPIED = ["i8", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("f4", "c16"))]


def numbers(dtype, *shape, seed=0):
    """Numbers of a dtype that its neighbours do not all hold."""
    rng = np.random.default_rng(seed)
    if dtype == "i8":
        return rng.integers(-(2**62), 2**62, shape)
    real = rng.uniform(-1, 1, shape)
    return (real + 1j * rng.uniform(-1, 1, shape) if dtype == "c16" else real).astype(dtype)


def scaled_sum(a, b, s):
    """a + s·b, every product and sum rounded by itself (numpy fuses complex ones where the machine can)."""
    if a.dtype.kind != "c":
        return a + a.dtype.type(s) * b
    s, sum_ = complex(s), np.empty(np.broadcast_shapes(a.shape, b.shape), complex)
    sum_.real = a.real + (s.real * b.real - s.imag * b.imag)
    sum_.imag = a.imag + (s.real * b.imag + s.imag * b.real)
    return sum_


def same(value, expected):
    assert value.dtype == expected.dtype
    assert value.tobytes() == np.ascontiguousarray(expected).tobytes()


# Each layout is compiled for anew; what a layout does shows on float64 (tests/streams).
LAYOUTS = {"by rows": lambda A: A, "by columns": np.asfortranarray, "backwards": lambda A: A[::-1]}


@pytest.mark.parametrize(
    ("variant", "layout"),
    [
        pytest.param(variant, layout, marks=pytest.mark.slow if variant == "nogil" and layout != "by rows" else ())
        for variant in ("python", "nogil")
        for layout in LAYOUTS
    ],
)
@pytest.mark.parametrize("dtype", COPIED)
def test_transpose_moves_every_bit(variant, layout, dtype):
    for shape in [(9, 70), (64, 64), (72, 65), (3, 5, 4), (7,)]:
        operand = LAYOUTS[layout](numbers(dtype, *shape))
        same(transpose.held_to(variant)(operand), operand.T)
        transpose.check(transpose.held_to(variant)(operand), operand)


@pytest.mark.parametrize("dtype", COPIED)
@pytest.mark.parametrize("into", [0, 1])
def test_transpose_past_the_caches_and_not_by_whole_lines(dtype, into):
    """The second shape goes past the caches; `out` begins with a cache line, or one number (of 8 bytes) further on."""
    size = np.dtype(dtype).itemsize
    for shape in [(200, 130), (1504, LARGE_BYTES // 2 // size // 1504 + 11)]:
        A = numbers(dtype, *shape)
        room = np.zeros(A.nbytes + 256, np.uint8)
        begin = -room.ctypes.data % 64 + 64 + into * min(size, 8)
        out = room[begin : begin + A.nbytes].view(dtype).reshape(A.shape[::-1])
        assert transpose.nogil(A, out=out) is out
        same(out, A.T)
        assert not room[:begin].any()
        assert not room[begin + A.nbytes :].any()


@pytest.mark.parametrize("variant", ["python", "nogil"])
@pytest.mark.parametrize("dtype", STREAMED)
def test_triad_rounds_in_its_own_dtype(variant, dtype):
    s = 0.1 - 0.7j if dtype == "c16" else 0.1
    for size in (1, 7, 33, 700):
        a, b = numbers(dtype, size), numbers(dtype, size, seed=1)
        same(triad.held_to(variant)(a, b, s), scaled_sum(a, b, s))
        same(triad.held_to(variant)(a, b[::-1], 3), scaled_sum(a, b[::-1], 3))
        same(triad.held_to(variant)(a, b[:1], 3.5), scaled_sum(a, b[:1], 3.5))
    a, b = numbers(dtype, 5, 1), numbers(dtype, 6, seed=1)
    same(triad.held_to(variant)(a, b, s), scaled_sum(a, b, s))
    triad.check(triad.held_to(variant)(a, b, s), a, b, s)


@pytest.mark.parametrize("dtype", STREAMED)
@pytest.mark.parametrize("into", [0, 1])
def test_triad_past_the_caches(monkeypatch, dtype, into):
    size = np.dtype(dtype).itemsize
    count = LARGE_BYTES // 3 // size + 100
    a, b = numbers(dtype, count), numbers(dtype, count, seed=1)
    room = np.empty(a.nbytes + 64, np.uint8)
    out = room[16 + into * min(size, 8) :][: a.nbytes].view(dtype)
    assert triad.nogil(a, b, 0.3, out=out) is out
    same(out, scaled_sum(a, b, 0.3))
    assert 3 * out.nbytes > scaled_sum_compiled.LARGE_BYTES


@pytest.mark.parametrize("variant", ["python", pytest.param("nogil", marks=pytest.mark.slow), "blas"])
def test_products_in_float32(variant):
    """Whole numbers that float32 holds, so that every order of sums gives the same."""
    rng = np.random.default_rng(5)
    for n, k, m in [(1, 1, 1), (37, 21, 70), (65, 130, 49), (8, 0, 3)]:
        A, B = rng.integers(-9, 10, (n, k)).astype("f4"), rng.integers(-9, 10, (k, m)).astype("f4")
        for left in (A, np.asfortranarray(A)):
            same(matmul.held_to(variant)(left, B), A @ B)
            same(matvec.held_to(variant)(left, B[:, 0]), A @ B[:, 0])
    if variant == "python":
        return
    A, B = numbers("f4", 257, 511), numbers("f4", 511, 301, seed=1)
    product, exact = matmul.held_to(variant)(A, B), A.astype(float) @ B.astype(float)
    assert (np.abs(product - exact) <= 512 * np.finfo("f4").eps * (np.abs(A) @ np.abs(B))).all()
    assert not np.array_equal(product, exact.astype("f4")), "this was computed in float64"
    matmul.check(product, A, B)
    matvec.check(matvec.held_to(variant)(A, B[:, 0]), A, B[:, 0])
    with pytest.raises(AssertionError):
        matmul.check(product + np.float32(0.5), A, B)


CASES = [
    # Its lane loop takes as long to compile as all the others'.
    pytest.param(matmul, (numbers("f4", 150, 90), numbers("f4", 90, 150, seed=1)), marks=pytest.mark.slow),
    pytest.param(matvec, (numbers("f4", 1000, 211), numbers("f4", 211, seed=1)), marks=pytest.mark.slow),
    (transpose, (numbers("i8", 300, 211),)),
    pytest.param(transpose, (numbers("c16", 300, 211),), marks=pytest.mark.slow),
    pytest.param(triad, (numbers("f4", 90_000), numbers("f4", 90_000, seed=1), 0.1), marks=pytest.mark.slow),
    (triad, (numbers("c16", 90_000), numbers("c16", 90_000, seed=1), 0.1 - 2j)),
]


@pytest.mark.parametrize(("kernel", "args"), CASES, ids=lambda x: x[0].dtype.name if isinstance(x, tuple) else x.name)
def test_lanes_get_the_bits_of_one_core(pool_of, kernel, args):
    alone = kernel.nogil(*args)
    out = np.empty_like(alone)
    for backend in (Threads(2), Processes(2, start="forkserver")):
        pool = pool_of(backend)
        same(pool.run(kernel, *args, variant="nogil").value, alone)
        assert pool.run(kernel, *args, variant="nogil", out=out).value is out
        same(out, alone)


@pytest.mark.parametrize(("kernel", "args"), CASES, ids=lambda x: x[0].dtype.name if isinstance(x, tuple) else x.name)
def test_every_chunk_keeps_to_its_own(kernel, args):
    plan = kernel.nogil.plan(*args)
    assert plan.chunks > 1
    body, inputs, filled = kernel.nogil.body(), guarded(plan.inputs, ()), np.full(plan.shape, -1, plan.dtype)
    for chunk in reversed(range(plan.chunks)):
        body(*plan.bounds(chunk), filled, *inputs)
        body(*plan.bounds(chunk), filled, *inputs)
    same(filled.reshape(plan.value_shape), kernel.nogil(*args))


f2, f4, f8, i2, i8, c8, c16 = (np.ones((2, 2), code) for code in ("f2", "f4", "f8", "i2", "i8", "c8", "c16"))


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda: triad(f4, f8, 1), "f8"),
        (lambda: triad(f4, f4, 0.1), "f4"),
        (lambda: triad(f4, f4, np.float64(0.1)), "f8"),  # numpy's own numbers count, Python's go along
        (lambda: triad(f4, f4, np.float32(0.1)), "f4"),
        (lambda: triad(f4, 2, 1), "f4"),
        (lambda: triad(f4, [[1, 2], [3, 4]], 1), "f8"),
        (lambda: triad(f4, f2, 1), "f4"),
        (lambda: triad(f2, f2, 1), "f8"),
        (lambda: triad(f4, i2, 1), "f4"),
        (lambda: triad(f4, i8, 1), "f8"),
        (lambda: triad(f4.astype(">f4"), f4, 1), "f4"),
        (lambda: triad(f4, c16, 1), "c16"),
        (lambda: triad(c16, 2, 1j), "c16"),
        (lambda: triad(c8, c8, 1), "c16"),
        (lambda: matmul(f4, f8), "f8"),
        pytest.param(lambda: matmul(f4, i2), "f4", marks=pytest.mark.slow),
        (lambda: matvec(f8, f4[0]), "f8"),
        pytest.param(lambda: matvec(f4, f4[0]), "f4", marks=pytest.mark.slow),
        (lambda: transpose(i8), "i8"),
        (lambda: transpose(i8.astype(">i8")), "i8"),
        (lambda: transpose(i2), "f8"),
        (lambda: transpose([[1, 2]]), "f8"),
        (lambda: transpose(c8), "c16"),
    ],
)
def test_dtypes_go_together_as_in_numpy_where_there_is_code_for_them(call, dtype):
    assert call().dtype == dtype


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: matmul(c16, c16), "A must hold real numbers, not complex128; pass A.real"),
        (lambda: matvec(f4, c16[0]), "x must hold real numbers, not complex128; pass x.real"),
        (lambda: triad(f4, f4, 1j), "s must hold real numbers, not complex; pass s.real|not complex128; pass s.real"),
        (lambda: triad(f4, f4, 1e300), "s holds .*1e.300.*, which float32 cannot hold"),
        (lambda: triad(f4, f4, 2**24 + 1), r"s holds 16777217, beyond the integers of float32 \(2\*\*24 in magnitude"),
        (
            lambda: triad(c16, np.full((2, 2), 2**60), 1),
            "b holds 1152921504606846976, beyond the integers of complex128",
        ),
        (lambda: triad(c16, c16, 1, out=f8.copy()), "out has dtype float64, which cannot hold complex128"),
        (lambda: matmul(f4, f4, out=i8.copy()), r"out has dtype int64, which cannot hold float32; .*np.float32\)"),
        (lambda: transpose(i8, out=np.empty((2, 2), "i4")), "out has dtype int32, which cannot hold int64"),
        (lambda: transpose(i8 << 60, out=f8.copy()), "A holds 1152921504606846976, beyond the integers of float64"),
    ],
)
def test_what_a_dtype_cannot_hold_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_out_may_be_wider_or_narrower_of_its_kind():
    wide, narrow, whole = np.empty((2, 2)), np.empty((2, 2), "f4"), np.empty((2, 2), "i8")
    assert triad(f4, f4, 0.1, out=wide) is wide
    np.testing.assert_array_equal(wide, triad(f4, f4, 0.1))
    assert triad(f8, f8, 0.1, out=narrow) is narrow
    np.testing.assert_array_equal(narrow, np.float32(1.1))
    assert transpose(i8 * 7, out=whole) is whole
    assert transpose(i8 * 7, out=wide) is wide
    np.testing.assert_array_equal(whole, wide)


def test_operands_that_need_no_conversion_are_not_copied():
    for array in (f4, c16, i8):
        own = (FLOAT32, COMPLEX128, INT64)
        assert as_operand(array, "A", dtype_of((array,), own)) is array


def test_work_counts_the_bytes_that_are_moved():
    assert triad.plan(f4, f4, 1).work == 12 * 4
    assert triad.plan(c16, c16, 1).work == 48 * 4
    assert transpose.plan(f4).work == 8 * 4
    assert transpose.plan(i8).work == 16 * 4
    assert matmul.plan(f4, f4).work == matmul.plan(f8, f8).work


def digest(values):
    return hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in values)).hexdigest()[:16]


def whole_answers():
    """Whole numbers, found by vectors of whatever width."""
    far = 10**15
    yield from (count_primes.nogil(10**7), count_primes.nogil(far, far + 10**7), primes.nogil(far, far + 10**5))
    yield mandelbrot.nogil((50, 60), -0.7436 + 0.1318j, 0.01, 2000)


def rounded_answers():
    """Sums of products that are rounded, of odd lengths. Each layout is compiled for anew, which takes seconds."""
    for dtype, layouts in (("f8", (np.asarray, np.asfortranarray)), ("f4", (np.asarray,))):
        for n, k, m in ((131, 300, 75), (200, 513, 129), (7, 5, 3), (1, 2000, 50)):
            A, B = numbers(dtype, n, k), numbers(dtype, k, m, seed=1)
            for laid_out in layouts:
                yield matmul.nogil(laid_out(A), B)
                yield matvec.nogil(laid_out(A), B[:, 0].copy())


# Run by itself: numba reads the names of the target when it is imported. Everything is compiled for that CPU alone.
ON_ANOTHER_CPU = """
from test_own_dtypes import numbers, scaled_sum, same, matmul, matvec, transpose, triad
from test_own_dtypes import digest, whole_answers, rounded_answers
from kernels.streams import scaled_sum_compiled, transposition_compiled
from kernels.vectors.blocks import LANES
scaled_sum_compiled.LARGE_BYTES = transposition_compiled.LARGE_BYTES = 0  # small arrays go past the caches, too
for dtype in ("f4", "c16", "i8"):
    A = numbers(dtype, 131, 300)
    same(transpose.nogil(A), A.T)
    same(transpose.nogil(A[:128]), A[:128].T)
for dtype, s in (("f4", 0.1), ("c16", 0.1 - 2j)):
    a, b = numbers(dtype, 3000), numbers(dtype, 3000, seed=1)
    same(triad.nogil(a, b, s), scaled_sum(a, b, s))
A, B = ((numbers("f4", *shape) * 9).round() for shape in ((131, 300), (300, 75)))
same(matmul.nogil(A, B), A @ B)
same(matvec.nogil(A, B[:, 0]), A @ B[:, 0])
print(LANES, digest(whole_answers()), digest(rounded_answers()))
"""
V2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"
V3 = V2 + ",+avx,+avx2,+fma,+bmi,+bmi2,+f16c"
V4 = V3 + ",+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"


def has(flag):
    about = Path("/proc/cpuinfo")
    return about.exists() and flag in about.read_text().split()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86's instruction sets")
@pytest.mark.parametrize(
    ("cpu", "features", "lanes", "flag"),
    [
        ("generic", "", "2", "sse2"),
        ("x86-64-v2", V2, "2", "sse4_2"),
        ("x86-64-v3", V3, "4", "avx2"),
        ("x86-64-v4", V4, "8", "avx512vl"),
    ],
)
def test_answers_are_the_same_on_another_cpu(cpu, features, lanes, flag, tmp_path):
    if not has(flag):
        pytest.skip(f"this CPU has no {flag}")
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_CPU],
        env={
            **os.environ,
            "NUMBA_CPU_NAME": cpu,
            "NUMBA_CPU_FEATURES": features,
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    width, whole, rounded = done.stdout.split()
    assert (width, whole) == (lanes, digest(whole_answers()))
    # Without FMA a product is rounded before it is added. Else neither width nor registers are seen in the last bits.
    assert (rounded == digest(rounded_answers())) == (("+fma" in features) == has_fma())

"""mandelbrot: the definition to the bit, on every variant, and every bad argument named before work starts."""

import hashlib
import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from kernels import find
from kernels.escape_time.counts import check_pixels, iterations, mandelbrot
from kernels.vectors.target import target_features

VARIANTS = list(mandelbrot.variants)


def by_the_definition(shape, center=-0.75 + 0j, width=3.0, max_iter=1000):
    """The design's definition word for word, written apart from the kernel: pixel by pixel, plain Python floats."""
    h, w = shape
    image = np.empty(shape, np.int32)
    d = width / max(w, 1)
    for r in range(h):
        for c in range(w):
            cx = center.real + (c - (w - 1) / 2) * d
            cy = center.imag - (r - (h - 1) / 2) * d
            x, y, n = 0.0, 0.0, 0
            for _ in range(max_iter):
                x, y = (x * x - y * y) + cx, 2 * x * y + cy
                n += 1
                if x * x + y * y > 4:
                    break
            image[r, c] = n
    return image


@pytest.mark.parametrize("variant", VARIANTS)
def test_points_whose_orbit_is_known(variant):
    # One pixel is the centre itself: 0 and -2 and i never leave, 2 leaves at the second step, 3 at the first.
    one = mandelbrot.held_to(variant)
    known = {0: 50, -2: 50, 1j: 50, 2: 2, 3: 1, -2.5j: 1, 1: 3, 0.25: 50, 0.5: 5}
    assert {c: one((1, 1), c, 1.0, 50).item() for c in known} == known


def test_rows_go_down_and_columns_to_the_right():
    image = mandelbrot.python((3, 3), 1.5 + 1.5j, 3.0, 9)  # points 0.5, 1.5, 2.5 in each direction
    assert image[0, 0] == mandelbrot.python((1, 1), 0.5 + 2.5j, 1.0, 9)
    assert image[2, 0] == mandelbrot.python((1, 1), 0.5 + 0.5j, 1.0, 9)
    assert image[2, 2] == mandelbrot.python((1, 1), 2.5 + 0.5j, 1.0, 9)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (1, 67), (67, 1), (7, 13), (33, 31)])
def test_every_shape(variant, shape):
    image = mandelbrot.held_to(variant)(shape, max_iter=60)
    assert image.dtype == np.int32
    assert np.array_equal(image, by_the_definition(shape, max_iter=60))


@pytest.mark.parametrize("max_iter", [1, 2, 7, 300])
def test_variants_are_equal_to_the_bit(max_iter):
    view = (40, 61), -0.745 + 0.113j, 0.02, max_iter
    expected = by_the_definition(*view)
    for variant in VARIANTS:
        assert np.array_equal(mandelbrot.held_to(variant)(*view), expected), variant


@given(
    shape=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    center=st.complex_numbers(max_magnitude=3, allow_nan=False),
    width=st.floats(1e-16, 1e3),
    max_iter=st.integers(1, 80),
)
def test_any_view(shape, center, width, max_iter):
    expected = by_the_definition(shape, center, width, max_iter)
    assert np.array_equal(mandelbrot(shape, center, width, max_iter), expected)


@pytest.mark.parametrize("center", [1e308 + 0j, -1e200j, 1e154 - 1e154j, 5e-324 + 5e-324j])
@pytest.mark.parametrize("width", [5e-324, 1.0, 1e308])
def test_points_that_overflow_or_underflow(center, width):
    view = (9, 3), center, width, 30
    for variant in VARIANTS:
        assert np.array_equal(mandelbrot.held_to(variant)(*view), by_the_definition(*view)), variant


def test_chunks_fill_their_own_pixels_only():
    plan = mandelbrot.plan((5, 7), max_iter=20)
    whole = by_the_definition((5, 7), max_iter=20)
    for variant in mandelbrot.variants.values():
        out = np.full(35, -1, np.int32)
        for _ in range(2):  # a chunk may run twice
            variant.load()(9, 25, out, *plan.inputs)
        assert np.array_equal(out[9:25], whole.ravel()[9:25])
        assert (out[:9] == -1).all()
        assert (out[25:] == -1).all()


def test_a_chunk_larger_than_the_queue():
    view = (130, 131), -0.7436 + 0.1318j, 0.0005, 60
    plan, out = mandelbrot.plan(*view), np.empty(130 * 131, np.int32)
    mandelbrot.variants["nogil"].load()(0, out.size, out, *plan.inputs)
    assert np.array_equal(out.reshape(130, 131), by_numpy(*view))


def test_out_as_in_numpy():
    expected = mandelbrot((6, 8), max_iter=40)
    strided = np.zeros((12, 16), np.int32)[::2, ::-2]
    for out in (np.empty((6, 8), np.int32), strided, np.empty((6, 8)), np.empty((6, 8), np.int64, order="F")):
        assert mandelbrot((6, 8), max_iter=40, out=out) is out
        assert np.array_equal(out, expected)


def test_check_names_the_pixel_that_is_wrong():
    image = mandelbrot((9, 9), max_iter=50)
    check_pixels(image, (9, 9), max_iter=50)
    with pytest.raises(AssertionError, match="pixel"):
        check_pixels(image + 1, (9, 9), max_iter=50)
    endless = mandelbrot((2, 2), 0j, 1e-3, 30_000)  # followed for a part of the way only
    check_pixels(endless, (2, 2), 0j, 1e-3, 30_000)
    with pytest.raises(AssertionError, match="or more"):
        check_pixels(endless - 29_999, (2, 2), 0j, 1e-3, 30_000)


def test_iterations_are_the_sum_of_the_counts():
    assert iterations(np.full((3, 2), 2**31 - 1, np.int32)) == 6 * (2**31 - 1)


def test_the_registry_finds_it():
    assert find("kernels.escape_time.counts:mandelbrot") is mandelbrot
    assert mandelbrot.example(30) == ((30, 30),)


def test_its_work_is_the_iterations_of_the_image():
    args = mandelbrot.example(200)
    image, plan = mandelbrot(*args), mandelbrot.plan(*args)
    assert mandelbrot.work(plan, image) == image.sum(dtype=np.int64)
    assert mandelbrot.work(plan, image) == pytest.approx(mandelbrot.cost(200), rel=0.01)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((5,), "shape must be"),
        (("ab",), "shape must be"),
        (((1, 2, 3),), "shape must be"),
        (((-1, 2),), "height must be at least 0, not -1"),
        (((1, 2.5),), "width must be a whole number, not 2.5"),
        (((1, True),), "width must be a whole number"),
        (((2, 2), math.nan), "center must be a finite complex number, not nan"),
        (((2, 2), complex(0, math.inf)), "center must be"),
        (((2, 2), "0"), "center must be"),
        (((2, 2), None), "center must be"),
        (((2, 2), 10**400), "center must be"),
        (((2, 2), 0, 0.0), "width must be a finite number above 0, not 0.0"),
        (((2, 2), 0, -1), "width must be"),
        (((2, 2), 0, math.nan), "width must be"),
        (((2, 2), 0, math.inf), "width must be"),
        (((2, 2), 0, 1j), "width must be"),
        (((2, 2), 0, "3"), "width must be"),
        (((2, 2), 0, 1, 0), "max_iter must be at least 1, not 0"),
        (((2, 2), 0, 1, 2**31), "max_iter must be at most"),
        (((2, 2), 0, 1, 1e3), "max_iter must be a whole number, not 1000.0"),
    ],
)
def test_bad_arguments_are_named(args, message):
    with pytest.raises(ValueError, match=message):
        mandelbrot.plan(*args)


def test_bad_out_is_named():
    with pytest.raises(TypeError, match="out must be an array, not list"):
        mandelbrot((1, 1), out=[[0]])
    with pytest.raises(ValueError, match=r"out has shape \(3, 2\), and the result has \(2, 3\); use np.empty"):
        mandelbrot((2, 3), out=np.empty((3, 2), np.int32))
    with pytest.raises(ValueError, match="out has dtype uint8, which cannot hold int32"):
        mandelbrot((1, 1), out=np.empty((1, 1), np.uint8))
    read_only = np.empty((1, 1), np.int32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        mandelbrot((1, 1), out=read_only)
    with pytest.raises(TypeError, match="mandelbrot"):
        mandelbrot()


# ---------------------------------------------------------------- to the bit

# Six views, 210,000 pixels: whole set, outside alone, inside of a disk of period 3, the tip where |c| is 2, the cusp
# (where orbits crawl), and a zoom whose pixels are closer than float64's numbers. Three smaller ones: all leave
# together; few are of the interior; and neighbours leave together, often sooner than those before them.
SIDES = (183, 191)
VIEWS = [
    (SIDES, -0.75 + 0j, 3.0, 70),
    (SIDES, -0.7436 + 0.1318j, 0.0005, 130),
    (SIDES, -0.1226 + 0.7449j, 0.2, 120),
    (SIDES, -2.0 + 0j, 1e-5, 60),
    (SIDES, 0.25 + 0j, 0.01, 110),
    (SIDES, -0.10109636384562216 + 0.95628651080914j, 3e-15, 150),
    ((40, 60), -0.160700717245 + 1.037566353265j, 6.25e-8, 500),
    ((40, 60), 0.132201 - 0.59195j, 0.00995, 700),
    ((20, 480), 0.275336142511115 + 0.006759649405327j, 1e-5, 1000),
]


def counts_by_numpy(cx, cy, max_iter):
    """The definition once more, all points at a time: numpy's float64 rounds as Python's, and fuses nothing."""
    x, y, at, counts = np.zeros(len(cx)), np.zeros(len(cx)), np.arange(len(cx)), np.full(len(cx), max_iter, np.int32)
    for n in range(1, max_iter + 1):
        x, y = (x * x - y * y) + cx, 2 * x * y + cy
        gone = x * x + y * y > 4
        counts[at[gone]] = n
        at, x, y, cx, cy = (field[~gone] for field in (at, x, y, cx, cy))
    return counts


def by_numpy(shape, center, width, max_iter):
    h, w = shape
    d = width / w
    cx, cy = np.meshgrid(center.real + (np.arange(w) - (w - 1) / 2) * d, center.imag - (np.arange(h) - (h - 1) / 2) * d)
    return counts_by_numpy(cx.ravel(), cy.ravel(), max_iter).reshape(shape)


@pytest.mark.parametrize("view", VIEWS, ids=[str(view[1]) for view in VIEWS])
def test_to_the_bit_against_the_scalar_loop(view):
    expected = mandelbrot.python(*view)
    assert len(np.unique(expected)) > 5  # there is something to see
    assert np.array_equal(mandelbrot(*view), expected)
    assert np.array_equal(by_numpy(*view), expected)


@pytest.mark.parametrize("max_iter", [1, 2, 32, 33, 34, 129, 1000, 3001])
@pytest.mark.parametrize(
    ("center", "width"),
    [
        (-0.75 + 0j, 3.0),
        (-1.7548 + 0j, 0.03),  # cycles of period 3 and 6
        (-1.2499 + 0.001j, 1e-3),  # the end of the disk of period 2
        (0.2499 + 0.0001j, 2e-3),
        (-0.743643887037151 + 0.131825904205330j, 1e-12),
        (2j, 1e-7),
        (-2 + 0j, 1e-15),
    ],
)
def test_to_the_bit_at_every_depth(center, width, max_iter):
    view = (29, 71), center, width, max_iter
    assert np.array_equal(mandelbrot(*view), by_numpy(*view))


def test_rows_with_hardly_an_imaginary_part():
    # x·y may fall below the normal numbers there, where doubling is not exact.
    for height in (5e-324, 1e-300, 3e-290):
        view = (3, 97), complex(-0.75, height), 97 * height, 200
        assert np.array_equal(mandelbrot(*view), by_numpy(*view))


def test_the_shortcut_takes_no_point_that_leaves():
    # On both sides of the edges of the cardioid and of the disk of period 2, as close as the shortcut goes and closer.
    turns = np.exp(2j * np.pi * np.linspace(0, 1, 120))
    multipliers = np.concatenate([turns * reach for reach in (1 - 1e-3, 1 - 5e-5, 1.0, 1 + 1e-3, 1.01, 1.05)])
    points = np.concatenate([multipliers / 2 - multipliers**2 / 4, -1 + multipliers / 4])
    expected = counts_by_numpy(points.real, points.imag, 2000)
    assert 0.2 < (expected == 2000).mean() < 0.9
    assert [mandelbrot((1, 1), c, 1.0, 2000).item() for c in points.tolist()] == expected.tolist()


# Other machines: what numba compiles for, and how many lanes a vector is taken to have; with this machine 2, 4 and 8.
OTHERS = [
    ("generic", "", 2),
    ("x86-64-v3", "+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+sse4.2", 4)
    if "avx512f" in target_features()
    else ("x86-64-v2", "+sse4.2,+popcnt", 8),
]

OTHER_MACHINE = """
import hashlib, re, sys
import kernels.vectors.target
kernels.vectors.target.vector_width = lambda dtype, lanes=int(sys.argv[1]): lanes
from kernels.compilation.compiler import compiled
from kernels.escape_time.counts import mandelbrot
from kernels.escape_time.counts_compiled import body
from kernels.vectors.blocks import LANES
assert LANES == int(sys.argv[1])
for line in sys.stdin:
    print(hashlib.sha256(mandelbrot.nogil(*eval(line))).hexdigest())
if "+fma" in sys.argv[2]:  # doubling is exact, so 2·x·y + cy may be one instruction, in vectors; nothing else may
    text = "".join(compiled(body).inspect_asm().values())
    assert "vmulpd" in text  # numba shows no code that comes from the cache
    fused = set(re.findall(r"vfn?m(?:add|sub)\\w+", text))
    assert fused <= {"vfmadd132pd", "vfmadd213pd", "vfmadd231pd"}, fused
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")
@pytest.mark.slow
@pytest.mark.parametrize(("cpu", "features", "lanes"), OTHERS)
def test_other_machines_and_widths_give_the_same_bits(tmp_path, cpu, features, lanes):
    views = [*VIEWS, ((29, 71), -1.7548 + 0j, 0.03, 1000), ((29, 71), -2 + 0j, 1e-15, 300), ((1, 5000), 0.3j, 1.0, 200)]
    expected = [hashlib.sha256(mandelbrot(*view)).hexdigest() for view in views]
    settings = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    if "+fma" in features:
        settings["NFOLD_CACHE_DIR"] = str(tmp_path)  # to be compiled now, and looked at
    done = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, str(lanes), features],
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)},
        input="".join(f"{view!r}\n" for view in views),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (done.stdout.split(), done.returncode) == (expected, 0)

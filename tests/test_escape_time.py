"""mandelbrot: the definition to the bit, on every variant, and every bad argument named before work starts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import find
from kernels.escape_time import check_pixels, iterations, mandelbrot

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
@settings(max_examples=60, deadline=None)
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
    assert find("kernels.escape_time:mandelbrot") is mandelbrot
    assert mandelbrot.example(30) == ((30, 30),)
    assert mandelbrot.plan(*mandelbrot.example(30)).work == mandelbrot.cost(30)


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
    with pytest.raises(ValueError, match=r"out must have the shape \(2, 3\), not \(3, 2\)"):
        mandelbrot((2, 3), out=np.empty((3, 2), np.int32))
    with pytest.raises(ValueError, match="out must hold int32, not uint8"):
        mandelbrot((1, 1), out=np.empty((1, 1), np.uint8))
    read_only = np.empty((1, 1), np.int32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        mandelbrot((1, 1), out=read_only)
    with pytest.raises(TypeError, match="mandelbrot"):
        mandelbrot()

"""The Mandelbrot set by escape time: for each pixel, how many iterations z ← z² + c take z out of the disk of radius 2.

The body below is the definition, one pixel at a time; counts_compiled.py has the compiled one, with the same counts
to the bit. Indices are pixels, row after row, so that chunks are equal in pixels however wide the image is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.arguments import as_out
from kernels.definition.plan import CHUNKS, Plan, refine_grain

Image = np.ndarray[Any, Any]

LARGEST_COUNT = 2**31 - 1  # what an int32 pixel holds
LARGEST_SIDE = 2**63 - 1  # what a body's int64 holds

PER_PIXEL = 172.5  # iterations: the mean of the example, the whole set, from side 200 on
# Pixels to a chunk of a small and of a large image; in between, there are CHUNKS chunks. Pixels of the interior take
# longest, and even a chunk of nothing else is short. At a chunk's end vector lanes are idle: with 512 pixels that costs
# a third of the speed, with 4096 it costs 2 %.
FINEST, COARSEST = 512, 4096


def plan_image(
    shape: tuple[int, int],
    center: complex = -0.75 + 0j,
    width: float = 3.0,
    max_iter: int = 1000,
    *,
    out: Image | None = None,
) -> Plan:
    """The escape times of a view of the Mandelbrot set, an int32 array (height, width) = shape of square pixels.

    Pixel (r, c) is the point center + (c - (w-1)/2)·d - 1j·(r - (h-1)/2)·d with d = width / w: row 0 is the top.
    Its value is the number of iterations z ← z² + c, from z = 0, done before |z|² > 4, and max_iter where it never was.
    All in float64 and in this order, nothing fused: (x·x - y·y) + cx, 2·x·y + cy, x·x + y·y > 4.

    shape: two whole numbers >= 0. center: finite. width: of the view in the plane, finite and > 0.
    max_iter: 1 .. 2^31 - 1. out: an array of that shape for the result, as in numpy.
    ValueError or TypeError for anything else.
    """
    height, columns = _sides(shape)
    middle = _point(center)
    step = _width_of_view(width) / max(columns, 1)
    limit = as_index(max_iter, "max_iter", least=1)
    if limit > LARGEST_COUNT:
        raise ValueError(f"max_iter must be at most {LARGEST_COUNT} (2^31 - 1, an int32 pixel), not {limit}")
    pixels = height * columns
    return Plan(
        pixels,
        (middle.real, middle.imag, step, height, columns, limit),
        shape=(pixels,),
        value_shape=(height, columns),
        dtype=np.int32,
        grain=min(max(pixels // CHUNKS, FINEST), COARSEST),
        out=as_out(out),
    )


def _sides(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, Sequence | np.ndarray) or isinstance(shape, str | bytes) or len(shape) != 2:
        raise ValueError(f"shape must be (height, width), not {shape!r}; a square of side n is (n, n)")
    sides = as_index(shape[0], "shape's height"), as_index(shape[1], "shape's width")
    if max(sides) > LARGEST_SIDE:
        raise ValueError(f"shape's sides must be at most {LARGEST_SIDE} (2^63 - 1, an int64), not {max(sides)}")
    return sides


def _point(center: Any) -> complex:
    try:
        point = complex(center) if not isinstance(center, str) else None
    except (TypeError, ValueError, OverflowError):
        point = None
    if point is None or not (math.isfinite(point.real) and math.isfinite(point.imag)):
        raise ValueError(f"center must be a finite complex number, not {center!r}; the whole set is at -0.75")
    return point


def _width_of_view(width: Any) -> float:
    try:
        number = float(width) if not isinstance(width, str) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"width must be a finite number above 0, not {width!r}; the whole set is 3 wide")
    return number


def escape_count(cx: float, cy: float, max_iter: int) -> int:
    """How many iterations z ← z² + c from z = 0 are done before |z|² > 4; max_iter where it never was."""
    x = y = 0.0
    count = 0
    while count < max_iter and not x * x + y * y > 4.0:
        x, y = (x * x - y * y) + cx, 2.0 * x * y + cy
        count += 1
    return count


def check_pixels(image: Image, shape: tuple[int, int], *args: Any, **kw: Any) -> None:
    """Compare a few dozen pixels, the same in every run, with the definition; AssertionError names one that differs."""
    plan = plan_image(shape, *args, **kw)
    real, imag, step, height, width, limit = plan.inputs
    assert image.shape == (height, width), f"shape {image.shape}, not {(height, width)}"
    assert image.dtype == (np.int32 if plan.out is None else plan.out.dtype), f"dtype {image.dtype}"
    for pixel in np.random.default_rng(4).choice(plan.indices, min(40, plan.indices), replace=False).tolist():
        row, column = divmod(pixel, width)
        # A pixel of a billion iterations would take minutes here, so it is followed for a limited number of them.
        patience = min(limit, 20_000)
        point = (real + (column - (width - 1) / 2) * step, imag - (row - (height - 1) / 2) * step)
        expected, count = escape_count(*point, patience), int(image[row, column])
        if expected == patience < limit:
            assert count >= patience, f"pixel {row, column} is {count}, not {patience} or more"
        else:
            assert count == expected, f"pixel {row, column} is {count}, not {expected}"


def iterations(image: Image) -> int:
    """How many iterations the definition does for an image: what a rate in iterations/s counts, shortcuts or not."""
    return int(image.sum(dtype=np.int64))


@kernel(
    plan=plan_image,
    dtype=np.int32,
    example=lambda size: ((size, size),),
    cost=lambda size: PER_PIXEL * float(size) ** 2,
    check=check_pixels,
    unit="iterations",
    work=iterations,
    bound="compute",
)
def mandelbrot(lo: int, hi: int, out: Image, *view: Any) -> None:
    """Fill the pixels lo .. hi of the flat image; touch nothing else. The view is that of plan_image's inputs."""
    real, imag, step, height, width, max_iter = view
    for pixel in range(lo, hi):
        row, column = pixel // width, pixel % width
        cx = real + (column - (width - 1) / 2) * step
        cy = imag - (row - (height - 1) / 2) * step
        out[pixel] = escape_count(cx, cy, max_iter)


mandelbrot.set_planner("python", refine_grain(plan_image))
mandelbrot.add_variant("nogil", "kernels.escape_time.counts_compiled:body", compiled=True)

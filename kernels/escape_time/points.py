"""Points of mandelbrot in vector lanes: z² + c, whether they are in the disk |z| <= 2, and which need no iteration."""

from __future__ import annotations

from typing import Any

import numba

from kernels.vectors.blocks import LANES
from kernels.vectors.operations import all_false, mul_add, vec_from_mask
from kernels.vectors.target import has_fma, vector_registers

# Vectors in flight. An iteration has a latency of 8 to 9 cycles and occupies the units for 2, so 4 to 5 vectors or more
# must be in flight. They are two parts, which use different units (see `iterated_fused`). Each vector needs registers
# for x, y, cx and cy: 8 vectors fill 32 registers. Of 16 registers, 5 vectors leave enough to compute in, and 6 do not
# (tuned on Zen 5, with and without AVX-512).
LOWER = 4 * LANES
UPPER = 4 * LANES if vector_registers() == 32 else LANES
IN_FLIGHT = LOWER + UPPER
# In flight while every iteration is tested: each vector needs more registers then, so fewer fit.
FEW = 4 * LANES

RING = 1e-6  # of |c|² on either side of 4
TINY = 1e-280

# _nrt=False: no reference counting, which took half of the time. The arrays outlive every helper's call.
compiled_helper = numba.njit(
    nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@compiled_helper
def needs_definition(cx: Any, cy: float) -> bool:
    """Whether one of these points is among the few that the shortcuts do not cover."""
    cc = cx * cx + cy * cy
    return not all_false((cc - 4.0) * (cc - 4.0) < RING * RING) or 0.0 < abs(cy) < TINY


@compiled_helper
def iterated(x: Any, y: Any, cx: Any, cy: Any) -> Any:
    """z² + c."""
    return (x * x - y * y) + cx, (x + x) * y + cy


@compiled_helper
def iterated_fused(x: Any, y: Any, cx: Any, cy: Any) -> Any:
    """z² + c, with the doubling in a multiply-add, which is exact: it uses the multipliers instead of the adders."""
    return (x * x - y * y) + cx, mul_add(x * y, 2.0, cy)


if not has_fma():
    iterated_fused = iterated


@compiled_helper
def in_disk(x: Any, y: Any) -> Any:
    return x * x + y * y <= 4.0


@compiled_helper
def tested(x: Any, y: Any, cx: Any, cy: Any, count: Any) -> Any:
    """z² + c, and the count, one more where |z|² <= 4."""
    return *iterated(x, y, cx, cy), count - vec_from_mask(in_disk(x, y))  # true is -1


@compiled_helper
def follow(x: Any, y: Any, cx: Any, cy: Any, count: Any, steps: int) -> Any:
    """Count the iterations until |z|² > 4, for some steps (rounded up to fours) or until all lanes have left."""
    for _ in range((steps + 3) // 4):
        for _ in range(4):
            x, y, count = tested(x, y, cx, cy, count)
        if all_false(in_disk(x, y)):
            break
    return x, y, count


@compiled_helper
def outside_interior(cx: Any, cy: Any) -> Any:
    """Whether points are in neither the main cardioid nor the disk of period 2, whose counts are max_iter."""
    right, left, yy = cx - 0.25, cx + 1.0, cy * cy
    q = right * right + yy
    # With 1 - 4c = a + bi and m = |a + bi|, the first is -(2(m + a) - m²)(m² - 2a + 2m)/256, the multiplier
    # |1 - sqrt(a + bi)|; in the disk of period 2 it is 4|c + 1|. Both are at most 1 - 5e-5 where these are less.
    return (q * (q + right) - 0.25 * yy >= -1e-4) & (left * left + yy >= 0.0624)

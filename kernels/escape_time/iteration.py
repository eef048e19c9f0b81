"""Points of mandelbrot in vector lanes: z² + c, whether they are in the disk |z| <= 2, and which need no iteration."""

from __future__ import annotations

from typing import Any

import numba

from kernels.vectors.blocks import LANES
from kernels.vectors.operations import all_false, if_then_else, mul_add, vec_from_mask
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
def tested_twice(x: Any, y: Any, cx: Any, cy: Any, pairs: Any, between: Any) -> Any:
    """Two iterations, of which only the first state is compared: `counted` says what pairs and between are.

    Returns x, y, pairs, between, and where |z|² <= 4 was before.
    """
    inside = in_disk(x, y)
    x, y = iterated(x, y, cx, cy)
    between = if_then_else(inside, x * x + y * y, between)
    x, y = iterated_fused(x, y, cx, cy)
    return x, y, pairs - vec_from_mask(inside), between, inside  # true is -1


@compiled_helper
def counted(pairs: Any, between: Any) -> Any:
    """The iterations until |z|² > 4.

    pairs: of iterations, that began with |z|² <= 4. between: |z|² in the middle of the last one, 0 where there is none.
    """
    return pairs + pairs + vec_from_mask(between > 4.0)


@compiled_helper
def outside_interior(cx: Any, cy: Any) -> Any:
    """Whether points are in neither the main cardioid nor the disk of period 2, whose counts are max_iter."""
    right, left, yy = cx - 0.25, cx + 1.0, cy * cy
    q = right * right + yy
    # With 1 - 4c = a + bi and m = |a + bi|, the first is -(2(m + a) - m²)(m² - 2a + 2m)/256, the multiplier
    # |1 - sqrt(a + bi)|; in the disk of period 2 it is 4|c + 1|. Both are at most 1 - 5e-5 where these are less.
    return (q * (q + right) - 0.25 * yy >= -1e-4) & (left * left + yy >= 0.0624)

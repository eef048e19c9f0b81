"""triad: a + s·b.

Its limit is the bandwidth, which is counted as STREAM does (McCalpin, 1995): bytes that the program reads and writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.operands import (
    COMPLEX128,
    FLOAT32,
    FLOAT64,
    SEED,
    Array,
    as_operand,
    as_out,
    as_scalar,
    broadcast,
    chunk_elements,
    dtype_of,
    refuse_truth_values,
    square,
    stacked,
)
from kernels.definition.plan import Plan, refine_grain


def plan_triad(a: Any, b: Any, s: Any, out: Any = None) -> Plan:
    """a + s·b, each product and sum rounded as numpy rounds them.

    Shapes: a and b of any shapes that broadcast; s is one number.
    Dtype: float32 or complex128 where numpy's promotion gives that (complex64 counts as complex128), else float64. A
    complex s needs a complex array. Complex products are (x·u − y·v) + (x·v + y·u)j, nothing fused.
    Operands: numbers that the dtype holds (float64: integers to 2**53). Arrays of the dtype, of any strides, are not
    copied, except to see the leading axes of a strided one as one; others are converted, one copy each.
    out: an array for the result, as in numpy; it may be a or b or overlap them.
    Raises ValueError for shapes that do not match and operands that the dtype does not hold.
    """
    refuse_truth_values(a=a, b=b, s=s)
    dtype = dtype_of((a, b, s), (FLOAT32, COMPLEX128))
    if dtype.kind == "c" and dtype_of((a, b), (COMPLEX128,)) != COMPLEX128:
        dtype = FLOAT64  # which refuses the complex s
    left, right, scale = as_operand(a, "a", dtype), as_operand(b, "b", dtype), as_scalar(s, "s", dtype)
    target = as_out(out, dtype)
    shape = broadcast({"a": left.shape, "b": right.shape}, None if target is None else target.shape)
    flat = all(x.shape == shape and x.flags.c_contiguous for x in (left, right))
    if flat and (target is None or target.flags.c_contiguous):
        seen: tuple[int, ...] = (int(np.prod(shape, dtype=np.intp)),)
    else:
        seen = shape or (1,)
    rows_a, which_a = _rows(left, shape, seen)
    rows_b, which_b = _rows(right, shape, seen)
    size = len(which_a) * seen[-1]
    return Plan(
        indices=size,
        inputs=(rows_a, rows_b, scale, which_a, which_b),
        shape=(len(which_a), seen[-1]),
        dtype=dtype,
        value_shape=shape,
        grain=chunk_elements(size),
        out=target,
        elementwise=True,
        work=3.0 * dtype.itemsize * size,
    )


def _rows(array: Array, shape: tuple[int, ...], seen: tuple[int, ...]) -> tuple[Array, Array]:
    """The operand as rows along the last axis of `seen`, and which of them each row of the result takes."""
    if array.shape == shape:
        array = array.reshape(seen)
    return stacked(array if array.ndim else array.reshape(1), 1, seen[:-1])


def check_triad(value: Any, a: Any, b: Any, s: Any, out: Any = None) -> None:
    """The shape, and up to 4096 elements spread over the array, to the bit."""
    plan = plan_triad(a, b, s)
    left, right, scale = np.asarray(a, plan.dtype), np.asarray(b, plan.dtype), plan.dtype.type(plan.inputs[2])
    result = np.asarray(value)
    np.broadcast_shapes(left.shape, right.shape, result.shape)
    left, right = np.broadcast_to(left, result.shape), np.broadcast_to(right, result.shape)
    if result.size:
        at = (
            np.unravel_index(np.linspace(0, result.size - 1, 4096).astype(np.intp), result.shape) if result.ndim else ()
        )
        np.testing.assert_array_equal(result[at], left[at] + _scaled(right[at], scale))


def _scaled(x: Array, s: Any) -> Array:
    """s·x; of complex numbers without numpy, which fuses their products where the machine can."""
    if x.dtype.kind != "c":
        scaled: Array = s * x
        return scaled
    scaled = np.empty_like(x)
    scaled.real, scaled.imag = s.real * x.real - s.imag * x.imag, s.real * x.imag + s.imag * x.real
    return scaled


@kernel(
    plan=plan_triad,
    example=lambda size: (square(as_index(size, "size")), square(as_index(size, "size"), SEED + 1), 3.0),
    cost=lambda size: 24.0 * size**2,
    check=check_triad,
    unit="byte",
    bound="memory",
)
def triad(lo: int, hi: int, out: Array, a: Array, b: Array, s: Any, which_a: Array, which_b: Array) -> None:
    """Fill the elements lo..hi of out, counted through its rows, with a + s·b; touch nothing else."""
    width = out.shape[1]
    step_a, step_b = min(1, a.shape[1] - 1), min(1, b.shape[1] - 1)  # 0 along an axis that is broadcast
    while lo < hi:
        row, first = divmod(lo, width)
        last = min(width, first + hi - lo)
        row_a, row_b = which_a[row], which_b[row]
        for i in range(first, last):
            out[row, i] = a[row_a, i * step_a] + s * b[row_b, i * step_b]
        lo += last - first


triad.set_planner("python", refine_grain(plan_triad))
triad.add_variant("nogil", "kernels.streams.scaled_sum_compiled:triad", compiled=True)

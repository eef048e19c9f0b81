"""transpose: a copy of an array with its axes in reverse order.

Its limit is the bandwidth, which is counted as STREAM does (McCalpin, 1995): bytes that the program reads and writes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.operands import (
    COMPLEX128,
    FLOAT32,
    FLOAT64,
    INT64,
    TALL,
    WIDE,
    Array,
    as_operand,
    as_out,
    chunk_elements,
    dtype_of,
    square,
    tile_at,
    tiles,
)
from kernels.definition.plan import Plan, refine_grain
from kernels.vectors.memory import check_ever_fits, check_memory


def plan_transpose(A: Any, out: Any = None) -> Plan:
    """A copy of A with its axes in reverse order: result[l, …, j, i] = A[i, j, …, l].

    Shapes: any; with fewer than two axes it is a plain copy (numpy.transpose returns a view, this a new array).
    Dtype: that of A where A is an array of float64, float32, int64 or complex128; complex128 of complex64; else
    float64, and of int64, too, where `out` holds floats.
    Operands: numbers that the dtype holds (float64: integers to 2**53). Arrays of the dtype, of any strides, are not
    copied first, except to see the axes between first and last of a strided array as one; others are, once.
    out: an array of the result's shape; it may overlap A.
    Raises ValueError for an `out` of another shape and operands that the dtype does not hold.
    """
    dtype = dtype_of((A,), (FLOAT32, INT64, COMPLEX128))
    if dtype == INT64 and isinstance(out, np.ndarray) and out.dtype.kind in "fc":
        dtype = FLOAT64  # which refuses the integers that it does not hold
    a, target = as_operand(A, "A", dtype), as_out(out, dtype)
    shape = a.shape[::-1]
    if target is not None and target.shape != shape:
        raise ValueError(f"out has shape {target.shape}, and the transpose has {shape}; use np.empty({shape})")
    rows = a.shape[0] if a.ndim else 1
    columns = a.shape[-1] if a.ndim > 1 else 1
    middle = a.shape[1:-1]
    check_ever_fits(8 * a.size)
    count = math.prod(middle)
    check_memory(16 * count)
    each = tiles(columns, rows, TALL, WIDE)
    return Plan(
        indices=count * each,
        inputs=(a.reshape(rows, count, columns), np.arange(count).reshape(middle).transpose().ravel()),
        shape=(columns, count, rows),
        dtype=dtype,
        value_shape=shape,
        grain=max(1, round(chunk_elements(a.size) / max(1, min(columns, TALL) * min(rows, WIDE)))),
        out=target,
        work=2.0 * dtype.itemsize * a.size,
    )


def check_transpose(value: Any, A: Any, out: Any = None) -> None:
    """The shape, and up to 4096 elements spread over the array, to the bit."""
    a = np.asarray(A)
    assert value.shape == a.shape[::-1], f"the transpose of {a.shape} has shape {value.shape}"
    if a.size:
        at = np.unravel_index(np.linspace(0, a.size - 1, 4096).astype(np.intp), a.shape) if a.ndim else ()
        np.testing.assert_array_equal(value[at[::-1]], a[at])


@kernel(
    plan=plan_transpose,
    example=lambda size: (square(as_index(size, "size")),),
    cost=lambda size: 16.0 * size**2,
    check=check_transpose,
    unit="byte",
    bound="memory",
)
def transpose(lo: int, hi: int, out: Array, A: Array, which: Array) -> None:
    """Fill tiles lo..hi of the slices out[:, s, :] = A[:, which[s], :].T; touch nothing else.

    In squares of 8 x 8: a square's eight lines, read and written, are in the nearest cache together.
    """
    side = 8
    for tile in range(lo, hi):
        s, top, bottom, left, right = tile_at(tile, out.shape[0], out.shape[2], TALL, WIDE)
        m = which[s]
        for i in range(top, bottom, side):
            for j in range(left, right, side):
                for row in range(i, min(i + side, bottom)):
                    for column in range(j, min(j + side, right)):
                        out[row, s, column] = A[column, m, row]


transpose.set_planner("python", refine_grain(plan_transpose))
transpose.add_variant("nogil", "kernels.streams.transposition_compiled:transpose", compiled=True)

"""Kernels that move memory: transpose and triad.

Their limit is the bandwidth, which they count as STREAM does (McCalpin, 1995): bytes that the program reads and writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.operands import (
    SEED,
    TALL,
    WIDE,
    Array,
    as_float64,
    as_out,
    as_scalar,
    broadcast,
    chunk_elements,
    square,
    stacked,
    tile_at,
    tiles,
)
from kernels.plan import Plan, finely


def plan_transpose(A: Any, out: Any = None) -> Plan:
    """A copy of A with its axes in reverse order, in float64: result[l, …, j, i] = A[i, j, …, l].

    Shapes: any; with fewer than two axes it is a plain copy (numpy.transpose returns a view, this a new array).
    Operands: numbers that float64 holds (integers to 2**53). float64 arrays of any strides are not copied first, except
    to see the axes between first and last of a strided array as one; other dtypes are converted, one copy.
    out: an array of the result's shape; it may overlap A.
    Raises ValueError for an `out` of another shape and operands that float64 does not hold.
    """
    a, target = as_float64(A, "A"), as_out(out)
    shape = a.shape[::-1]
    if target is not None and target.shape != shape:
        raise ValueError(f"out has shape {target.shape}, and the transpose has {shape}; use np.empty({shape})")
    rows = a.shape[0] if a.ndim else 1
    columns = a.shape[-1] if a.ndim > 1 else 1
    middle = a.shape[1:-1]
    count = int(np.prod(middle, dtype=np.intp))
    each = tiles(columns, rows, TALL, WIDE)
    return Plan(
        indices=count * each,
        inputs=(a.reshape(rows, count, columns), np.arange(count).reshape(middle).transpose().ravel()),
        shape=(columns, count, rows),
        value_shape=shape,
        grain=max(1, round(chunk_elements(a.size) / max(1, min(columns, TALL) * min(rows, WIDE)))),
        out=target,
        work=16.0 * a.size,
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


def plan_triad(a: Any, b: Any, s: Any, out: Any = None) -> Plan:
    """a + s·b in float64, each product and sum rounded as numpy rounds them.

    Shapes: a and b of any shapes that broadcast; s is one number.
    Operands: numbers that float64 holds (integers to 2**53). float64 arrays of any strides are not copied, except to
    see the leading axes of a strided one as one; other dtypes are converted, one copy each.
    out: an array for the result, as in numpy; it may be a or b or overlap them.
    Raises ValueError for shapes that do not match and operands that float64 does not hold.
    """
    left, right, scale, target = as_float64(a, "a"), as_float64(b, "b"), as_scalar(s, "s"), as_out(out)
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
        value_shape=shape,
        grain=chunk_elements(size),
        out=target,
        elementwise=True,
        work=24.0 * size,
    )


def _rows(array: Array, shape: tuple[int, ...], seen: tuple[int, ...]) -> tuple[Array, Array]:
    """The operand as rows along the last axis of `seen`, and which of them each row of the result takes."""
    if array.shape == shape:
        array = array.reshape(seen)
    return stacked(array if array.ndim else array.reshape(1), 1, seen[:-1])


def check_triad(value: Any, a: Any, b: Any, s: Any, out: Any = None) -> None:
    """The shape, and up to 4096 elements spread over the array, to the bit."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    result = np.asarray(value)
    np.broadcast_shapes(left.shape, right.shape, result.shape)
    left, right = np.broadcast_to(left, result.shape), np.broadcast_to(right, result.shape)
    if result.size:
        at = (
            np.unravel_index(np.linspace(0, result.size - 1, 4096).astype(np.intp), result.shape) if result.ndim else ()
        )
        np.testing.assert_array_equal(result[at], left[at] + np.float64(s) * right[at])


@kernel(
    plan=plan_triad,
    example=lambda size: (square(as_index(size, "size")), square(as_index(size, "size"), SEED + 1), 3.0),
    cost=lambda size: 24.0 * size**2,
    check=check_triad,
    unit="byte",
    bound="memory",
)
def triad(lo: int, hi: int, out: Array, a: Array, b: Array, s: float, which_a: Array, which_b: Array) -> None:
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


transpose.planned("python", finely(plan_transpose))
triad.planned("python", finely(plan_triad))
transpose.also("nogil", "kernels.streams_lanes:transpose", compiled=True)
triad.also("nogil", "kernels.streams_lanes:triad", compiled=True)

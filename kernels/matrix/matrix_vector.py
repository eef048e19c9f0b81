"""matvec: the elements of a product of matrix and vector that a chunk holds.

`python` is the plain definition, `nogil` compiles the loops, and `blas` hands each band of rows to the library that
numpy is linked with. How many threads that uses is not decided here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.operands import (
    FLOAT32,
    SEED,
    Array,
    as_operand,
    as_out,
    chunk_elements,
    dtype_of,
    for_blas,
    outer_axes,
    refuse_truth_values,
    square,
    stacked,
    vector,
)
from kernels.definition.plan import Plan, refine_grain
from kernels.vectors.memory import check_memory


def plan_matvec(A: Any, x: Any, out: Any = None) -> Plan:
    """The product of a matrix and a vector: result[…, i] = Σ_j A[…, i, j]·x[…, j].

    Shapes: as numpy.matvec (2.2 and later) takes them: (…, m, n) with (…, n), leading axes broadcast.
    Dtype, operands, copies and `out`: as for matmul; a strided x is copied, too.
    Error: each element within n·eps·(|A| · |x|). Work is cut by rows: one long row stays on one worker.
    Raises ValueError for shapes that do not match and operands that the dtype does not hold.
    """
    refuse_truth_values(A=A, x=x)
    dtype = dtype_of((A, x), (FLOAT32,))
    a, b, target = as_operand(A, "A", dtype), as_operand(x, "x", dtype), as_out(out, dtype)
    if a.ndim < 2:
        raise ValueError(f"A must have at least two dimensions, not {a.ndim}; for a product of vectors use matmul")
    if b.ndim < 1:
        raise ValueError("x must have at least one dimension; multiply by a single number with *")
    m, n = a.shape[-2:]
    if n != b.shape[-1]:
        raise ValueError(
            f"shapes do not match: A's {a.shape} has {n} columns and x's {b.shape} has {b.shape[-1]} elements; "
            "make them equal"
        )
    outer = outer_axes({"A": a.shape[:-2], "x": b.shape[:-1]}, (m,), target)
    stack_a, which_a = stacked(a, 2, outer)
    if not b.flags.c_contiguous:
        check_memory(8 * b.size)
    stack_x, which_x = stacked(np.ascontiguousarray(b), 1, outer)
    rows = len(which_a) * m
    grain = chunk_elements(rows * n) // max(n, 1)
    least = 512 if a.strides[-2] == a.itemsize else 1  # of a matrix that lies by columns, 4 KB of each
    return Plan(
        indices=rows,
        inputs=(stack_a, stack_x, which_a, which_x),
        shape=(len(which_a), m),
        dtype=dtype,
        value_shape=(*outer, m),
        grain=max(least, grain - grain % 4 or grain),  # whole groups of the rows that nogil takes together
        out=target,
        work=2.0 * rows * n,
    )


def check_matvec(value: Any, A: Any, x: Any, out: Any = None) -> None:
    """Up to 64 elements against exact sums (math.fsum) of the products; NaN and infinities where numpy has them."""
    y, a, b = np.asarray(value), np.asarray(A, np.float64), np.asarray(x, np.float64)
    eps = np.finfo(plan_matvec(A, x).dtype).eps
    a, b = np.broadcast_to(a, (*y.shape, a.shape[-1])), np.broadcast_to(b, (*y.shape[:-1], b.shape[-1]))
    if not y.size:
        return
    for place in np.unique(np.linspace(0, y.size - 1, 64).astype(np.intp)):
        at = np.unravel_index(place, y.shape)
        products = a[at] * b[at[:-1]]
        if np.isfinite(products).all():
            allowed = 2 * (len(products) + 1) * eps * np.abs(products).sum()
            assert abs(math.fsum(products) - y[at]) <= allowed, f"element {at} is {y[at]}"
        else:
            np.testing.assert_equal(y[at], products.sum())


@kernel(
    plan=plan_matvec,
    example=lambda size: (square(as_index(size, "size")), vector(as_index(size, "size"), SEED + 1)),
    cost=lambda size: 2.0 * size**2,
    check=check_matvec,
    unit="flop",
    bound="memory",
)
def matvec(lo: int, hi: int, out: Array, A: Array, x: Array, which_a: Array, which_x: Array) -> None:
    """Fill the elements lo..hi of the products, counted through the stack; touch nothing else."""
    rows, length = A.shape[1], A.shape[2]
    for index in range(lo, hi):
        s, i = divmod(index, rows)
        a, v = which_a[s], which_x[s]
        total = 0.0
        for j in range(length):
            total += A[a, i, j] * x[v, j]
        out[s, i] = total


def matvec_blas(lo: int, hi: int, out: Array, A: Array, x: Array, which_a: Array, which_x: Array) -> None:
    """The same elements by numpy.matmul, a band of rows of one matrix at a time."""
    rows = A.shape[1]
    while lo < hi:
        s, top = divmod(lo, rows)
        bottom = min(rows, top + hi - lo)
        np.matmul(for_blas(A[which_a[s], top:bottom]), for_blas(x[which_x[s]]), out=out[s, top:bottom])
        lo += bottom - top


matvec.set_planner("python", refine_grain(plan_matvec))
matvec.add_variant("blas", matvec_blas)
# Last, so that the bare name runs it.
matvec.add_variant("nogil", "kernels.matrix.matrix_vector_compiled:body", compiled=True)

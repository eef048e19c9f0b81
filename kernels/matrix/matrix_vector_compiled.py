"""matvec's compiled body: several rows at a time against one pass over x, each with vectors of partial sums.

It is bound by reading A once. Several rows share the loads of x and give the prefetchers as many streams; a matrix that
lies by columns is read by columns, into sums for a band of rows.

Four streams are what the hardware's prefetchers follow best. Bytes per second against STREAM's triad, on one core of
Zen 5, n = 4096:

    rows at a time   large pages   small pages
    1                1.0           0.85 to 0.93
    4                1.0           0.95 to 0.99
    8                0.97          0.92 to 0.95

C that only adds A up reaches 1.0 as well. Prefetching every line of A in software, however early, costs 2 to 7 %.
"""

from __future__ import annotations

import numpy as np

from kernels.definition.operands import Array
from kernels.vectors.blocks import LANES, load_u_at, store_u_at
from kernels.vectors.operations import mul_add, reduce_sum, set_

SUM_LANES = 2 * LANES  # of a row's partial sums: four rows of two registers hide the latency of a multiply-add


def body(lo: int, hi: int, out: Array, A: Array, x: Array, which_a: Array, which_x: Array) -> None:
    """Fill the elements lo..hi of the products, counted through the stack; touch nothing else."""
    rows = A.shape[1]
    while lo < hi:
        s, top = divmod(lo, rows)
        bottom = min(rows, top + hi - lo)
        lo += bottom - top
        if A.strides[2] == 8:
            by_rows(out[s], A[which_a[s]], x[which_x[s]], top, bottom)
        elif A.strides[1] == 8 and rows > 1:
            by_columns(out[s], A[which_a[s]], x[which_x[s]], top, bottom)
        else:
            by_copied_rows(out[s], A[which_a[s]], x[which_x[s]], top, bottom)


def by_copied_rows(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x of any strides, to the bit as of the copy that some backends make."""
    row, product = np.empty((1, A.shape[1])), np.empty(1)
    for i in range(top, bottom):
        for j in range(A.shape[1]):
            row[0, j] = A[i, j]
        by_rows(product, row, x, 0, 1)
        out[i] = product[0]


def by_rows(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x, rows contiguous: four at a time, then one by one with the same sums."""
    length, line, v = A.shape[1], A.strides[0], x.ctypes.data
    whole = length - length % SUM_LANES
    four = bottom - (bottom - top) % 4
    for i in range(top, four, 4):
        a = A.ctypes.data + i * line
        b, c, d = a + line, a + 2 * line, a + 3 * line
        of_a = of_b = of_c = of_d = set_(0.0, SUM_LANES)
        for j in range(0, whole * 8, SUM_LANES * 8):
            of_x = load_u_at(np.intp(v + j), SUM_LANES)
            of_a = mul_add(load_u_at(np.intp(a + j), SUM_LANES), of_x, of_a)
            of_b = mul_add(load_u_at(np.intp(b + j), SUM_LANES), of_x, of_b)
            of_c = mul_add(load_u_at(np.intp(c + j), SUM_LANES), of_x, of_c)
            of_d = mul_add(load_u_at(np.intp(d + j), SUM_LANES), of_x, of_d)
        out[i] = reduce_sum(of_a)
        out[i + 1] = reduce_sum(of_b)
        out[i + 2] = reduce_sum(of_c)
        out[i + 3] = reduce_sum(of_d)
        add_tails(out, A, x, i, i + 4, whole)
    for i in range(four, bottom):
        a = A.ctypes.data + i * line
        of_a = set_(0.0, SUM_LANES)
        for j in range(0, whole * 8, SUM_LANES * 8):
            of_a = mul_add(load_u_at(np.intp(a + j), SUM_LANES), load_u_at(np.intp(v + j), SUM_LANES), of_a)
        out[i] = reduce_sum(of_a)
        add_tails(out, A, x, i, i + 1, whole)


def add_tails(out: Array, A: Array, x: Array, top: int, bottom: int, first: int) -> None:
    """Add to out[top:bottom] the products that fill no vector. A group in one call, so its sums stay in registers."""
    for i in range(top, bottom):
        total = 0.0
        for j in range(first, A.shape[1]):
            total += A[i, j] * x[j]
        out[i] += total


def by_columns(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x, columns contiguous: added, four at a time, to a band of sums in L1."""
    sums = np.zeros(bottom - top)
    column, whole, to = A.strides[1], (bottom - top) // LANES * LANES, sums.ctypes.data
    four = A.shape[1] - A.shape[1] % 4
    for j in range(0, four, 4):
        a = A.ctypes.data + top * 8 + j * column
        b, c, d = a + column, a + 2 * column, a + 3 * column
        of_a, of_b = set_(x[j], LANES), set_(x[j + 1], LANES)
        of_c, of_d = set_(x[j + 2], LANES), set_(x[j + 3], LANES)
        for i in range(0, whole * 8, LANES * 8):
            total = mul_add(load_u_at(np.intp(a + i), LANES), of_a, load_u_at(np.intp(to + i), LANES))
            total = mul_add(load_u_at(np.intp(b + i), LANES), of_b, total)
            total = mul_add(load_u_at(np.intp(c + i), LANES), of_c, total)
            total = mul_add(load_u_at(np.intp(d + i), LANES), of_d, total)
            store_u_at(np.intp(to + i), total)
    for i in range(bottom - top):
        for j in range(0 if i >= whole else four, A.shape[1]):
            sums[i] += A[top + i, j] * x[j]
        out[top + i] = sums[i]

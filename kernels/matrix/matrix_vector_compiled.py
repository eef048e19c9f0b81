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
from kernels.vectors.blocks import item_bytes, load_u_at, per_line, store_u_at
from kernels.vectors.caches import BYTES_PER_LINE
from kernels.vectors.operations import mul_add, reduce_sum, set_


def body(lo: int, hi: int, out: Array, A: Array, x: Array, which_a: Array, which_x: Array) -> None:
    """Fill the elements lo..hi of the products, counted through the stack; touch nothing else."""
    rows = A.shape[1]
    while lo < hi:
        s, top = divmod(lo, rows)
        bottom = min(rows, top + hi - lo)
        lo += bottom - top
        if A.strides[2] == item_bytes(A):
            by_rows(out[s], A[which_a[s]], x[which_x[s]], top, bottom)
        elif A.strides[1] == item_bytes(A) and rows > 1:
            by_columns(out[s], A[which_a[s]], x[which_x[s]], top, bottom)
        else:
            by_copied_rows(out[s], A[which_a[s]], x[which_x[s]], top, bottom)


def by_copied_rows(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x of any strides, to the bit as of the copy that some backends make."""
    row, product = np.empty((1, A.shape[1]), A.dtype), np.empty(1, A.dtype)
    for i in range(top, bottom):
        for j in range(A.shape[1]):
            row[0, j] = A[i, j]
        by_rows(product, row, x, 0, 1)
        out[i] = product[0]


def by_rows(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x, rows contiguous: four at a time, then one by one with the same sums.

    A row's partial sums are a line of the cache, whatever a register holds: so the bits are the same on all CPUs that
    multiply and add with one rounding. Four rows of them hide the latency of a multiply-add.
    """
    length, line, v = A.shape[1], A.strides[0], x.ctypes.data
    sums, zero = per_line(A), A.dtype.type(0.0)
    whole = length - length % sums
    end = whole * item_bytes(A)
    four = bottom - (bottom - top) % 4
    for i in range(top, four, 4):
        a = A.ctypes.data + i * line
        b, c, d = a + line, a + 2 * line, a + 3 * line
        of_a = of_b = of_c = of_d = set_(zero, sums)
        for j in range(0, end, BYTES_PER_LINE):
            of_x = load_u_at(np.intp(v + j), sums, x)
            of_a = mul_add(load_u_at(np.intp(a + j), sums, A), of_x, of_a)
            of_b = mul_add(load_u_at(np.intp(b + j), sums, A), of_x, of_b)
            of_c = mul_add(load_u_at(np.intp(c + j), sums, A), of_x, of_c)
            of_d = mul_add(load_u_at(np.intp(d + j), sums, A), of_x, of_d)
        out[i] = reduce_sum(of_a)
        out[i + 1] = reduce_sum(of_b)
        out[i + 2] = reduce_sum(of_c)
        out[i + 3] = reduce_sum(of_d)
        add_tails(out, A, x, i, i + 4, whole)
    for i in range(four, bottom):
        a = A.ctypes.data + i * line
        of_a = set_(zero, sums)
        for j in range(0, end, BYTES_PER_LINE):
            of_a = mul_add(load_u_at(np.intp(a + j), sums, A), load_u_at(np.intp(v + j), sums, x), of_a)
        out[i] = reduce_sum(of_a)
        add_tails(out, A, x, i, i + 1, whole)


def add_tails(out: Array, A: Array, x: Array, top: int, bottom: int, first: int) -> None:
    """Add to out[top:bottom] the products that fill no vector. A group in one call, so its sums stay in registers."""
    for i in range(top, bottom):
        total = A.dtype.type(0.0)
        for j in range(first, A.shape[1]):
            total += A[i, j] * x[j]
        out[i] += total


def by_columns(out: Array, A: Array, x: Array, top: int, bottom: int) -> None:
    """out[top:bottom] = A[top:bottom] @ x, columns contiguous: added, four at a time, to a band of sums in L1."""
    sums, some, size = np.zeros(bottom - top, A.dtype), per_line(A), item_bytes(A)
    column, whole, to = A.strides[1], (bottom - top) // some * some, sums.ctypes.data
    four = A.shape[1] - A.shape[1] % 4
    for j in range(0, four, 4):
        a = A.ctypes.data + top * size + j * column
        b, c, d = a + column, a + 2 * column, a + 3 * column
        of_a, of_b = set_(x[j], some), set_(x[j + 1], some)
        of_c, of_d = set_(x[j + 2], some), set_(x[j + 3], some)
        for i in range(0, whole * size, BYTES_PER_LINE):
            total = mul_add(load_u_at(np.intp(a + i), some, A), of_a, load_u_at(np.intp(to + i), some, A))
            total = mul_add(load_u_at(np.intp(b + i), some, A), of_b, total)
            total = mul_add(load_u_at(np.intp(c + i), some, A), of_c, total)
            total = mul_add(load_u_at(np.intp(d + i), some, A), of_d, total)
            store_u_at(np.intp(to + i), total)
    for i in range(bottom - top):
        for j in range(0 if i >= whole else four, A.shape[1]):
            sums[i] += A[top + i, j] * x[j]
        out[top + i] = sums[i]

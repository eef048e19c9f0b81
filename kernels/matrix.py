"""Products: matmul and matvec, each filling the tiles or rows of its result that a chunk holds.

`python` is the plain definition. `nogil` compiles the loops; `blas` hands each tile or band to the library that numpy
is linked with, whose own threads are not this module's affair.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.operands import (
    MOST_CHUNKS,
    SEED,
    Array,
    as_float64,
    as_out,
    broadcast,
    chunk_elements,
    square,
    stacked,
    tile_at,
    tiles,
    vector,
)
from kernels.plan import Plan, finely

# A tile's packing moves k·(tall + wide) numbers for 2k·tall·wide flops. On Zen 5 it costs tiles of 528 x 528 a tenth
# of their speed with AVX-512 (120 GFLOP/s), half of that with AVX2, and tiles of 264 x 264 twice as much. 16 tiles let
# 2, 4 and 8 lanes end together, and a product of 4096 x 4096 has 64. Every block of registers divides 24.
SIDE, ENOUGH, BLOCK = 528, 16, 24
CHUNK_FLOPS = 1 << 19  # a product of 128 x 128 is 8 chunks of 10 us; below, a chunk is mostly packing

# A BLAS packs its operands again for every tile. One thread of OpenBLAS on Zen 5, of the speed of a single call, n =
# 1024 with AVX-512: two bands of rows 0.98, two of columns 0.92, four bands 0.94, quarters 0.91, 16 tiles 0.84; with
# AVX2 0.99, 0.99, 0.94, 0.97, 0.93. So there is a tile for each core of the machine, which is the same for any number
# of workers; where that is more than one, packing A again counts three times what packing B again does.
CORES = os.cpu_count() or 1
A_AGAIN = 3
BLAS_FLOPS = 1 << 36  # at most in a tile, half of n = 4096: no call can be interrupted, and this one takes 0.7 s
LINE = 8  # rows or columns of tiles even: multiples of 16, 24 and 64 were no faster, and balanced worse


def packed_tile(matrices: int, rows: int, columns: int, depth: int) -> tuple[int, int]:
    """Rows and columns of a tile: equal parts, halved until there are enough, or they would be too small to pay.

    matrices: how many products of that size there are.
    """
    down, across = -(-rows // SIDE) or 1, -(-columns // SIDE) or 1
    while matrices * down * across < ENOUGH:
        finer = (2 * down, across) if rows * across >= columns * down else (down, 2 * across)
        if 2.0 * rows * columns * depth < CHUNK_FLOPS * finer[0] * finer[1]:
            break
        down, across = finer
    return _part(rows, down, BLOCK), _part(columns, across, BLOCK)


def blas_tile(matrices: int, rows: int, columns: int, depth: int, cores: int = CORES) -> tuple[int, int]:
    """Rows and columns of a tile: as few as keep the machine's cores busy, cut where least is packed again."""
    flops = 2 * rows * columns * depth
    parts = 1 if matrices >= 4 * cores else cores  # four a core end together
    parts = max(1, min(parts, flops // CHUNK_FLOPS))
    while flops > parts * BLAS_FLOPS:
        parts *= 2
    grids = [(down, parts // down) for down in range(1, parts + 1) if parts % down == 0]
    down, across = min(grids, key=lambda grid: grid[0] * columns + A_AGAIN * grid[1] * rows)
    return _part(rows, down, LINE), _part(columns, across, LINE)


def python_bands(matrices: int, rows: int, columns: int, depth: int) -> tuple[int, int]:
    """Rows and columns of a tile: whole rows, enough of such bands. A loop of Python gains nothing from a cache."""
    return _part(rows, max(1, ENOUGH // matrices), 1), columns or 1


def _part(length: int, parts: int, multiple: int) -> int:
    return -(-length // (parts * multiple)) * multiple or multiple


def plan_matmul(A: Any, B: Any, out: Any = None) -> Plan:
    """The matrix product A @ B in float64.

    Shapes: as numpy.matmul takes them: (…, n, k) with (…, k, m), leading axes broadcast; a one-dimensional A is a row
    and B a column, whose axis the result loses. Any k, 0 included.
    Operands: numbers that float64 holds (integers to 2**53). float64 arrays of any strides are not copied, except to
    see the leading axes of a strided stack as one; other dtypes are converted, one copy each.
    out: an array for the result, as in numpy; it may overlap A or B.
    Error: each element within k·eps·(|A| @ |B|); NaN and infinities go where numpy has them.
    Raises ValueError for shapes that do not match and operands that float64 does not hold.
    """
    return _plan_matmul(A, B, out, packed_tile)


def plan_matmul_blas(A: Any, B: Any, out: Any = None) -> Plan:
    """The same, in a tile for each core of the machine, since the library packs its operands again for every tile.

    Its bits are the library's: the same for any number of workers, not on every machine.
    """
    return _plan_matmul(A, B, out, blas_tile)


def plan_matmul_python(A: Any, B: Any, out: Any = None) -> Plan:
    """The same, in bands: what is mostly packing to compiled code is milliseconds of Python, to be shared out."""
    return _plan_matmul(A, B, out, python_bands)


def _plan_matmul(A: Any, B: Any, out: Any, tile: Callable[[int, int, int, int], tuple[int, int]]) -> Plan:
    a, b, target = as_float64(A, "A"), as_float64(B, "B"), as_out(out)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"{'A' if a.ndim == 0 else 'B'} is a single number; multiply with * instead of matmul")
    a2 = a[None, :] if a.ndim == 1 else a
    b2 = b[:, None] if b.ndim == 1 else b
    (n, k), (k_of_b, m) = a2.shape[-2:], b2.shape[-2:]
    if k != k_of_b:
        raise ValueError(
            f"shapes do not match: A's {a.shape} has {k} columns and B's {b.shape} has {k_of_b} rows; make them equal"
        )
    core = ((n,) if a.ndim > 1 else ()) + ((m,) if b.ndim > 1 else ())
    outer = _outer({"A": a2.shape[:-2], "B": b2.shape[:-2]}, core, target)
    stack_a, which_a = stacked(a2, 2, outer)
    stack_b, which_b = stacked(b2, 2, outer)
    tall, wide = tile(max(len(which_a), 1), n, m, max(k, 1))
    each = tiles(n, m, tall, wide)
    flops = 2.0 * len(which_a) * n * k * m
    return Plan(
        indices=len(which_a) * each,
        inputs=(stack_a, stack_b, which_a, which_b, tall, wide),
        shape=(len(which_a), n, m),
        value_shape=(*outer, *core),
        # Of small matrices, as many to a chunk as make it pay.
        grain=1
        if each > 1
        else max(1, int(CHUNK_FLOPS / (2.0 * (n * k * m + n + m + k) + 1)), len(which_a) // MOST_CHUNKS),
        out=target,
        work=flops,
    )


def _outer(leading: dict[str, tuple[int, ...]], core: tuple[int, ...], out: Array | None) -> tuple[int, ...]:
    """The leading axes of a product: those of the operands broadcast, and out's."""
    if out is None:
        return broadcast(leading)
    if out.shape[out.ndim - len(core) :] != core or out.ndim < len(core):
        expected = (*broadcast(leading), *core)
        raise ValueError(f"out has shape {out.shape}, and the product has {expected}; use np.empty({expected})")
    return broadcast(leading, out.shape[: out.ndim - len(core)])


def check_matmul(value: Any, A: Any, B: Any, out: Any = None) -> None:
    """Freivalds' check (1977): C x = A (B x) for random x = ±1; a wrong element escapes one x in two, eight in 256.

    A product with NaN or infinities in it is compared with numpy's.
    """
    c, a, b = np.asarray(value), np.asarray(A, np.float64), np.asarray(B, np.float64)
    a2, b2 = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    if not np.isfinite(c).all() or c.size == 0:
        np.testing.assert_allclose(c, np.matmul(a, b), rtol=1e-9)
        return
    outer = np.broadcast_shapes(a2.shape[:-2], b2.shape[:-2])
    c2 = np.broadcast_to(c, c.shape).reshape(
        *c.shape[: c.ndim - (a.ndim > 1) - (b.ndim > 1)], a2.shape[-2], b2.shape[-1]
    )
    assert c2.shape[c2.ndim - 2 - len(outer) : -2] == outer, f"the product has shape {c.shape}"
    k, m = b2.shape[-2:]
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (m, 8))
    error = np.abs(c2 @ signs - a2 @ (b2 @ signs))
    lengths_a = np.sqrt(np.einsum("...ij,...ij->...i", a2, a2))
    length_b = np.sqrt(np.einsum("...ij,...ij->...", b2, b2) * m)
    allowed = 2 * (k + m) * np.finfo(float).eps * lengths_a * length_b[..., None]
    assert (error <= allowed[..., None]).all(), f"A @ B is wrong by up to {error.max():.3g}"


@kernel(
    plan=plan_matmul,
    example=lambda size: (square(as_index(size, "size")), square(as_index(size, "size"), SEED + 1)),
    cost=lambda size: 2.0 * size**3,
    check=check_matmul,
    unit="flop",
    bound="compute",
)
def matmul(
    lo: int, hi: int, out: Array, A: Array, B: Array, which_a: Array, which_b: Array, tall: int, wide: int
) -> None:
    """Fill tiles lo..hi of the products: out[s] = A[which_a[s]] @ B[which_b[s]]; touch nothing else.

    Rows of B that a block of `deep` of them holds stay in cache while every row of the tile takes them up.
    """
    deep = 64
    depth = A.shape[2]
    for tile in range(lo, hi):
        s, top, bottom, left, right = tile_at(tile, out.shape[1], out.shape[2], tall, wide)
        a, b = which_a[s], which_b[s]
        for i in range(top, bottom):
            for j in range(left, right):
                out[s, i, j] = 0.0
        for first in range(0, depth, deep):
            for i in range(top, bottom):
                for p in range(first, min(first + deep, depth)):
                    factor = A[a, i, p]
                    for j in range(left, right):
                        out[s, i, j] += factor * B[b, p, j]


def matmul_blas(
    lo: int, hi: int, out: Array, A: Array, B: Array, which_a: Array, which_b: Array, tall: int, wide: int
) -> None:
    """The same tiles by numpy.matmul; many small matrices in one call, of which it gathers this chunk's operands."""
    if tall >= out.shape[1] and wide >= out.shape[2] and hi - lo > 1:
        np.matmul(A[which_a[lo:hi]], B[which_b[lo:hi]], out=out[lo:hi])
        return
    for tile in range(lo, hi):
        s, top, bottom, left, right = tile_at(tile, out.shape[1], out.shape[2], tall, wide)
        rows, columns = _for_blas(A[which_a[s], top:bottom]), _for_blas(B[which_b[s], :, left:right])
        np.matmul(rows, columns, out=out[s, top:bottom, left:right])


def _for_blas(matrix: Array) -> Array:
    """The operand, copied where none of its strides is one element: it would be summed in another, slower way."""
    return matrix if matrix.itemsize in matrix.strides else np.ascontiguousarray(matrix)


matmul.planned("python", plan_matmul_python)
matmul.also("blas", matmul_blas, plan=plan_matmul_blas)
matmul.also("nogil", "kernels.matmul_packed:body", compiled=True)  # last, so the bare name: it keeps to one core


def plan_matvec(A: Any, x: Any, out: Any = None) -> Plan:
    """The product of a matrix and a vector, in float64: result[…, i] = Σ_j A[…, i, j]·x[…, j].

    Shapes: as numpy.matvec (2.2 and later) takes them: (…, m, n) with (…, n), leading axes broadcast.
    Operands, copies and `out`: as for matmul; a strided x is copied, too.
    Error: each element within n·eps·(|A| · |x|). Work is cut by rows: one long row stays on one worker.
    Raises ValueError for shapes that do not match and operands that float64 does not hold.
    """
    a, b, target = as_float64(A, "A"), as_float64(x, "x"), as_out(out)
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
    outer = _outer({"A": a.shape[:-2], "x": b.shape[:-1]}, (m,), target)
    stack_a, which_a = stacked(a, 2, outer)
    stack_x, which_x = stacked(np.ascontiguousarray(b), 1, outer)
    rows = len(which_a) * m
    grain = chunk_elements(rows * n) // max(n, 1)
    least = 512 if a.strides[-2] == a.itemsize else 1  # of a matrix that lies by columns, 4 KB of each
    return Plan(
        indices=rows,
        inputs=(stack_a, stack_x, which_a, which_x),
        shape=(len(which_a), m),
        value_shape=(*outer, m),
        grain=max(least, grain - grain % 4 or grain),  # whole groups of the rows that nogil takes together
        out=target,
        work=2.0 * rows * n,
    )


def check_matvec(value: Any, A: Any, x: Any, out: Any = None) -> None:
    """Up to 64 elements against exact sums (math.fsum) of the products; NaN and infinities where numpy has them."""
    y, a, b = np.asarray(value), np.asarray(A, np.float64), np.asarray(x, np.float64)
    a, b = np.broadcast_to(a, (*y.shape, a.shape[-1])), np.broadcast_to(b, (*y.shape[:-1], b.shape[-1]))
    if not y.size:
        return
    for place in np.unique(np.linspace(0, y.size - 1, 64).astype(np.intp)):
        at = np.unravel_index(place, y.shape)
        products = a[at] * b[at[:-1]]
        if np.isfinite(products).all():
            allowed = 2 * (len(products) + 1) * np.finfo(float).eps * np.abs(products).sum()
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
        np.matmul(_for_blas(A[which_a[s], top:bottom]), _for_blas(x[which_x[s]]), out=out[s, top:bottom])
        lo += bottom - top


matvec.planned("python", finely(plan_matvec))
matvec.also("blas", matvec_blas)
matvec.also("nogil", "kernels.matvec_lanes:body", compiled=True)  # the last one is what the bare name runs

"""matmul: the tiles of a matrix product that a chunk holds.

`python` is the plain definition, `nogil` compiles the loops, and `blas` hands each tile to the library that
numpy is linked with. How many threads that uses is not decided here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.operands import (
    FLOAT32,
    SEED,
    Array,
    as_operand,
    as_out,
    dtype_of,
    for_blas,
    outer_axes,
    refuse_truth_values,
    square,
    stacked,
    tile_at,
    tiles,
)
from kernels.definition.plan import MOST_CHUNKS, Plan

# A tile's packing moves k·(tall + wide) numbers for 2k·tall·wide flops. Its share of the speed, on Zen 5:
#   tile         AVX-512 (120 GFLOP/s)   AVX2
#   528 x 528    10 %                    5 %
#   264 x 264    20 %                    10 %
# On Zen 4, where OpenBLAS has one core to itself (54 GFLOP/s), n = 1024 has 0.93 of its speed in 16 tiles, 0.94 in 8,
# and 0.98 in 4; n = 4096 has 0.98 in tiles of 528 x 528 and 0.995 in 1056 x 1056. So tiles are large, and there are two
# for each core of the machine, which does not depend on the number of workers. The bits do not depend on the tiles.
CORES = os.cpu_count() or 1
SIDE = 1056  # most rows and columns of a packed tile
TILES_A_CORE, LEAST_TILES = 2, 4
MOST_FLOPS = 1 << 36  # in a tile, half of n = 4096: no chunk can be interrupted, and this one takes a second
REGISTER_BLOCK = 24  # rows and columns of packed tiles are multiples; of float32, twice that
CHUNK_FLOPS = 1 << 19  # a product of 128 x 128 is 8 chunks of 10 us; below that, a chunk is mostly packing


# A BLAS packs its operands again for every tile. Speed of one thread of OpenBLAS on Zen 5, n = 1024, against one call:
#   tiles                  AVX-512   AVX2
#   two bands of rows      0.98      0.99
#   two bands of columns   0.92      0.99
#   four bands of rows     0.94      0.94
#   quarters               0.91      0.97
#   16 tiles               0.84      0.93
# So there is one tile for each core of the machine, which does not depend on the number of workers. Where that is more
# than one, packing A again counts three times as much as packing B again.
A_AGAIN = 3
PYTHON_BANDS = 16  # of a product, for Python: they let 2, 4 and 8 worker lanes end together
BLAS_MULTIPLE = 8  # of the rows and columns of a BLAS's tiles: 16, 24 and 64 were no faster, and balanced worse


def packed_tile(
    matrices: int, rows: int, columns: int, depth: int, block: int = REGISTER_BLOCK, cores: int = CORES
) -> tuple[int, int]:
    """Rows and columns of a tile: equal parts, halved while they are too few or take too long, and are worth a chunk.

    matrices: how many products of that size there are.
    block: of which rows and columns are multiples.
    cores: of the machine.
    """
    down, across = -(-rows // SIDE) or 1, -(-columns // SIDE) or 1
    flops, enough = 2 * rows * columns * depth, max(LEAST_TILES, TILES_A_CORE * cores)
    while matrices * down * across < enough or flops > down * across * MOST_FLOPS:
        finer = (2 * down, across) if rows * across >= columns * down else (down, 2 * across)
        if flops < CHUNK_FLOPS * finer[0] * finer[1]:
            break
        down, across = finer
    return _part(rows, down, block), _part(columns, across, block)


def blas_tile(matrices: int, rows: int, columns: int, depth: int, cores: int = CORES) -> tuple[int, int]:
    """Rows and columns of a tile: as few as keep the machine's cores busy, cut where least is packed again."""
    flops = 2 * rows * columns * depth
    parts = 1 if matrices >= 4 * cores else cores  # with four products a core, cores finish at about the same time
    parts = max(1, min(parts, flops // CHUNK_FLOPS))
    while flops > parts * MOST_FLOPS:
        parts *= 2
    grids = [(down, parts // down) for down in range(1, parts + 1) if parts % down == 0]
    down, across = min(grids, key=lambda grid: grid[0] * columns + A_AGAIN * grid[1] * rows)
    return _part(rows, down, BLAS_MULTIPLE), _part(columns, across, BLAS_MULTIPLE)


def python_bands(matrices: int, rows: int, columns: int, depth: int) -> tuple[int, int]:
    """Rows and columns of a tile: bands of whole rows. A loop of Python gains nothing from a cache."""
    return _part(rows, max(1, PYTHON_BANDS // matrices), 1), columns or 1


def _part(length: int, parts: int, multiple: int) -> int:
    return -(-length // (parts * multiple)) * multiple or multiple


def plan_matmul(A: Any, B: Any, out: Any = None) -> Plan:
    """The matrix product A @ B.

    Shapes: as numpy.matmul takes them: (…, n, k) with (…, k, m), leading axes broadcast; a one-dimensional A is a row
    and B a column, whose axis the result loses. Any k, 0 included.
    Dtype: float32 where numpy's promotion of the arrays gives that, else float64.
    Operands: numbers that the dtype holds (float64: integers to 2**53). Arrays of the dtype, of any strides, are not
    copied, except to see the leading axes of a strided stack as one; others are converted, one copy each.
    out: an array for the result, as in numpy; it may overlap A or B.
    Error: each element within k·eps·(|A| @ |B|); NaN and infinities go where numpy has them.
    Raises ValueError for shapes that do not match and operands that the dtype does not hold.
    """
    return _plan_matmul(A, B, out, packed_tile, partial(packed_tile, block=2 * REGISTER_BLOCK))


def plan_matmul_blas(A: Any, B: Any, out: Any = None) -> Plan:
    """The same, in a tile for each core of the machine, since the library packs its operands again for every tile.

    Its bits are the library's: the same for any number of workers, not on every machine.
    """
    return _plan_matmul(A, B, out, blas_tile, blas_tile)


def plan_matmul_python(A: Any, B: Any, out: Any = None) -> Plan:
    """The same, in bands: a product that is too small to be cut for compiled code takes milliseconds in Python."""
    return _plan_matmul(A, B, out, python_bands, python_bands)


Tile = Callable[[int, int, int, int], tuple[int, int]]


def _plan_matmul(A: Any, B: Any, out: Any, tile_float64: Tile, tile_float32: Tile) -> Plan:
    refuse_truth_values(A=A, B=B)
    dtype = dtype_of((A, B), (FLOAT32,))
    a, b, target = as_operand(A, "A", dtype), as_operand(B, "B", dtype), as_out(out, dtype)
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
    outer = outer_axes({"A": a2.shape[:-2], "B": b2.shape[:-2]}, core, target)
    stack_a, which_a = stacked(a2, 2, outer)
    stack_b, which_b = stacked(b2, 2, outer)
    tile = tile_float32 if dtype == FLOAT32 else tile_float64
    tall, wide = tile(max(len(which_a), 1), n, m, max(k, 1))
    each = tiles(n, m, tall, wide)
    flops = 2.0 * len(which_a) * n * k * m
    return Plan(
        indices=len(which_a) * each,
        inputs=(stack_a, stack_b, which_a, which_b, tall, wide),
        shape=(len(which_a), n, m),
        dtype=dtype,
        value_shape=(*outer, *core),
        # Small matrices: so many to a chunk that its work is far more than its overhead.
        grain=1
        if each > 1
        else max(1, int(CHUNK_FLOPS / (2.0 * (n * k * m + n + m + k) + 1)), len(which_a) // MOST_CHUNKS),
        out=target,
        work=flops,
    )


def check_matmul(value: Any, A: Any, B: Any, out: Any = None) -> None:
    """Freivalds' check (1977): C x = A (B x) for eight random x = ±1.

    A wrong element goes unnoticed by one x with probability 1/2, by eight with 1/256.
    A product with NaN or infinities in it is compared with numpy's.
    """
    c, a, b = np.asarray(value), np.asarray(A, np.float64), np.asarray(B, np.float64)
    eps = np.finfo(plan_matmul(A, B).dtype).eps
    a2, b2 = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    if not np.isfinite(c).all() or c.size == 0:
        np.testing.assert_allclose(c, np.matmul(a, b), rtol=max(1e-9, 100 * eps))
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
    allowed = 2 * (k + m) * eps * lengths_a * length_b[..., None]
    assert (error <= allowed[..., None]).all(), f"A @ B is wrong by up to {error.max():.3g}"


@kernel(
    plan=plan_matmul,
    example=lambda size: (square(as_index(size, "size")), square(as_index(size, "size"), SEED + 1)),
    cost=lambda size: 2.0 * size**3,
    check=check_matmul,
    unit="flop",
    bound="compute",
)
def matmul(lo: int, hi: int, out: Array, A: Array, B: Array, which_a: Array, which_b: Array, *tile: int) -> None:
    """Fill tiles lo..hi of the products: out[s] = A[which_a[s]] @ B[which_b[s]]; touch nothing else.

    Rows of B that a block of `deep` of them holds stay in cache while every row of the tile takes them up.
    """
    tall, wide = tile  # its rows and columns
    deep = 64
    depth = A.shape[2]
    for index in range(lo, hi):
        s, top, bottom, left, right = tile_at(index, out.shape[1], out.shape[2], tall, wide)
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


def matmul_blas(lo: int, hi: int, out: Array, A: Array, B: Array, which_a: Array, which_b: Array, *tile: int) -> None:
    """The same tiles by numpy.matmul; many small matrices in one call, of which it gathers this chunk's operands."""
    tall, wide = tile
    if tall >= out.shape[1] and wide >= out.shape[2] and hi - lo > 1:
        np.matmul(A[which_a[lo:hi]], B[which_b[lo:hi]], out=out[lo:hi])
        return
    for index in range(lo, hi):
        s, top, bottom, left, right = tile_at(index, out.shape[1], out.shape[2], tall, wide)
        rows, columns = for_blas(A[which_a[s], top:bottom]), for_blas(B[which_b[s], :, left:right])
        np.matmul(rows, columns, out=out[s, top:bottom, left:right])


matmul.set_planner("python", plan_matmul_python)
matmul.add_variant("blas", matmul_blas, plan=plan_matmul_blas)
# Last, so that the bare name runs it: it keeps to one core.
matmul.add_variant("nogil", "kernels.matrix.matrix_product_compiled:body", compiled=True)

"""matmul's compiled body: a tile of the product from packed panels of A and B (GotoBLAS and BLIS; see micro_kernel.py).

For each DEPTH of the sums, the tile's columns of B are packed into slivers of COLUMNS, and, HEIGHT rows at a time, its
rows of A into slivers of ROWS: what the micro-kernel reads is then contiguous, filled up with zeros to whole blocks,
and in the caches. A sliver of A stays in L1, a block of A in L2, the panel of B in L2 or L3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.definition.operands import Array, tile_at
from kernels.matrix.micro_kernel import ROWS, columns_of, multiply_block, multiply_strip, rows_of
from kernels.vectors.blocks import copy_row, item_bytes, per_line, per_register, transpose_block
from kernels.vectors.caches import cache_bytes

# The bits depend on it, so it does not follow the cache. A sliver of A takes 24 KiB of L1; those of B stream from L2.
# Longer sums write the product to memory less often. On a Zen 4 (32 KiB L1), 384 take 2 % less time than the 128 with
# which two slivers fill L1, and with vectors of 4 lanes than 256; on a Zen 5 (48 KiB), 192 to 384 are as good.
DEPTH = 384
# A block of A takes half of L2, and leaves the rest to B. An eighth to a half are as good on both.
HEIGHT = max(ROWS, cache_bytes(2) // 2 // (8 * DEPTH) // ROWS * ROWS)


def body(lo: int, hi: int, out: Array, A: Array, B: Array, which_a: Array, which_b: Array, *tile: int) -> None:
    """Fill tiles lo..hi of the products out[s] = A[which_a[s]] @ B[which_b[s]]; touch nothing else."""
    tall, wide = tile  # its rows and columns
    rows, columns, depth = out.shape[1], out.shape[2], A.shape[2]
    deep, height = sums_of(depth), min(HEIGHT, tall, rows)
    size, line, across = item_bytes(out), per_line(out), columns_of(out)
    of_a, of_b = slivers(height, deep, ROWS, line), slivers(min(wide, columns), deep, across, line)
    # One array: with several, glibc returned their memory to the system after every chunk, and a product took 31,000
    # page faults.
    scratch = np.empty(line + of_b + of_a + ROWS * across, out.dtype)
    begin = -(scratch.ctypes.data // size) % line
    panel_b, panel_a = scratch[begin : begin + of_b], scratch[begin + of_b : begin + of_b + of_a]
    edge = scratch[begin + of_b + of_a :]
    for index in range(lo, hi):
        s, top, bottom, left, right = tile_at(index, rows, columns, tall, wide)
        if depth == 0:
            for i in range(top, bottom):
                out[s, i, left:right] = 0.0
        for first in range(0, depth, deep):
            last = min(first + deep, depth)
            pack_columns(panel_b, B[which_b[s]].T, left, right, first, last)
            for above in range(top, bottom, height):
                below = min(above + height, bottom)
                pack_rows(panel_a, A[which_a[s]], above, below, first, last)
                multiply_panels(out[s, above:below, left:right], panel_a, panel_b, last - first, edge, first > 0)


def sums_of(depth: int) -> int:
    """The length of the sums that are added up to those of `depth`: as few as DEPTH allows, and about equal.

    A short one costs as much as a long one for the product that it is added to. 513 in 264 and 249 take 1 % less time
    than in 384 and 129.
    """
    parts = -(-depth // DEPTH) or 1
    return -(-depth // (8 * parts)) * 8 or 8


def sliver(depth: int, width: int, line: int) -> int:
    """Numbers from one sliver to the next: a line apart, or all slivers would meet in the same sets of a cache."""
    return -(-depth * width // line) * line + line


def slivers(lines: int, depth: int, width: int, line: int) -> int:
    """Numbers in a panel of so many rows of A or columns of B."""
    return -(-lines // width) * sliver(depth, width, line)


def packer(width_of: Callable[..., Any]) -> Callable[..., Any]:
    """A function that packs slivers of so many lines, which is a constant of the dtype to the compiler."""

    def pack(panel: Array, X: Array, top: int, bottom: int, first: int, last: int) -> None:
        """Lines top..bottom of X, in slivers one behind another, each from column first to last; zeros fill it up."""
        line, step = X.strides
        width, each, some = width_of(panel), item_bytes(panel), per_register(panel)
        size = sliver(last - first, width, per_line(panel))
        whole = top + (bottom - top) // width * width
        source, target = X.ctypes.data, panel.ctypes.data
        done = first
        if line == each:  # outermost the columns, which are contiguous: memory is read in order
            for p in range(first, last):
                for i in range(top, whole, width):
                    at = (i - top) // width * size + (p - first) * width
                    copy_row(np.intp(source + p * step + i * each), np.intp(target + at * each), width, panel)
            done = last
        elif step == each:
            done = last - (last - first) % some
            for i in range(top, whole, width):
                for p in range(first, done, some):
                    at = (i - top) // width * size + (p - first) * width
                    here, there = source + i * line + p * each, target + at * each
                    transpose_block(np.intp(here), line // each, np.intp(there), width, width, False, panel)
        for i in range(top, bottom, width):
            for p in range(done if i < whole else first, last):
                at = (i - top) // width * size + (p - first) * width
                for r in range(width):
                    panel[at + r] = X[i + r, p] if i + r < bottom else 0.0

    return pack


pack_rows, pack_columns = packer(rows_of), packer(columns_of)


def multiply_panels(out: Array, panel_a: Array, panel_b: Array, depth: int, edge: Array, add: bool) -> None:
    """Set `out` to the product of the panels, or add it. Blocks that reach beyond `out` are computed in `edge`."""
    rows, columns = out.shape
    size, line, lanes, across = item_bytes(out), per_line(out), per_register(out), columns_of(out)
    contiguous = out.strides[1] == size
    for j in range(0, columns, across):
        b = panel_b.ctypes.data + j // across * sliver(depth, across, line) * size
        for i in range(0, rows, ROWS):
            a = panel_a.ctypes.data + i // ROWS * sliver(depth, ROWS, line) * size
            if contiguous and j + across <= columns and i + ROWS <= rows:
                c = out.ctypes.data + i * out.strides[0] + j * size
                multiply_block(np.intp(a), np.intp(b), depth, np.intp(c), out.strides[0] // size, add, out)
                continue
            for c in range(0, min(across, columns - j), lanes):
                there, to = b + c * size, edge.ctypes.data + c * size
                multiply_strip(np.intp(a), np.intp(there), depth, np.intp(to), across, False, out)
            for r in range(min(ROWS, rows - i)):
                for c in range(min(across, columns - j)):
                    out[i + r, j + c] = edge[r * across + c] + (out[i + r, j + c] if add else 0.0)

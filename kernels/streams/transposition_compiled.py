"""transpose's compiled body: whole vectors, and stores that go past the caches where arrays are large.

Past the caches means: with non-temporal stores. A plain store to a line that is in no cache reads the line first.
Non-temporal stores do not. Vendors' builds of STREAM and glibc's memcpy use them for the same reason.
"""

from __future__ import annotations

import numpy as np

from kernels.definition.operands import TALL, WIDE, Array, tile_at
from kernels.vectors.blocks import (
    LANES,
    VECTOR_BYTES,
    copy_row,
    flush_stream,
    load_u_at,
    prefetch,
    store_u_at,
    stream_at,
    transpose_block,
)
from kernels.vectors.caches import BYTES_PER_LINE, FLOATS_PER_LINE, LARGE_BYTES

RUN = 128  # numbers of a row that go through the buffer at once: 1 KB, and 70 KB in all, which fit in any L2
PITCH = RUN + FLOATS_PER_LINE  # from row to row of the buffer; without the line, rows would share sets of the cache


def transpose(lo: int, hi: int, out: Array, A: Array, which: Array) -> None:
    """Fill tiles lo..hi of the slices out[:, s, :] = A[:, which[s], :].T; touch nothing else.

    Where the rows of `out` begin with a cache line, a tile is transposed in registers and written in whole lines. Else
    it is transposed into a buffer that fits the L2 cache, and written from there, in whole lines except at row ends.
    """
    past = 2 * out.size * 8 > LARGE_BYTES
    by_rows, by_columns = out.strides[2] == 8 and A.strides[2] == 8, out.strides[2] == 8 and A.strides[0] == 8
    buffer = np.empty(TALL * PITCH)
    for tile in range(lo, hi):
        s, top, bottom, left, right = tile_at(tile, out.shape[0], out.shape[2], TALL, WIDE)
        m = which[s]
        target = out.ctypes.data + s * out.strides[1]
        if (
            by_rows
            and target % BYTES_PER_LINE == 0
            and out.strides[0] % BYTES_PER_LINE == 0
            and bottom - top >= LANES
            and right - left >= FLOATS_PER_LINE
        ):
            first = target + top * out.strides[0] + left * 8
            transpose_by_lines(first, out.strides[0], A[left:right, m, top:bottom], past)
        elif by_rows:
            for c in range(left, right, RUN):
                end = min(c + RUN, right)
                transpose_into(buffer, A[c:end, m, top:bottom])
                for r in range(top, bottom):
                    place = buffer.ctypes.data + (r - top) * PITCH * 8
                    write_run(target + r * out.strides[0] + c * 8, place, end - c, past)
        elif by_columns:
            for r in range(top, bottom):
                place = A.ctypes.data + m * A.strides[1] + r * A.strides[2] + left * 8
                write_run(target + r * out.strides[0] + left * 8, place, right - left, past)
        else:
            for r in range(top, bottom):
                for c in range(left, right):
                    out[r, s, c] = A[c, m, r]
    flush_stream()


def transpose_by_lines(target: int, pitch: int, A: Array, past: bool) -> None:
    """A.T into rows at an address, `pitch` bytes apart: one cache line of each row at a time.

    Memory then reads and writes at the same time, and no line has to stay in a cache. Blocks at a tile's ends overlap.
    """
    source, line = A.ctypes.data, A.strides[0]
    for c in range(0, A.shape[0], FLOATS_PER_LINE):
        at = min(c, A.shape[0] - FLOATS_PER_LINE)
        for r in range(0, A.shape[1], LANES):
            row = min(r, A.shape[1] - LANES)
            here, there = source + at * line + row * 8, target + row * pitch + at * 8
            for k in range(FLOATS_PER_LINE, 2 * FLOATS_PER_LINE):  # the lines that are wanted next
                prefetch(np.intp(here + k * line))
            if past and at == c:
                transpose_block(np.intp(here), line // 8, np.intp(there), pitch // 8, FLOATS_PER_LINE, True)
            else:
                transpose_block(np.intp(here), line // 8, np.intp(there), pitch // 8, FLOATS_PER_LINE, False)


def transpose_into(buffer: Array, A: Array) -> None:
    """A.T into the rows of the buffer, FLOATS_PER_LINE x LANES numbers in registers at a time."""
    source, line = A.ctypes.data, A.strides[0]
    columns, rows = A.shape
    whole_rows, whole_columns = rows - rows % LANES, columns - columns % FLOATS_PER_LINE
    for c in range(0, whole_columns, FLOATS_PER_LINE):
        for r in range(0, whole_rows, LANES):
            for k in range(c + FLOATS_PER_LINE, c + 2 * FLOATS_PER_LINE):  # the lines that are wanted next
                prefetch(np.intp(source + k * line + r * 8))
            to = buffer.ctypes.data + (r * PITCH + c) * 8
            transpose_block(np.intp(source + c * line + r * 8), line // 8, np.intp(to), PITCH, FLOATS_PER_LINE, False)
        for r in range(whole_rows, rows):
            for k in range(c, c + FLOATS_PER_LINE):
                buffer[r * PITCH + k] = A[k, r]
    for c in range(whole_columns, columns):
        for r in range(rows):
            buffer[r * PITCH + c] = A[c, r]


def write_run(target: int, source: int, count: int, past: bool) -> None:
    """Move count numbers to an address, past the caches where asked, except for the ends that are not whole vectors."""
    begin = min(-(target // 8) % LANES, count) if past else 0
    end = count - (count - begin) % LANES
    for i in range(begin):
        copy_row(np.intp(source + i * 8), np.intp(target + i * 8), 1)
    if past:
        for i in range(begin * 8, end * 8, VECTOR_BYTES):
            stream_at(np.intp(target + i), load_u_at(np.intp(source + i), LANES))
    else:
        for i in range(begin * 8, end * 8, VECTOR_BYTES):
            store_u_at(np.intp(target + i), load_u_at(np.intp(source + i), LANES))
    for i in range(end, count):
        copy_row(np.intp(source + i * 8), np.intp(target + i * 8), 1)

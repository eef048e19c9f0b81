"""transpose's compiled body: whole vectors, and stores that go past the caches where arrays are large.

Past the caches means: with non-temporal stores. A plain store to a line that is in no cache reads the line first.
Non-temporal stores do not. Vendors' builds of STREAM and glibc's memcpy use them for the same reason.
"""

from __future__ import annotations

import numpy as np

from kernels.definition.operands import TALL, WIDE, Array, tile_at
from kernels.vectors.blocks import (
    VECTOR_BYTES,
    copy_row,
    flush_stream,
    item_bytes,
    load_u_at,
    per_line,
    per_register,
    prefetch,
    store_u_at,
    stream_at,
    transpose_block,
)
from kernels.vectors.caches import BYTES_PER_LINE, LARGE_BYTES

RUN = 128  # numbers of a row that go through the buffer at once: 1 KB of float64, and 70 KB in all, which fit in any L2


def transpose(lo: int, hi: int, out: Array, A: Array, which: Array) -> None:
    """Fill tiles lo..hi of the slices out[:, s, :] = A[:, which[s], :].T; touch nothing else.

    Where the rows of `out` begin with a cache line, a tile is transposed in registers and written in whole lines. Else
    it is transposed into a buffer that fits the L2 cache, and written from there, in whole lines except at row ends.
    """
    size, pitch = item_bytes(out), buffer_pitch(per_line(out))
    past = 2 * out.size * size > LARGE_BYTES
    by_rows = out.strides[2] == size and A.strides[2] == size
    by_columns = out.strides[2] == size and A.strides[0] == size
    buffer = np.empty(TALL * pitch, out.dtype)
    for tile in range(lo, hi):
        s, top, bottom, left, right = tile_at(tile, out.shape[0], out.shape[2], TALL, WIDE)
        m = which[s]
        target = out.ctypes.data + s * out.strides[1]
        if (
            by_rows
            and target % BYTES_PER_LINE == 0
            and out.strides[0] % BYTES_PER_LINE == 0
            and bottom - top >= per_register(out)
            and right - left >= per_line(out)
        ):
            first = target + top * out.strides[0] + left * size
            transpose_by_lines(first, out.strides[0], A[left:right, m, top:bottom], past)
        elif by_rows:
            for c in range(left, right, RUN):
                end = min(c + RUN, right)
                transpose_into(buffer, A[c:end, m, top:bottom])
                for r in range(top, bottom):
                    place = buffer.ctypes.data + (r - top) * pitch * size
                    write_run(target + r * out.strides[0] + c * size, place, end - c, past, out)
        elif by_columns:
            for r in range(top, bottom):
                place = A.ctypes.data + m * A.strides[1] + r * A.strides[2] + left * size
                write_run(target + r * out.strides[0] + left * size, place, right - left, past, out)
        else:
            for r in range(top, bottom):
                for c in range(left, right):
                    out[r, s, c] = A[c, m, r]
    flush_stream()


def buffer_pitch(line: int) -> int:
    """Numbers from row to row of the buffer: without the line, rows would share sets of the cache."""
    return RUN + line


def transpose_by_lines(target: int, pitch: int, A: Array, past: bool) -> None:
    """A.T into rows at an address, `pitch` bytes apart: one cache line of each row at a time.

    Memory then reads and writes at the same time, and no line has to stay in a cache. Blocks at a tile's ends overlap.
    """
    source, line = A.ctypes.data, A.strides[0]
    size, wide, tall = item_bytes(A), per_line(A), per_register(A)
    for c in range(0, A.shape[0], wide):
        at = min(c, A.shape[0] - wide)
        for r in range(0, A.shape[1], tall):
            row = min(r, A.shape[1] - tall)
            here, there = source + at * line + row * size, target + row * pitch + at * size
            for k in range(wide, 2 * wide):  # the lines that are wanted next
                prefetch(np.intp(here + k * line))
            if past and at == c:
                transpose_block(np.intp(here), line // size, np.intp(there), pitch // size, wide, True, A)
            else:
                transpose_block(np.intp(here), line // size, np.intp(there), pitch // size, wide, False, A)


def transpose_into(buffer: Array, A: Array) -> None:
    """A.T into the rows of the buffer: a cache line x a register of numbers in registers at a time."""
    source, line = A.ctypes.data, A.strides[0]
    size, wide, tall = item_bytes(A), per_line(A), per_register(A)
    pitch = buffer_pitch(wide)
    columns, rows = A.shape
    whole_rows, whole_columns = rows - rows % tall, columns - columns % wide
    for c in range(0, whole_columns, wide):
        for r in range(0, whole_rows, tall):
            for k in range(c + wide, c + 2 * wide):  # the lines that are wanted next
                prefetch(np.intp(source + k * line + r * size))
            to = buffer.ctypes.data + (r * pitch + c) * size
            transpose_block(np.intp(source + c * line + r * size), line // size, np.intp(to), pitch, wide, False, A)
        for r in range(whole_rows, rows):
            for k in range(c, c + wide):
                buffer[r * pitch + k] = A[k, r]
    for c in range(whole_columns, columns):
        for r in range(rows):
            buffer[r * pitch + c] = A[c, r]


def write_run(target: int, source: int, count: int, past: bool, of: Array) -> None:
    """Move count numbers, such as `of` holds, to an address, past the caches where asked.

    Not past the caches go the ends that are not whole vectors, and numbers that lie across the ends of their own size.
    """
    size, some = item_bytes(of), per_register(of)
    past = past and target % size == 0
    begin = min(-(target // size) % some, count) if past else 0
    end = count - (count - begin) % some
    for i in range(begin):
        copy_row(np.intp(source + i * size), np.intp(target + i * size), 1, of)
    if past:
        for i in range(begin * size, end * size, VECTOR_BYTES):
            stream_at(np.intp(target + i), load_u_at(np.intp(source + i), some, of))
    else:
        for i in range(begin * size, end * size, VECTOR_BYTES):
            store_u_at(np.intp(target + i), load_u_at(np.intp(source + i), some, of))
    for i in range(end, count):
        copy_row(np.intp(source + i * size), np.intp(target + i * size), 1, of)

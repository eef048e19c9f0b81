"""triad's compiled body: whole vectors, and stores that go past the caches where arrays are large.

Past the caches means: with non-temporal stores. A plain store to a line that is in no cache reads the line first: triad
then moves 32 bytes for each element, not 24. Non-temporal stores do not. Vendors' builds of STREAM, and glibc's memcpy,
use them for the same reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.definition.operands import Array
from kernels.vectors.blocks import (
    VECTOR_BYTES,
    flush_stream,
    item_bytes,
    load_u_at,
    per_register,
    store_u_at,
    stream_at,
    times,
)
from kernels.vectors.caches import LARGE_BYTES


def triad(lo: int, hi: int, out: Array, a: Array, b: Array, s: Any, which_a: Array, which_b: Array) -> None:
    """Fill the elements lo..hi of out, counted through its rows, with a + s·b; touch nothing else."""
    width, size, some = out.shape[1], item_bytes(out), per_register(out)
    step_a, step_b = min(1, a.shape[1] - 1), min(1, b.shape[1] - 1)  # 0 along an axis that is broadcast
    unit = out.strides[1] == size and a.strides[1] * step_a == size and b.strides[1] * step_b == size
    while lo < hi:
        row, first = divmod(lo, width)
        last = min(width, first + hi - lo)
        row_a, row_b = which_a[row], which_b[row]
        lo += last - first
        if unit:
            to = out.ctypes.data + row * out.strides[0]
            from_a, from_b = a.ctypes.data + row_a * a.strides[0], b.ctypes.data + row_b * b.strides[0]
            past = 3 * out.size * size > LARGE_BYTES and to != from_a and to != from_b and to % size == 0
            begin = first + (-(to + first * size) % VECTOR_BYTES) // size if past else first
            begin = min(begin, last)
            end = last - (last - begin) % some
            if past:
                for i in range(begin * size, end * size, VECTOR_BYTES):
                    stream_at(
                        np.intp(to + i),
                        load_u_at(np.intp(from_a + i), some, a) + times(load_u_at(np.intp(from_b + i), some, b), s),
                    )
            else:
                for i in range(begin * size, end * size, VECTOR_BYTES):
                    store_u_at(
                        np.intp(to + i),
                        load_u_at(np.intp(from_a + i), some, a) + times(load_u_at(np.intp(from_b + i), some, b), s),
                    )
        else:
            begin = end = last
        for i in range(first, begin):
            out[row, i] = a[row_a, i * step_a] + s * b[row_b, i * step_b]
        for i in range(end, last):
            out[row, i] = a[row_a, i * step_a] + s * b[row_b, i * step_b]
    flush_stream()

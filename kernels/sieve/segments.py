"""The compiled sieve: one chunk of wheel turns, segment by segment (Bays and Hudson's segmented sieve, 1977).

A segment of bytes (their numbers: kernels/sieve/wheel.py) fits a core's L2. Multiples are crossed off by size of prime:

    smallest  patterns, laid over the segment with ANDs of whole vectors
    small     in blocks that stay in L1, eight multiples at a time: kernels/sieve/small_primes.py
    medium    bit by bit over the whole segment, both ends without a branch
    large     once a chunk, through buckets: kernels/sieve/buckets.py

The four sizes, the patterns and the buckets are primesieve's (Kim Walisch).
Everything here is unsigned 64-bit: numba adds a branch for negative indices, and turns uint64 + int64 into a float.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kernels.sieve.buckets import ChunkTurns, clear, empty_bucket, fill_buckets, pages_expected
from kernels.sieve.small_primes import (
    ALL_BUT_ONE,
    AND_BYTES,
    begin_blocks,
    begin_small,
    cross_off_small,
    fill,
    first_above,
    leave,
    small_limit,
    take_over,
)
from kernels.sieve.wheel import (
    CARRY,
    COUNT_OF_BYTE,
    FACTOR,
    FROM_REMAINDER,
    INDEX_OF_RESIDUE,
    MARGIN,
    NUMBERS_OF_BYTE,
    PATTERN_SLACK,
    UP_TO_REMAINDER,
)
from kernels.sieve.windows import MEDIUM_SEGMENTS
from kernels.vectors.blocks import and_bytes_at
from kernels.vectors.compress import compress_store
from kernels.vectors.operations import (
    bit_cast_u64,
    load_u,
    min_,
    population_count,
    promote_to,
    reduce_sum,
    set_,
    store_u,
    truncate_to,
)
from kernels.vectors.target import compress_instruction, vector_width

Array = np.ndarray[Any, Any]

U = np.uint64
ZERO, ONE, THREE, THIRTY = (U(k) for k in (0, 1, 3, 30))

# Tuned on a Zen 5 (48 KiB L1, 1 MiB L2), beside primesieve 12.9 in the same run.
PATTERN_BLOCK = 1 << 15  # bytes that all patterns are laid over before the next: they stay in L1 between two passes
# From one and a half segments on, at most five of a medium prime's eight multiples are in a segment, and listing them
# saves more than it costs: 10 to 25 % on a Zen 4. Without an instruction that lists them it does not.
HAS_COMPRESS = bool(compress_instruction(vector_width(np.float64)))
LISTED = 1000  # multiples: 8 KiB
BITS = np.arange(8, dtype=np.uint64)
STEP = PATTERN_SLACK  # bytes between two checks for the end of a pattern


# ---------------------------------------------------------------- the two bodies


class Window(NamedTuple):
    """What every chunk of a call is given (windows.py): the window, and what sieves it."""

    start: Any  # the window's first number, and n its last
    n: Any
    sieving: Any  # uint32: the primes up to the square root of n
    patterns: Any  # uint8: all patterns of the smallest primes, one behind another
    places: Any  # int64, (patterns, 2): where each begins, and its period
    last: Any  # the largest prime that is in a pattern
    distances: Any  # uint16: of each small prime, to its multiples in a block
    l1: Any  # bytes of L1
    segment: Any  # bytes to a segment that fits L2


def count_in_chunk(lo: Any, hi: Any, out: Any, *inputs: Any) -> None:
    """Assign to out[0] how many primes the wheel turns lo .. hi of the window hold. The inputs are a Window."""
    window = Window(*inputs)
    total = 0
    if lo == 0:
        for p in (2, 3, 5):
            total += window.start <= p <= window.n
    span = span_of(lo, hi, window)
    chunk, large = open_chunk(span, window)
    buckets = fill_buckets(span, large, pages_expected(span, large))
    for index in range((hi - lo + window.segment - 1) // window.segment):
        _, size = sieve_segment(U(index), span, window, chunk, buckets)
        total += count_bits(chunk[0][MARGIN:], size)
    out[0] = total


def list_in_chunk(lo: Any, hi: Any, out: Any, *inputs: Any) -> None:
    """Write how many primes the wheel turns lo .. hi hold into their slot of out, and behind it the primes.

    The inputs are a Window, the grain, and (int64) where each chunk's slot begins.
    """
    window, grain, slots = Window(*inputs[:9]), inputs[9], inputs[10]
    slot = slots[lo // grain]
    at = slot + 1
    if lo == 0:
        for p in (2, 3, 5):
            if window.start <= p <= window.n:
                out[at] = p
                at += 1
    span = span_of(lo, hi, window)
    chunk, large = open_chunk(span, window)
    buckets = fill_buckets(span, large, pages_expected(span, large))
    for index in range((hi - lo + window.segment - 1) // window.segment):
        turn, size = sieve_segment(U(index), span, window, chunk, buckets)
        at = list_bits(chunk[0][MARGIN:], size, turn, out, at)
    out[slot] = at - slot - 1


def span_of(lo: Any, hi: Any, window: Any) -> Any:
    """The wheel turns lo .. hi of the window, counted from the number 0."""
    first = window.start // 30
    return ChunkTurns(U(first + lo), U(hi - lo), U(window.segment))


# ---------------------------------------------------------------- a chunk and its segments


def open_chunk(span: Any, window: Any) -> Any:
    """What a chunk works on: a tuple, and the large primes, which go into buckets.

    The tuple: the segment's bytes between margins, its spill, the small primes, the medium primes, their blocks.
    """
    turn, turns, segment = span
    sieving = window.sieving
    first = first_above(sieving, U(window.last))
    active = max(first, first_above(sieving, U(math.sqrt(float((turn + turns) * THIRTY))) + ONE))
    small = max(first, min(active, first_above(sieving, U(small_limit(window.l1)))))
    medium = min(active, first_above(sieving, U(MEDIUM_SEGMENTS) * segment))
    buffer = np.empty(min(segment, turns) + U(2 * MARGIN + STEP), np.uint8)
    blocks = np.empty(np.int64(medium - small), np.uint32)  # a block's first byte is counted from the segment's
    begin_blocks(turn, sieving[small:medium], blocks, ZERO, U(len(blocks)), 0, 0, 1)
    begun = begin_small(turn, sieving[first:small], window.distances, window.l1)
    return (buffer, np.empty(MARGIN, np.uint8), begun, sieving[small:medium], blocks), sieving[medium:active]


def sieve_segment(index: Any, span: Any, window: Any, chunk: Any, buckets: Any) -> Any:
    """Sieve one segment: a bit of its bytes, behind the margin, is 1 where the number is a prime of the window.

    Returns the segment's first wheel turn, and how many it has.
    """
    buffer, spill, small, medium, blocks = chunk
    patterns, places = window.patterns, window.places
    turn, size = span.turn + index * span.segment, min(span.segment, span.turns - index * span.segment)
    segment = buffer[MARGIN:]
    for lo in range(0, np.int64(size), PATTERN_BLOCK):
        for group in range(0, len(places), 8):
            lay_eight_patterns(segment, lo, min(lo + PATTERN_BLOCK, np.int64(size)), turn, patterns, places, group)
    here, is_last = np.int64(size), turn + size == span.turn + span.turns
    if index:
        take_over(segment, here, spill)
    if not is_last:
        fill(segment, here, here + MARGIN, np.uint8(255))
    cross_off_small(buffer, here, small, window.l1)
    if not is_last:
        leave(segment, here, spill)
    rare = first_above(medium, size + (size >> ONE)) if HAS_COMPRESS else U(len(medium))
    cross_off_medium(segment, size, medium, blocks, rare)
    cross_off_rare(segment, size, medium, blocks, rare)
    empty_bucket(segment, index, buckets)
    restore_sieving_primes(segment, turn, size, window.sieving)
    cut_window(segment, turn, size, U(window.start), U(window.n))
    return turn, size


def restore_sieving_primes(buffer: Any, turn: Any, size: Any, sieving: Any) -> Any:
    """Put back the primes that were crossed off as multiples of themselves."""
    j = U(3)
    if U(sieving[-1]) < turn * THIRTY:
        return
    if turn:
        j = first_above(sieving, turn * THIRTY)
    while j < U(len(sieving)) and U(sieving[j]) < (turn + size) * THIRTY:
        p = U(sieving[j])
        buffer[p // THIRTY - turn] |= ONE << INDEX_OF_RESIDUE[p % THIRTY]
        j += ONE


def cut_window(buffer: Any, turn: Any, size: Any, start: Any, n: Any) -> Any:
    """Clear the number 1, what lies outside start .. n in the window's end bytes, and a vector behind the segment."""
    if start // THIRTY >= turn:
        buffer[start // THIRTY - turn] &= FROM_REMAINDER[start % THIRTY]
    if n // THIRTY < turn + size:
        buffer[n // THIRTY - turn] &= UP_TO_REMAINDER[n % THIRTY]
    if turn == ZERO:
        buffer[0] &= ALL_BUT_ONE[0]
    fill(buffer, np.int64(size), np.int64(size) + AND_BYTES, np.uint8(0))


# ---------------------------------------------------------------- patterns of the smallest primes


def lay_eight_patterns(segment: Any, lo: Any, hi: Any, turn: Any, t: Any, places: Any, group: Any) -> None:
    """AND eight patterns into segment[lo:hi], and up to STEP behind. The first eight overwrite what is there."""
    turn = np.int64(turn) + lo
    a, a_end, a_period = begin_pattern(places, group, turn)
    b, b_end, b_period = begin_pattern(places, group + 1, turn)
    c, c_end, c_period = begin_pattern(places, group + 2, turn)
    d, d_end, d_period = begin_pattern(places, group + 3, turn)
    e, e_end, e_period = begin_pattern(places, group + 4, turn)
    f, f_end, f_period = begin_pattern(places, group + 5, turn)
    g, g_end, g_period = begin_pattern(places, group + 6, turn)
    h, h_end, h_period = begin_pattern(places, group + 7, turn)
    for i in range(lo, hi, STEP):
        for k in range(0, STEP, AND_BYTES):
            left = (
                load_u(t, a + k, AND_BYTES)
                & load_u(t, b + k, AND_BYTES)
                & load_u(t, c + k, AND_BYTES)
                & load_u(t, d + k, AND_BYTES)
            )
            right = (
                load_u(t, e + k, AND_BYTES)
                & load_u(t, f + k, AND_BYTES)
                & load_u(t, g + k, AND_BYTES)
                & load_u(t, h + k, AND_BYTES)
            )
            if group:
                left = left & load_u(segment, i + k, AND_BYTES)
            store_u(segment, i + k, left & right)
        a, b = go_on(a, a_end, a_period), go_on(b, b_end, b_period)
        c, d = go_on(c, c_end, c_period), go_on(d, d_end, d_period)
        e, f = go_on(e, e_end, e_period), go_on(f, f_end, f_period)
        g, h = go_on(g, g_end, g_period), go_on(h, h_end, h_period)


def begin_pattern(places: Any, k: Any, turn: Any) -> Any:
    """Where in the table a pattern's byte for a wheel turn lies, where the pattern ends, and its period."""
    first, period = places[k, 0], places[k, 1]
    return first + turn % period, first + period, period


def go_on(at: Any, end: Any, period: Any) -> Any:
    """The place in a pattern's table STEP bytes further on; a pattern that has ended begins again."""
    return at + STEP - period if at + STEP >= end else at + STEP


# ---------------------------------------------------------------- medium primes


def distances(p: Any) -> Any:
    """From a block's first byte to the prime's multiple on bit 0, 1 … 7: a vector."""
    row = np.int64(U(8) * INDEX_OF_RESIDUE[p % THIRTY])
    return set_(np.uint32(p // THIRTY), 8) * load_u(FACTOR, row, 8) + load_u(CARRY, row, 8)


def cross_off_medium(segment: Any, size: Any, primes: Any, blocks: Any, end: Any) -> None:
    """Cross off in the whole segment without a branch that is hard to predict: primes of a run cross off equally often.

    The block that lies across the segment's beginning (counted in 32 bits, it begins at 0 or wraps round from below)
    gives each bit's first multiple, or the one before it; from there `times` multiples reach the segment's end. Those
    behind it fall on bytes of the margin, another one for each bit: on one byte, each store would wait for the last.
    """
    begin, at, outside = U(segment.ctypes.data), np.empty(8, np.uint32), np.empty(8, np.uint32)
    for k in range(8):
        outside[k] = size + U(64 * k)
    j, run_end, times = ZERO, ZERO, ZERO
    while j < end:
        p = U(primes[j])
        if j == run_end:  # a run of primes that fit into the segment equally often begins
            fits = size // p
            run_end = first_above(primes, size // fits) if fits else end
            times = fits + ONE
        multiples = first_multiples(p, blocks[j])
        for _ in range(times):
            store_u(at, 0, min_(multiples, load_u(outside, 0, 8)))
            and_bytes_at(begin, at, ALL_BUT_ONE)
            multiples = multiples + set_(np.uint32(p), 8)
        blocks[j] = next_block(blocks[j], times * p, p, size)
        j += ONE


def cross_off_rare(segment: Any, size: Any, primes: Any, blocks: Any, begin: Any) -> None:
    """The same for primes larger than the segment: their multiples that are in it are listed first."""
    listed, count = np.empty(LISTED + 8, np.uint64), np.int64(0)
    for j in range(begin, U(len(primes))):
        p = U(primes[j])
        multiples = promote_to(listed, first_multiples(p, blocks[j]))
        count += compress_store(listed, count, multiples << THREE | load_u(BITS, 0, 8), multiples < size)
        blocks[j] = next_block(blocks[j], p, p, size)
        if count > LISTED:
            clear(segment, listed, ZERO, U(count))
            count = np.int64(0)
    clear(segment, listed, ZERO, U(count))


def first_multiples(p: Any, block: Any) -> Any:
    """A medium prime's first multiple in the segment, or behind it, on bit 0, 1 … 7: a vector."""
    multiples = distances(p) + set_(block, 8)
    # Below the segment is a large number here: the next block's multiple is the smaller one.
    return min_(multiples, multiples + set_(np.uint32(p), 8))


def next_block(block: Any, further: Any, p: Any, size: Any) -> Any:
    """The block that lies across the next segment's beginning: so far behind this one, or p less."""
    last = U(block) + further & U(0xFFFFFFFF)
    return (last if last <= size else last - p) - size


# ---------------------------------------------------------------- reading the result


def count_bits(segment: Any, size: Any) -> Any:
    """How many primes the segment's bytes hold; there are zeros behind them up to a whole vector."""
    total = np.int64(0)
    for i in range(0, np.int64(size), AND_BYTES):
        total += np.int64(reduce_sum(population_count(bit_cast_u64(load_u(segment, i, AND_BYTES)))))
    return total


def list_bits(segment: Any, size: Any, turn: Any, out: Any, at: Any) -> Any:
    """Write the segment's primes to out from index `at` on, and anything into the seven places behind; the index there.

    Byte by byte: all eight numbers that a table has for the byte are written, and the next byte's overwrite the rest.
    """
    base = turn * THIRTY
    for i in range(size):
        byte = np.int64(segment[i])
        numbers = promote_to(out, load_u(NUMBERS_OF_BYTE, byte * 8, 8))
        store_u(out, at, numbers + truncate_to(out, set_(base, 8)))
        at += COUNT_OF_BYTE[byte]
        base += THIRTY
    return at

"""The compiled sieve: one chunk of wheel turns, segment by segment (Bays and Hudson's segmented sieve, 1977).

A segment of bytes (their numbers: kernels/sieve_wheel.py) fits a core's L2. Multiples are crossed off by size of prime:

    smallest  patterns, laid over the segment with ANDs of whole vectors
    small     in blocks of the segment that fit L1, eight multiples at a time, at distances fixed for that prime
    medium    the same over the whole segment, its two ragged ends cut off without a branch
    large     once a chunk, walking from multiple to multiple; each one is dropped into its segment's bucket, and the
              buckets are emptied when their segment's turn comes (Oliveira e Silva's buckets)

The four sizes, the patterns and the buckets are primesieve's (Kim Walisch); the blocks of eight, with the bit as the
loop's constant and the distance as its variable, so that no wheel position is kept, are this module's.
Everything here is unsigned 64-bit: numba adds a branch for negative indices, and turns uint64 + int64 into a float.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.intrinsics import bit_count, load, lowest_bit, store
from kernels.sieve_wheel import (
    CARRY,
    FACTOR,
    FROM_REMAINDER,
    INDEX_OF_COFACTOR,
    INDEX_OF_RESIDUE,
    LAST_PATTERN_PRIME,
    NEXT_COFACTOR,
    PATTERN_SLACK,
    RESIDUES,
    UP_TO_REMAINDER,
    WALK,
)

Array = np.ndarray[Any, Any]

U = np.uint64
ZERO, ONE, THREE, SEVEN, EIGHT, THIRTY = U(0), U(1), U(3), U(7), U(8), U(30)


MARGIN = U(1 << 16)  # bytes before and behind a segment, into which blocks of small primes may reach
SMALL_LIMIT = U(40_000)  # below MARGIN; beyond it a prime has too few multiples in an L1 block to pay for the visit
PATTERN_BLOCK = U(1 << 15)  # bytes that all patterns are laid over before the next: they stay in L1 between two passes
STEP = PATTERN_SLACK  # bytes between two looks at whether a pattern is to begin again
LANES = 64  # bytes to an AND; LLVM splits it where registers are narrower

BUCKET_SHIFT = U(10)  # 1,024 multiples (4 KiB) to a bucket's page: links are rare, and half-empty pages are small
BUCKET_MASK = (ONE << BUCKET_SHIFT) - ONE


# ---------------------------------------------------------------- the two bodies


def count_in_chunk(
    lo: Any, hi: Any, out: Any, start: Any, n: Any, sieving: Any, patterns: Any, places: Any, block: Any, segment: Any
) -> Any:
    """Assign to out[0] how many of the window's primes above 5 the wheel turns lo .. hi hold."""
    turn, end, segment = U(start // 30 + lo), U(start // 30 + hi), U(segment)
    state = open_chunk(turn, end, segment, sieving)
    total = count_of_2_3_5(start, n) if lo == 0 else 0
    index = U(0)
    while turn < end:
        size = min(segment, end - turn)
        sieve_segment(turn, size, index, U(start), U(n), sieving, patterns, places, U(block), state)
        total += count_bits(state[0], size)
        turn += size
        index += ONE
    out[0] = total


def list_in_chunk(
    lo: Any,
    hi: Any,
    out: Any,
    start: Any,
    n: Any,
    sieving: Any,
    patterns: Any,
    places: Any,
    block: Any,
    segment: Any,
    grain: Any,
    slots: Any,
) -> Any:
    """Write how many primes the wheel turns lo .. hi hold into their slot of out, and behind it the primes."""
    turn, end, segment = U(start // 30 + lo), U(start // 30 + hi), U(segment)
    state = open_chunk(turn, end, segment, sieving)
    slot = U(slots[lo // grain])
    at = slot + ONE
    if lo == 0:
        for p in (2, 3, 5):
            if start <= p <= n:
                out[at] = p
                at += ONE
    index = U(0)
    while turn < end:
        size = min(segment, end - turn)
        sieve_segment(turn, size, index, U(start), U(n), sieving, patterns, places, U(block), state)
        at = list_bits(state[0], size, turn, out, at)
        turn += size
        index += ONE
    out[slot] = at - slot - ONE


def count_of_2_3_5(start: Any, n: Any) -> Any:
    """How many of the primes that the wheel leaves out the window holds."""
    total = 0
    for p in (2, 3, 5):
        if start <= p <= n:
            total += 1
    return total


# ---------------------------------------------------------------- a chunk and its segments


def open_chunk(turn: Any, end: Any, segment: Any, sieving: Any) -> Any:
    """The chunk's working arrays, and where among the sieving primes each size begins."""
    first = first_above(sieving, U(LAST_PATTERN_PRIME))
    active = max(first, first_above(sieving, U(math.sqrt(float(end * THIRTY))) + ONE))
    small = min(active, first_above(sieving, SMALL_LIMIT))
    medium = max(small, min(active, first_above(sieving, segment)))
    buffer = np.full(MARGIN + (min(segment, end - turn) + SEVEN) // EIGHT * EIGHT + MARGIN + U(STEP), 255, np.uint8)
    spill = np.full(MARGIN, 255, np.uint8)
    blocks = np.empty(medium - first, np.uint64)
    for j in range(first, medium):
        # The block in which the chunk begins, from the buffer's (small) or the segment's (medium) first byte.
        blocks[j - first] = (MARGIN if j < small else ZERO) - turn % U(sieving[j])
    cursors = np.zeros((end - turn + segment - ONE) // segment, np.uint64)
    pages, links = fill_buckets(turn, end - turn, segment, sieving[medium:active], cursors)
    return buffer, spill, blocks, sieving[first:small], sieving[small:medium], cursors, pages, links


def first_above(primes: Any, limit: Any) -> Any:
    """The index of the first prime > limit."""
    low, high = ZERO, U(len(primes))
    while low < high:
        middle = (low + high) >> ONE
        if U(primes[middle]) > limit:
            high = middle
        else:
            low = middle + ONE
    return low


def sieve_segment(
    turn: Any,
    size: Any,
    index: Any,
    start: Any,
    n: Any,
    sieving: Any,
    patterns: Any,
    places: Any,
    block: Any,
    state: Any,
) -> Any:
    """Leave a 1 for each prime of the window in the `size` bytes behind the buffer's margin, from wheel turn `turn`."""
    buffer, spill, blocks, small, medium, cursors, pages, links = state
    for at in range(ZERO, size, PATTERN_BLOCK):
        lay_patterns(buffer, MARGIN + at, MARGIN + min(at + PATTERN_BLOCK, size), turn + at, patterns, places)
    take_over(buffer, size, spill)
    cross_off_small(buffer, size, block, small, blocks)
    keep_spill(buffer, size, spill)
    cross_off_medium(buffer[MARGIN:], size, medium, blocks[len(small) :])
    empty_bucket(buffer[MARGIN:], index, cursors, pages, links)
    restore_sieving_primes(buffer, turn, size, sieving)
    cut_window(buffer, turn, size, start, n)


def restore_sieving_primes(buffer: Any, turn: Any, size: Any, sieving: Any) -> Any:
    """Put back the primes that were crossed off as multiples of themselves."""
    j = U(3)
    if U(sieving[-1]) < turn * THIRTY:
        return
    if turn:
        j = first_above(sieving, turn * THIRTY)
    while j < U(len(sieving)) and U(sieving[j]) < (turn + size) * THIRTY:
        p = U(sieving[j])
        buffer[MARGIN + p // THIRTY - turn] |= ONE << INDEX_OF_RESIDUE[p % THIRTY]
        j += ONE


def cut_window(buffer: Any, turn: Any, size: Any, start: Any, n: Any) -> Any:
    """Clear the number 1, what lies outside start .. n in the window's end bytes, and a word behind the segment."""
    if start // THIRTY >= turn:
        buffer[MARGIN + start // THIRTY - turn] &= FROM_REMAINDER[start % THIRTY]
    if n // THIRTY < turn + size:
        buffer[MARGIN + n // THIRTY - turn] &= UP_TO_REMAINDER[n % THIRTY]
    if turn == ZERO:
        buffer[MARGIN] &= np.uint8(0xFE)
    for i in range(MARGIN + size, MARGIN + size + EIGHT):
        buffer[i] = 0


# ---------------------------------------------------------------- patterns of the smallest primes


def lay_patterns(buffer: Any, lo: Any, hi: Any, turn: Any, patterns: Any, places: Any) -> Any:
    """Overwrite buffer[lo:hi] (and up to STEP behind), from wheel turn `turn` on, with what the patterns leave."""
    for group in range(0, len(places), 8):
        lay_eight(buffer, np.int64(lo), np.int64(hi), np.int64(turn), patterns, places[group : group + 8], group > 0)


def lay_eight(buffer: Any, lo: Any, hi: Any, turn: Any, t: Any, places: Any, again: Any) -> Any:
    """AND eight patterns into buffer[lo:hi]; `again` keeps what earlier patterns left there."""
    a, a_end, a_period = begin_pattern(places, 0, turn)
    b, b_end, b_period = begin_pattern(places, 1, turn)
    c, c_end, c_period = begin_pattern(places, 2, turn)
    d, d_end, d_period = begin_pattern(places, 3, turn)
    e, e_end, e_period = begin_pattern(places, 4, turn)
    f, f_end, f_period = begin_pattern(places, 5, turn)
    g, g_end, g_period = begin_pattern(places, 6, turn)
    h, h_end, h_period = begin_pattern(places, 7, turn)
    for i in range(lo, hi, STEP):
        for k in range(0, STEP, LANES):
            left = load(t, a + k, LANES) & load(t, b + k, LANES) & load(t, c + k, LANES) & load(t, d + k, LANES)
            right = load(t, e + k, LANES) & load(t, f + k, LANES) & load(t, g + k, LANES) & load(t, h + k, LANES)
            if again:
                left = left & load(buffer, i + k, LANES)
            store(buffer, i + k, left & right)
        a, b = go_on(a, a_end, a_period), go_on(b, b_end, b_period)
        c, d = go_on(c, c_end, c_period), go_on(d, d_end, d_period)
        e, f = go_on(e, e_end, e_period), go_on(f, f_end, f_period)
        g, h = go_on(g, g_end, g_period), go_on(h, h_end, h_period)


def begin_pattern(places: Any, k: Any, turn: Any) -> Any:
    """Where in the table a pattern's byte for a wheel turn lies, where the pattern ends, and its period."""
    first, period = places[k, 0], places[k, 1]
    return first + turn % period, first + period, period


def go_on(at: Any, end: Any, period: Any) -> Any:
    """STEP bytes further in a pattern, from its beginning again where its period is over."""
    return at + STEP - period if at + STEP >= end else at + STEP


# ---------------------------------------------------------------- small and medium primes


def distances(p: Any) -> Any:
    """From a block's first byte to the prime's multiple on bit 0, 1 … 7."""
    q, c = p // THIRTY, INDEX_OF_RESIDUE[p % THIRTY]
    return (
        q * FACTOR[c, 0] + CARRY[c, 0],
        q * FACTOR[c, 1] + CARRY[c, 1],
        q * FACTOR[c, 2] + CARRY[c, 2],
        q * FACTOR[c, 3] + CARRY[c, 3],
        q * FACTOR[c, 4] + CARRY[c, 4],
        q * FACTOR[c, 5] + CARRY[c, 5],
        q * FACTOR[c, 6] + CARRY[c, 6],
        q * FACTOR[c, 7] + CARRY[c, 7],
    )


def cross_off_small(buffer: Any, size: Any, block: Any, primes: Any, blocks: Any) -> Any:
    """Cross off in L1-sized blocks; a prime's last block reaches into the right margin, and the spill keeps that."""
    for begin in range(MARGIN, MARGIN + size, block):
        end = min(begin + block, MARGIN + size)
        for j in range(U(len(primes))):
            p = U(primes[j])
            d0, d1, d2, d3, d4, d5, d6, d7 = distances(p)
            b = blocks[j]
            while b < end:
                buffer[b + d0] &= np.uint8(0xFE)
                buffer[b + d1] &= np.uint8(0xFD)
                buffer[b + d2] &= np.uint8(0xFB)
                buffer[b + d3] &= np.uint8(0xF7)
                buffer[b + d4] &= np.uint8(0xEF)
                buffer[b + d5] &= np.uint8(0xDF)
                buffer[b + d6] &= np.uint8(0xBF)
                buffer[b + d7] &= np.uint8(0x7F)
                b += p
            blocks[j] = b
    for j in range(U(len(primes))):
        blocks[j] -= size


def take_over(buffer: Any, size: Any, spill: Any) -> Any:
    """Cross off what the segment before this one spilled; make the margin ready for this one's spill."""
    for i in range(min(MARGIN, size)):
        buffer[MARGIN + i] &= spill[i]
    for i in range(MARGIN):
        buffer[MARGIN + size + i] = 255


def keep_spill(buffer: Any, size: Any, spill: Any) -> Any:
    """Keep what small primes crossed off behind the segment, for the next."""
    for i in range(MARGIN):
        spill[i] = buffer[MARGIN + size + i]


def cross_off_medium(segment: Any, size: Any, primes: Any, blocks: Any) -> Any:
    """Cross off in the whole segment; multiples outside it all fall on the byte behind it."""
    for j in range(U(len(primes))):
        p = U(primes[j])
        d0, d1, d2, d3, d4, d5, d6, d7 = distances(p)
        b = blocks[j]  # the block's first byte lies at or before the segment's: 0, or wrapped round from below it
        cross_off_block_inside(segment, size, b, d0, d1, d2, d3, d4, d5, d6, d7)
        if b + p <= size:  # wraps round too
            b += p
            while b + p <= size:
                segment[b + d0] &= np.uint8(0xFE)
                segment[b + d1] &= np.uint8(0xFD)
                segment[b + d2] &= np.uint8(0xFB)
                segment[b + d3] &= np.uint8(0xF7)
                segment[b + d4] &= np.uint8(0xEF)
                segment[b + d5] &= np.uint8(0xDF)
                segment[b + d6] &= np.uint8(0xBF)
                segment[b + d7] &= np.uint8(0x7F)
                b += p
            cross_off_block_inside(segment, size, b, d0, d1, d2, d3, d4, d5, d6, d7)
        blocks[j] = b - size


def cross_off_block_inside(
    segment: Any, size: Any, b: Any, d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any, d6: Any, d7: Any
) -> Any:
    """One block, of which only what lies inside the segment counts."""
    segment[min(b + d0, size)] &= np.uint8(0xFE)
    segment[min(b + d1, size)] &= np.uint8(0xFD)
    segment[min(b + d2, size)] &= np.uint8(0xFB)
    segment[min(b + d3, size)] &= np.uint8(0xF7)
    segment[min(b + d4, size)] &= np.uint8(0xEF)
    segment[min(b + d5, size)] &= np.uint8(0xDF)
    segment[min(b + d6, size)] &= np.uint8(0xBF)
    segment[min(b + d7, size)] &= np.uint8(0x7F)


# ---------------------------------------------------------------- large primes


def fill_buckets(turn: Any, turns: Any, segment: Any, primes: Any, cursors: Any) -> Any:
    """Walk every large prime through the chunk and drop each multiple into its segment's bucket.

    A multiple is (byte in the segment) << 3 | bit. A bucket is a list of pages, the newest first: cursors[segment] is
    where its next multiple goes, links[page] one more than the page before. Returns all pages, and the links.
    """
    shift = ZERO
    while ONE << shift < segment:
        shift += ONE
    pages, links = np.empty(ZERO, np.uint32), np.empty(ZERO, np.uint64)
    free = ZERO
    origin = turn * THIRTY
    for j in range(U(len(primes))):
        p = U(primes[j])
        m = (origin + p - ONE) // p
        m += NEXT_COFACTOR[m % U(210)]
        at = (p * m - origin) // THIRTY
        base = INDEX_OF_RESIDUE[p % THIRTY] * U(48)
        q, k = p // THIRTY, base + INDEX_OF_COFACTOR[m % U(210)]
        while at < turns:
            step = U(WALK[k])
            s = at >> shift
            cursor = cursors[s]
            if cursor & BUCKET_MASK == ZERO:  # its page is full, or it has none
                if free == U(len(links)):
                    pages, links = more_pages(pages, links)
                links[free] = cursor >> BUCKET_SHIFT
                cursor = free << BUCKET_SHIFT
                free += ONE
            pages[cursor] = (at & (segment - ONE)) << THREE | step & SEVEN
            cursors[s] = cursor + ONE
            at += q * (step >> EIGHT) + (step >> THREE & U(31))
            k += ONE
            if k == base + U(48):
                k = base
    return pages, links


def more_pages(pages: Any, links: Any) -> Any:
    """Twice as many pages, with what is in them."""
    count = max(U(64), U(len(links)) * U(2))
    wider, longer = np.empty(count << BUCKET_SHIFT, np.uint32), np.empty(count, np.uint64)
    wider[: len(pages)] = pages
    longer[: len(links)] = links
    return wider, longer


def empty_bucket(segment: Any, index: Any, cursors: Any, pages: Any, links: Any) -> Any:
    """Cross off the multiples that were dropped into a segment's bucket."""
    end = cursors[index]
    while end != ZERO:
        page = (end - ONE) >> BUCKET_SHIFT
        for i in range(page << BUCKET_SHIFT, end):
            multiple = U(pages[i])
            segment[multiple >> THREE] &= ~(np.uint8(1) << np.uint8(multiple & SEVEN))
        end = links[page] << BUCKET_SHIFT


# ---------------------------------------------------------------- reading the result


def words_of(buffer: Any) -> Any:
    """The buffer behind its left margin, as 64-bit words."""
    return buffer[MARGIN:].view(np.uint64)


def count_bits(buffer: Any, size: Any) -> Any:
    """How many primes the segment's bytes hold."""
    words = words_of(buffer)
    total = 0
    for i in range((size + SEVEN) >> THREE):
        total += bit_count(words[i])
    return total


def list_bits(buffer: Any, size: Any, turn: Any, out: Any, at: Any) -> Any:
    """Write the segment's primes to out from index `at` on; return the index behind the last."""
    words = words_of(buffer)
    for i in range((size + SEVEN) >> THREE):
        word = words[i]
        base = (turn + (i << THREE)) * THIRTY
        while word:
            k = lowest_bit(word)
            out[at] = base + THIRTY * (k >> THREE) + RESIDUES[k & SEVEN]
            at += ONE
            word &= word - ONE
    return at

"""The sieve's small primes: eight multiples at a time, in blocks that stay in L1.

A prime has one multiple on each of the eight bits in every block of p bytes. So a turn of the loop clears the bits 0 to
7 in this order, at eight distances that stay the same for the prime, and need not remember a position on the wheel. A
turn takes some eight cycles. Finding the distances takes longer than that, so they are a table, made once.

The smallest of these primes leave out their multiples of 7, which the patterns have crossed off: on each bit, one in
seven. Each bit begins behind such a multiple (AFTER_SEVEN), at a block of its own. So all bits take six turns, and
leave out the seventh.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.sieve.wheel import MARGIN, SEVENS_EARLY, SEVENS_TO, divide
from kernels.vectors.blocks import and_bytes_at, load_each, opaque
from kernels.vectors.operations import load_u, set_, store_u

U = np.uint64
ZERO, ONE, EIGHT = (U(k) for k in (0, 1, 8))
ALL_BUT_ONE = tuple(np.uint8(255 - (1 << k)) for k in range(8))  # all bits of a byte but bit 0, 1 … 7

# Bytes of a visit, by those of L1. A near one leaves room in L1 for what streams by, and near primes have two blocks in
# it. Beyond, blocks reach out of L1 anyway, and longer visits cost less. On a Zen 4 (32 KiB), a near visit of 32 KiB
# takes these primes 6 % longer, and a far one of 48 or 128 KiB as long as this.
NEAR_QUARTERS, FAR = 3, 2
AND_BYTES = 64  # bytes to an AND; LLVM splits it where registers are narrower


class SmallPrimes(NamedTuple):
    """A chunk's small primes, ascending: first those that leave out multiples of 7, then others of near blocks."""

    primes: Any  # uint32
    blocks: Any  # uint32, of each: where its next block begins, counted from the buffer's first byte
    distances: Any  # uint16, of each: from there to its multiples on bit 0, 1 … 7
    sevens: Any  # how many leave out multiples of 7
    near: Any  # how many those are with the others of near blocks


def small_limit(l1: Any) -> Any:
    """Up to here a prime is small. Beyond, a block is longer than a visit."""
    return min(FAR * l1, MARGIN - 1)


def begin_small(turn: Any, primes: Any, distances: Any, l1: Any) -> Any:
    """The small primes where a chunk begins: with the wheel turn `turn`, behind the margin."""
    sevens, near = first_above(primes, U(SEVENS_TO)), first_above(primes, U(l1 * NEAR_QUARTERS // 8))
    blocks = np.empty(len(primes), np.uint32)
    begin_blocks(turn, primes, blocks, ZERO, sevens, MARGIN, SEVENS_EARLY, 7)
    begin_blocks(turn, primes, blocks, sevens, U(len(primes)), MARGIN, 0, 1)
    return SmallPrimes(primes, blocks, distances, sevens, near)


def begin_blocks(turn: Any, primes: Any, blocks: Any, lo: Any, hi: Any, origin: Any, early: Any, count: Any) -> None:
    """For each prime lo .. hi, where the `count` blocks begin in which the byte `early` blocks before a turn lies.

    Counted so that the wheel turn `turn` is byte `origin`.
    """
    for j in range(lo, hi):
        p = np.int64(primes[j])
        _, rest = divide(np.int64(turn) - early * p, count * p)
        blocks[j] = origin - early * p - rest


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


# ---------------------------------------------------------------- a segment


def cross_off_small(buffer: Any, size: Any, small: Any, l1: Any) -> None:
    """Cross off the small primes' blocks that begin before the segment's end, in the margin behind it, too.

    In two passes over the segment, of near and of far visits.
    """
    near, far = l1 * NEAR_QUARTERS // 4, FAR * l1
    for at in range(0, size, near):
        end = U(MARGIN + min(at + near, size))
        cross_off_sevens(buffer, end, small)
        cross_off_blocks(buffer, end, small, small.sevens, small.near)
    for at in range(0, size, far):
        cross_off_blocks(buffer, U(MARGIN + min(at + far, size)), small, small.near, U(len(small.primes)))
    for j in range(U(len(small.primes))):
        small.blocks[j] -= size


def cross_off_sevens(buffer: Any, end: Any, small: Any) -> None:
    """Cross off, of each prime without its multiples of 7, the seven blocks that begin before `end`."""
    begin = U(buffer.ctypes.data)
    for j in range(small.sevens):
        p, d = U(small.primes[j]), load_each(small.distances, EIGHT * j, 8)
        at = begin + U(small.blocks[j])
        while at < begin + end:
            for _ in range(6):
                and_bytes_at(at, d, ALL_BUT_ONE)
                at = opaque(at + p)  # else LLVM keeps 48 addresses in memory, in place of eight in registers
            at += p
        small.blocks[j] = at - begin


def cross_off_blocks(buffer: Any, end: Any, small: Any, first: Any, last: Any) -> None:
    """Cross off the blocks that begin before `end`, of the small primes first .. last."""
    begin = U(buffer.ctypes.data)
    for j in range(first, last):
        p, d = U(small.primes[j]), load_each(small.distances, EIGHT * j, 8)
        at = begin + U(small.blocks[j])
        while at < begin + end:
            and_bytes_at(at, d, ALL_BUT_ONE)
            at += p
        small.blocks[j] = at - begin


# ---------------------------------------------------------------- from a segment to the next


def take_over(segment: Any, size: Any, spill: Any) -> None:
    """Cross off what the segment before this one crossed off in its margin."""
    for i in range(0, min(MARGIN, size), AND_BYTES):
        store_u(segment, i, load_u(segment, i, AND_BYTES) & load_u(spill, i, AND_BYTES))


def leave(segment: Any, size: Any, spill: Any) -> None:
    """Keep what was crossed off in the margin behind a segment."""
    for i in range(0, MARGIN, AND_BYTES):
        store_u(spill, i, load_u(segment, size + i, AND_BYTES))


def fill(array: Any, lo: Any, hi: Any, value: Any) -> None:
    """Put the value into array[lo:hi] and up to AND_BYTES - 1 bytes behind; quicker to compile than a plain loop."""
    for i in range(lo, hi, AND_BYTES):
        store_u(array, i, set_(value, AND_BYTES))

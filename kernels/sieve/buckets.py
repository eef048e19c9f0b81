"""The sieve's large primes: from multiple to multiple through a chunk, each dropped into its segment's bucket.

A prime much larger than a segment misses most segments. So its multiples in the whole chunk are first sorted by
segment, and each segment crosses off what is in its bucket. Buckets are Oliveira e Silva's idea. Only cofactors prime
to 210 are visited, which saves one multiple in seven, as in primesieve. Here many primes walk at once, without a branch
that depends on where a prime is, and their first multiples are found with vectors of floats.
Everything is unsigned 64-bit, as in kernels/sieve/segments.py.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kernels.sieve.wheel import BIT_OF_ENTRY, FIRST_COFACTOR, FIRST_ENTRY, WALK, divide

U = np.uint64
ZERO, ONE, THREE, FOUR, SEVEN, ELEVEN, FIFTEEN, THIRTY, LOW_SEVEN = (U(k) for k in (0, 1, 3, 4, 7, 11, 15, 30, 127))

# Tuned on a Zen 5 (48 KiB L1, 1 MiB L2).
PAGE_SHIFT = U(12)  # 4,096 multiples (16 KiB) to a bucket's page: 4 KiB pages and 64 KiB pages are both 3 % slower
PAGE_MASK = (ONE << PAGE_SHIFT) - ONE
BATCH = 1024  # primes that walk together: 24 KiB of state
# New primes join when so many of BATCH have left, and so many join at once. Most large primes have only one multiple in
# a chunk and leave after it. With smaller groups the loops over primes would be short.
REFILL = 512


class ChunkTurns(NamedTuple):
    """A chunk, in wheel turns: its first one counted from the number 0, how many, and how many to a segment."""

    turn: Any
    turns: Any
    segment: Any


class Buckets(NamedTuple):
    """The multiples of large primes by segment; `fill_buckets` says how they lie."""

    cursors: Any  # uint64, one for each segment
    pages: Any  # uint32
    links: Any  # uint32, one for each page


def fill_buckets(span: Any, primes: Any) -> Any:
    """Walk every large prime through the chunk and drop each multiple into its segment's bucket.

    A multiple is (byte in the segment) << 3 | bit. A bucket is a list of pages, the newest first: cursors[segment] is
    where its next multiple goes, links[page] one more than the page before. Returns the Buckets.
    """
    turns, segment = span.turns, span.segment
    cursors = np.empty(np.int64((turns + segment - ONE) // segment), np.uint64)
    for i in range(len(cursors)):
        cursors[i] = 0
    if len(primes) == 0:
        return Buckets(cursors, np.empty(0, np.uint32), np.empty(0, np.uint32))
    count = pages_expected(turns, primes, len(cursors))
    pages, links = np.empty(np.int64(count << PAGE_SHIFT), np.uint32), np.empty(np.int64(count), np.uint32)
    places = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64)
    starts = np.empty(REFILL, np.int64), np.empty(REFILL, np.int64)
    progress = ZERO, ZERO, ZERO
    while True:
        buckets = Buckets(cursors, pages, links)
        progress = drop_multiples(span, primes, places, starts, buckets, progress)
        if progress[0] == U(len(primes)) and progress[1] == ZERO:
            return buckets
        pages, links = more_room(pages), more_room(links)


def pages_expected(turns: Any, primes: Any, buckets: Any) -> Any:
    """Pages for all multiples, except in rare cases: by Mertens, the sum of 1/p is the difference of log log p."""
    reciprocals = math.log(math.log(float(primes[-1])) / math.log(float(primes[0])))
    multiples = 48 / 7 * float(turns) * (reciprocals + 2 / float(primes[0]))
    return U(1.02 * multiples / float(ONE << PAGE_SHIFT) + 3 * float(buckets) + 8)


def more_room(full: Any) -> Any:
    """The same in an array twice as long."""
    wider = np.empty(2 * len(full), np.uint32)
    for i in range(len(full)):  # a slice assignment takes numba three seconds to compile
        wider[i] = full[i]
    return wider


def drop_multiples(span: Any, primes: Any, places: Any, starts: Any, buckets: Any, progress: Any) -> Any:
    """Go on filling buckets until no prime walks any more, or pages could run out.

    progress, before and (returned) after: primes begun, primes that walk, the first free page. Many primes go from
    multiple to multiple together, and a prime that leaves the chunk makes room for a new one. Following each prime to
    its end would cost more: whether it has a multiple left is hard to predict, and a wrong prediction costs more than a
    multiple.
    """
    turn, turns, segment = span
    cursors, pages, links = buckets
    done, walking, free = progress
    at, step, prime = places
    shift, bits, end = ZERO, segment << THREE, turns << THREE
    while ONE << shift < bits:
        shift += ONE
    most_begun = U(len(cursors)) + (U(BATCH) >> PAGE_SHIFT)  # pages, in one round
    while free + most_begun <= U(len(links)):
        if walking <= U(BATCH - REFILL) and done < U(len(primes)):
            batch = primes[done : done + U(REFILL)]
            walking = begin_walk(turn, turns, batch, starts, places, walking)
            done += U(len(batch))
        elif walking == ZERO:
            break
        left = ZERO
        for i in range(walking):
            here, entry, q = at[i], U(WALK[step[i]]), prime[i]
            bucket = here >> shift
            cursor = cursors[bucket]
            if cursor & PAGE_MASK == ZERO:  # its page is full, or it has none
                links[free] = cursor >> PAGE_SHIFT
                cursor = free << PAGE_SHIFT
                free += ONE
            pages[cursor] = here & (bits - ONE)
            cursors[bucket] = cursor + ONE
            here += q * (entry >> SEVEN & FIFTEEN) + (entry & LOW_SEVEN)
            at[left], step[left], prime[left] = here, entry >> ELEVEN, q
            left += ONE if here < end else ZERO
        walking = left
    return done, walking, free


def begin_walk(turn: Any, turns: Any, primes: Any, starts: Any, places: Any, walking: Any) -> Any:
    """Append primes that have a multiple in the chunk to those `walking`; return how many walk then.

    A prime's state is the multiple's byte << 3 | bit, its entry in WALK, and 8 (p // 30), which gives its steps.
    """
    cofactors, offsets = starts
    at, step, prime = places
    for i in range(len(primes)):  # in vectors
        p = np.int64(primes[i])
        quotient, rest = divide(np.int64(turn), p)
        # The first odd cofactor m with p m >= 30 turn is 30 quotient + beyond; what counts is m mod 210.
        beyond = 2.0 * np.floor(0.5 * np.ceil(30.0 * float(rest) * (1.0 / float(p)))) + 1.0
        sevenths = quotient - 7.0 * np.floor((quotient + 0.5) * (1.0 / 7.0))
        cofactors[i], offsets[i] = np.int64(30.0 * sevenths + beyond), p * np.int64(beyond) - 30 * rest
    likely, end = walking, np.int64(turns * THIRTY)
    for i in range(U(len(primes))):  # the next odd multiple of the largest primes is mostly behind the chunk
        prime[likely] = i
        likely += ONE if offsets[i] < end else ZERO
    for k in range(walking, likely):
        j = U(prime[k])
        large, begin = U(primes[j]), U(FIRST_COFACTOR[cofactors[j]])
        first, q = (U(offsets[j]) + large * (begin & FIFTEEN)) // THIRTY, large // THIRTY
        entry = FIRST_ENTRY[large - THIRTY * q] + (begin >> FOUR)
        at[walking], step[walking], prime[walking] = first << THREE | U(BIT_OF_ENTRY[entry]), entry, q << THREE
        walking += ONE if first < turns else ZERO
    return walking


def empty_bucket(segment: Any, index: Any, buckets: Any) -> None:
    """Cross off the multiples that were dropped into a segment's bucket."""
    cursors, pages, links = buckets
    end = cursors[index]
    while end != ZERO:
        page = (end - ONE) >> PAGE_SHIFT
        for i in range(page << PAGE_SHIFT, end):
            multiple = U(pages[i])
            segment[multiple >> THREE] &= ~(np.uint8(1) << np.uint8(multiple & SEVEN))
        end = U(links[page]) << PAGE_SHIFT

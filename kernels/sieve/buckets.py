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

from kernels.sieve.wheel import BIT_OF_ENTRY, FIRST_COFACTOR, FIRST_ENTRY, WALK
from kernels.vectors.compress import compress_store
from kernels.vectors.large_pages import ask_for_large_pages
from kernels.vectors.operations import first_n, gather_index, load_u, mul_add, promote_to, set_, store_u

U = np.uint64
ZERO, ONE, THREE, SEVEN, THIRTY = (U(k) for k in (0, 1, 3, 7, 30))

# Tuned on a Zen 5 (48 KiB L1, 1 MiB L2).
PAGE_SHIFT = U(12)  # 4,096 multiples (16 KiB) to a bucket's page: 4 KiB pages and 64 KiB pages are both 3 % slower
PAGE_MASK = (ONE << PAGE_SHIFT) - ONE
BATCH = 1024  # primes that walk together: 24 KiB of state
# New primes join when so many of BATCH have left, and at most so many join at once. Most large primes have only one
# multiple in a chunk and leave after it. With smaller groups the loops over primes would be short.
REFILL = 512
LANES = 8  # primes to a vector; LLVM splits it where registers are narrower

# What a prime keeps while it walks: 8 (p // 30) << STATE | its entry in WALK. And what is in an entry, from its lowest
# bit: 7 bits, 4 bits, and the rest (kernels/sieve/wheel.py).
STATE = U(9)
LOW_STATE, EXTRA, GAP, GAP_AT, NEXT_AT, NEXT_BY = U(511), U(127), U(15), U(7), U(11), U(47)
# What it keeps before: p << PLACE | its cofactor's place among the 48. And what is in FIRST_COFACTOR.
PLACE, LOW_PLACE = U(6), U(63)
DISTANCE, PLACE_AT = U(15), U(4)
LOW_RESIDUE = U(31)
A_THIRTIETH, THIRTIETH_AT = U(0x88888889), U(36)  # x // 30 = x * A_THIRTIETH >> THIRTIETH_AT, for x < 2^32

TO_WHOLE = 1.5 * 2.0**52  # x + TO_WHOLE - TO_WHOLE is the whole number nearest to x, for |x| < 2^51
# Numbers by which `choose` may be wrong: four roundings of 2^-53 each, of a number below 2^63, and some to spare.
SLACK = 1 << 13


class ChunkTurns(NamedTuple):
    """A chunk, in wheel turns: its first one counted from the number 0, how many, and how many to a segment."""

    turn: Any
    turns: Any
    segment: Any


class Buckets(NamedTuple):
    """The multiples of large primes by segment; `fill_buckets` says how they lie."""

    cursors: Any  # uint64, two for each segment
    pages: Any  # uint32
    links: Any  # uint32, one for each page


def fill_buckets(span: Any, primes: Any, count: Any) -> Any:
    """Walk every large prime through the chunk and drop each multiple into its segment's bucket.

    A multiple is (byte in the segment) << 3 | bit. A bucket is a list of pages, the newest first: its cursor is where
    its next multiple goes, links[page] one more than the page before. A segment has two buckets, which take turns: a
    cursor that was just stored is not at hand yet. count: pages to begin with, of `pages_expected`.
    """
    turns, segment = span.turns, span.segment
    cursors = np.empty(np.int64((turns + segment - ONE) // segment << ONE), np.uint64)
    for i in range(len(cursors)):
        cursors[i] = 0
    if len(primes) == 0:
        return Buckets(cursors, np.empty(0, np.uint32), np.empty(0, np.uint32))
    pages, links = np.empty(np.int64(count << PAGE_SHIFT), np.uint32), np.empty(np.int64(count), np.uint32)
    ask_for_large_pages(pages)
    places = np.empty(BATCH + LANES, np.uint64), np.empty(BATCH + LANES, np.uint64), np.empty(BATCH, np.uint64)
    # Zeros, because a last vector looks up what lies behind the cofactors as well.
    starts = np.empty(REFILL), np.empty(REFILL, np.uint64), np.zeros(REFILL, np.uint64), np.empty(REFILL, np.uint64)
    progress = ZERO, ZERO, ZERO
    while True:
        buckets = Buckets(cursors, pages, links)
        progress = drop_multiples(span, primes, places, starts, buckets, progress)
        if progress[0] == U(len(primes)) and progress[1] == ZERO:
            return buckets
        pages, links = more_room(pages), more_room(links)


def pages_expected(span: Any, primes: Any) -> Any:
    """Pages for all multiples, except in rare cases: by Mertens, the sum of 1/p is the difference of log log p."""
    if len(primes) == 0:
        return ZERO
    reciprocals = math.log(math.log(float(primes[-1])) / math.log(float(primes[0])))
    multiples = 48 / 7 * float(span.turns) * (reciprocals + 2 / float(primes[0]))
    buckets = 2 * float(span.turns // span.segment + ONE)
    return U(1.02 * multiples / float(ONE << PAGE_SHIFT) + 3 * buckets + 8)


def more_room(full: Any) -> Any:
    """The same in an array twice as long."""
    wider = np.empty(2 * len(full), np.uint32)
    ask_for_large_pages(wider)
    for i in range(len(full)):  # a slice assignment takes numba three seconds to compile
        wider[i] = full[i]
    return wider


def drop_multiples(span: Any, primes: Any, places: Any, starts: Any, buckets: Any, progress: Any) -> Any:
    """Go on filling buckets until no prime walks any more, or pages could run out.

    progress, before and (returned) after: primes begun, primes that walk, the first free page. Many primes go from
    multiple to multiple together, and a prime that leaves the chunk makes room for a new one. Following each prime to
    its end would cost more: whether it has a multiple left is hard to predict, and a wrong prediction costs more than a
    multiple.

    places: of each prime that walks, its multiple (byte << 3 | bit), what it keeps, and its entry of WALK. starts: room
    for `choose` and `begin_walk`.
    """
    turn, turns, segment = span
    cursors, pages, links = buckets
    done, walking, free = progress
    at, kept, entries = places
    shift, bits, end = ZERO, segment << THREE, turns << THREE
    while ONE << shift < bits:
        shift += ONE
    most_begun = U(len(cursors)) + (U(BATCH) >> PAGE_SHIFT)  # pages, in one round
    while free + most_begun <= U(len(links)):
        while walking <= U(BATCH - REFILL) and done < U(len(primes)):
            done, chosen = choose(turn, turns, primes, done, starts[0])
            walking = begin_walk(turn, turns, chosen, starts, places, walking)
        if walking == ZERO:
            break
        for i in range(walking):
            bucket = (at[i] >> shift) << ONE | (i & ONE)
            cursor = cursors[bucket]
            if cursor & PAGE_MASK == ZERO:  # its page is full, or it has none
                links[free] = cursor >> PAGE_SHIFT
                cursor = free << PAGE_SHIFT
                free += ONE
            pages[cursor] = at[i] & (bits - ONE)
            cursors[bucket] = cursor + ONE
            entries[i] = WALK[kept[i] & LOW_STATE]  # here, because vectors look up one by one, and slower
        walking = advance(places, walking, end)
    return done, walking, free


def advance(places: Any, walking: Any, end: Any) -> Any:
    """Take the primes that walk to their next multiples; return how many have one before `end`: the others leave."""
    at, kept, entries = places
    left = np.int64(0)
    for i in range(0, np.int64(walking), LANES):
        here, own, entry = load_u(at, i, LANES), load_u(kept, i, LANES), load_u(entries, i, LANES)
        here += (own >> STATE) * (entry >> GAP_AT & GAP) + (entry & EXTRA)
        stays = (here < end) & first_n(np.int64(walking) - i, LANES)
        compress_store(at, left, here, stays)
        left += compress_store(kept, left, own + (entry >> NEXT_AT) - NEXT_BY, stays)
    return U(left)


def choose(turn: Any, turns: Any, primes: Any, done: Any, chosen: Any) -> Any:
    """Store the next primes that may have an odd multiple in the chunk; return how many are done, and how many stored.

    All that have one are among them, and very few that have none. With x = 15 turn / p, and d from -1/2 to 1/2 what x
    has above the nearest whole number, the next odd multiple of p is p (1 - 2 d) numbers behind the chunk's beginning.
    So this takes no integers, and a sixth of the time of finding that multiple: most of the largest primes have none.
    """
    begin, half = 15.0 * float(turn) - SLACK // 2, 15.0 * float(turns) + SLACK
    i, end, count = np.int64(done), np.int64(len(primes)), np.int64(0)
    while i + LANES <= end and count + LANES <= REFILL:
        p = promote_to(chosen, load_u(primes, i, LANES))
        reciprocal = set_(1.0, LANES) / p
        x = reciprocal * begin
        d = x - ((x + TO_WHOLE) - TO_WHOLE)
        count += compress_store(chosen, count, p, d > mul_add(reciprocal, -half, 0.5))
        i += LANES
    while end - LANES < i and i < end and count < REFILL:  # fewer than a vector are left
        chosen[count] = primes[i]
        i, count = i + 1, count + 1
    return U(i), count


def begin_walk(turn: Any, turns: Any, chosen: Any, starts: Any, places: Any, walking: Any) -> Any:
    """Append the chosen primes that have a multiple to visit in the chunk to those that walk; how many walk then.

    starts: the chosen primes, as floats; room for as many integers, three times.
    """
    primes, integers, cofactors, offsets = starts
    at, kept, _ = places
    begin, first_number = 15.0 * float(turn), np.int64(turn * THIRTY)
    for i in range(chosen):  # in vectors
        # The next odd multiple is that of cofactor 2 k + 1, k the whole number nearest to x; of a neighbour where x
        # is not exact. Multiples are compared modulo 2^64, which they may exceed.
        p = primes[i]
        k = (1.0 / p * begin + TO_WHOLE) - TO_WHOLE
        cofactor, twice = 2.0 * k + 1.0, np.int64(2.0 * p)
        offset = np.int64(p) * np.int64(cofactor) - first_number
        if offset < 0:
            offset, cofactor = offset + twice, cofactor + 2.0
        if offset >= twice:
            offset, cofactor = offset - twice, cofactor - 2.0
        cofactors[i] = np.int64(cofactor - 210.0 * np.floor((cofactor + 0.5) * (1.0 / 210.0)))
        integers[i], offsets[i] = np.int64(p), offset
    joined, end = np.int64(walking), turns * THIRTY
    for i in range(0, chosen, LANES):  # the first one to visit is behind the chunk for half of the largest primes
        p, first = load_u(integers, i, LANES), load_u(offsets, i, LANES)
        cofactor = gather_index(FIRST_COFACTOR, load_u(cofactors, i, LANES))
        first += p * (cofactor & DISTANCE)
        inside = (first < end) & first_n(chosen - i, LANES)
        compress_store(at, joined, first, inside)
        joined += compress_store(kept, joined, (p << PLACE) + (cofactor >> PLACE_AT), inside)
    for i in range(np.int64(walking), joined, LANES):
        byte, own = load_u(at, i, LANES) * A_THIRTIETH >> THIRTIETH_AT, load_u(kept, i, LANES)
        p = own >> PLACE
        q = p * A_THIRTIETH >> THIRTIETH_AT
        entry = gather_index(FIRST_ENTRY, p - q * THIRTY & LOW_RESIDUE) + (own & LOW_PLACE)
        store_u(at, i, (byte << THREE) + gather_index(BIT_OF_ENTRY, entry))
        store_u(kept, i, (q << STATE + THREE) + entry)
    return U(joined)


def empty_bucket(segment: Any, index: Any, buckets: Any) -> None:
    """Cross off the multiples that were dropped into a segment's buckets."""
    cursors, pages, links = buckets
    for bucket in range(index << ONE, (index << ONE) + U(2)):
        end = cursors[bucket]
        while end != ZERO:
            page = (end - ONE) >> PAGE_SHIFT
            clear(segment, pages, page << PAGE_SHIFT, end)
            end = U(links[page]) << PAGE_SHIFT


def clear(segment: Any, multiples: Any, lo: Any, hi: Any) -> None:
    """Cross off the multiples lo .. hi of a list: each is (byte in the segment) << 3 | bit."""
    for i in range(lo, hi):
        multiple = U(multiples[i])
        segment[multiple >> THREE] &= ~(np.uint8(1) << np.uint8(multiple & SEVEN))

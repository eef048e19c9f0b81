"""The walk of large primes: every multiple that it is to visit, and no other, from the first one in the chunk on."""

import math
import random

import numpy as np
import pytest

pytest.importorskip("numba")

from kernels.compilation import importing
from kernels.sieve import buckets
from kernels.sieve.bounds_and_checks import is_prime
from kernels.sieve.buckets import BATCH, LANES, REFILL, begin_walk, choose, fill_buckets
from kernels.sieve.windows import LARGEST

RESIDUES = (1, 7, 11, 13, 17, 19, 23, 29)


def filled(span, primes, count, cursors, pages, links):
    """Compiled: the buckets copied into arrays with room enough; how many pages and links there are.

    Were it to return them, numba's wrapper would leave dtypes with fill_buckets, and code with these is kept nowhere.
    """
    made = fill_buckets(span, primes, count)
    for k in range(len(made.cursors)):
        cursors[k] = made.cursors[k]
    for k in range(len(made.pages)):
        pages[k] = made.pages[k]
    for k in range(len(made.links)):
        links[k] = made.links[k]
    return len(made.pages), len(made.links)


def test_buckets_grow_where_the_estimate_is_short():
    """Every multiple that 2, 3, 5 and 7 leave, and no other."""
    first, turns, segment = 10**9 + 11, 1 << 16, 1 << 13  # from here one prime begins at the last cofactor, 211
    sieving = np.array([p for p in range(601, 3_000) if is_prime(p)], np.uint32)
    span = buckets.ChunkTurns(np.uint64(first), np.uint64(turns), np.uint64(segment))
    size, room, found = int(buckets.PAGE_MASK) + 1, 88, []
    cursors, links = np.zeros(2 * (turns // segment), np.uint64), np.zeros(room, np.uint32)
    pages = np.zeros(room * size, np.uint32)
    ends = importing.compiler().compiled(filled)(span, sieving, np.uint64(11), cursors, pages, links)
    assert room >= ends[1] > 11
    assert ends[0] == ends[1] * size
    for bucket, cursor in enumerate(cursors.tolist()):
        while cursor:
            page = (cursor - 1) // size
            places = [bucket // 2 * segment * 8 + int(place) for place in pages[size * page : cursor]]
            found += [30 * (first + place // 8) + RESIDUES[place % 8] for place in places]
            cursor = int(links[page]) * size
    low, high = 30 * first, 30 * (first + turns)
    right = [p * m for p in sieving.tolist() for m in range(-(-low // p), -(-high // p)) if math.gcd(m, 210) == 1]
    assert sorted(found) == sorted(right)


def joins(turn, turns, primes):
    """Compiled: how many primes are chosen, how many walk then; where the first one is, and what it keeps."""
    at, kept = np.zeros(BATCH + LANES, np.uint64), np.zeros(BATCH + LANES, np.uint64)
    chosen = np.empty(REFILL)
    starts = chosen, np.empty(REFILL, np.uint64), np.zeros(REFILL, np.uint64), np.empty(REFILL, np.uint64)
    done, count = choose(turn, turns, primes, np.uint64(0), chosen)
    walking = begin_walk(turn, turns, count, starts, (at, kept, at), np.uint64(0))
    return done, count, walking, at[0], kept[0]


def first_to_visit(turn, p):
    """The first multiple of p from 30 turn on whose cofactor 2, 3, 5 and 7 do not divide."""
    m = -(-30 * turn // p)
    while math.gcd(m, 210) > 1:
        m += 1
    return p * m, COFACTORS.index(m % 210)


COFACTORS = [m for m in range(210) if math.gcd(m, 210) == 1]


@pytest.fixture(scope="module")
def compiled_joins():
    return importing.compiler().compiled(joins)


def edges():
    """Turns and primes (odd numbers do) whose next odd multiple is the chunk's first or last number, or beside it."""
    draw = random.Random(7)
    for _ in range(60):
        turns = draw.choice([1 << 13, 1 << 19, 1 << 22])
        p = draw.randrange(1 << draw.randint(18, 31), 1 << 32) | 1
        while not all(p % d for d in (2, 3, 5, 7)):
            p += 2
        most = LARGEST // p
        cofactor = draw.randrange(1 << 18, max(most - 60, 1 << 18) + 1)
        for away in (1, -1, 29, 30 * turns - 1, 30 * turns + 1, 2 * p - 1, p):
            m = next(m for m in range(cofactor, cofactor + 60) if (p * m - away) % 30 == 0) if away % 2 else cofactor
            turn = (p * m - away) // 30
            if 0 < 30 * turn <= LARGEST:
                yield turn, turns, p


@pytest.mark.parametrize("copies", [1, LANES, LANES + 3])
def test_a_prime_joins_where_it_has_a_multiple_to_visit(compiled_joins, copies):
    cases = list(edges())
    assert len(cases) > 200
    joined = 0
    for turn, turns, p in cases:
        done, chosen, walking, at, kept = compiled_joins(
            np.uint64(turn), np.uint64(turns), np.full(copies, p, np.uint32)
        )
        multiple, place = first_to_visit(turn, p)
        has_one = multiple < 30 * (turn + turns)
        assert done == copies
        assert walking == copies * has_one, (turn, turns, p)
        assert chosen >= walking
        if has_one:
            joined += 1
            byte, residue = divmod(multiple - 30 * turn, 30)
            assert int(at) == byte << 3 | RESIDUES.index(residue), (turn, turns, p)
            entry = 48 * RESIDUES.index(p % 30) + place
            assert int(kept) == p // 30 << 12 | entry
    assert 50 < joined < len(cases)


def test_most_primes_without_a_multiple_are_not_chosen(compiled_joins):
    """That is what makes it fast: of 300 primes near 2^32 a chunk of 2^19 turns has multiples of one."""
    turn, turns = 3 * 10**17, 1 << 19
    primes = np.array([p for p in range(2**32 - 7_999, 2**32, 2) if is_prime(p)][:300], np.uint32)
    done, chosen, *_ = compiled_joins(np.uint64(turn + 1), np.uint64(turns), primes)
    exact = sum((p - 30 * (turn + 1)) % (2 * p) < 30 * turns for p in primes.tolist())
    assert done == len(primes) == 300
    assert exact <= chosen <= exact + LANES

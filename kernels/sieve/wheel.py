"""The wheel that the sieve (windows.py) turns on: what numbers a byte stands for, how multiples fall on it.

Byte i stands for the eight numbers 30 i + RESIDUES[k] (bit k) that 2, 3 and 5 do not divide; idea and layout are
primesieve's. With a prime p = 30 q + r and a cofactor m = 30 t + w, both prime to 30,

    p m = 30 (p t + q w) + r w,   so it is bit (r w) mod 30 of byte p t + q w + (r w) div 30.

The eight cofactors of one t make a *block* of p bytes from p t on: one multiple on each bit, at a distance that is the
same in every block of that prime.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RESIDUES = np.array([1, 7, 11, 13, 17, 19, 23, 29], np.uint64)
_R = [int(r) for r in RESIDUES]


def _index_of_residue() -> Array:
    index = np.zeros(30, np.uint64)
    index[_R] = range(8)
    return index


INDEX_OF_RESIDUE = _index_of_residue()

# The numbers that a byte's 1s stand for: eight entries for each byte, of which as many are used as it has 1s.
NUMBERS_OF_BYTE = np.array(
    [([r for k, r in enumerate(_R) if byte >> k & 1] + [0] * 8)[:8] for byte in range(256)], np.uint8
)
COUNT_OF_BYTE = np.array([bin(byte).count("1") for byte in range(256)], np.int64)

# Where in each of its blocks a prime's multiple on bit k lies: byte q * FACTOR[c, k] + CARRY[c, k], residue c.
FACTOR = np.array([[next(w for w in _R if r * w % 30 == s) for s in _R] for r in _R], np.uint32)
CARRY = np.array([[next(w for w in _R if r * w % 30 == s) * r // 30 for s in _R] for r in _R], np.uint32)

# And in which block from one of cofactors 210 t + w on its multiple on that bit is the first after a multiple of 7.
AFTER_SEVEN = np.array(
    [[next(t for t in range(1, 8) if (30 * (t - 1) + int(w)) % 7 == 0) % 7 for w in row] for row in FACTOR], np.uint32
)

# Bytes before and behind a segment, into which the blocks of small primes reach.
MARGIN = 1 << 16
# Up to here they leave out multiples of 7. Such seven blocks reach over 12, which must fit the margin: a bit begins up
# to 6.4 blocks behind their begin, and takes five more. The multiple before its first is up to 4.4 blocks behind it.
# Anything from 1,500 to 4,096 is as good on a Zen 4: larger primes then reach further out of L1.
SEVENS_TO, SEVENS_EARLY = 3000, 5


def small_distances(primes: Array) -> Array:
    """Of each prime < MARGIN, from where its blocks begin to its multiples on bit 0, 1 … 7: uint16, eight for each."""
    p, row = primes[:, None], INDEX_OF_RESIDUE[primes % 30]
    late = np.where(p <= SEVENS_TO, p, 0) * AFTER_SEVEN[row]
    distances: Array = late + p // 30 * FACTOR[row] + CARRY[row]
    return distances.astype(np.uint16).ravel()


# A walk from multiple to multiple leaves out those of 7 as well: 48 cofactors in every 210 (primesieve's largest).
COFACTORS = [m for m in range(210) if math.gcd(m, 210) == 1]


def _first_cofactor() -> Array:
    """For a cofactor 0 .. 209, the first from it on that 2, 3, 5 and 7 do not divide: its distance | its place << 4."""
    gaps = [next(d for d in range(210) if math.gcd(m + d, 210) == 1) for m in range(210)]
    return np.array([gap | COFACTORS.index((m + gap) % 210) << 4 for m, gap in enumerate(gaps)], np.uint64)


def _walk() -> Array:
    """For residue c and the j-th cofactor, entry 48 c + j: how to go on to the next multiple.

    extra | gap << 7 | step << 11: the next multiple lies 8 q * gap + extra bits on, eight to a byte, and its entry is
    step - 47 on.
    """
    entries = []
    for r in _R:
        for j, m in enumerate(COFACTORS):
            after = COFACTORS[j + 1] if j < 47 else 211
            here, there = (8 * (r * w // 30) + _R.index(r * w % 30) for w in (m, after))
            entries.append(there - here | (after - m) << 7 | (47 + (j + 1) % 48 - j) << 11)
    return np.array(entries, np.uint64)


def _filled(table: Any, length: int) -> Array:
    """A table with zeros behind it: vectors look up what lies behind their last number, too."""
    return np.append(table, np.zeros(length - len(table))).astype(np.uint64)


FIRST_COFACTOR = _first_cofactor()
FIRST_ENTRY = _filled(48 * INDEX_OF_RESIDUE, 32)  # of a residue in WALK
WALK = _walk()
BIT_OF_ENTRY = _filled([_R.index(r * m % 30) for r in _R for m in COFACTORS], 48 * 7 + 64)

# Bits of a byte whose numbers are below, or above, a remainder mod 30: to cut a window's first and last byte.
FROM_REMAINDER = np.array([sum(1 << k for k, r in enumerate(_R) if r >= m) for m in range(30)], np.uint8)
UP_TO_REMAINDER = np.array([sum(1 << k for k, r in enumerate(_R) if r <= m) for m in range(30)], np.uint8)

for _table in [value for value in vars().values() if isinstance(value, np.ndarray)]:
    _table.flags.writeable = False  # compiled code holds what it read

# ---------------------------------------------------------------- patterns of the smallest primes
# Their multiples repeat, so they are not crossed off one by one: groups of them are laid over the segment with ANDs of
# whole vectors (primesieve's pre-sieve), eight patterns in one pass.

PATTERN_SLACK = 256  # a pattern is that much longer than its period, so that a run of vectors never meets its end


def _pattern_groups(passes: int) -> list[tuple[int, ...]]:
    """Three triples of the smallest primes, then pairs: the smallest with the largest, so that no pattern is long."""
    primes = [p for p in range(7, 1000) if all(p % d for d in range(2, 32) if d < p)]
    pairs = 8 * passes - 3
    small, rest = primes[:9], primes[9 : 9 + 2 * pairs]
    triples = [(small[i], small[5 - i], small[8 - i]) for i in range(3)]
    return triples + [(rest[i], rest[-1 - i]) for i in range(pairs)]


@functools.cache
def patterns(passes: int) -> tuple[Array, Array, int]:
    """All patterns behind one another (uint8); of each the first byte and the period (int64, shape (groups, 2)).

    And the largest prime in them: 163 with two passes (123 KiB), 257 with three (346 KiB).
    """
    groups = _pattern_groups(passes)
    places: list[tuple[int, int]] = []
    tables: list[Array] = []
    for group in groups:
        period = math.prod(group)
        table = np.full(period, 255, np.uint8)
        for p in group:
            for bit, r in enumerate(_R):
                # Byte i of the pattern stands for 30 i + r, which p divides once in p bytes.
                first = next(i for i in range(p) if (30 * i + r) % p == 0)
                table[first::p] &= ~np.uint8(1 << bit)
        places.append((sum(len(t) for t in tables), period))
        tables.append(np.resize(table, period + PATTERN_SLACK))
    return np.concatenate(tables), np.array(places, np.int64), max(max(group) for group in groups)


# ---------------------------------------------------------------- arithmetic


def divide(number: Any, p: Any) -> Any:
    """Quotient (as a float) and remainder, so that LLVM makes vectors of a loop of it; p > 163, number < 2^63 / 30.

    Three roundings of 2^-53 each leave the quotient, below 2^50.8, less than one off.
    """
    quotient = np.floor(float(number) * (1.0 / float(p)))
    rest = number - np.int64(quotient) * p
    if rest < 0:
        rest, quotient = rest + p, quotient - 1.0
    if rest >= p:
        rest, quotient = rest - p, quotient + 1.0
    return quotient, rest

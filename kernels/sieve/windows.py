"""Primes in a window: a segmented sieve on the wheel of 30. count_primes counts them, primes lists them.

An index is a turn of the wheel: 30 numbers, of which 2, 3 and 5 leave eight, one byte. Each chunk of them is sieved by
itself. All chunks share the primes up to the square root, which the plan finds. The compiled body is in
kernels/sieve/segments.py; the definition, which every interpreter runs, is below.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel, numba_is_here
from kernels.definition.arguments import guarded
from kernels.definition.plan import CHUNKS, Plan
from kernels.definition.recycled import empty
from kernels.sieve.bounds_and_checks import check_count, check_list, most_primes
from kernels.sieve.wheel import MARGIN, patterns, small_distances
from kernels.vectors.caches import cache_bytes, cache_cpus
from kernels.vectors.memory import check_ever_fits

Array = np.ndarray[Any, Any]

# The largest int64, because results are int64. Up to here
# - the square root fits the sieving primes' uint32,
# - the wheel's turns fit `divide`,
# - numbers just past the window fit uint64,
# - the bounds that size results are proven (bounds_and_checks.py; up to 10^19).
LARGEST = 2**63 - 1

# The grid (with CHUNKS), which must not depend on the machine. Tuned on a Zen 5 with 48 KiB L1 and 1 MiB L2.
LEAST_TURNS = 1 << 13  # a quarter of a million numbers take 15 microseconds
# In fewer turns than these a chunk is no whole segment. 256 chunks of a quarter of it take 4 % longer at 10^9, 12 % at
# 5 10^10. So there are fewer chunks, as long as there are so many.
SEGMENT_TURNS, FEW_CHUNKS = 1 << 19, 64
# A chunk begins by finding the first multiple of every sieving prime, 2 ns each: 2 % of its time at 10^12.
TURNS_PER_SIEVING_PRIME = 6
# 126 million numbers. At 10^18 finding the first multiples takes half of a chunk's time, but a larger chunk would leave
# fewer than 8 chunks of 10^9 numbers.
MOST_TURNS = 1 << 22

LEAST_L1 = 1 << 13  # bytes: no L1 is smaller, whatever a system tells of it
PASSES = 2  # of patterns, eight each; a third would fill an L2 of 512 KiB
MEDIUM_SEGMENTS = 4  # beyond four times a segment's bytes a prime misses so many segments that buckets cost less

# What every backend keeps of a chunk: a partial result, whether it is done, and its place in the order. At 10^16 these
# are 2 GB, and the count takes a core two months.
CHUNK_BYTES = 24
SMALLER = "use a smaller n, or a later start"
SLOT_SLACK = 8  # a slot's count, and seven words behind its primes that the compiled body may overwrite
PLAIN_SIEVE_TO = 1 << 22  # numpy finds sieving primes up to here within 20 ms, less than loading compiled code takes


# ---------------------------------------------------------------- the plan


def plan_count(n: int, start: int = 2) -> Plan:
    """How many primes there are in start .. n, both included; 0 where that is empty.

    n and start are whole numbers from 0 to 2^63 - 1; ValueError for anything else. Memory: 4 bytes for each prime up to
    the square root of n (200 MB at 10^18); for each lane at most its L2 cache, above 10^12 up to 60 MB more.
    """
    n, start = as_window(n, start)
    if n < start:
        return Plan(0, (start, n, *_nothing()), dtype=np.int64)
    turns, grain = n // 30 - start // 30 + 1, _grain(n, start)
    check_ever_fits(CHUNK_BYTES * (turns // grain), SMALLER)
    return Plan(
        turns,
        (start, n, *_shared(n, turns)),
        dtype=np.int64,
        shape=(),
        grain=grain,
        work=float(n - start + 1),
    )


def plan_list(n: int, start: int = 2) -> Plan:
    """The primes in start .. n, both included, ascending: an int64 array, empty where there are none.

    n and start are whole numbers from 0 to 2^63 - 1; ValueError for anything else. The result is allocated once: each
    chunk's part is sized by proven bounds (Büthe; Montgomery and Vaughan), 1 % too large at 10^9, up to five times in
    windows near 10^18, and the gaps are closed in place at the end. Else memory as for count_primes.
    """
    n, start = as_window(n, start)
    if n < start:
        return Plan(0, (start, n, *_nothing(), 1, np.zeros(1, np.int64)), dtype=np.int64, shape=(0,))
    check_ever_fits(8 * most_primes(start, n), SMALLER)
    turns, grain = n // 30 - start // 30 + 1, _grain(n, start)
    first = start // 30 * 30
    lows = range(first, n + 1, grain * 30)
    sizes = [SLOT_SLACK + most_primes(max(low, start), min(low + grain * 30 - 1, n)) for low in lows]
    slots = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Plan(
        turns,
        (start, n, *_shared(n, turns), grain, slots),
        dtype=np.int64,
        shape=(int(slots[-1]),),
        grain=grain,
        work=float(n - start + 1),
    )


def as_window(n: Any, start: Any) -> tuple[int, int]:
    """The window's ends as ints, start at least 2; a ValueError names the one that is not such a whole number."""
    n, start = as_index(n, "n"), as_index(start, "start")
    for name, value in (("n", n), ("start", start)):
        if value > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST} (2^63 - 1, an int64), not {value}")
    return n, max(start, 2)


def _grain(n: int, start: int) -> int:
    """Wheel turns to a chunk: many chunks, but each long against finding the first multiples of all sieving primes."""
    root, turns = math.isqrt(n), n // 30 - start // 30 + 1
    placing = TURNS_PER_SIEVING_PRIME * int(root / max(1.0, math.log(max(root, 2))))
    least = max(-(-turns // CHUNKS), placing, LEAST_TURNS, min(turns // FEW_CHUNKS, SEGMENT_TURNS))
    return min(1 << (least - 1).bit_length(), MOST_TURNS)  # a power of two, so that segments fill chunks


def _nothing() -> tuple[Any, ...]:
    return (np.zeros(0, np.uint32), *patterns(PASSES), np.zeros(0, np.uint16), *_sizes(0))


def _shared(n: int, turns: int) -> tuple[Any, ...]:
    """What all chunks need: sieving primes, patterns, and the sizes of what should stay in L1 and L2.

    turns: to the window. In a large one a third pass of patterns saves 4 %, where half of L2 holds them.
    """
    is_worth_it = turns >= MOST_TURNS and cache_bytes(2) >= 1 << 20
    laid = patterns(PASSES + is_worth_it)
    limit = max(math.isqrt(n), laid[-1])
    sieving = sieving_primes(limit)
    return (sieving, *laid, _distances(laid[-1])[: 8 * len(sieving)], *_sizes(limit))


@functools.cache
def _distances(last: int) -> Array:
    """Those of all small primes that are in no pattern."""
    primes = _plain_sieve(MARGIN - 1)
    return small_distances(primes[primes > last])


def _sizes(limit: int) -> tuple[int, int]:
    """Bytes of L1 and to a segment, with sieving primes up to limit. They change the speed, never the answer.

    A segment takes half of L2; the patterns and the primes' blocks pass through the other half. With larger primes than
    medium ones it takes what a CPU has of L2, where that is more: each segment visits all medium primes, and fewer
    segments then save more than the misses cost (on a Zen 4 with 1 MiB, 14 % from 10^13, 5 % from 10^15).
    """
    half, share = (_power_of_two(cache_bytes(2) // part) for part in (2, cache_cpus(2)))
    return max(cache_bytes(1), LEAST_L1), max(half, share) if limit > MEDIUM_SEGMENTS * half else half


def _power_of_two(size: int) -> int:
    """The largest one up to the size, within what segments may have."""
    return 1 << min(max(size.bit_length() - 1, 16), 20)


# ---------------------------------------------------------------- sieving primes


def sieving_primes(limit: int) -> Array:
    """The primes up to limit >= 7 as uint32."""
    if limit <= PLAIN_SIEVE_TO or not numba_is_here():
        return _plain_sieve(limit)
    return _compiled_sieve(limit)


@functools.lru_cache(maxsize=4)
def _plain_sieve(limit: int) -> Array:
    """Eratosthenes on the odd numbers."""
    odd = np.ones((limit + 1) // 2, np.bool_)
    odd[0] = False
    for p in range(3, math.isqrt(limit) + 1, 2):
        if odd[p // 2]:
            odd[p * p // 2 :: p] = False
    return np.concatenate([[2], 2 * np.flatnonzero(odd) + 1]).astype(np.uint32)


def _compiled_sieve(limit: int) -> Array:
    """The same by this module's own compiled body, one chunk after another."""
    body = primes.nogil.variants["nogil"].load()
    at, turns = 0, limit // 30 + 1
    shared = _shared(limit, turns)
    out = empty((SLOT_SLACK + most_primes(2, limit),), np.uint32)
    for lo in range(0, turns, MOST_TURNS):
        # The body writes its count over the last prime before it, which is put back afterwards.
        before = out[at]
        # Read-only, as in a run: of the other type, all that the body calls would be compiled once more.
        inputs = guarded((2, limit, *shared, turns, np.array([at])), ())
        body(lo, min(lo + MOST_TURNS, turns), out, *inputs)
        count, out[at] = int(out[at]), before
        at += count
    return out[1 : at + 1]


# ---------------------------------------------------------------- the definition, and the kernels


def sieve_window(low: int, high: int, sieving: Array) -> bytearray:
    """A 1 for each prime of low .. high - 1, a 0 for every other number: the sieve of Eratosthenes. low >= 2."""
    flags = bytearray(b"\1") * (high - low)
    for p in map(int, sieving):
        if p * p >= high:
            break
        first = max(p * p, -(-low // p) * p)
        flags[first - low :: p] = bytes(len(range(first, high, p)))
    return flags


def _numbers(lo: int, hi: int, start: int, n: int) -> tuple[int, int]:
    """The first number of the wheel turns lo .. hi that is in the window, and the one behind the last."""
    first = start // 30 * 30
    return max(first + 30 * lo, start), min(first + 30 * hi, n + 1)


def memory_shared(n: int) -> float:
    """Bytes of the sieving primes of 2 .. n."""
    return 4.0 * most_primes(2, max(math.isqrt(n), 257))  # three passes of patterns take primes up to 257


def memory_of_list(n: int) -> float:
    """Bytes of the primes of 2 .. n and of the sieving primes; the slots' own slack is a few per cent more."""
    return 8.0 * most_primes(2, max(n, 2)) + memory_shared(n)


@kernel(
    plan=plan_count,
    reduce=np.sum,
    dtype=np.int64,
    check=check_count,
    memory=memory_shared,
    unit="numbers",
    bound="compute",
)
def count_primes(lo: int, hi: int, out: Array, start: int, n: int, sieving: Array, *for_compiled: Any) -> None:
    """Assign to out[0] how many primes the wheel turns lo .. hi of the window hold."""
    low, high = _numbers(lo, hi, start, n)
    out[0] = sieve_window(low, high, sieving).count(1)


def close_gaps(out: Array, plan: Plan) -> Array:
    """Move every slot's primes, the first word of which says how many there are, behind the slot's before; no copy."""
    slots, at = plan.inputs[-1], 0
    for slot in slots[:-1]:
        count = int(out[slot])
        ctypes.memmove(out[at:].ctypes.data, out[slot + 1 :].ctypes.data, count * out.itemsize)
        at += count
    return out[:at]


@kernel(
    plan=plan_list,
    finish=close_gaps,
    dtype=np.int64,
    check=check_list,
    memory=memory_of_list,
    unit="numbers",
    bound="compute",
)
def primes(lo: int, hi: int, out: Array, start: int, n: int, sieving: Array, *others: Any) -> None:
    """Write how many primes the wheel turns lo .. hi hold into their slot of out, and behind it the primes."""
    grain, slots = others[-2:]
    low, high = _numbers(lo, hi, start, n)
    flags = np.frombuffer(sieve_window(low, high, sieving), np.bool_)
    numbers, slot = np.flatnonzero(flags) + low, slots[lo // grain]
    out[slot] = len(numbers)
    out[slot + 1 : slot + 1 + len(numbers)] = numbers


count_primes.add_variant("nogil", "kernels.sieve.segments:count_in_chunk", compiled=True)
primes.add_variant("nogil", "kernels.sieve.segments:list_in_chunk", compiled=True)

"""What is known about the primes without sieving them: bounds to size results by, and checks of the sieve's answers.

Sources: Büthe, "An analytic method for bounding psi(x)" (2018), for pi(x) against li(x) up to 10^19; Montgomery and
Vaughan, "The large sieve" (1973), for short windows; Lucy_Hedgehog's summation (Project Euler 10) for pi(n); that
the first twelve primes as Miller-Rabin bases decide below 3.3 * 10^24: Sorenson and Webster (2015).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# pi(10^k), OEIS A006880.
PRIMES_UP_TO_POWER_OF_TEN = (
    0, 4, 25, 168, 1_229, 9_592, 78_498, 664_579, 5_761_455, 50_847_534, 455_052_511, 4_118_054_813, 37_607_912_018,
    346_065_536_839, 3_204_941_750_802, 29_844_570_422_669, 279_238_341_033_925, 2_623_557_157_654_233,
    24_739_954_287_740_860,
)  # fmt: skip

EULER_GAMMA = 0.5772156649015329
COUNT_EXACTLY_TO = 10**10  # a quarter of a second; ten times as much takes six times as long
TEST_EACH_TO = 2_000  # numbers of a window tried one by one: a tenth of a second


# ---------------------------------------------------------------- bounds


@functools.lru_cache(maxsize=4)  # a chunk ends where the next one begins
def logarithmic_integral(x: float) -> float:
    """li(x) for x > 1, to about 14 digits: all terms of the series are positive, and soon each is half of the last."""
    log = math.log(x)
    total, term, k = EULER_GAMMA + math.log(log), 1.0, 0
    while k < 2 * log or term > 1e-16 * abs(total):
        k += 1
        term *= log / k
        total += term / k
    return total


def li_excess(x: float) -> float:
    """The most by which li(x) exceeds pi(x), for 2 <= x <= 10^19 (Büthe 2018, theorem 2)."""
    log = math.log(x)
    return math.sqrt(x) / log * (1.95 + 3.9 / log + 19.5 / log**2)


def most_primes(low: int, high: int) -> int:
    """At least as many as there are primes in low .. high: the least of three bounds. 0 <= low <= high < 10^19."""
    numbers = high - low + 1
    bounds = [8 * (high // 30 - low // 30 + 1) + 3]  # the wheel's
    if numbers > 1:
        bounds.append(int(2 * numbers / math.log(numbers)) + 1)  # Montgomery and Vaughan, by the window's length alone
    if low <= 2 <= high:
        bounds.append(int(logarithmic_integral(float(high))) + 1)
    elif low > 2:
        below = low - 1.0
        rounding = 1e-13 * high / math.log(high)
        between = min(
            logarithmic_integral(float(high)) - logarithmic_integral(below) + rounding,
            (numbers + 1) / math.log(below),  # li's slope falls; rounds better where the window is short and high
        )
        bounds.append(int(between + li_excess(below)) + 2)
    return min(bounds)


# ---------------------------------------------------------------- answers by other ways


def is_prime(n: int) -> bool:
    """Miller-Rabin with the bases that decide every n < 3.3 * 10^24."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if n < 2 or any(n % p == 0 for p in bases):
        return n in bases
    twos = ((n - 1) & (1 - n)).bit_length() - 1
    odd = (n - 1) >> twos
    return not any(_is_witness(n, base, odd, twos) for base in bases)


def _is_witness(n: int, base: int, odd: int, twos: int) -> bool:
    x = pow(base, odd, n)
    if x in (1, n - 1):
        return False
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return False
    return True


def count_up_to(n: int) -> int:
    """pi(n) by Lucy_Hedgehog's summation, which sieves nothing; O(n^(3/4))."""
    if n < 2:
        return 0
    root = math.isqrt(n)
    small = np.arange(-1, root, dtype=np.int64)  # small[v] = how many of 2 .. v are left
    large = np.zeros(root + 1, np.int64)  # large[i] = the same for v = n // i
    large[1:] = n // np.arange(1, root + 1) - 1
    for p in range(2, root + 1):
        if small[p] == small[p - 1]:
            continue
        before, square = int(small[p - 1]), p * p
        if square > n:
            break
        last = min(root, n // square)
        near = min(root // p, last)
        large[1 : near + 1] -= large[p : near * p + 1 : p] - before
        if near < last:
            large[near + 1 : last + 1] -= small[n // (p * np.arange(near + 1, last + 1))] - before
        if square <= root:
            small[square:] -= small[np.arange(square, root + 1) // p] - before
    return int(large[1])


# ---------------------------------------------------------------- checks


def check_count(value: int, n: int, start: int = 2) -> None:
    """AssertionError unless start .. n hold `value` primes: exactly where that is cheap to know, else by bounds."""
    n, start = int(n), max(int(start), 2)
    if n < start:
        assert value == 0, f"{value} primes in an empty window"
    elif start == 2 and n in (powers := [10**k for k in range(len(PRIMES_UP_TO_POWER_OF_TEN))]):
        right = PRIMES_UP_TO_POWER_OF_TEN[powers.index(n)]
        assert value == right, f"{value} primes up to {n}; there are {right}"
    elif n - start < TEST_EACH_TO:
        right = sum(map(is_prime, range(start, n + 1)))
        assert value == right, f"{value} primes in {start} .. {n}; there are {right}"
    elif n <= COUNT_EXACTLY_TO:
        right = count_up_to(n) - count_up_to(start - 1)
        assert value == right, f"{value} primes in {start} .. {n}; there are {right}"
    else:
        most = most_primes(start, n)
        assert value <= most, f"{value} primes in {start} .. {n}; there are at most {most}"
        between = logarithmic_integral(n) - logarithmic_integral(max(start - 1, 2))
        least = math.floor(between - li_excess(n) - 1e-13 * n)
        assert value >= least, f"{value} primes in {start} .. {n}; there are at least {least}"


def check_list(value: Array, n: int, start: int = 2) -> None:
    """AssertionError unless `value` ascends, has the right length, and is right at 32 places (drawn, fixed seed)."""
    check_count(len(value), n, start)
    assert value.dtype == np.int64, f"the primes came as {value.dtype}"
    if not len(value):
        return
    assert value[0] >= start, f"{value[0]} is below {start}"
    assert value[-1] <= n, f"{value[-1]} is above {n}"
    assert bool(np.all(value[1:] > value[:-1])), "the primes do not ascend"
    for i in np.random.default_rng(20261122).integers(0, len(value), 32):
        after = int(value[i + 1]) if i + 1 < len(value) else int(n) + 1
        here = range(int(value[i]), min(after, int(value[i]) + TEST_EACH_TO))
        right = [p for p in here if is_prime(p)]
        assert right == [int(value[i])], f"the primes from {value[i]} to before {after} are {right}"

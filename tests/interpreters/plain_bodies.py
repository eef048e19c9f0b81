"""Bodies without numpy: some compute the same from memoryviews as from arrays, some do not, and some cannot be told."""

from __future__ import annotations

import functools
import math
import operator
import random
from math import sqrt
from random import gauss

import numpy as np

SCALE = 3
TABLE = [2.0, 4.0, 8.0]
WEIGHTS = np.arange(3.0)


def squared(x):
    return x * x


def scaled(a, i):
    return SCALE * a[i]


def ordered(a, i, j):
    return (a[i], a[j]) if a[i] < a[j] else (a[j], a[i])


def total_of(values):
    total = 0.0
    for value in values:
        total += value
    return total


# ---------------------------------------------------------------- the same from both


def copies(lo, hi, out, a):
    out[lo:hi] = a[lo:hi]


def computes(lo, hi, out, a):
    for i in range(lo, hi):
        x = a[i]
        out[i] = 2 * x - x * x + 0.5 if x > 0.25 and not x >= 0.9 else -x / 4


def calls_helpers(lo, hi, out, a):
    for i in range(lo, hi):
        low, high = ordered(a, i, len(a) - 1 - i)
        out[i] = squared(high) - scaled(a, i) + low


def uses_math(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = math.sin(a[i]) + sqrt(a[i]) + math.floor(10 * a[i]) * TABLE[i % 3]


def sums_up(lo, hi, out, a):
    for i in range(lo, hi):
        total = 0
        for x in a[max(0, i - 3) : i + 1]:
            total += x
        out[i] = max(total, a[i], 0.5)


def takes_own(lo, hi, out, a):
    """Anything goes with Python's own numbers."""
    for i in range(lo, hi):
        window = [float(a[k]) for k in ()]
        x = float(a[i])
        window.append(round(x, 2) ** 2)
        out[i] = sum([*window, x, 0.1, 0.2, 0.3]) + (x if isinstance(x, float) else 0.0)


def wanders(lo, hi, out, a):
    """Numbers that grow beyond 64 bits, of int's own."""
    for i in range(lo, hi):
        state = int(1e6 * float(a[i])) + 1
        for _ in range(9):
            state = state * 6364136223846793005 + 1442695040888963407
        out[i] = float(state % 1000003)


def sums_a_helper(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = total_of(a)


# ---------------------------------------------------------------- not the same


def by_sum(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = sum(a)


def by_rounding(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = round(a[i], 2)


def by_type(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = 1.0 if isinstance(a[i], np.floating) else 2.0


def by_power(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = abs((a[i] - 0.5) ** 0.5)


def by_division(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = 1.0 / (a[i] - a[0])


def by_remainder(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i] % 0.3


def by_words(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = len(f"{a[i]!r}")


def by_method(lo, hi, out, a):
    out[lo:hi] = a[lo:hi].sum()


def by_slices(lo, hi, out, a):
    out[lo:hi] = 2 * a[lo:hi]


def by_equality(lo, hi, out, a):
    out[lo] = 1.0 if (a[lo:hi] == a[lo:hi]) is True else 0.0


def by_filling(lo, hi, out, a):
    out[lo:hi] = 0.5


def by_a_list(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = functools.reduce(operator.add, [a[i], 1.0])


def by_a_helper(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = rounded(a, i)


def rounded(a, i):
    return round(a[i], 1)


def by_a_loop(lo, hi, out, a):
    """Two of several kinds: only the second time round is x an element."""
    x = 0.0
    for i in range(lo, hi):
        out[i] = round(x, 2)
        x = a[i]


def by_truth_as_index(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[a[i] > 0.5]


def by_a_flag_as_index(lo, hi, out, a):
    flag = lo >= 0
    out[lo] = a[flag]


def by_comprehension(lo, hi, out, a):
    out[lo] = len([x for x in a if x > 0.5])


def by_large_numbers(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = 1.0 if a[i] < 2**53 + 1 else 0.0


def by_matching(lo, hi, out, a):
    for i in range(lo, hi):
        match a[i]:
            case int():
                out[i] = 1.0
            case _:
                out[i] = 2.0


def by_walrus(lo, hi, out, a):
    for i in range(lo, hi):
        if (x := a[i]) > 0.5:
            out[i] = round(x, 1)


def by_its_array(lo, hi, out, a):
    out[lo] = a.mean()


def by_global(lo, hi, out, a):
    global SCALE
    SCALE = 4
    out[lo] = a[lo]


SAME = [copies, computes, calls_helpers, uses_math, sums_up, takes_own, wanders, sums_a_helper]
NOT_THE_SAME = [
    by_sum, by_rounding, by_type, by_power, by_division, by_remainder, by_words, by_method, by_slices, by_equality,
    by_filling, by_a_list, by_a_helper, by_a_loop, by_truth_as_index, by_a_flag_as_index, by_comprehension,
    by_large_numbers, by_matching, by_walrus, by_its_array, by_global,
]  # fmt: skip


# ---------------------------------------------------------------- dtypes


def moves(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i]


def doubles(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i] + a[i]


def gathers(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = TABLE[a[i] % 1] if False else TABLE[a[i]]


def as_ints(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = int(a[i]) * 2 - 1


def as_floats(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = float(a[i]) * 2.5


def transposed(lo, hi, out, a):
    for i in range(lo, hi):
        for j in range(out.shape[1]):
            out[i, j] = a[j, i]


# ---------------------------------------------------------------- for subinterpreters


def uses_numpy(lo, hi, out, a):
    out[lo:hi] = np.sqrt(a[lo:hi])


def uses_a_global_array(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = WEIGHTS[i % 3]


def imports_numpy(lo, hi, out, a):
    import numpy

    out[lo] = numpy.pi


def stores_a_table(lo, hi, out):
    for i in range(lo, hi):
        out[i] = TABLE[i % 3] / 4


def fails_at(lo, hi, out, a, bad):
    for i in range(lo, hi):
        out[i] = value_at(i, bad)


def value_at(i, bad):
    if i == bad:
        raise KeyError("no such thing")
    return float(i)


def meets(lo, hi, out, words):
    """1.0 where all lanes' chunks were begun while this one was at work."""
    words[lo] = 1
    until = time_now() + 60
    here = 0
    while here < len(words) and time_now() < until:
        here = 0
        for word in words:
            here += int(word)
    out[lo] = float(here == len(words))


def time_now():
    import time

    return time.monotonic()


def draws(x):
    return random.random() + x


def draws_by_name(x):
    return gauss(0.0, 1.0) + x


def draws_its_own(x):
    return random.Random(x).random()


def leaves(x):
    if x == 2:
        raise SystemExit(3)
    return x


def breaks(x):
    error = OSError("with something that does not pickle")
    error.held = (n for n in ())
    raise error


KNOWN = {}
CIRCLE = [1]
CIRCLE.append(CIRCLE)


def noted(x, known):
    known[x] = x * x


def by_notes(x, known=KNOWN):
    """What one function writes into a dictionary, another one reads."""
    noted(x, KNOWN)
    return known[x] + CIRCLE[1][1][0]


def cubed(x):
    return x**3


def slowly(x):
    import time

    time.sleep(0.05)
    return x


def half(x):
    return 1 / x


class Point:
    def __init__(self, x):
        self.x = x


def moved(point):
    return Point(point.x + 1)


# ---------------------------------------------------------------- int64


def counts(lo, hi, out, a):
    """How many elements lie in each tenth."""
    for i in range(lo, hi):
        out[int(a[i] * 10)] += 1


def spreads(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = 3 * a[i] - a[lo] * 2 + 1


def by_a_count(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = float(a[i] * a[i])


def by_a_count_as_index(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[a[i] * 2 % 7]

"""Kernels that tests use as a user would write them: in a module that workers can import."""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from kernels import Plan, kernel


def square_of(x):
    return x * x


@kernel
def squares(lo, hi, out, x):
    """Fill out[lo:hi] with the squares of x, by way of a plain helper."""
    for i in range(lo, hi):
        out[i] = square_of(x[i])


@kernel(reduce=np.sum)
def total(lo, hi, out, x):
    """The sum of x, chunk by chunk."""
    part = 0.0
    for i in range(lo, hi):
        part += x[i]
    out[0] = part


@kernel(reduce=lambda rows: rows.sum(axis=0), plan=lambda x: Plan(len(x), (x,), shape=(4,), dtype=np.int64, grain=7))
def histogram(lo, hi, out, x):
    """How many of x lie in each quarter of [0, 1): a reduction whose partial result is a row."""
    for k in range(4):
        out[0, k] = 0
    for i in range(lo, hi):
        out[0, int(x[i] * 4)] += 1


def _each_alone(n, *rest):
    return Plan(n, rest, grain=1)


@kernel(plan=_each_alone)
def nothing(lo, hi, out):
    """A chunk of no work for each index."""
    out[lo] = lo


@kernel(plan=_each_alone, compiled=False, dtype=np.int64)
def who(lo, hi, out):
    """The process and thread of each chunk, as process·10⁹ + thread; short naps let every lane take part."""
    import threading

    time.sleep(0.002)
    out[lo] = os.getpid() * 10**9 + threading.get_native_id()


@kernel(plan=_each_alone)
def spin(lo, hi, out, ns):
    """Stay in each chunk for so many nanoseconds."""
    until = time.perf_counter_ns() + ns
    while time.perf_counter_ns() < until:
        pass
    out[lo] = lo


spin.add_variant("nogil", "example_bodies:spin", compiled=True)


def _meeting(guests, seconds):
    from compute import shared

    words = shared.empty(guests, np.int64)
    words[:] = 0
    return Plan(guests, (words, int(seconds * 1e9)), grain=1)


@kernel(plan=_meeting, inout=("words",))
def meeting(lo, hi, out, words, patience):
    """1.0 where every chunk was begun while this one was still running, else 0.0."""
    words[lo] = 1
    until = time.perf_counter_ns() + patience
    while np.any(words == 0) and time.perf_counter_ns() < until:
        time.sleep(0)
    out[lo] = not np.any(words == 0)


meeting.add_variant("nogil", "example_bodies:meeting", compiled=True)


@kernel(plan=lambda n, gate, word, patience=600.0: Plan(n, (gate, word, int(patience * 1e9)), grain=1, dtype=np.int64))
def gated(lo, hi, out, gate, word, patience):
    """out = indices; the chunk `gate` does not end before somebody has written to `word`."""
    until = time.perf_counter_ns() + patience
    while lo == gate and word[0] == 0 and time.perf_counter_ns() < until:
        time.sleep(0)
    out[lo] = lo


gated.add_variant("nogil", "example_bodies:gated", compiled=True)


class Told(Exception):
    """An error of the user's own."""


class Awkward(Exception):
    """An error that cannot be unpickled: its constructor takes more than its args."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@kernel(plan=_each_alone)
def fails(lo, hi, out, bad):
    """Raise ValueError in the chunk `bad`."""
    if lo == bad:
        raise ValueError("no good")
    out[lo] = lo


def deep(which):
    if which == 0:
        raise Told("so it is", 42)
    if which == 1:
        raise Awkward("one", "two")
    if which == 2:
        error = Told("with a lambda")
        error.held = (n for n in ())  # a generator: no pickle takes it
        raise error
    if which == 3:
        sys.exit(3)
    if which == 4:
        raise MemoryError("of the body's own")


@kernel(plan=_each_alone, compiled=False)
def fails_deep(lo, hi, out, bad, which):
    """Raise this or that error in a function that the chunk `bad` calls."""
    if lo == bad:
        deep(which)
    out[lo] = lo


def _doubled_in_place(values, out=None):
    return Plan(len(values), (values,), shape=values.shape, dtype=values.dtype, out=out, elementwise=True)


@kernel(plan=_doubled_in_place)
def doubled(lo, hi, out, x):
    """out = 2·x along the first axis; out may be x. Number by number: numba takes two seconds to compile rows."""
    for i in range(lo, hi):
        for k in np.ndindex(x.shape[1:]):
            out[(i, *k)] = x[(i, *k)] + x[(i, *k)]


def _address_of(values):
    return Plan(1, (values,), dtype=np.int64)


@kernel(plan=_address_of, compiled=False)
def mark(lo, hi, out, values):
    """Write into the input itself, which a kernel must not do, to see whether it is the caller's memory."""
    values.flags.writeable = True
    values[...] = 7
    out[0] = os.getpid()


@kernel(plan=lambda n: Plan(n, (), grain=3, order=np.argsort(np.sin(np.arange(-(-n // 3)))), dtype=np.int64))
def ordered(lo, hi, out):
    """Indices, filled in a strange order."""
    for i in range(lo, hi):
        out[i] = i


@kernel
def pairs(lo, hi, out, x):
    """The sum of each element's distances to all others: n² steps, with the default cost, which says n."""
    for i in range(lo, hi):
        total = 0.0
        for j in range(len(x)):
            total += abs(x[i] - x[j])
        out[i] = total


@kernel(plan=lambda n: Plan(1, (n,), grain=1))
def at_once(lo, hi, out, n):
    """A harmonic sum in one chunk, which no number of workers can share."""
    total = 0.0
    for i in range(n):
        total += 1.0 / (1.0 + i)
    out[0] = total


@kernel(plan=lambda n: Plan(32, (n,), grain=1))
def hardly_grows(lo, hi, out, n):
    """A fixed amount of work for each of a few chunks, and a little more for each of n."""
    for i in range(lo, hi):
        total = 0.0
        for _ in range(100_000 + n):
            total = total * 0.999 + 1.0
        out[i] = total


@kernel(compiled=False)
def naps(lo, hi, out, x):
    """50 ms for each element, of which none can be compiled away."""
    for i in range(lo, hi):
        time.sleep(0.05)
        out[i] = x[i]


def square_all(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] * x[i]

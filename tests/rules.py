"""Kernels that keep the rules and kernels that break them, in a module that workers can import."""

from __future__ import annotations

import os
import signal

import numba
import numpy as np

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from kernels import Plan, kernel

EVERYWHERE = [
    Serial(),
    Threads(2),
    Prange(2),
    Coroutines(2),
    Joblib(2, kind="threading"),
    Processes(2),
    Joblib(2),
]


def variants_on(backend):
    """The variants that can run there."""
    return ["nogil"] if isinstance(backend, Prange) else ["python", "nogil"]


@kernel
def writes(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i]
        a[i] = -1


def put(array, i):
    array[i] = -1


@kernel
def writes_by_helper(lo, hi, out, a, b):
    for i in range(lo, hi):
        out[i] = a[i]
        put(b, i)


@kernel
def adds_in_place(lo, hi, out, a):
    a += 1
    out[lo:hi] = a[lo:hi]


@kernel
def sorts(lo, hi, out, a):
    a.sort()
    out[lo:hi] = a[lo:hi]


@kernel(plan=lambda a: Plan(len(a), (a,)))
def writes_a_field(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i].u
        a[i].u = -1.0


@kernel
def writes_flat(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = a[i]
        a.flat[i] = -1.0


@kernel
def has_a_copy(lo, hi, out, a):
    """Bind the input's name to an array of its own, and write to that: no input is changed."""
    a = a[lo:hi].copy()
    for i in range(hi - lo):
        a[i] += 1
    out[lo:hi] = a


@kernel(inout=("a",))
def counted(lo, hi, out, a, by):
    """out = a, a += by."""
    for i in range(lo, hi):
        out[i] = a[i]
        a[i] += by


@kernel(inout=("a",))
def fails_once(lo, hi, out, a):
    for i in range(lo, hi):
        out[i] = i
        if a[i] == 0:
            a[i] = 1
            raise ValueError("zero")


@kernel(plan=lambda n, seen: Plan(2, (n, seen), grain=1), inout=("seen",))
def fails_once_beside_a_long_chunk(lo, hi, out, n, seen):
    value = 0.5
    for k in range(n if lo == 1 else n // 20):
        value += np.sin(value + k)
    out[lo] = value
    seen[lo] += 1
    if lo == 0 and seen[0] == 1:
        raise ValueError("once")


def value_of(x):
    return x + 1


@kernel
def returns_by_call(lo, hi, out, x):
    return value_of(x)


def value_where_positive(number):
    return number if number > 0 else None


@kernel(plan=lambda x: Plan(len(x), (x,), grain=1))
def returns_at_times(lo, hi, out, x):
    out[lo] = x[lo]
    return value_where_positive(x[lo])


@kernel(plan=lambda n, path: Plan(n, (path,), grain=1), compiled=False)
def nothing(lo, hi, out, path):
    out[lo] = lo


@kernel(plan=lambda a, path, out=None: Plan(len(a), (a, path), grain=1, out=out, elementwise=True), compiled=False)
def dies_once(lo, hi, out, a, path):
    """out = 2·a, and the first worker that comes to chunk 3 dies when it has written."""
    out[lo:hi] = 2 * a[lo:hi]
    if lo == 3 and not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)


@kernel(plan=lambda a, path: Plan(len(a), (a, path), grain=1), compiled=False, inout=("a",))
def dies_once_in_place(lo, hi, out, a, path):
    """a += 1, and the first worker that comes to chunk 3 dies when it has written."""
    a[lo:hi] += 1
    out[lo:hi] = lo
    if lo == 3 and not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)


@kernel
def spread(lo, hi, out, x, scale=2.0, shift=0):
    for i in range(lo, hi):
        out[i] = scale * x[i] + shift


@kernel
def summed(lo, hi, out, *arrays):
    for i in range(lo, hi):
        out[i] = arrays[0][i] + arrays[1][i]


@kernel
def with_none(lo, hi, out, x, table=None):
    for i in range(lo, hi):
        if table is None:
            out[i] = x[i]
        else:
            out[i] = x[i] * table[i]


@kernel(plan=lambda x: Plan(len(x), (x,), shape=x.shape, dtype=x.dtype))
def copied(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


@kernel
def doubled(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] + x[i]


@kernel(plan=lambda n, x: Plan(n, (x,), dtype=x.dtype))
def constant(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[()]


@kernel(plan=lambda x, y: Plan(len(x), (x, y), dtype=np.uint64))
def thirds(lo, hi, out, x, y):
    for i in range(lo, hi):
        out[i] = x[i] // np.uint64(3) * y


@kernel(plan=lambda x, bad: Plan(len(x), (x, bad), grain=1))
def raises(lo, hi, out, x, bad):
    for i in range(lo, hi):
        if i == bad:
            raise ValueError("no good")
        out[i] = x[i]


@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(len(x)):
        s += x[i]
    return s


@numba.njit
def total_and_one(x):
    return total(x) + 1


def plainly(x):
    return total_and_one(x)


def _each_alone(n, x):
    return Plan(n, (x,), grain=1)


@kernel(plan=_each_alone)
def calls_parallel(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = total(x) + i


@kernel(plan=_each_alone)
def calls_parallel_deeply(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = plainly(x) + i - 1


def _closed():
    inner = total

    @kernel(plan=_each_alone)
    def closes_over_parallel(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = inner(x) + i

    return closes_over_parallel


closes_over_parallel = _closed()

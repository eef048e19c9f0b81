"""Whatever a run makes is gone as it ends: nothing of it waits for the garbage collector, nor its arrays with it."""

from __future__ import annotations

import contextlib
import gc

import numpy as np
import pytest

from compute import Coroutines, Joblib, Processes, Serial, Threads
from kernels import Plan, kernel, matvec

TIMES = 20


@kernel(plan=lambda n: Plan(n, (), grain=2), compiled=False)
def fails_in_the_middle(lo, hi, out):
    out[lo:hi] = 1
    if lo == 4:
        raise ValueError(lo)


def fails(pool):
    with contextlib.suppress(ValueError):
        pool.run(fails_in_the_middle, 10)


def is_refused(pool):
    with contextlib.suppress(ValueError):
        pool.run(matvec, np.ones((3, 4)), np.ones(5))


WAYS = {
    "run": lambda pool: pool.run(matvec, np.ones((3, 4)), np.ones(4)),
    "map": lambda pool: pool.map(abs, [1, -2]),
    "imap": lambda pool: list(pool.imap(abs, [1, -2])),
    "warm": lambda pool: pool.warm(matvec, np.ones((3, 4)), np.ones(4)),
    "checked": lambda pool: pool.run(matvec, np.ones((3, 4)), np.ones(4), check=True),
    "told": lambda pool: pool.run(matvec, np.ones((3, 4)), np.ones(4), progress=lambda *_: None),
    "timeline": lambda pool: pool.run(matvec, np.ones((3, 4)), np.ones(4)).timeline,
    "fails": fails,
    "is refused": is_refused,
}


@pytest.mark.parametrize("backend", [Serial(), Threads(2), Coroutines(2), Processes(2), Joblib(2)], ids=repr)
def test_a_run_leaves_no_cycle(backend):
    with backend.open() as pool:
        left = {}
        for name, way in WAYS.items():
            for _ in range(3):
                way(pool)
            gc.collect()
            gc.disable()
            try:
                for _ in range(TIMES):
                    way(pool)
                left[name] = gc.collect()
            finally:
                gc.enable()
    assert all(count < TIMES for count in left.values()), left

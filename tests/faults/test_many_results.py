"""Results that are kept: more of them than the user's limit, and an error with the remedy."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")


KEPT = """
import gc, os, resource, sys
import numpy as np
from compute import *
from example_kernels import squares

def descriptors():
    return len(os.listdir("/proc/self/fd"))

hard = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (512 if hard > 512 else hard, hard))
x = np.arange(100.0)
with eval(sys.argv[1]).open() as pool:
    for _ in range(12):
        pool.run(squares, x)
    kept, before = [], descriptors()
    for k in range(100):
        kept.append(pool.run(squares, x + k).value)
    assert descriptors() - before <= 120, descriptors() - before
    try:
        for k in range(100, 600):
            kept.append(pool.run(squares, x + k).value)
    except OSError as error:
        print(error)
    assert all((value == (x + k) ** 2).all() for k, value in enumerate(kept))
    print(len(kept) == 600)
    kept.clear()
    gc.collect()
    assert pool.run(squares, x).value[9] == 81
    assert descriptors() <= before + 80
"""


@pytest.mark.parametrize("backend", ["Processes(2)", "Joblib(2)"])
def test_more_results_are_kept_than_the_soft_limit_allows(warm_python, no_leaks, backend):
    assert warm_python.run(KEPT, backend, "4096") == "True\n"


def test_at_the_hard_limit_the_remedy_is_named(warm_python, no_leaks):
    told, whether_all = warm_python.run(KEPT, "Processes(2)", "256").splitlines()
    assert "Too many open files" in told
    assert "ulimit -n" in told
    assert whether_all == "False"

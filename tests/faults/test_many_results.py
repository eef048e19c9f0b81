"""Many results, kept ones among them, and large ones: more than the user's limit, and an error with the remedy."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import psutil
import pytest

from compute import Joblib, Processes, machine

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


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["Processes(2)", pytest.param("Joblib(2)", marks=pytest.mark.slow)])
def test_more_results_are_kept_than_the_soft_limit_allows(warm_python, no_leaks, backend):
    assert warm_python.run(KEPT, backend, "4096") == "True\n"


@pytest.mark.slow
def test_at_the_hard_limit_the_remedy_is_named(warm_python, no_leaks):
    told, whether_all = warm_python.run(KEPT, "Processes(2)", "256").splitlines()
    assert "Too many open files" in told
    assert "ulimit -n" in told
    assert whether_all == "False"


def dies_once(item):
    number, mark = item
    if mark and not os.path.exists(mark):
        open(mark, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


@pytest.mark.slow
@pytest.mark.parametrize("backend", [Processes(2), Joblib(2)], ids=repr)
def test_a_million_items_and_a_death_in_their_middle(no_leaks, backend, tmp_path):
    items = [(k, "") for k in range(10**6)]
    items[777_777] = 777_777, str(tmp_path / "mark")
    with backend.open() as pool:
        assert pool.map(dies_once, items) == [-k for k in range(10**6)]
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
@pytest.mark.skipif(psutil.virtual_memory().available < 10 * 2**30, reason="takes 10 GB")
def test_a_result_of_three_gigabytes(no_leaks):
    """The system writes 2 GB at once at most."""
    if (machine.shared_memory_free() or 0) < 4 * 2**30:
        pytest.skip("takes 4 GB of /dev/shm")
    with Processes(1).open() as pool:
        for value in 1.5, 2.5:  # at first by pwrite, and then through a mapping
            (found,) = pool.map(lambda x: np.full(3 * 2**27, x), [value])
            assert (found.nbytes, found[0], found[-1]) == (3 * 2**30, value, value)
            assert found[2**28] == value
            del found

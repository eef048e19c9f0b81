"""Results of processes: held ones are nobody else's, and what is let go of serves the next run or is freed."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np
import pytest

from compute import Joblib, Processes
from kernels import count_primes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mappings are counted in /proc")
SIZE = 300_000  # numbers: enough to be mapped


def filled(value):
    return np.full(SIZE, float(value))


def mappings():
    with open("/proc/self/maps") as maps:
        return sum(" /dev/shm/#" in line for line in maps)  # what never had a name has a number


@pytest.mark.parametrize(
    "backend",
    [Processes(2), *(pytest.param(Joblib(2, arrays=a), marks=pytest.mark.slow) for a in ("shared", "memmap"))],
    ids=repr,
)
def test_a_result_that_is_held_is_not_written_to_again(no_leaks, backend):
    with backend.open() as pool:
        held = [pool.map(filled, [k, -k]) for k in range(5)]
        pool.map(filled, [99, 99])
        pool.map(filled, [100])
    for k, (one, other) in enumerate(held):
        assert one.tobytes() == filled(k).tobytes()
        assert other.tobytes() == filled(-k).tobytes()
    view = held[4][0][10:20]
    del held, one, other
    gc.collect()
    assert view.tolist() == [4.0] * 10


def test_pages_that_nobody_holds_serve_the_next_run_and_are_freed_at_the_end(no_leaks):
    before = mappings()
    with Processes(2).open() as pool:
        pool.map(filled, [1, 2])
        spool = pool.arena._spool
        pool.map(filled, [3, 4])
        assert pool.arena._spool is spool
        held = pool.map(filled, [5, 6])
        assert pool.map(filled, [7, 8])[0][0] == 7
        assert pool.arena._spool is not spool
        assert mappings() > before
        del spool
    assert held[1][0] == 6
    del held
    gc.collect()
    assert mappings() == before


@pytest.mark.slow
def test_pages_are_freed_after_a_run_that_needs_none(no_leaks):
    with Processes(1).open() as pool:
        (worker,) = pool.map(lambda _: os.getpid(), [0])
        for _ in range(3):  # the third time through a mapping of the worker's
            pool.map(filled, range(4))
        assert pages_of(worker) > 8 * SIZE
        pool.run(count_primes, 1000)
        gc.collect()
        assert pages_of(worker) < 8 * SIZE
        assert pool.map(filled, [3])[0][1] == 3


FORKED = """
import gc, os
import numpy as np
from compute import *
from watched import await_children, in_child

def filled(value):
    return np.full(300_000, float(value))

with Processes(2).open() as pool:
    held = pool.map(filled, [1, 2])

    def looks():
        while not os.path.exists("dropped"):
            pass
        assert held[0].tobytes() == filled(1).tobytes() and held[1].tobytes() == filled(2).tobytes()

    child = in_child(looks)
    held = None
    gc.collect()
    for k in range(3):
        assert pool.map(filled, [k, 7])[0][5] == k
    open("dropped", "x").close()
    await_children(child)
print("done")
"""


def test_a_fork_keeps_what_its_parent_drops(warm_python, no_leaks):
    assert warm_python.run(FORKED) == "done\n"


@pytest.mark.slow
def test_more_than_one_chunk_of_every_size(no_leaks):
    def made(k):
        return os.urandom(1) * (10**k), np.arange(10.0**k)

    with Processes(2).open() as pool:
        for text, values in pool.map(made, range(7)):
            assert len(text) == len(values)
            assert values[-1] == len(values) - 1


def pages_of(worker):
    """Bytes of shared memory in files without a name that a process has open."""
    files = [os.path.join(f"/proc/{worker}/fd", number) for number in os.listdir(f"/proc/{worker}/fd")]
    return sum(512 * os.stat(file).st_blocks for file in files if "/dev/shm/#" in os.readlink(file))


def keeps_its_frames(k):
    """Raise an error that nothing frees but the garbage collector."""
    if k == 1:
        error = ValueError("the last")
        error.itself = error
        raise error
    return np.full(4 * SIZE, 1.0)


def test_a_run_that_failed_leaves_no_pages_to_its_workers(no_leaks):
    with Processes(1).open() as pool:
        (worker,) = pool.map(lambda _: (gc.disable(), os.getpid())[1], [0])
        for _ in range(3):
            with pytest.raises(ValueError, match="the last"):
                pool.map(keeps_its_frames, [0, 1])
        gc.collect()
        assert pages_of(worker) < 8 * SIZE


UNDER_A_LIMIT = """
import resource, sys
from compute import Joblib, Processes

def long(size):
    return b"x" * size

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))
    for backend in (Processes(2), Joblib(2)):
        with backend.open() as pool:
            assert pool.map(long, [10**5] * 8) == [b"x" * 10**5] * 8
            try:
                pool.map(long, [10**5] * 7 + [10**7])
            except MemoryError as error:
                print(error)
            assert pool.map(long, [5] * 8) == [b"xxxxx"] * 8
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="spools are in memory on Linux")
def test_results_have_room_under_a_limit_of_files_and_the_refusal_names_it(script):
    """A file's limit is one of offsets, and a chunk's results lie at an offset of their own."""
    first, second = script(UNDER_A_LIMIT).stdout.splitlines()
    assert first == second
    assert first.startswith("the results of long take 10 MB for a chunk, and ")
    assert "are its part of the 16.8 MB of a file that `ulimit -f` allows; raise it, run on threads, or" in first


RAISED = """
import resource
from compute import Processes, Serial

def long(size):
    return b"x" * size

if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, most))
    with Processes(2).open() as pool:
        assert pool.map(long, [10**5] * 2) == [b"x" * 10**5] * 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, most))
        for sizes in ([10**8] * 2, [10**7] * 2):  # larger than the worker's limit, and beyond it
            try:
                print(*map(len, pool.map(long, sizes)))
            except MemoryError as error:
                print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="spools are in memory on Linux")
def test_a_limit_of_files_that_was_raised_is_not_yet_the_workers(script):
    lines = script(RAISED).stdout.splitlines()
    told = "do not fit into the 16.8 MB of a file that `ulimit -f` allows this worker; set it before the first pool"
    assert [told in line for line in lines] == [True, True]

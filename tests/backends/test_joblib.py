"""joblib's workers, where they differ from others: loky must not take mapped arrays for a memory leak."""

from __future__ import annotations

import time

import pytest
from example_kernels import squares, who

from compute import Joblib

LEAK = 3e8  # bytes by which a worker may grow before loky replaces it
LOOKS_EVERY = 1.0  # s


@pytest.mark.slow
def test_a_worker_that_maps_large_arrays_is_not_replaced(no_leaks):
    with Joblib(1, arrays="memmap").open() as pool:  # a small /dev/shm would not hold them
        x = pool.arena.empty(int(0.55 * LEAK / 8))  # with as much output: more than loky's limit
        x[:] = 3.0
        before = {lane.process for lane in pool.run(who, 3).timeline.lanes}
        time.sleep(LOOKS_EVERY)
        values = [pool.run(squares, x).value for _ in range(2)]  # it would look after the first, and leave
        after = {lane.process for lane in pool.run(who, 3).timeline.lanes}
    assert all(value[-1] == 9.0 for value in values)
    assert after == before

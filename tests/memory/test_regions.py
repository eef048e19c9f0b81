"""Parts of a file that a worker keeps mapped: what it writes is there, and pages that are not are never touched."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import pytest

from compute import Processes
from compute.memory.regions import KEPT, Regions

pytestmark = pytest.mark.skipif(not hasattr(mmap, "MAP_POPULATE"), reason="parts are mapped on Linux alone")
PART = 2**20


@pytest.fixture
def file():
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        yield file.fileno()


def written(file, at, size):
    return os.pwrite(file, b"x" * size, at) == size


def test_the_second_time_a_part_is_mapped_and_no_hole_ever(file):
    regions = Regions()
    assert not regions.write(file, [b"a" * PART], 0)
    assert written(file, 0, PART)
    assert regions.write(file, [b"b" * 10, np.arange(3.0)], 0)
    assert os.pread(file, 12, 0)[:10] == b"b" * 10
    assert np.frombuffer(os.pread(file, 24, 10)).tolist() == [0, 1, 2]
    assert regions.write(file, [b"c" * PART], 0)
    assert not regions.write(file, [b"d" * (PART + 1)], 0)  # its last page is not there
    assert written(file, PART, 1)
    assert regions.write(file, [b"d" * (PART + 1)], 0)
    assert os.pread(file, 2, PART - 1) == b"dd"
    os.ftruncate(file, 0)
    assert not Regions().write(file, [b"e"], 0)


def test_another_file_begins_anew_and_parts_are_bounded(file):
    regions = Regions()
    assert written(file, 0, PART)
    for _ in range(2):
        is_mapped = regions.write(file, [b"a" * PART], 0)
    assert is_mapped
    with tempfile.TemporaryFile(dir="/dev/shm") as other:
        assert not regions.write(other.fileno(), [b"b" * PART], 0)
        assert os.fstat(other.fileno()).st_size == 0
    assert not regions.write(file, [b"c" * PART], 0)
    assert os.pread(file, 1, 0) == b"a"
    for k in range(2 * KEPT):
        regions.write(file, [b"d"], k * PART)
    assert len(regions._parts) == KEPT


def made(item):
    seed, size = item
    return np.random.default_rng(seed).random(size), bytes([seed]) * 3, np.full(size // 2, seed)


def test_results_are_right_whatever_was_there_before():
    rng = np.random.default_rng(5)
    with Processes(2).open() as pool:
        for _ in range(12):
            items = [(int(rng.integers(100)), int(size)) for size in rng.choice([1, 70_000, 300_000, 900_000], 3)]
            for found, item in zip(pool.map(made, items), items, strict=True):
                for one, other in zip(found, made(item), strict=True):
                    assert bytes(one) == bytes(other)
            del found

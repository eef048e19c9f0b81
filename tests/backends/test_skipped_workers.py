"""A worker that no message tells what is gone: loky gives its tasks to others, or runs have too few chunks for it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from compute import shared
from compute.backends import remote
from compute.memory.segments import reference


@pytest.fixture
def as_a_worker():
    """This process's table of mapped segments, empty."""
    remote._segments.clear()
    yield remote._segments
    remote._segments.clear()
    remote._jobs.clear()


@pytest.mark.skipif(sys.platform == "win32", reason="memory of this kind is POSIX's")
def test_it_keeps_the_segments_that_it_used_last(no_leaks, as_a_worker):
    often = shared.array(np.ones(9))
    for k in range(3 * remote.SEGMENTS):
        once = shared.array(np.full(9, float(k)))
        remote.prepare([], False, None)
        assert remote.opened(reference(once))[0] == k
        assert remote.opened(reference(often))[0] == 1.0
        assert len(as_a_worker) <= remote.SEGMENTS + 2  # and those of the latest message
    assert reference(often).serial in as_a_worker
    assert reference(once).serial in as_a_worker
    del once


@pytest.mark.skipif(sys.platform == "win32", reason="memory of this kind is POSIX's")
def test_an_array_outlives_its_place_in_the_table(no_leaks, as_a_worker):
    arrays = [shared.array(np.full(9, float(k))) for k in range(3 * remote.SEGMENTS)]
    seen = []
    for array in arrays:
        remote.prepare([], False, None)
        seen.append(remote.opened(reference(array)))
    assert [array[-1] for array in seen] == [float(k) for k in range(len(arrays))]
    assert remote.opened(reference(arrays[0]))[0] == 0.0, "and is mapped anew where it is named again"

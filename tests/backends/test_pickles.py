"""Results are plain data, and go wherever pickles go; pools are live workers, and say so."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import cloudpickle
import numpy as np
import pytest
from every_case import BACKENDS
from example_kernels import squares, total
from sampling import one_of_each


@pytest.fixture(scope="module", params=one_of_each(BACKENDS), ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_result_pickles_with_its_timeline(pool, dumps, asked_before):
    values = np.arange(30.0)
    result = pool.run(squares, values)
    if asked_before:
        assert result.timeline.lanes
    there = pickle.loads(dumps(result))
    result.value[:] = -1  # what was sent is not the caller's array
    np.testing.assert_array_equal(there.value, values**2)
    assert there.seconds == result.seconds
    assert there.timeline.lanes == result.timeline.lanes
    assert there.timeline.sections == result.timeline.sections
    np.testing.assert_array_equal(there.timeline.spans, result.timeline.spans)
    assert pickle.loads(pickle.dumps(there)).timeline.lanes == result.timeline.lanes


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_result_can_be_copied(pool, copied):
    result = pool.run(total, np.ones(30))
    there = copied(result)
    assert (there.value, there.seconds, there.timeline.lanes) == (30, result.seconds, result.timeline.lanes)


def _run_there(values):
    from compute import Threads, run

    return run(squares, values, on=Threads(2))


def test_a_result_comes_back_from_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as others:
        result = others.apply(_run_there, (np.arange(5.0),))
    assert result.value.tolist() == [0, 1, 4, 9, 16]
    assert result.timeline.lanes


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_says_why_it_does_not(pool, dumps):
    with pytest.raises(
        TypeError, match="a pool cannot be pickled or copied: its workers belong to this process"
    ) as told:
        dumps(pool)
    assert repr(pool.backend) in str(told.value)
    assert pickle.loads(pickle.dumps(pool.backend)) == pool.backend
    assert pool.run(total, np.ones(3)).value == 3
